"""The record of a recipe: the store of each stream, its statistics, and the windows that a training draws from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.axes import Axis
from statecast.config import RecipeError
from statecast.domain import Split
from statecast.fields.inference.forecast import check_record, require_step
from statecast.fields.labels import LabelSeries, read_labels, with_place
from statecast.fields.prepare.fitting import naming_the_spec
from statecast.fields.recipe import FieldRecipe, Period
from statecast.fields.sources import Grid, Record, StoreError, Stores, open_stores
from statecast.fields.sources.dates import select_period
from statecast.fields.sources.extremes import require_some_values
from statecast.fields.sources.units import converted
from statecast.fields.stations.series import StationSeries, StationWindow, open_series
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import (
    FieldTokenizer,
    Place,
    StreamSource,
    Windows,
    WindowSampler,
    located,
    read_window,
    sources_of,
)
from statecast.fields.tokenizers.first_guess import guessed_channels, reference_of, require_covered, tokenizers_of
from statecast.fields.tokenizers.plausible import require_plausible
from statecast.fields.tokenizers.windows import largest_domain, smallest_domain
from statecast.labels import LabelCodec, LabelError
from statecast.patches import check_patch
from statecast.streams import Window
from statecast.trained import ModelError


@dataclass(frozen=True)
class FieldSource:
    """Windows of fields: each is drawn on the grid of one stream, those of streams on other grids lie around the same centre."""

    streams: Mapping[str, StreamSource]
    windows: Windows
    sampler: WindowSampler
    labels: Mapping[str, LabelSeries] = field(default_factory=dict)
    stations: Mapping[str, StationSeries] = field(default_factory=dict)
    hide_calendar: bool = False

    @property
    def codecs(self) -> dict[str, Any]:
        """Of fields, then of labels and of stations."""
        of_labels = {name: series.codec for name, series in self.labels.items()}
        of_stations = {name: series.codec for name, series in self.stations.items()}
        return tokenizers_of(self.streams) | of_labels | of_stations

    def draw(self, sample: np.random.Generator) -> Window:
        place = self.sampler.draw(sample)
        return self.read(place, self.windows.around(place))

    def read(self, place: Place, places: Mapping[str, Place]) -> Window:
        """The tokens of the fields at their places, the labels of the window, and the reports of the stations in it."""
        fields = located(self.streams, places)
        window = read_window(fields, hide_calendar=self.hide_calendar)
        window |= {name: series.tokens(place) for name, series in self.labels.items()}
        for name, reported in self.reported(place).items():
            window[name] = reported.tokens(fields, hide_calendar=self.hide_calendar)
        return window

    def reported(self, place: Place) -> dict[str, StationWindow]:
        """The stations in a window on the grid of the stream that windows are drawn on."""
        grid = self.streams[self.windows.drawn_on].at(place).grid
        return {name: series.window(place.time_steps, grid) for name, series in self.stations.items()}

    def place(self, sample: np.random.Generator) -> Place:
        """Where and when the window lies that `draw` would draw."""
        return self.sampler.draw(sample)

    def describe(self, sample: np.random.Generator) -> str:
        return str(self.times[self.place(sample).start])

    @property
    def record(self) -> Record:
        """That of the stream on whose grid windows are drawn."""
        return self.streams[self.windows.drawn_on].record

    @property
    def times(self) -> xr.Index:
        return next(iter(self.streams.values())).record.dataset.indexes["time"]

    def cases(self) -> "FieldCases":
        return FieldCases(self)


@dataclass(frozen=True)
class FieldCases:
    """The windows that begin at each possible start, by the time of their first step."""

    source: FieldSource

    @property
    def labels(self) -> Sequence[Any]:
        times = self.source.times
        return [times[start] for start in self._starts]

    @property
    def positions(self) -> Float[np.ndarray, " S"]:
        """Hours of the first steps."""
        return self.source.record.hours[self._starts]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> Window:
        source, start = self.source, int(self._starts[number])
        places = source.windows.drawn(start, source.sampler.steps)
        return source.read(places[source.windows.drawn_on], places)

    @property
    def _starts(self) -> np.ndarray:
        return self.source.sampler.starts


def open_source(recipe: FieldRecipe, split: Split, known: Mapping[str, Any]) -> FieldSource | None:
    """The record of a split of a recipe; None where it has no validation period.

    Statistics come from the training period, unless the stream is known already. Raises RecipeError and StoreError in one line.
    """
    if split == "validate" and recipe.data.validate_on is None:
        return None
    stores = recipe_stores(recipe)
    tokenizers = {name: codec for name, codec in known.items() if isinstance(codec, FieldTokenizer)}
    tokenizers = {name: replace(codec, edges=None) for name, codec in tokenizers.items()}  # those of another model
    stores = in_known_units(stores, tokenizers)
    if split == "train":
        require_apart(recipe, stores)
        return field_source(recipe, stream_sources(recipe, stores, tokenizers), known)
    held_out = {}
    for name, tokenizer in tokenizers.items():
        record = Record.open(stores[name], tokenizer.stream, recipe.data.validate_on)
        check_record(tokenizer, record)
        require_some_values(record)
        held_out[name] = StreamSource(record, tokenizer)
    return field_source(recipe, held_out, known, is_held_out=True)


def field_source(
    recipe: FieldRecipe,
    streams: Mapping[str, StreamSource],
    known: Mapping[str, Any] | None = None,
    *,
    is_held_out: bool = False,
) -> FieldSource:
    """Windows of the training, or of a held-out period, which is never replayed. Raises RecipeError for a window that exceeds the grid."""
    windows = windows_of(recipe, streams)
    record, steps = streams[windows.drawn_on].record, recipe.window_steps
    starts = record.starts(steps) if is_held_out else _starts(recipe, record, steps)
    axes = streams[windows.drawn_on].tokenizer.spec.axes
    labels = label_series(recipe, record, known or {}, axes)
    for name in recipe.task.asked_streams(recipe.streams):
        if name in labels:
            starts = _labelled_starts(name, labels[name], starts, steps)
    stations = station_series(recipe, record, streams, known or {})
    for name in set(recipe.task.hidden_streams) & set(stations):
        starts = starts[stations[name].reports.is_seen(starts, steps)]
        if len(starts) == 0:
            raise RecipeError(
                f"streams.{name}: no station reports in a window of {steps} time steps. Name another period."
            )
    try:
        sampler = windows.sampler(starts, steps)
        return FieldSource(streams, windows, sampler, labels, stations, recipe.window.hide_calendar)
    except ValueError as error:
        raise RecipeError(f"window.extent: {error}") from None


def station_series(
    recipe: FieldRecipe, record: Record, streams: Mapping[str, StreamSource], known: Mapping[str, Any]
) -> dict[str, StationSeries]:
    """The reports at the times of a record; of a stream that is known with the statistics that the model learned."""
    hidden = recipe.task.hidden_streams
    series = {}
    for name, stream in recipe.stations.items():
        guessed = name in hidden and bool(stream.first_guess)
        series[name] = open_series(name, stream, record, streams, known.get(name), guessed=guessed)
    return series


def label_series(
    recipe: FieldRecipe, record: Record, known: Mapping[str, Any], axes: Sequence[Axis]
) -> dict[str, LabelSeries]:
    """The labels of the times of a record, whose fields have these axes.

    Of a stream that is known the classes, or mean and spread, are those that the model learned. Raises LabelError for a place outside the
    record.
    """
    series = {}
    for name, stream in recipe.labels.items():
        if stream.place is not None and not record.grid.overlaps(Grid(*np.array(stream.place)[:, None])):
            raise LabelError(
                f"streams.{name}.place: {list(stream.place)} lies outside the record, which has {record.grid.box}. "
                "Name a place in it, or none."
            )
        values = read_labels(stream, record.dataset.indexes["time"])
        codec = known.get(name) or LabelCodec.fit(stream, values, is_class=stream.target == "class")
        series[name] = LabelSeries(with_place(codec, stream, axes), values)
    return series


def _labelled_starts(name: str, series: LabelSeries, starts: np.ndarray, steps: int) -> np.ndarray:
    """The windows that have a label. Raises LabelError if none has."""
    labelled = starts[series.is_known(starts, steps)]
    if len(labelled) == 0:
        raise LabelError(
            f"stream {name}: no window of {steps} time steps has a label at its {series.stream.at} step. Give labels of more times."
        )
    return labelled


def windows_of(recipe: FieldRecipe, streams: Mapping[str, StreamSource]) -> Windows:
    """The windows of the recipe on the grids of these streams."""
    grids = {name: source.record.grid for name, source in streams.items()}
    patches = {name: source.tokenizer.stream.patch for name, source in streams.items()}
    return Windows.of(recipe.window.extent, grids, patches)


def require_apart(recipe: FieldRecipe, stores: Stores) -> None:
    """Raises RecipeError if the validation period of a recipe shares a time step with what it trains on."""
    if recipe.data.validate_on is None:
        return
    dataset = next(iter(stores.values()))
    validated = select_period(dataset, recipe.data.validate_on).indexes["time"]
    for learned in (recipe.data.train, *recipe.data.replay):
        if overlaps(dataset, learned, validated):
            first, last = recipe.data.validate_on
            raise RecipeError(
                f"data.validate is {first} to {last}: overlaps the training period {learned[0]} to {learned[1]}, expected one outside it. "
                "Its loss would say nothing about new data. Name another period, or none."
            )


def overlaps(dataset: xr.Dataset, period: Sequence[str], asked: xr.Index) -> bool:
    """Whether a period of a dataset shares a time with the times that are asked."""
    try:
        times = select_period(dataset, period).indexes["time"]
    except StoreError:  # the store has none of it
        return False
    return bool(times[0] <= asked[-1] and asked[0] <= times[-1])


def recipe_stores(recipe: FieldRecipe) -> dict[str, xr.Dataset]:
    """The store of each stream."""
    data = recipe.data
    with naming_the_spec(data.store):
        return open_stores(data.store, recipe.fields, data.stores, data.select, data.absent_chunks, data.cache)


def in_known_units(stores: Stores, known: Mapping[str, FieldTokenizer]) -> dict[str, xr.Dataset]:
    """The stores with the variables of known streams in the units in which the model learned them, as far as they can be converted."""
    wanted = {name: known[name].climatology.units_of_variables if name in known else {} for name in stores}
    return {name: converted(dataset, wanted[name]) for name, dataset in stores.items()}


def stream_sources(recipe: FieldRecipe, stores: Stores, known: Mapping[str, FieldTokenizer]) -> dict[str, StreamSource]:
    """The training record of each stream with its tokenizer; statistics from the training period, unless the stream is known already."""
    records = {name: Record.open(learned_from(stores[name], recipe), stream) for name, stream in recipe.fields.items()}
    tokenizers = {
        name: _tokenizer(name, stream, records[name], known.get(name)) for name, stream in recipe.fields.items()
    }
    _require_overlap(recipe, {name: record.grid for name, record in records.items()})
    fitted = sources_of(tokenizers, records)
    for name in fitted:
        _require_covered(name, fitted)
    sources = dict(fitted)
    for name in fitted:
        if name not in known:
            sources[name] = _by_its_guess(name, fitted, known)
    shapes = windows_of(recipe, sources).shapes
    for name, source in sources.items():
        shape = (recipe.window_steps, len(source.record.channels), *shapes[name])
        try:
            check_patch(shape, source.tokenizer.stream.patch, source.tokenizer.groups)
        except ValueError as error:
            raise RecipeError(f"streams.{name}.{error}") from None
    return sources


def _require_overlap(recipe: FieldRecipe, grids: Mapping[str, Grid]) -> None:
    """Raises StoreError for a stream that has no place in common with where the windows lie.

    That is the smallest domain, or the largest if a window is the whole domain: several regions of one globe are no mistake then.
    """
    of = smallest_domain(grids) if recipe.window.extent else largest_domain(grids)
    for name, grid in grids.items():
        if not grid.overlaps(grids[of]):
            raise StoreError(
                f"streams.{name}: the grids don't overlap: one covers {grid.box}, that of {of} {grids[of].box}, expected a place that "
                "both cover. Give stores of the same region, or leave the stream out."
            )


def _require_covered(name: str, sources: Mapping[str, StreamSource]) -> None:
    """Raises StoreError for a stream that extends beyond one that its first guess comes from."""
    for other in guessed_channels(name, tokenizers_of(sources)):
        try:
            require_covered(sources[name].record.grid, sources[other].record.grid)
        except StoreError as error:
            raise StoreError(f"streams.{name}.first_guess: {error}") from None


def learned_from(dataset: xr.Dataset, recipe: FieldRecipe) -> xr.Dataset:
    """The training period of the recipe, with those that are replayed."""
    if not recipe.data.replay:
        return select_period(dataset, recipe.data.train)
    return dataset.isel(time=_steps_of(dataset, (*recipe.data.replay, recipe.data.train)))


def _steps_of(dataset: xr.Dataset, periods: Sequence[Period]) -> np.ndarray:
    """The time steps of some periods, each once, in their order."""
    index = dataset.indexes["time"]
    return np.unique(np.concatenate([index.get_indexer(select_period(dataset, p).indexes["time"]) for p in periods]))


def _starts(recipe: FieldRecipe, record: Record, steps: int) -> np.ndarray:
    """Where windows may start: each as often as the other, or, with a replay, as often as its share asks for."""
    starts = record.starts(steps)
    if not recipe.data.replay:
        return starts
    is_old = np.isin(starts, _steps_of(record.dataset, recipe.data.replay))
    old, new = starts[is_old], starts[~is_old]
    if len(old) == 0 or len(new) == 0:
        what = "data.replay" if len(old) == 0 else "data.train"
        raise RecipeError(f"{what}: holds no window of {steps} time steps without a gap. Name a longer period.")
    times_new = max(1.0, len(old) / len(new) * (1 - recipe.data.replayed) / recipe.data.replayed)
    times_old = max(1.0, len(new) / len(old) * recipe.data.replayed / (1 - recipe.data.replayed))
    return np.concatenate([np.resize(old, round(times_old * len(old))), np.resize(new, round(times_new * len(new)))])


def _tokenizer(name: str, stream: Stream, record: Record, known: FieldTokenizer | None) -> FieldTokenizer:
    """Of a stream that is known the statistics that the model learned with, also of each channel that it had before."""
    if known is None:
        return FieldTokenizer.fit(stream, record)
    if not known.climatology.grid.is_like(record.grid):
        raise ModelError(
            f"stream {name}: the model knows it on another grid than the store's. Give the stream another name to add it."
        )
    _require_same_units(name, known, record)
    require_step(known.climatology.step, record)
    require_plausible(known, record)
    if known.stream == stream:
        return known
    _require_same_scales(name, known.stream, stream)
    return FieldTokenizer(stream, FieldTokenizer.fit(stream, record).climatology.with_known(known.climatology))


def _by_its_guess(name: str, sources: Mapping[str, StreamSource], known: Mapping[str, FieldTokenizer]) -> StreamSource:
    """A new stream with its statistics, which for one that is guessed from a known stream lean on the climatology of that stream.

    The known stream may have learned its climatology from a longer record.
    """
    source = sources[name]
    if not any(other in known for other in guessed_channels(name, tokenizers_of(sources))):
        return source
    reference = reference_of(name, sources)
    return replace(source, tokenizer=FieldTokenizer.fit(source.tokenizer.stream, source.record, reference))


def _require_same_units(name: str, known: FieldTokenizer, record: Record) -> None:
    for channel, units, learned in known.climatology.other_units(record):
        raise ModelError(
            f"stream {name}: variable '{channel}' is in '{units}' in the store, the model learned it in '{learned}'. "
            "Convert it, or give the stream another name to add it."
        )


def _require_same_scales(name: str, known: Stream, stream: Stream) -> None:
    for variable in set(known.variables) & set(stream.variables):
        before, now = (s.log_scale.get(variable) for s in (known, stream))
        if before != now:
            raise ModelError(
                f"stream {name}: log_scale of '{variable}' is {now}, the model learned it with {before}. "
                "Leave it as it was, or give the stream another name to add it."
            )
