"""The store of each stream: a common store, or separate stores for some streams, at the times common to all."""

from collections.abc import Collection, Mapping
from functools import reduce
from pathlib import Path

import numpy as np
import xarray as xr

from statecast.fields.sources.cache import CacheOptions
from statecast.fields.sources.dimensions import Selection
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.fields import open_fields
from statecast.fields.sources.fill_values import AbsentChunks
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.times import Times

Stores = Mapping[str, xr.Dataset]
"""Fields by stream, as returned by `open_fields`, all with the same times."""


def open_stores(
    data: str | Path | xr.Dataset,
    streams: Collection[str],
    own: Mapping[str, str | xr.Dataset],
    select: Selection | None = None,
    absent: AbsentChunks | None = None,
    cache: CacheOptions | None = None,
) -> dict[str, xr.Dataset]:
    """Open the store of each stream: its `own`, or `data`. Times missing in one store are dropped from all.

    Stores whose points differ by rounding get the same. For `select`, `absent` and `cache` see `open_fields`. Raises StoreError as it
    does, for a store of an unknown stream, and for stores without common times.
    """
    if unknown := [name for name in own if name not in streams]:
        raise StoreError(f"a store is given for the unknown stream {unknown[0]}. Streams: {', '.join(streams)}.")
    opened = {name: open_fields(store, select, absent, cache) for name, store in own.items()}
    if missing := [name for name in streams if name not in own]:
        opened |= dict.fromkeys(missing, open_fields(data, select, absent, cache))
    opened = on_shared_points({name: opened[name] for name in streams})
    if not own:
        return opened
    _require_one_calendar(opened)
    indexes = [dataset.indexes["time"] for dataset in {id(d): d for d in opened.values()}.values()]
    common = reduce(lambda one, other: one.intersection(other), indexes)
    if len(common) == 0:
        periods = "; ".join(f"{index[0]} to {index[-1]}" for index in indexes)
        raise StoreError(f"the stores have no time in common ({periods}), expected times that all of them have.")
    return {name: _at(dataset, common) for name, dataset in opened.items()}


def _require_one_calendar(opened: Stores) -> None:
    calendars = {Times.of(dataset).calendar for dataset in opened.values()}
    if len(calendars) > 1:
        raise StoreError(
            f"the stores have times of different calendars ({', '.join(sorted(calendars))}), expected one. Convert them by xarray's "
            "`convert_calendar`."
        )


def on_shared_points(datasets: Stores) -> dict[str, xr.Dataset]:
    """Datasets whose grids differ by rounding only, on the coordinates of the first of them: xarray aligns what is exactly equal."""
    grids: list[Grid] = []
    shared: dict[str, xr.Dataset] = {}
    moved: dict[int, xr.Dataset] = {}
    for name, dataset in datasets.items():
        if id(dataset) not in moved:
            grid = Grid(dataset.lat.values, dataset.lon.values)
            like = next((known for known in grids if known.is_like(grid)), None)
            if like is None:
                grids.append(grid)
            moved[id(dataset)] = dataset if like is None else _on_points(dataset, like)
        shared[name] = moved[id(dataset)]
    return shared


def _on_points(dataset: xr.Dataset, grid: Grid) -> xr.Dataset:
    lat, lon = dataset.lat, dataset.lon
    return dataset.assign_coords(lat=("lat", grid.lat, lat.attrs), lon=("lon", grid.lon, lon.attrs))


def _at(dataset: xr.Dataset, times: object) -> xr.Dataset:
    """The dataset at some of its times; one contiguous read if they are consecutive."""
    index = dataset.indexes["time"].get_indexer(times)
    if np.array_equal(index, np.arange(index[0], index[-1] + 1)):
        return dataset.isel(time=slice(index[0], index[-1] + 1))
    return dataset.isel(time=index)
