"""From a recipe and a store to the questions that a training asks."""

from collections.abc import Mapping

import xarray as xr

from statecast.config import Recipe, RecipeError
from statecast.sources import Record, StoreError, fit_climatology
from statecast.streams import Stream
from statecast.tokenizers import FieldTokenizer, WindowSampler
from statecast.tokenizers.patches import check_patch
from statecast.trained import ModelError
from statecast.training import QuestionDataset, StreamSource


def stream_sources(recipe: Recipe, dataset: xr.Dataset, known: Mapping[str, FieldTokenizer]) -> dict[str, StreamSource]:
    """The training record of each stream with its tokenizer; statistics from the training period, unless the stream is known already."""
    sources = {}
    for name, stream in recipe.streams.items():
        record = Record.open(dataset, stream, recipe.data.train)
        tokenizer = _tokenizer(name, stream, record, known.get(name))
        rows, columns = recipe.window.extent or record.grid.shape
        try:
            check_patch((window_steps(recipe), len(record.channels), rows, columns), stream.patch, tokenizer.groups)
        except ValueError as error:
            raise RecipeError(f"streams.{name}.{error}") from None
        sources[name] = StreamSource(record, tokenizer)
    return sources


def _tokenizer(name: str, stream: Stream, record: Record, known: FieldTokenizer | None) -> FieldTokenizer:
    """Of a stream that is known the statistics that the model learned with, also of each channel that it had before."""
    if known is None:
        return FieldTokenizer(stream, fit_climatology(record))
    if known.climatology.grid.shape != record.grid.shape:
        raise ModelError(
            f"stream {name}: the model knows it on another grid than the store's. Give the stream another name to add it."
        )
    _require_same_units(name, known, record)
    if known.stream == stream:
        return known
    return FieldTokenizer(stream, fit_climatology(record).with_known(known.climatology))


def _require_same_units(name: str, known: FieldTokenizer, record: Record) -> None:
    learned = dict(zip(known.climatology.channels, known.climatology.units, strict=True))
    for channel, units in zip(record.channels, record.units, strict=True):
        if learned.get(channel, units) != units:
            raise ModelError(
                f"stream {name}: variable '{channel}' is in '{units}' in the store, the model learned it in '{learned[channel]}'. "
                "Convert it, or give the stream another name to add it."
            )


def window_steps(recipe: Recipe) -> int:
    return recipe.task.slabs * max(stream.patch[0] for stream in recipe.streams.values())


def make_questions(recipe: Recipe, sources: dict[str, StreamSource], samples: int, seed: int) -> QuestionDataset:
    record = next(iter(sources.values())).record
    steps = window_steps(recipe)
    try:
        windows = WindowSampler(record.grid, record.starts(steps), steps, recipe.window.extent)
    except StoreError:
        raise
    except ValueError as error:
        raise RecipeError(f"window.extent: {error}") from None
    return QuestionDataset(sources, recipe.task, windows, seed, recipe.training.batch_size, samples)
