"""Taggers of other libraries, trained for a given CPU time on the same jets as ours. A library of jets.py, not a script.

Axes: B jet of a batch, J jet, N particle, F feature, C class.

All of them see the same `Clouds`, rotated and reflected as ours are, and learn by the same loop: AdamW, batches of 32 jets, half a cosine
of the learning rate over the CPU time, and the weights with the best validation loss. Each network is built by its own library.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import cos, pi
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from statecast.particles.features import particle_features
from statecast.particles.jets import MOMENTUM, PARTICLE_KINDS, Jets, momentum_components

BATCH, SCORED_BATCH = 32, 256
WEIGHT_DECAY, GRADIENT_CLIP, WARM_UP = 0.01, 1.0, 0.05
VALIDATIONS = 8  # of a training, evenly spread over its time
MOST_PARTICLES, FEWEST_PARTICLES = 128, 16  # the neighbourhoods of PET need more particles than neighbours
NEIGHBOURS = 10
VECTOR_SCALE_GEV = 20.0  # momenta in L-GATr are in units of it
CLASSES = 2


# What they see


@dataclass(frozen=True)
class Batch:
    """Jets, padded to the longest.

    features  those of ParT on JetClass without tracks (Qu, Li & Qian, arXiv:2202.03772): logarithms of pT and energy, absolute and as a
              fraction of the jet's, ΔR, charge, five kinds, Δη, Δφ
    momenta   energy, px, py, pz in GeV
    kinds     code of the kind from 1; 0: padding
    """

    features: Float[Tensor, "B N 13"]
    momenta: Float[Tensor, "B N 4"]
    kinds: Int[Tensor, "B N"]
    is_particle: Bool[Tensor, "B N"]
    codes: Int[Tensor, " B"]


@dataclass(frozen=True)
class Clouds:
    """Jets as padded arrays, their particles in order of decreasing pT.

    delta     Δη, Δφ from the axis
    of_jets   η, φ, pT and energy of each jet
    """

    delta: Float[Tensor, "J N 2"]
    pt_gev: Float[Tensor, "J N"]
    mass_gev: Float[Tensor, "J N"]
    charge: Float[Tensor, "J N"]
    kinds: Int[Tensor, "J N"]
    of_jets: Float[Tensor, "J 4"]
    codes: Int[Tensor, " J"]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, jets: Jets, codes: Int[np.ndarray, " J"]) -> "Clouds":
        delta = particle_features(jets, ("delta_eta", "delta_phi"))
        columns = {name: padded(jets, jets.particles[name]) for name in ("pt_gev", "mass_gev", "charge")}
        kinds = padded(jets, jets.particles["kind"] + 1.0).long()  # an unknown kind counts as padding's
        sides = [padded(jets, delta[:, place]) for place in range(2)]
        energy = momentum_components({name: jets.of_jets[name] for name in MOMENTUM})[3]
        of_jets = [jets.of_jets[name] for name in ("eta", "phi", "pt_gev")]
        return cls(
            torch.stack(sides, dim=-1),
            columns["pt_gev"],
            columns["mass_gev"],
            columns["charge"].nan_to_num(),
            kinds,
            torch.from_numpy(np.stack([*of_jets, energy], axis=1)).float(),
            torch.from_numpy(codes).long(),
        )

    def batch(self, numbers: Int[Tensor, " B"], turns: Float[Tensor, "B 2 2"] | None = None) -> Batch:
        """Some of the jets; `turns` rotate them about their axes."""
        longest = int((self.pt_gev[numbers] > 0).sum(dim=1).max())
        chosen = (numbers, slice(max(longest, FEWEST_PARTICLES)))
        delta, pt, mass = self.delta[chosen], self.pt_gev[chosen], self.mass_gev[chosen]
        if turns is not None:
            delta = delta @ turns.transpose(1, 2)
        is_particle = pt > 0
        momenta = momenta_of(delta, pt, mass, self.of_jets[numbers])
        kinds = self.kinds[chosen]
        features = features_of(delta, pt, momenta, self.charge[chosen], kinds, self.of_jets[numbers])
        features = features * is_particle[..., None]
        return Batch(features, momenta, kinds, is_particle, self.codes[numbers])


def padded(jets: Jets, values: Float[np.ndarray, " N"]) -> Float[Tensor, "J N"]:
    """A column of the particles with a row for each jet; 0 where it has no particle."""
    counts = jets.multiplicity
    rank = np.arange(len(values)) - np.repeat(jets.offsets[:-1], counts)
    row = np.repeat(np.arange(len(jets)), counts)
    found = np.zeros((len(jets), MOST_PARTICLES), np.float32)
    is_kept = rank < MOST_PARTICLES
    found[row[is_kept], rank[is_kept]] = values[is_kept]
    return torch.from_numpy(found)


def momenta_of(
    delta: Float[Tensor, "B N 2"], pt: Float[Tensor, "B N"], mass: Float[Tensor, "B N"], of_jets: Float[Tensor, "B 4"]
) -> Float[Tensor, "B N 4"]:
    """Energy, px, py and pz in GeV; 0 for padding."""
    eta, phi = (delta + of_jets[:, None, :2]).unbind(dim=-1)
    pz = pt * eta.sinh()
    energy = (mass**2 + pt**2 + pz**2).sqrt()
    return torch.stack([energy, pt * phi.cos(), pt * phi.sin(), pz], dim=-1)


def features_of(
    delta: Float[Tensor, "B N 2"],
    pt: Float[Tensor, "B N"],
    momenta: Float[Tensor, "B N 4"],
    charge: Float[Tensor, "B N"],
    kinds: Int[Tensor, "B N"],
    of_jets: Float[Tensor, "B 4"],
) -> Float[Tensor, "B N 13"]:
    """See `Batch.features`; shifts and scales are those of ParT's configuration for JetClass."""
    log_pt, log_energy = pt.clamp(min=1e-8).log(), momenta[..., 0].clamp(min=1e-8).log()
    log_jet = of_jets[:, None, 2:].log()
    continuous = [
        0.7 * (log_pt - 1.7),
        0.7 * (log_energy - 2.0),
        0.7 * (log_pt - log_jet[..., 0] + 4.7),
        0.7 * (log_energy - log_jet[..., 1] + 4.7),
        4.0 * (delta.norm(dim=-1) - 0.2),
        charge,
    ]
    of_kind = F.one_hot(kinds, len(PARTICLE_KINDS) + 1)[..., 1:].float()
    return torch.cat([torch.stack(continuous, dim=-1), of_kind, delta], dim=-1)


