"""Codecs of the streams of jets: particles, numbers of a jet and targets as tokens, each with its inverse.

Axes: N particle of one jet, P value in a token, C coordinate, Q number of the jet, K bin, M member of a bin.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from statecast.axes import Axis
from statecast.models.anchors import Anchored
from statecast.particles.codebook import MEMBERS, Codebook, Residuals
from statecast.particles.features import POSITION, QUANTITIES, particle_columns
from statecast.particles.jets import PARTICLE_KINDS
from statecast.particles.statistics import fitted, load_statistics, save_statistics
from statecast.particles.streams import JetStream, ParticleStream, TargetStream
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


class _Codec:
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
class ParticleCodec(_Codec):
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
class JetCodec(_Codec):
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


@dataclass(frozen=True)
class CodebookCodec(_Codec):
    """Particles as codes of a codebook, at their rank; the last token of a jet has the code that ends it."""

    stream: TargetStream
    codebook: Codebook
    of: ParticleCodec

    @property
    def stop(self) -> int:
        """The code that ends a jet."""
        return self.codebook.size

    @cached_property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=self.codebook.size + 1, axes=(INDEX,), order="index", ragged=True)

    @property
    def categories(self) -> tuple[str, ...]:
        return (*map(str, range(self.codebook.size)), "stop")

    def codes(self, features: Float[Tensor, "N P"], kinds: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        """The codes of particles with these features."""
        return self.codebook.assign(self.of.normalised(features), kinds, self.of.channels)

    def tokens(self, jet: OneJet, name: str) -> Tokens:
        codes = jet.codes[name] if name in jet.codes else self.codes(jet.features, jet.kinds)
        return ranked(self.spec, torch.cat([codes, torch.tensor([self.stop])]))

    def save(self, directory: Path, name: str) -> None:
        save_file(
            {key: value.contiguous() for key, value in self.codebook.tensors().items()},
            directory / f"{name}.safetensors",
        )
        facts = {"names": self.codebook.names, "looked_at": self.codebook.looked_at}
        (directory / f"{name}.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, stream: TargetStream, of: ParticleCodec, directory: Path, name: str) -> Self:
        facts = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        tensors = load_file(directory / f"{name}.safetensors")
        return cls(stream, Codebook.of_tensors(tensors, facts["names"], facts["looked_at"]), of)


@dataclass(frozen=True)
class ResidualSpec(TokenSpec):
    """Tokens of a second code, whose question tells the first, one of `cells`, as its first guess."""

    cells: int = 0

    def make_anchor(self, width: int) -> nn.Module:
        return FirstCode(self.cells, width)


class FirstCode(nn.Module):
    """Tells a query about the second code of a particle what the first is; an `models.anchors.Anchor`."""

    lead_features: ClassVar[int] = 0
    channel_axes: ClassVar[dict[str, int]] = {}

    def __init__(self, cells: int, width: int) -> None:
        super().__init__()
        self.cells = nn.Embedding(cells, width)

    def forward(self, asked: Tokens, shown: Tokens | None, encoded: Tensor | None, *, causal: bool) -> Anchored:
        assert asked.guess is not None
        zero = asked.values.new_zeros((*asked.coords.shape[:-1], 1))
        hint = self.cells(asked.guess[..., 0].long())
        return Anchored(zero, zero + 1, zero[..., :0], hint=hint)


@dataclass(frozen=True)
class ResidualCodec(_Codec):
    """Where in the cell of its code a particle lies, as a second code at its rank, asked with the first one given."""

    stream: TargetStream
    residuals: Residuals
    of: CodebookCodec

    @cached_property
    def spec(self) -> ResidualSpec:
        cells = self.of.codebook.size
        return ResidualSpec(
            vocabulary=self.residuals.size, axes=(INDEX,), order="index", ragged=True, guess_size=1, cells=cells
        )

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.residuals.size)))

    def codes(self, features: Float[Tensor, "N P"], first: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        """The second codes of particles with these features and first codes."""
        columns = [self.of.of.channels.index(name) for name in self.of.codebook.looked_at]
        return self.residuals.assign(self.of.of.normalised(features)[:, columns], first)

    def tokens(self, jet: OneJet, name: str) -> Tokens:
        assert self.stream.of is not None
        first, second = jet.codes.get(self.stream.of), jet.codes.get(name)
        if first is None or second is None:
            first = self.of.codes(jet.features, jet.kinds)
            second = self.codes(jet.features, first)
        return replace(ranked(self.spec, second), guess=first[:, None].float())

    def save(self, directory: Path, name: str) -> None:
        save_file(
            {key: value.contiguous() for key, value in self.residuals.tensors().items()},
            directory / f"{name}.safetensors",
        )

    @classmethod
    def load(cls, stream: TargetStream, of: CodebookCodec, directory: Path, name: str) -> Self:
        return cls(stream, Residuals(**load_file(directory / f"{name}.safetensors")), of)


@dataclass(frozen=True)
class KindsCodec(_Codec):
    """The kinds of particles, at their rank."""

    stream: TargetStream
    spec: ClassVar[TokenSpec] = TokenSpec(vocabulary=len(PARTICLE_KINDS), axes=(INDEX,), order="index", ragged=True)

    @property
    def categories(self) -> tuple[str, ...]:
        return PARTICLE_KINDS

    def tokens(self, jet: OneJet) -> Tokens:
        return ranked(self.spec, jet.kinds)

    def save(self, directory: Path, name: str) -> None:
        """Writes nothing: there is no statistic."""


@dataclass(frozen=True)
class ValuesCodec(_Codec):
    """The continuous values of particles, at their rank, normalised as those that are visible."""

    stream: TargetStream
    of: ParticleCodec

    @cached_property
    def spec(self) -> TokenSpec:
        return TokenSpec(size=len(self.channels), axes=(INDEX,), order="index", ragged=True)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.of.channels

    def tokens(self, jet: OneJet) -> Tokens:
        values, observed = known(self.of.normalised(jet.features))
        return Tokens(values, ranks(len(values)), observed, self.spec).numbered()

    def save(self, directory: Path, name: str) -> None:
        """Writes nothing: the statistics are those of the particles."""


@dataclass(frozen=True)
class BinsCodec(_Codec):
    """Numbers of a jet as the bins that they lie in, which hold equally many jets of the training split; in the order of the jet's stream.

    members  numbers of the training split in each bin, on the scale of `features.QUANTITIES`: a bin is decoded to one of them at random
    """

    stream: TargetStream
    of: JetStream
    edges: Float[Tensor, "Q K_minus_1"]
    members: Float[Tensor, "Q K M"]

    @classmethod
    def fit(cls, stream: TargetStream, of: JetStream, quantities: Float[np.ndarray, "J Q"], seed: int) -> Self:
        bins, random = max(2, stream.size // 8), np.random.default_rng(seed)
        edges = np.zeros((quantities.shape[1], bins - 1), np.float32)
        members = np.zeros((quantities.shape[1], bins, MEMBERS), np.float32)
        for number, values in enumerate(quantities.T):
            finite = np.sort(values[np.isfinite(values)])
            edges[number] = np.quantile(finite, np.arange(1, bins) / bins)
            bin_of = np.searchsorted(edges[number], finite, side="right")
            for code in range(bins):
                inside = finite[bin_of == code]
                inside = inside if len(inside) else edges[number, max(0, code - 1) : max(1, code)]
                members[number, code] = random.choice(inside, MEMBERS, replace=len(inside) < MEMBERS)
        return cls(stream, of, torch.from_numpy(edges), torch.from_numpy(members))

    @cached_property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=self.members.shape[1], axes=(INDEX,), order="index")

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.members.shape[1])))

    def tokens(self, jet: OneJet) -> Tokens:
        codes = torch.searchsorted(self.edges, jet.quantities[:, None], right=True)[:, 0]
        codes = torch.where(jet.quantities.isfinite(), codes, -1)
        return _coded(self.spec, codes, places_of(self.of))

    def decode(self, codes: Int[Tensor, " B"], number: int, generator: torch.Generator) -> Float[Tensor, " B"]:
        """For each code a number of the training split in that bin, at random; on the scale of `features.QUANTITIES`."""
        drawn = torch.randint(self.members.shape[-1], codes.shape, generator=generator)
        return self.members[number, codes, drawn]

    def save(self, directory: Path, name: str) -> None:
        save_file({"edges": self.edges, "members": self.members}, directory / f"{name}.safetensors")

    @classmethod
    def load(cls, stream: TargetStream, of: JetStream, directory: Path, name: str) -> Self:
        tensors = load_file(directory / f"{name}.safetensors")
        return cls(stream, of, tensors["edges"], tensors["members"])


TargetCodec = CodebookCodec | ResidualCodec | KindsCodec | ValuesCodec | BinsCodec


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


def ranked(spec: TokenSpec, codes: Int[Tensor, " N"]) -> Tokens:
    """Tokens of one code each, at ranks from 0."""
    return _coded(spec, codes, ranks(len(codes)))


def _coded(spec: TokenSpec, codes: Int[Tensor, " N"], coords: Float[Tensor, "N 1"]) -> Tokens:
    empty = torch.zeros(len(codes), 0)
    return Tokens(empty, coords, empty.bool(), spec, codes=codes).numbered()
