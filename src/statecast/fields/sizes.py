"""The window of a training sample of fields, without values: for costs."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
import xarray as xr

from statecast.config import RecipeError
from statecast.domain import Sizes
from statecast.fields.anchors import FieldSpec, field_axes, field_spec
from statecast.fields.labels import LabelStream, with_place
from statecast.fields.needs import data_needs
from statecast.fields.recipe import FieldRecipe
from statecast.fields.sources import MissingStoreError, Record, open_fields
from statecast.fields.stations.codec import station_spec
from statecast.fields.stations.options import StationStream
from statecast.fields.stations.table import read_table
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import Windows
from statecast.labels import LabelCodec
from statecast.streams import Tokens, TokenSpec

DEFAULT_STEP_H = 6.0
MOST_TOKENS = 10**6  # of a window: no attention reaches over more
ASSUMED_STATIONS = 100
ASSUMED_CLASSES = ("a", "b", "c")
DEFAULT_TOKEN_DEG = 15.0  # where no grid says how large a token is: no cost depends on it


def sizes(recipe: FieldRecipe) -> Sizes:
    """The store decides how many channels a stream has and how large the domain is.

    If it is not there, each variable of a stream with levels is taken to have them all, and the window needs an extent. Raises RecipeError
    if it has none, StoreError if the store can't be read.
    """
    stores = {name: recipe.data.stores.get(name, recipe.data.store) for name in recipe.fields}
    datasets, assumed = _datasets(recipe, stores)
    records = {
        name: Record.open(dataset.isel(time=slice(0, 1)), recipe.fields[name])  # no value is looked at
        for name, store in stores.items()
        if (dataset := datasets[store]) is not None
    }
    shapes = _window_shapes(recipe, records)
    specs: dict[str, TokenSpec] = {}
    window = {}
    for name, stream in recipe.fields.items():
        record = records.get(name)
        channels = len(record.channels) if record else len(stream.variables) * max(1, len(stream.levels))
        spec = _spec(stream, channels)
        specs[name] = spec
        window[name] = blank_tokens(name, stream, spec, (recipe.window_steps, *shapes[name]))
    for name, label in recipe.labels.items():
        codec = _assumed_label(label, next(iter(specs.values())))
        specs[name], window[name] = codec.spec, codec.tokens(None)
        assumed.append(
            f"stream {name} is assumed to have {len(codec.classes)} classes"
            if codec.classes
            else f"stream {name} is assumed to be a number"
        )
    for name, stations in recipe.stations.items():
        guessed = bool(stations.first_guess) and name in recipe.task.hidden_streams
        of_stations = station_spec(stations, DEFAULT_STEP_H, DEFAULT_TOKEN_DEG, guessed=guessed)
        specs[name] = of_stations
        window[name] = _blank_stations(name, stations, of_stations, recipe.window_steps, assumed)
    if (lattices := recipe.window.lattices) > 1:
        assumed.append(
            f"an answer is an average over {lattices} token lattices, so it costs {lattices} times one answer; training doesn't"
        )
    there = {name: dataset for name, store in stores.items() if (dataset := datasets[store]) is not None}
    return Sizes(specs, window, tuple(assumed), data_needs(recipe, there))


def _blank_stations(name: str, stream: StationStream, spec: FieldSpec, steps: int, assumed: list[str]) -> Tokens:
    """As many stations as the table has; all of them are assumed to lie in a window and to report in it."""
    if Path(stream.table).exists():
        count = len(read_table(stream.table, units=stream.units, zone=stream.zone).stations)
        assumed.append(f"a window is assumed to hold all {count} stations of {stream.table}")
    else:
        count = ASSUMED_STATIONS
        assumed.append(f"table {stream.table} does not exist: stream {name} is assumed to have {count} stations")
    tokens = blank_tokens(name, stream, replace(spec, axes=field_axes(1.0)), (steps, 1, count))
    return replace(tokens, coords=tokens.coords[..., :-1], spec=replace(tokens.spec, axes=spec.axes))


def _assumed_label(stream: LabelStream, of_fields: TokenSpec) -> LabelCodec:
    """A label of a few classes, or a number: no cost depends on how many."""
    codec = LabelCodec(stream, ASSUMED_CLASSES if stream.target == "class" else ())
    return with_place(codec, stream, of_fields.axes)


def _datasets(recipe: FieldRecipe, stores: Mapping[str, str]) -> tuple[dict[str, xr.Dataset | None], list[str]]:
    """Each store, None for one that is not there, and what had to be assumed of it."""
    datasets: dict[str, xr.Dataset | None] = {}
    assumed = []
    for store in dict.fromkeys(stores.values()):
        try:
            datasets[store] = open_fields(store, recipe.data.select, recipe.data.absent_chunks)
        except MissingStoreError:
            datasets[store] = None
            assumed.append(f"store {store} does not exist: every variable is assumed to have all levels of its stream")
            if store in recipe.data.stores.values():
                assumed.append(f"a window is assumed to have as many tokens of {store} as of {recipe.data.store}")
    return datasets, assumed


def _window_shapes(recipe: FieldRecipe, records: Mapping[str, Record]) -> dict[str, tuple[int, int]]:
    """Rows and columns of each stream's window. Of a stream whose own store is not there as many tokens as of the first."""
    first, patches = next(iter(recipe.fields)), {name: stream.patch for name, stream in recipe.fields.items()}
    extent = recipe.window.extent or (records[first].grid.shape if first in records else None)
    if extent is None:
        raise RecipeError(f"window.extent: is needed to estimate a cost if store {recipe.data.store} does not exist.")
    shapes = dict.fromkeys(recipe.fields, extent)
    if first in records:  # its grid says how many degrees a window covers
        grids = {name: records[name].grid for name in recipe.fields if name in records}
        shapes |= Windows.of(recipe.window.extent, grids, patches).shapes
    for name in recipe.data.stores:
        if name not in records:
            tokens = (extent[0] // patches[first][1], extent[1] // patches[first][2])
            shapes[name] = (tokens[0] * patches[name][1], tokens[1] * patches[name][2])
    return shapes


def _spec(stream: Stream, channels: int) -> FieldSpec:
    return field_spec(
        channels // _groups(stream),
        stream.patch,
        DEFAULT_STEP_H,
        DEFAULT_TOKEN_DEG,
        guessed=bool(stream.first_guess),
        levels_apart=_groups(stream) > 1,
    )


def _groups(stream: Stream | StationStream) -> int:
    """Tokens at each place and time."""
    if isinstance(stream, StationStream):
        return 1
    return 1 if stream.levels_share_token else max(1, len(stream.levels))


def blank_tokens(name: str, stream: Stream | StationStream, spec: FieldSpec, window: tuple[int, int, int]) -> Tokens:
    """Tokens of a window (T, H, W) that hold nothing, at regular places. Raises RecipeError for a patch that doesn't divide it."""
    if any(size % patch for size, patch in zip(window, stream.patch, strict=True)):
        raise RecipeError(f"streams.{name}.patch {list(stream.patch)} doesn't divide the window {list(window)}.")
    steps, rows, columns = (size // patch for size, patch in zip(window, stream.patch, strict=True))
    levels = stream.levels if isinstance(stream, Stream) and _groups(stream) > 1 else (500.0,)
    if (count := steps * rows * columns * len(levels)) > MOST_TOKENS:
        raise RecipeError(
            f"streams.{name}.patch {list(stream.patch)} makes {count:,} tokens of the window {list(window)}, expected at most "
            f"{MOST_TOKENS:,}. Choose a larger patch or a smaller window."
        )
    coords = torch.tensor(
        [
            (-60 + 120 * row / rows, column, step * DEFAULT_STEP_H * stream.patch[0], 0.0, 0.0, 0.0, level, 1.0)
            for step, level, row, column in product(range(steps), levels, range(rows), range(columns))
        ],
        dtype=torch.float32,
    )
    depth = stream.patch[0]
    thin = replace(spec, size=depth, layout=(1, depth, 1), guess_size=0)
    nothing = torch.zeros(len(coords), depth)
    return Tokens(nothing, coords, nothing.bool(), thin).numbered()
