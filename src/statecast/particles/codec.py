"""Codecs of what is visible of a jet: its particles and its numbers as tokens, each with its inverse.

Axes: N particle of one jet, P value in a token, C coordinate, Q number of the jet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from statecast.axes import Axis
from statecast.particles.features import POSITION, QUANTITIES, particle_columns
from statecast.particles.jets import PARTICLE_KINDS
from statecast.particles.statistics import fitted, load_statistics, save_statistics
from statecast.particles.streams import JetStream, ParticleStream
from statecast.streams import Tokens, TokenSpec

INDEX = Axis("index", "index")
"""The sequence of a jet: its numbers, at their `Quantity.order`, then its particles from 0 in order of decreasing pT."""
PLANE = Axis("plane", "plane", "1", 0.1, POSITION)
"""Δη and Δφ from the axis of the jet. 0.1: a typical distance between neighbouring particles of a jet."""


@dataclass(frozen=True)
class OneJet:
    """The columns of one jet, from which codecs make tokens.

    features    of its particles, see `features.FEATURES`; NaN where unknown
    quantities  of the jet on the scale of `features.QUANTITIES`, those of `JetStream.ordered`
    codes       of its particles by stream, where they are known already
    """

    features: Float[Tensor, "N P"]
    kinds: Int[Tensor, " N"]
    quantities: Float[Tensor, " Q"]
    labels: Mapping[str, Any] = field(default_factory=dict)
    codes: Mapping[str, Int[Tensor, " N"]] = field(default_factory=dict)

    def turned(self, names: Sequence[str], turn: Float[Tensor, "2 2"]) -> "OneJet":
        """The same jet, rotated or reflected in the plane of Δη and Δφ. Codes are left out: they depend on the direction."""
        columns = [list(names).index(name) for name in POSITION]
        features = self.features.clone()
        features[:, columns] = features[:, columns] @ turn.T
        return OneJet(features, self.kinds, self.quantities, self.labels)


class PlainCodec:
    """What the codecs have in common: no channel, no category and no anchor, unless they say otherwise."""

    @property
    def channels(self) -> tuple[str, ...]:
        return ()

    @property
    def categories(self) -> tuple[str, ...]:
        return ()

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: these streams have no anchor."""


@dataclass(frozen=True)
class ParticleCodec(PlainCodec):
    """Particles as standardised features and the code of their kind, at (Δη, Δφ, rank)."""

    stream: ParticleStream
    mean: Float[Tensor, " P"]
    std: Float[Tensor, " P"]

    @classmethod
    def fit(cls, stream: ParticleStream, features: Float[np.ndarray, "N P"], known: Self | None = None) -> Self:
        """Statistics of the training split; a value that an earlier codec has keeps its own."""
        before = known.channels if known else ()
        return cls(stream, *fitted(features, stream.particles, known, before))

    @cached_property  # made once: it takes as long as drawing a jet
    def spec(self) -> TokenSpec:
        return TokenSpec(
            size=len(self.channels), vocabulary=len(PARTICLE_KINDS), axes=(PLANE, INDEX), order="index", ragged=True
        )

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.stream.particles)

    @property
    def categories(self) -> tuple[str, ...]:
        return PARTICLE_KINDS

    def normalised(self, features: Float[Tensor, "*N P"]) -> Float[Tensor, "*N P"]:
        return (features - self.mean) / self.std

    def tokens(self, jet: OneJet) -> Tokens:
        eta, phi = (self.channels.index(name) for name in POSITION)
        values, observed = known(self.normalised(jet.features))
        coords = torch.cat([jet.features[:, eta, None], jet.features[:, phi, None], ranks(len(values))], dim=-1)
        return Tokens(values, coords, observed, self.spec, codes=jet.kinds).numbered()

    def particles(self, tokens: Tokens, jet: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The columns of the particles of tokens; `jet` holds the columns of the jet of each. The inverse of `tokens`."""
        assert tokens.codes is not None
        values = torch.where(tokens.observed, tokens.values, torch.nan).double()
        return particle_columns((values * self.std + self.mean).numpy(), self.channels, tokens.codes.numpy(), jet)

    def save(self, directory: Path, name: str) -> None:
        save_statistics(self, directory, name)

    @classmethod
    def load(cls, stream: ParticleStream, directory: Path, name: str) -> Self:
        return cls(stream, *load_statistics(directory, name))


@dataclass(frozen=True)
class JetCodec(PlainCodec):
    """Numbers of a jet, a standardised value in each token, at their place in the sequence."""

    stream: JetStream
    mean: Float[Tensor, " Q"]
    std: Float[Tensor, " Q"]

    @classmethod
    def fit(cls, stream: JetStream, quantities: Float[np.ndarray, "J Q"], known: Self | None = None) -> Self:
        """Statistics of the training split; a number that an earlier codec has keeps its own."""
        before = known.stream.ordered if known else ()
        return cls(stream, *fitted(quantities, stream.ordered, known, before))

    @cached_property
    def spec(self) -> TokenSpec:
        return TokenSpec(size=1, axes=(INDEX,), order="index")

    @property
    def channels(self) -> tuple[str, ...]:
        return ("value",)

    def tokens(self, jet: OneJet) -> Tokens:
        values, observed = known(((jet.quantities - self.mean) / self.std)[:, None])
        return Tokens(values, places_of(self.stream), observed, self.spec).numbered()

    def save(self, directory: Path, name: str) -> None:
        save_statistics(self, directory, name)

    @classmethod
    def load(cls, stream: JetStream, directory: Path, name: str) -> Self:
        return cls(stream, *load_statistics(directory, name))


def known(values: Float[Tensor, "N P"]) -> tuple[Float[Tensor, "N P"], Bool[Tensor, "N P"]]:
    """Values with 0 where they are NaN, and which are known."""
    is_known = values == values
    return torch.where(is_known, values, 0.0), is_known


def ranks(particles: int) -> Float[Tensor, "N 1"]:
    """The ranks of so many particles, from 0."""
    return torch.arange(particles, dtype=torch.float32)[:, None]


@cache
def places_of(stream: JetStream) -> Float[Tensor, "Q 1"]:
    """The coordinates of the numbers of a jet: their places in its sequence."""
    return torch.tensor([[float(QUANTITIES[name].order)] for name in stream.ordered])
