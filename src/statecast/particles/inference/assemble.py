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
from statecast.particles.jets import Jets, momentum_columns, momentum_components, summed_momentum, wrapped
from statecast.streams import Tokens

CLOSING_STEPS = 6  # the mass grows nearly in proportion to the distances, so that the iteration ends soon
LARGEST_STRETCH = 2.0
SMALLEST_MASS_GEV = 1e-3


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
    """Jets in the columns of `Jets`, whose particles add up to the momentum that was drawn, see `closed`.

    drawn       tokens of particles; those of a jet follow one another by rank, between those of others
    jet_of      the jet of each
    numbers     of each jet: `pt_gev`, maybe `mass_gev`, and `eta` (0 if there is none); its φ is drawn at random
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
    mass = {"mass_gev": numbers["mass_gev"].astype(np.float64)} if "mass_gev" in numbers else {}
    columns = closed(columns, of, {"pt_gev": pt, "eta": eta, "phi": phi, **mass})
    order_in_pt = np.lexsort((-columns["pt_gev"], of))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=len(pt)))])
    jets = Jets(offsets, {name: column[order_in_pt] for name, column in columns.items()}, {})
    names = None if all(label is None for label in labels) else np.array([str(label) for label in labels])
    return replace(jets, of_jets=summed_momentum(jets), labels=names)


def closed(
    particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The particles with all momenta of a jet scaled and all directions moved, so that their sum has the pT and, to first order, the axis
    of `jet`; and its mass, if `jet` has `mass_gev`: then the distances from the axis are scaled too, since m ≈ pT ΔR for a narrow jet.

    of  the jet of each particle

    The distances of a jet are scaled by a factor of at most `LARGEST_STRETCH`, or its inverse: a jet of one hard particle stays narrow.
    """
    moved = _with_momentum(particles, of, jet)
    if "mass_gev" not in jet:
        return moved
    stretch = np.ones(len(jet["pt_gev"]))
    for _ in range(CLOSING_STEPS):
        mass = np.maximum(_summed(moved, of, len(stretch))["mass_gev"], SMALLEST_MASS_GEV)
        stretch = np.clip(stretch * jet["mass_gev"] / mass, 1 / LARGEST_STRETCH, LARGEST_STRETCH)
        moved = _with_momentum(_stretched(particles, of, jet, stretch), of, jet)
    return moved


def _with_momentum(
    particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The particles, scaled in momentum and moved in direction, so that their sum has the pT and, to first order, the axis of the jet."""
    count = len(jet["pt_gev"])
    total = np.bincount(of, particles["pt_gev"], count)
    moved = dict(particles)
    for name, apart in _from_axis(particles, of, jet).items():
        centre = np.bincount(of, particles["pt_gev"] * apart, count) / total
        moved[name] = jet[name][of] + apart - centre[of]
    moved["pt_gev"] = particles["pt_gev"] * (jet["pt_gev"] / _summed(moved, of, count)["pt_gev"])[of]
    moved["phi"] = wrapped(moved["phi"])
    return moved


def _stretched(
    particles: Mapping[str, np.ndarray],
    of: Int[np.ndarray, " N"],
    jet: Mapping[str, np.ndarray],
    factor: Float[np.ndarray, " B"],
) -> dict[str, np.ndarray]:
    """The particles with their distances from the axis of the jet scaled by the factor of that jet."""
    apart = _from_axis(particles, of, jet)
    return {**particles, **{name: jet[name][of] + factor[of] * each for name, each in apart.items()}}


def _from_axis(
    particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Δη and Δφ of each particle from the axis of its jet, by the name of the column."""
    return {"eta": particles["eta"] - jet["eta"][of], "phi": wrapped(particles["phi"] - jet["phi"][of])}


def _summed(particles: Mapping[str, np.ndarray], of: Int[np.ndarray, " N"], jets: int) -> dict[str, np.ndarray]:
    """The columns `MOMENTUM` of the sum of the particles of each jet."""
    return momentum_columns(np.stack([np.bincount(of, each, jets) for each in momentum_components(particles)]))


def randomly_turned(
    particles: Mapping[str, np.ndarray],
    of: Int[np.ndarray, " N"],
    jet: Mapping[str, np.ndarray],
    random: torch.Generator,
) -> dict[str, np.ndarray]:
    """The particles after a random rotation, and in half of the jets a reflection, about the axis of their jet."""
    draws = torch.rand(2, len(jet["eta"]), generator=random, dtype=torch.float64).numpy()
    angle, sign = 2 * np.pi * draws[0][of], np.where(draws[1] < 0.5, -1.0, 1.0)[of]
    apart = _from_axis(particles, of, jet)
    eta, phi = apart["eta"], sign * apart["phi"]
    turned = dict(particles)
    turned["eta"] = jet["eta"][of] + np.cos(angle) * eta - np.sin(angle) * phi
    turned["phi"] = wrapped(jet["phi"][of] + np.sin(angle) * eta + np.cos(angle) * phi)
    return turned
