"""The stores that a model is given, and that it has not learned from what it is scored on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from statecast.fields.source import in_known_units, overlaps
from statecast.fields.sources import StoreError, Stores, open_stores
from statecast.fields.sources.record import select_period
from statecast.trained import TrainedModel


def model_stores(
    trained: TrainedModel,
    data: str | xr.Dataset,
    given: Mapping[str, str | xr.Dataset] | None = None,
    *,
    needs_asked: bool = True,
) -> dict[str, xr.Dataset]:
    """The store of each stream of a model: the one that is `given`, else the one of its training if it had its own there, else `data`.

    Unless `needs_asked`, a stream that is asked of others is looked for in `data` too if nothing else is given, but for variables that
    are those of another stream there.
    """
    own, options = stream_stores(trained, given, needs_asked=needs_asked), trained.recipe.data
    opened = open_stores(data, trained.recipe.fields, own, options.select, options.absent_chunks)
    opened = in_known_units(opened, {name: codec for name, codec in trained.codecs.items() if name in opened})
    if not needs_asked:
        own = stream_stores(trained)
        for name in own.keys() - stream_stores(trained, given, needs_asked=False).keys():
            others = [n for n in trained.recipe.fields if n not in own]  # whose variables `data` holds
            theirs = {v for n in others for v in trained.recipe.fields[n].variables}
            opened[name] = opened[name].drop_vars(theirs, errors="ignore")
    return opened


def stream_stores(
    trained: TrainedModel, given: Mapping[str, str | xr.Dataset] | None = None, *, needs_asked: bool = True
) -> dict[str, str | xr.Dataset]:
    """The stores of streams that don't lie in the data that is given for all, see `model_stores`."""
    own = dict(trained.recipe.data.stores)
    if not needs_asked:
        own = {name: store for name, store in own.items() if name not in trained.recipe.task.hidden_streams}
    return {name: store for name, store in own.items() if name in trained.recipe.fields} | dict(given or {})


def require_unseen(
    trained: TrainedModel, named: Mapping[str, str | xr.Dataset], opened: Stores, period: tuple[str, str]
) -> None:
    """Raises StoreError if `period` shares a time step with one that the model, or one before it, has learned from in one of these stores.

    named   the store of each stream, `opened` what it holds; a stream that never changes, such as the orography, doesn't count
    """
    dataset = next(iter(opened.values()))
    asked = select_period(dataset, period).indexes["time"]
    changing = [name for name, s in trained.recipe.fields.items() if _changes(opened[name], s.variables)]
    for data in trained.learned:
        stores = (data.store, *data.stores.values())
        if not any(_is_same(named[name], store) for name in changing for store in stores):
            continue
        for learned in data.learned_periods:
            if overlaps(dataset, learned, asked):
                raise StoreError(
                    f"period {period[0]} to {period[1]}: overlaps the training period {learned[0]} to {learned[1]}. "
                    "Scores would flatter the model. Name a period outside it."
                )


def _changes(dataset: xr.Dataset, variables: Sequence[str]) -> bool:
    return any(name not in dataset or "time" in dataset[name].dims for name in variables)


def _is_same(given: str | Path | xr.Dataset, store: str) -> bool:
    """Whether a store is given by another spelling of the same path, such as ./era5.zarr."""
    return not isinstance(given, xr.Dataset) and Path(given).resolve() == Path(store).resolve()


def are_of_training(trained: TrainedModel, named: Mapping[str, str | xr.Dataset]) -> bool:
    data = trained.recipe.data
    return all(_is_same(named[name], data.stores.get(name, data.store)) for name in trained.recipe.fields)
