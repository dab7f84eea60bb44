"""The streams of a window: of each what reads it, its record and where the window lies.

Axes: T time, V channel, H row, W column, I, J row and column of a window, B any leading axes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from statecast.fields.sources import Grid, Record
from statecast.fields.tokenizers.fields import FieldTokenizer
from statecast.fields.tokenizers.windows import Place, part_of, whole_domain
from statecast.streams import Tokens


@dataclass(frozen=True)
class StreamSource:
    """A stream's record with the tokenizer that reads it."""

    record: Record
    tokenizer: FieldTokenizer

    def at(self, place: Place) -> "Located":
        """The stream in the window at `place`."""
        return Located(self.tokenizer, self.record, place)

    def whole(self, start: int, steps: int) -> "Located":
        """The stream in the window over its whole domain, from step `start`."""
        return self.at(whole_domain(self.record.grid, start, steps))


@dataclass(frozen=True)
class Located:
    """One stream of a window: what reads it, its record and where the window lies.

    Fields and climatology are in the units of the record; they are computed once, when they are first needed.
    """

    tokenizer: FieldTokenizer
    record: Record
    place: Place

    @cached_property
    def fields(self) -> Float[np.ndarray, "T V H W"]:
        """What was observed in the window; NaN where nothing was."""
        return self.record.read(self.place.time_steps, self.place.rows, self.place.columns)

    @cached_property
    def climatology(self) -> Float[np.ndarray, "T V H W"]:
        """The climatological mean in the window; NaN where nothing was ever observed."""
        return self.tokenizer.climatology_at(self.record, self.place)

    @property
    def anomalies(self) -> Float[np.ndarray, "T V H W"]:
        """Departures of the fields from the climatology, see `FieldTokenizer.departures`."""
        return self.tokenizer.departures(self.fields, self.climatology)

    @property
    def grid(self) -> Grid:
        """The grid of the window; longitudes keep increasing across the date line."""
        return part_of(self.record.grid, self.place)

    @property
    def cell_area(self) -> Float[np.ndarray, "H W"]:
        """Cell areas of the window, as shares of the sphere."""
        return self.record.grid.cell_area[self.place.rows][:, self.place.columns]

    @property
    def month(self) -> Int[np.ndarray, " T"]:
        """Month of each time step, 1 to 12."""
        return self.record.month[self.place.time_steps]

    def tokens(self) -> Tokens:
        """The tokens of the window, without a first guess."""
        return self.tokenizer.tokenize(self.record, self.place)

    def from_step(self, step: int) -> "Located":
        """The later part of the window, from its step `step` on."""
        return replace(self, place=self.place.from_step(step))

    def cut(self, fields: Float[np.ndarray, "*B H W"]) -> Float[np.ndarray, "*B I J"]:
        """Fields on the whole grid at the rows and columns of the window."""
        return fields[..., self.place.rows, :][..., self.place.columns]


def sources_of(tokenizers: Mapping[str, FieldTokenizer], records: Mapping[str, Record]) -> dict[str, StreamSource]:
    """Each record with the tokenizer of its stream."""
    return {name: StreamSource(record, tokenizers[name]) for name, record in records.items()}


def located(sources: Mapping[str, StreamSource], places: Mapping[str, Place]) -> dict[str, Located]:
    """The streams in the windows at their places."""
    return {name: source.at(places[name]) for name, source in sources.items()}


def whole_window(sources: Mapping[str, StreamSource], start: int, steps: int) -> dict[str, Located]:
    """The streams in the window over the whole domain of each."""
    return {name: source.whole(start, steps) for name, source in sources.items()}
