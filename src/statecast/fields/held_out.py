"""The stores that a model is given, and that it has not learned from what it is scored on."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import xarray as xr

from statecast.fields.fingerprint import holds
from statecast.fields.source import in_known_units, overlaps
from statecast.fields.sources import StoreError, Stores, open_stores
from statecast.fields.sources.dates import select_period
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
    own_stores = stream_stores(trained, given, needs_asked=needs_asked)
    for name in own_stores.keys() - (given or {}).keys():
        own_stores[name] = beside(data, own_stores[name], trained.recipe.data.store)
    options = trained.recipe.data
    opened = open_stores(data, trained.recipe.fields, own_stores, options.select, options.absent_chunks)
    opened = in_known_units(opened, {name: codec for name, codec in trained.codecs.items() if name in opened})
    if not needs_asked:
        own = stream_stores(trained)
        for name in own.keys() - stream_stores(trained, given, needs_asked=False).keys():
            others = [n for n in trained.recipe.fields if n not in own]  # whose variables `data` holds
            theirs = {v for n in others for v in trained.recipe.fields[n].variables}
            opened[name] = opened[name].drop_vars(theirs, errors="ignore")
    return opened


def beside(data: str | xr.Dataset, store: str | xr.Dataset, of_training: str) -> str | xr.Dataset:
    """A stream's own store where it lies from here, or else where it lies from `data`, as in training from `of_training`."""
    if (
        isinstance(data, xr.Dataset)
        or isinstance(store, xr.Dataset)
        or Path(store).is_absolute()
        or Path(store).exists()
    ):
        return store
    moved = Path(data).parent / os.path.relpath(store, Path(of_training).parent)
    return str(moved) if moved.exists() else store


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

    A store is recognised by its contents and by its path. A stream that never changes, such as the orography, doesn't count.

    named  the store of each stream, `opened` what it holds
    """
    dataset = next(iter(opened.values()))
    asked = select_period(dataset, period).indexes["time"]
    changing = [name for name, s in trained.recipe.fields.items() if _changes(opened[name], s.variables)]
    for data in trained.learned:
        stores = (data.store, *data.stores.values())
        if not any(_is_same(named[name], store) for name in changing for store in stores):
            continue
        _require_apart(period, data.learned_periods, dataset, asked)
    datasets = {id(opened[name]): opened[name] for name in changing}.values()
    for seen in trained.seen:
        if any(holds(known, one) for known in seen["streams"].values() for one in datasets):
            _require_apart(period, seen["periods"], dataset, asked)


def require_unseen_stations(
    trained: TrainedModel, stations: Mapping[str, Collection[str]], dataset: xr.Dataset, period: tuple[str, str]
) -> None:
    """Raises StoreError if training has learned from reports of one of these stations, by stream, in the period, which `dataset` has."""
    for name, ids in stations.items():
        if set(ids) & set(trained.codecs[name].statistics.stations.ids):
            for data in trained.learned:
                _require_apart(period, data.learned_periods, dataset, dataset.indexes["time"])


def _require_apart(
    period: tuple[str, str], learned: Iterable[Sequence[str]], dataset: xr.Dataset, asked: xr.Index
) -> None:
    for first, last in learned:
        if overlaps(dataset, (first, last), asked):
            raise StoreError(
                f"period {period[0]} to {period[1]}: overlaps the training period {first} to {last}. "
                "Scores would flatter the model. Name a period outside it."
            )


def _changes(dataset: xr.Dataset, variables: Sequence[str]) -> bool:
    return any(name not in dataset or "time" in dataset[name].dims for name in variables)


def _is_same(given: str | Path | xr.Dataset, store: str) -> bool:
    """Whether a store is given by another spelling of the same path, such as ./era5.zarr."""
    return not isinstance(given, xr.Dataset) and Path(given).resolve() == Path(store).resolve()


def are_of_training(trained: TrainedModel, named: Mapping[str, str | xr.Dataset], opened: Stores) -> bool:
    """Whether these are the stores that the model was trained on, by their paths or by their contents."""
    data = trained.recipe.data
    if all(_is_same(named[name], data.stores.get(name, data.store)) for name in trained.recipe.fields):
        return True
    streams = trained.seen[-1]["streams"] if trained.seen else {}
    changing = {name: known for name, known in streams.items() if known["fields"]}
    return bool(changing) and all(
        name in opened and holds(k, opened[name], wholly=True) for name, k in changing.items()
    )
