"""Samples of events: one split of a record of events with the codecs of its streams.

Axes: E event, M number of the event, L label that is a number.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from statecast.domain import Split
from statecast.labels import LabelCodec
from statecast.numbered import NumberedCases, require_apart
from statecast.particles.codec import JetCodec, OneJet, ParticleCodec
from statecast.particles.event_codec import EventCodec, InEvent
from statecast.particles.events import Events, event_numbers, relative_weight
from statecast.particles.jets import JetError
from statecast.particles.recipe import ParticleRecipe
from statecast.particles.record import Columns, JetRecord, Range, record_of
from statecast.particles.source import (
    JetSource,
    columns_of,
    jet_codec,
    known_as,
    label_codec,
    particle_codec,
    random_turn,
)
from statecast.particles.streams import EventStream, JetStream, LabelStream, ParticleStream
from statecast.streams import Window


@dataclass(frozen=True)
class EventRecord:
    """The events of a split; the jets of event e are those of `jets` from `offsets[e]` to `offsets[e + 1]`.

    columns  of the events: those of their jets, with the first event in place of the first jet
    numbers  of the events, on the scale of `events.EVENT_NUMBERS`
    labels   columns of labels by name; `class` is the process
    weight   of each event in the loss, 1 in the mean of each process: a classifier then learns the spectra as they are, not as they were
             flattened in the simulation
    """

    columns: Columns
    jets: JetRecord
    offsets: Int[np.ndarray, " E_plus_1"]
    numbers: Float[Tensor, "E M"]
    labels: Mapping[str, np.ndarray]
    weight: Float[Tensor, " E"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def places(self) -> range:
        """The number of each event in its files."""
        return range(self.columns.jets[0], self.columns.jets[0] + len(self))


@dataclass(frozen=True)
class EventSource:
    """One split, from which events are drawn.

    is_rotated  each jet of a drawn event is rotated about its axis, and reflected, at random; those of `cases` are not
    """

    record: EventRecord
    codecs: Mapping[str, Any]
    is_rotated: bool = False

    def draw(self, sample: np.random.Generator) -> Window:
        """The tokens of an event, each event with the same probability."""
        number = int(sample.integers(len(self.record)))
        return self.window(number, sample if self.is_rotated else None)

    def describe(self, sample: np.random.Generator) -> str:
        return f"event {self.record.places[int(sample.integers(len(self.record)))]}"

    def cases(self) -> NumberedCases:
        return NumberedCases(self)

    def window(self, number: int, turning: np.random.Generator | None = None) -> Window:
        """The tokens of one event, by stream; `turning` draws the rotations of its jets."""
        jets = self._jets(number, turning)
        window: Window = {}
        for name, codec in self.codecs.items():
            if isinstance(codec, InEvent):
                window[name] = codec.tokens(jets)
            elif isinstance(codec, EventCodec):
                window[name] = codec.tokens(self.record.numbers[number])
            else:
                tokens = codec.tokens(self._label(codec, number))
                window[name] = replace(tokens, weight=self.record.weight[number, None])
        return window

    def _jets(self, number: int, turning: np.random.Generator | None) -> list[OneJet]:
        record = self.record
        source = JetSource(record.jets, {})
        jets = [source.jet(jet) for jet in range(record.offsets[number], record.offsets[number + 1])]
        if turning is None:
            return jets
        return [jet.turned(record.jets.columns.features, random_turn(turning)) for jet in jets]

    def _label(self, codec: LabelCodec, number: int) -> Any:
        assert isinstance(codec.stream, LabelStream)
        column = self.record.labels.get(codec.stream.label)
        return None if column is None else column[number].item()


def open_event_source(recipe: ParticleRecipe, split: Split, known: Mapping[str, Any]) -> EventSource | None:
    """One split of a recipe on events; None where it has no validation. A stream in `known` keeps its codec.

    Statistics come from the training split. Raises RecipeError, JetError or ModelError in one line.
    """
    chosen = recipe.data.train if split == "train" else recipe.data.validate_on
    if chosen is None:
        return None
    require_apart(recipe.data)
    events: Range = (0, None) if chosen == "all" else chosen
    columns = columns_of(recipe, split, events)
    record = event_record(Events.joined(list(chosen_events(columns))), recipe, columns)
    codecs = fitted_event_codecs(recipe, record, known)
    return EventSource(record, codecs, is_rotated=split == "train" and recipe.data.rotate)


def chosen_events(columns: Columns) -> Iterator[Events]:
    """The chosen events of the files, in chunks. Raises JetError if there are not that many."""
    from statecast.particles.sources.event_columns import read_events

    first, last = columns.jets
    passed = 0
    for chunk in read_events(columns.files, most_constituents=columns.most_constituents):
        end = len(chunk) if last is None else min(len(chunk), last + 1 - passed)
        begin = max(0, first - passed)
        if begin < end:
            yield chunk[begin:end]
        passed += len(chunk)
        if last is not None and passed > last:
            return
    if last is not None or passed <= first:
        raise JetError(
            f"files {', '.join(columns.files)}: have {passed} events, expected events {first} to {'the end' if last is None else last}. "
            "Name a range that is there."
        )


def event_record(events: Events, recipe: ParticleRecipe, columns: Columns) -> EventRecord:
    """A record of events in memory, with at most as many jets each as the recipe says. Raises JetError for an event without jets."""
    assert recipe.event is not None
    stream = recipe.event[1]
    read = events.leading(stream.jets)
    if len(read) and not read.multiplicity.all():
        raise JetError(
            f"event {columns.jets[0] + int(read.multiplicity.argmin())}: has no jet, expected at least one. Leave such events out."
        )
    of_jets = replace(columns, labels=())
    numbers = torch.from_numpy(event_numbers(read, stream.numbers))
    labels, weight = _labels(read, columns.labels), torch.from_numpy(relative_weight(read))
    return EventRecord(columns, record_of(read.jets, of_jets), read.offsets, numbers, labels, weight)


def _labels(events: Events, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of labels; those that the events lack are left out."""
    found = {name: np.asarray(events.of_events[name]) for name in names if name in events.of_events}
    if "class" in names and events.labels is not None:
        found["class"] = events.labels
    return found


def fitted_event_codecs(recipe: ParticleRecipe, record: EventRecord, known: Mapping[str, Any]) -> dict[str, Any]:
    """The codec of each stream, with the statistics of those in `known`, which may be of single jets."""
    known = {name: codec.of if isinstance(codec, InEvent) else codec for name, codec in known.items()}
    codecs: dict[str, Any] = {}
    for name, stream in recipe.streams.items():
        if isinstance(stream, ParticleStream):
            codecs[name] = InEvent(particle_codec(stream, record.jets, known_as(name, known, ParticleCodec)))
        elif isinstance(stream, JetStream):
            codecs[name] = InEvent(jet_codec(stream, record.jets, known_as(name, known, JetCodec)))
        elif isinstance(stream, EventStream):
            codecs[name] = EventCodec.fit(stream, record.numbers.numpy(), known_as(name, known, EventCodec))
        elif isinstance(stream, LabelStream):
            labels = _required(record, stream.label)
            codecs[name] = label_codec(stream, labels, known_as(name, known, LabelCodec))
    return codecs


def _required(record: EventRecord, label: str) -> list[Any]:
    if label not in record.labels:
        return [None] * len(record)
    return record.labels[label].tolist()
