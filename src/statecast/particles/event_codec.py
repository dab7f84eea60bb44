"""Codecs of events: the tokens of several jets in one stream, and the numbers of the event in one token.

Axes: N token of one event, C coordinate, M number of the event.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from statecast.axes import Axis
from statecast.particles.codec import INDEX, JetCodec, OneJet, ParticleCodec, known
from statecast.particles.statistics import fitted, load_statistics, save_statistics
from statecast.particles.streams import EventStream, JetStream, ParticleStream
from statecast.streams import Tokens, TokenSpec, concatenate

JET = Axis("jet", "index", "1", 0.1)
"""Rank of a jet in its event by pT, from 0. Jets lie ten spacings apart: at first, heads with narrow spots see their own jet only, as in a
model of single jets, and those with wide spots the whole event."""
EVENT_PLACE = (-17.0, -1.0)
"""Of the token of the event along `INDEX` and `JET`: before the numbers of jets, and before the first jet."""


@dataclass(frozen=True)
class InEvent:
    """A codec of jets for events: the tokens of all jets one after the other, with the rank of their jet as a further axis."""

    of: ParticleCodec | JetCodec

    @property
    def stream(self) -> ParticleStream | JetStream:
        return self.of.stream

    @cached_property
    def spec(self) -> TokenSpec:
        return replace(self.of.spec, axes=(*self.of.spec.axes, JET), ragged=True)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.of.channels

    @property
    def categories(self) -> tuple[str, ...]:
        return self.of.categories

    def tokens(self, jets: Sequence[OneJet]) -> Tokens:
        """The tokens of the jets of an event, which are in order of decreasing pT."""
        parts = [self._of_jet(jet, rank) for rank, jet in enumerate(jets)]
        return concatenate(parts).numbered()

    def _of_jet(self, jet: OneJet, rank: int) -> Tokens:
        tokens = self.of.tokens(jet)
        of_jet = torch.full((len(tokens), 1), float(rank))
        return replace(tokens, coords=torch.cat([tokens.coords, of_jet], dim=-1), spec=self.spec, index=None)

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: there is no anchor."""

    def save(self, directory: Path, name: str) -> None:
        self.of.save(directory, name)


@dataclass(frozen=True)
class EventCodec:
    """Numbers of an event as the standardised values of one token."""

    stream: EventStream
    mean: Float[Tensor, " M"]
    std: Float[Tensor, " M"]

    @classmethod
    def fit(cls, stream: EventStream, numbers: Float[np.ndarray, "E M"], known: Self | None = None) -> Self:
        """Statistics of the training split; a number that an earlier codec has keeps its own."""
        before = known.channels if known else ()
        return cls(stream, *fitted(numbers, stream.numbers, known, before))

    @cached_property
    def spec(self) -> TokenSpec:
        return TokenSpec(size=len(self.channels), axes=(INDEX, JET), order="index")

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.stream.numbers)

    @property
    def categories(self) -> tuple[str, ...]:
        return ()

    def tokens(self, numbers: Float[Tensor, " M"]) -> Tokens:
        values, observed = known(((numbers - self.mean) / self.std)[None])
        return Tokens(values, torch.tensor([EVENT_PLACE]), observed, self.spec).numbered()

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: there is no anchor."""

    def save(self, directory: Path, name: str) -> None:
        save_statistics(self, directory, name)

    @classmethod
    def load(cls, stream: EventStream, directory: Path, name: str) -> Self:
        return cls(stream, *load_statistics(directory, name))
