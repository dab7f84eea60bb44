"""Codecs of what is asked about a jet: targets as tokens, which have a place in the sequence but no direction.

Axes: N particle of one jet, P value in a token, Q number of the jet, K bin, M member of a bin.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from statecast.models.anchors import Anchored
from statecast.particles.codebook import MEMBERS, Codebook, Residuals
from statecast.particles.codec import INDEX, OneJet, ParticleCodec, PlainCodec, known, places_of, ranks
from statecast.particles.jets import PARTICLE_KINDS
from statecast.particles.streams import JetStream, TargetStream
from statecast.streams import Tokens, TokenSpec


@dataclass(frozen=True)
class CodebookCodec(PlainCodec):
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
class ResidualCodec(PlainCodec):
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
class KindsCodec(PlainCodec):
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
class ValuesCodec(PlainCodec):
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
class BinsCodec(PlainCodec):
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


def ranked(spec: TokenSpec, codes: Int[Tensor, " N"]) -> Tokens:
    """Tokens of one code each, at ranks from 0."""
    return _coded(spec, codes, ranks(len(codes)))


def _coded(spec: TokenSpec, codes: Int[Tensor, " N"], coords: Float[Tensor, "N 1"]) -> Tokens:
    empty = torch.zeros(len(codes), 0)
    return Tokens(empty, coords, empty.bool(), spec, codes=codes).numbered()
