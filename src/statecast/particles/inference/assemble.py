"""Jets from drawn particles: their columns in the frame of the detector, closed so that they add up to their jet.

Axes: B jet, N particle of all jets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from statecast.particles.codec import ParticleCodec
from statecast.particles.jets import Jets, summed_momentum, wrapped
from statecast.streams import Tokens


def assembled(
    drawn: Tokens,
    jet_of: Int[Tensor, " N"],
    codec: ParticleCodec,
    numbers: Mapping[str, Float[np.ndarray, " B"]],
    labels: Sequence[str | None],
    random: torch.Generator,
    *,
    is_aligned: bool,
) -> Jets:
    """Jets in the columns of `Jets`, whose particles add up to the pT of the jet and lie on its axis.

    drawn       tokens of particles; those of a jet follow one another by rank, between those of others
    jet_of      the jet of each
    numbers     of each jet: `pt_gev`, and `eta` (0 if there is none); its φ is drawn at random
    is_aligned  the model saw jets turned to their principal axis: each gets a random turn
    """
    order = torch.argsort(jet_of, stable=True)
    drawn, of = drawn[order], jet_of[order].numpy()
    pt = numbers["pt_gev"].astype(np.float64)
    eta = numbers["eta"].astype(np.float64) if "eta" in numbers else np.zeros_like(pt)
    phi = np.pi * (2 * torch.rand(len(pt), generator=random, dtype=torch.float64).numpy() - 1)
    columns = codec.particles(drawn, {"pt_gev": pt[of], "eta": eta[of], "phi": phi[of]})
    if is_aligned:
        columns = randomly_turned(columns, of, {"eta": eta, "phi": phi}, random)
    columns = closed(columns, of, {"pt_gev": pt, "eta": eta, "phi": phi})
    order_in_pt = np.lexsort((-columns["pt_gev"], of))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=len(pt)))])
    jets = Jets(offsets, {name: column[order_in_pt] for name, column in columns.items()}, {})
    names = None if all(label is None for label in labels) else np.array([str(label) for label in labels])
    return replace(jets, of_jets=summed_momentum(jets), labels=names)


def closed(
    particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The particles with all momenta of a jet scaled, and all directions moved, so that their sum has its pT and, to first order, its axis.

    of  the jet of each particle
    """
    total, count = np.zeros(len(jet["pt_gev"])), len(jet["pt_gev"])
    total += np.bincount(of, particles["pt_gev"], count)
    moved = dict(particles)
    for name in ("eta", "phi"):
        apart = particles[name] - jet[name][of]
        apart = wrapped(apart) if name == "phi" else apart
        centre = np.bincount(of, particles["pt_gev"] * apart, count) / total
        moved[name] = jet[name][of] + apart - centre[of]
    px = np.bincount(of, particles["pt_gev"] * np.cos(moved["phi"]), count)
    py = np.bincount(of, particles["pt_gev"] * np.sin(moved["phi"]), count)
    moved["pt_gev"] = particles["pt_gev"] * (jet["pt_gev"] / np.hypot(px, py))[of]
    moved["phi"] = wrapped(moved["phi"])
    return moved


def randomly_turned(
    particles: Mapping[str, np.ndarray],
    of: Int[np.ndarray, " N"],
    jet: Mapping[str, np.ndarray],
    random: torch.Generator,
) -> dict[str, np.ndarray]:
    """The particles after a random rotation, and in half of the jets a reflection, about the axis of their jet."""
    draws = torch.rand(2, len(jet["eta"]), generator=random, dtype=torch.float64).numpy()
    angle, sign = 2 * np.pi * draws[0][of], np.where(draws[1] < 0.5, -1.0, 1.0)[of]
    eta, phi = particles["eta"] - jet["eta"][of], sign * wrapped(particles["phi"] - jet["phi"][of])
    turned = dict(particles)
    turned["eta"] = jet["eta"][of] + np.cos(angle) * eta - np.sin(angle) * phi
    turned["phi"] = wrapped(jet["phi"][of] + np.sin(angle) * eta + np.cos(angle) * phi)
    return turned