def random_turns(count: int, generator: torch.Generator) -> Float[Tensor, "B 2 2"]:
    """Random rotations of the plane, half of them with a reflection, as `data.rotate` turns the jets of ours."""
    angle = 2 * pi * torch.rand(count, generator=generator)
    sign = torch.where(torch.rand(count, generator=generator) < 0.5, 1.0, -1.0)
    rows = [torch.stack([angle.cos(), -angle.sin() * sign]), torch.stack([angle.sin(), angle.cos() * sign])]
    return torch.stack(rows).permute(2, 0, 1)


# The networks


class ParT(nn.Module):
    """Particle Transformer (Qu, Li & Qian, arXiv:2202.03772)."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        from weaver.nn.model.ParticleTransformer import ParticleTransformer

        self.network = ParticleTransformer(13, CLASSES, **options)

    def forward(self, batch: Batch) -> Float[Tensor, "B C"]:
        energy_last = batch.momenta[..., [1, 2, 3, 0]].transpose(1, 2)
        return self.network(batch.features.transpose(1, 2), v=energy_last, mask=batch.is_particle[:, None])


class LGATr(nn.Module):
    """L-GATr-slim, on momenta beside the two directions of the beam and that of time; its mean over the particles answers."""

    references: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__()
        from lgatr import LGATrSlim

        beams_and_time = [[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0], [1.0, 0.0, 0.0, 0.0]]
        self.register_buffer("references", torch.tensor(beams_and_time))
        self.network = LGATrSlim(in_v_channels=4, out_v_channels=0, in_s_channels=13, out_s_channels=CLASSES, **options)

    def forward(self, batch: Batch) -> Float[Tensor, "B C"]:
        references = self.references.expand(*batch.momenta.shape[:2], -1, -1)
        vectors = torch.cat([batch.momenta[:, :, None] / VECTOR_SCALE_GEV, references], dim=2)
        _, scalars = self.network(vectors, batch.features, attn_mask=batch.is_particle[:, None, None])
        counted = batch.is_particle[..., None]
        return (scalars * counted).sum(dim=1) / counted.sum(dim=1)


class PET(nn.Module):
    """Point-Edge Transformer of OmniLearned, on Δη, Δφ, log pT, log E, the kind and the charge."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        from omnilearned.network import PET2

        kinds = len(PARTICLE_KINDS) + 1
        self.network = PET2(
            4, num_classes=CLASSES, pid=True, pid_dim=kinds, add_info=True, add_dim=1, K=NEIGHBOURS, **options
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B C"]:
        energy, px, py, _ = batch.momenta.unbind(dim=-1)
        logs = [value.clamp(min=1e-8).log() for value in (torch.hypot(px, py), energy)]
        points = torch.cat([batch.features[..., -2:], torch.stack(logs, dim=-1)], dim=-1)
        points = points * batch.is_particle[..., None]
        said = self.network(points, batch.codes, pid=batch.kinds, add_info=batch.features[..., 5:6])
        return said["y_pred"]


@dataclass(frozen=True)
class Peer:
    """A tagger of another library.

    install  what adds it
    module   what can be imported then
    sizes    options of its network by name: `large` as it is published or by default, `small` as deep and as wide as ours
    """

    name: str
    install: str
    module: str
    make: Callable[..., nn.Module]
    sizes: dict[str, dict[str, Any]]


PEERS = {
    "part": Peer(
        "ParT",
        "weaver-core==0.5.3",
        "weaver.nn.model.ParticleTransformer",
        ParT,
        {
            "large": {},
            "small": {
                "embed_dims": (96, 192, 96),
                "pair_embed_dims": (32, 32),
                "num_heads": 4,
                "num_layers": 3,
                "num_cls_layers": 1,
            },
        },
    ),
    "lgatr": Peer(
        "L-GATr-slim",
        "lgatr==2.0.0",
        "lgatr",
        LGATr,
        {
            "large": {"num_blocks": 12, "hidden_v_channels": 32, "hidden_s_channels": 96, "num_heads": 8},
            "small": {"num_blocks": 4, "hidden_v_channels": 16, "hidden_s_channels": 64, "num_heads": 4},
        },
    ),
    "pet": Peer(
        "PET",
        "omnilearned==0.2.0 torchdiffeq einops",
        "omnilearned.network",
        PET,
        {
            "large": {"num_transformers": 8, "num_heads": 8, "base_dim": 128},
            "small": {"num_transformers": 3, "num_transformers_head": 1, "num_heads": 4, "base_dim": 96},
        },
    ),
}


def available(names: Sequence[str]) -> list[str]:
    """The peers but those whose library is not installed, each of which is named in a line."""
    found = []
    for name in names:
        peer = PEERS[name]
        try:
            import_module(peer.module)
        except ModuleNotFoundError:
            print(f"{peer.name}: is left out, not installed. `pip install --no-deps {peer.install}` adds it.")
        else:
            found.append(name)
    return found


# Training


@dataclass(frozen=True)
class Training:
    """What a training took, and its best validation loss."""

    steps: int
    cpu_s: float
    validation: float


def train(
    model: nn.Module, jets: Clouds, validation: Clouds, seconds: float, learning_rate: float, seed: int
) -> Training:
    """Train in place for a given CPU time, which counts everything; the weights with the best of some validation losses are kept."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    best, weights = float("inf"), copy.deepcopy(model.state_dict())
    steps, validations, began = 0, 0, time.process_time()
    while validations < VALIDATIONS:
        share = min(1.0, (time.process_time() - began) / seconds)
        if share * VALIDATIONS >= validations + 1:
            validations = int(share * VALIDATIONS)
            loss = cross_entropy(model, validation)
            if loss < best:
                best, weights = loss, copy.deepcopy(model.state_dict())
            continue
        optimiser.param_groups[0]["lr"] = learning_rate * min((share + 1e-3) / WARM_UP, 0.5 * (1 + cos(pi * share)))
        step(model, optimiser, drawn(jets, generator))
        steps += 1
    model.load_state_dict(weights)
    return Training(steps, time.process_time() - began, best)


def drawn(jets: Clouds, generator: torch.Generator) -> Batch:
    """Some of the jets at random, turned at random."""
    numbers = torch.randint(len(jets), (BATCH,), generator=generator)
    return jets.batch(numbers, random_turns(BATCH, generator))


def step(model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch) -> None:
    model.train()
    optimiser.zero_grad()
    F.cross_entropy(model(batch), batch.codes).backward()
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
    optimiser.step()


def cross_entropy(model: nn.Module, jets: Clouds) -> float:
    """Mean of -log p(class) in nats."""
    return float(F.cross_entropy(logits(model, jets), jets.codes))


@torch.inference_mode()
def logits(model: nn.Module, jets: Clouds) -> Float[Tensor, "J C"]:
    """The answers about jets as they are."""
    model.eval()
    parts = [model(jets.batch(numbers)) for numbers in torch.arange(len(jets)).split(SCORED_BATCH)]
    return torch.cat(parts)
