"""From a recipe and a store to the questions that a training asks."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from statecast.config import Period, Recipe, RecipeError
from statecast.fields.sources import Grid, Record, StoreError, Stores, open_stores
from statecast.fields.sources.record import select_period
from statecast.fields.tokenizers import FieldTokenizer, WindowSampler
from statecast.fields.tokenizers.first_guess import guessed_channels, reference_of, require_covered
from statecast.fields.tokenizers.patches import Patch, check_patch
from statecast.fields.tokenizers.windows import largest_domain, smallest_domain, window_shapes
from statecast.streams import Stream
from statecast.tasks import Forecast
from statecast.trained import ModelError
from statecast.training import QuestionDataset, StreamSource


def recipe_stores(recipe: Recipe) -> dict[str, xr.Dataset]:
    """The store of each stream."""
    return open_stores(recipe.data.store, recipe.streams, recipe.data.stores)


def stream_sources(recipe: Recipe, stores: Stores, known: Mapping[str, FieldTokenizer]) -> dict[str, StreamSource]:
    """The training record of each stream with its tokenizer; statistics from the training period, unless the stream is known already."""
    records = {name: Record.open(learned_from(stores[name], recipe), stream) for name, stream in recipe.streams.items()}
    tokenizers = {
        name: _tokenizer(name, stream, records[name], known.get(name)) for name, stream in recipe.streams.items()
    }
    _require_overlap(recipe, {name: record.grid for name, record in records.items()})
    for name in tokenizers:
        _require_covered(name, records, tokenizers)
    tokenizers |= {name: _by_its_guess(name, tokenizers, records, known) for name in tokenizers if name not in known}
    sources = {name: StreamSource(records[name], tokenizer) for name, tokenizer in tokenizers.items()}
    shapes = window_shapes(recipe.window.extent, *_grids_and_patches(sources))
    for name, (record, tokenizer) in ((n, (s.record, s.tokenizer)) for n, s in sources.items()):
        shape = (window_steps(recipe), len(record.channels), *shapes[name])
        try:
            check_patch(shape, tokenizer.stream.patch, tokenizer.groups)
        except ValueError as error:
            raise RecipeError(f"streams.{name}.{error}") from None
    return sources


def _require_overlap(recipe: Recipe, grids: Mapping[str, Grid]) -> None:
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


def _require_covered(name: str, records: Mapping[str, Record], tokenizers: Mapping[str, FieldTokenizer]) -> None:
    for source in guessed_channels(name, tokenizers):
        try:
            require_covered(records[name].grid, records[source].grid)
        except StoreError as error:
            raise StoreError(f"streams.{name}.first_guess: {error}") from None


def _grids_and_patches(sources: Mapping[str, StreamSource]) -> tuple[dict[str, Grid], dict[str, Patch]]:
    return (
        {name: source.record.grid for name, source in sources.items()},
        {name: source.tokenizer.stream.patch for name, source in sources.items()},
    )


def learned_from(dataset: xr.Dataset, recipe: Recipe) -> xr.Dataset:
    """The training period of the recipe, with those that are replayed."""
    if not recipe.data.replay:
        return select_period(dataset, recipe.data.train)
    return dataset.isel(time=_steps_of(dataset, (*recipe.data.replay, recipe.data.train)))


def _steps_of(dataset: xr.Dataset, periods: Sequence[Period]) -> np.ndarray:
    """The time steps of some periods, each once, in their order."""
    index = dataset.indexes["time"]
    return np.unique(np.concatenate([index.get_indexer(select_period(dataset, p).indexes["time"]) for p in periods]))


def _starts(recipe: Recipe, record: Record, steps: int) -> np.ndarray:
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
    if known.stream == stream:
        return known
    _require_same_scales(name, known.stream, stream)
    return FieldTokenizer(stream, FieldTokenizer.fit(stream, record).climatology.with_known(known.climatology))


def _by_its_guess(
    name: str,
    tokenizers: Mapping[str, FieldTokenizer],
    records: Mapping[str, Record],
    known: Mapping[str, FieldTokenizer],
) -> FieldTokenizer:
    """Of a new stream that is guessed from a known one: its climatology leans on that one's, which may come from a longer record."""
    if not any(source in known for source in guessed_channels(name, tokenizers)):
        return tokenizers[name]
    return FieldTokenizer.fit(tokenizers[name].stream, records[name], reference_of(name, tokenizers, records))


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


def window_steps(recipe: Recipe) -> int:
    """Time steps of the window of a training sample."""
    task = recipe.task
    slabs = task.training_slabs if isinstance(task, Forecast) else task.slabs
    return slabs * max(stream.patch[0] for stream in recipe.streams.values())


def make_questions(
    recipe: Recipe, sources: dict[str, StreamSource], samples: int, seed: int, *, held_out: bool = False
) -> QuestionDataset:
    """Of the training, or of a `held_out` period, which is never replayed. Raises RecipeError for a window that exceeds the grid."""
    grids, patches = _grids_and_patches(sources)
    drawn_on = smallest_domain(grids)
    record, steps = sources[drawn_on].record, window_steps(recipe)
    shapes = window_shapes(recipe.window.extent, grids, patches)
    starts = record.starts(steps) if held_out else _starts(recipe, record, steps)
    try:
        windows = WindowSampler(record.grid, starts, steps, shapes[drawn_on] if recipe.window.extent else None)
    except ValueError as error:
        raise RecipeError(f"window.extent: {error}") from None
    return QuestionDataset(sources, recipe.task, windows, seed, recipe.training.batch_size, samples, shapes)
