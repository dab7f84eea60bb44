"""Zarr, NetCDF and GRIB stores of gridded fields, opened under standard names.

Whatever their names in the store, the result has the dimensions `time`, `level` (hPa, ascending), `lat` (degrees north,
ascending) and `lon` (degrees east, ascending, 0 to 360; starting below 0 for a region across Greenwich). Coordinates are
identified by CF attributes first, then by common names.
"""

from collections.abc import Mapping
from pathlib import Path

import cf_xarray  # noqa: F401  (registers the accessor Dataset.cf)
import cftime
import numpy as np
import pandas as pd
import xarray as xr

from statecast.fields.sources.cache import CacheOptions
from statecast.fields.sources.dimensions import Selection, selected
from statecast.fields.sources.errors import MissingStoreError, StoreError
from statecast.fields.sources.fill_values import AbsentChunks
from statecast.fields.sources.levels import is_pressure, single_level_as_dimension, with_pressure_in_hpa
from statecast.fields.sources.opening import open_raw
from statecast.fields.sources.places import (
    REGRID,
    is_on_a_map,
    require_degrees,
    require_two_dimensions,
    with_degrees,
)
from statecast.fields.sources.times import only_times, relative_times, with_exact_times

__all__ = ["MissingStoreError", "StoreError", "open_fields"]

USUAL_NAMES = {
    "time": ("time", "valid_time", "t", "date"),
    "level": ("level", "lev", "plev", "isobaricInhPa", "isobaric", "pressure", "pressure_level"),
    "lat": ("lat", "latitude", "y", "nav_lat"),
    "lon": ("lon", "longitude", "x", "nav_lon"),
}
CF_KEYS = {"time": "time", "level": "vertical", "lat": "latitude", "lon": "longitude"}
STANDARD_NAMES = {"time": "time", "level": "air_pressure", "lat": "latitude", "lon": "longitude"}
ROUNDING = 1e-3  # of the mean distance between two rows or columns: what is closer is one


def open_fields(
    store: str | Path | xr.Dataset,
    select: Selection | None = None,
    absent: AbsentChunks | None = None,
    cache: CacheOptions | None = None,
) -> xr.Dataset:
    """Open a store, see `opening.open_raw`, or a sample (`sample:atmosphere`, `sample:storm1996`), or accept a Dataset.

    select  one value of each further dimension that the store has, such as {"number": 0}
    absent  what chunks stand for that a Zarr store lacks: missing values or its fill value; none: what the store says, or an error
    cache   where chunks of a store behind a URL are kept; none: nowhere

    Returns a lazy Dataset with standard names: dimensions time, lat [degrees_north], lon [degrees_east] and, if there
    are levels, level [hPa], each ascending.
    Raises MissingStoreError if the store does not exist, StoreError if it is not a readable store or lacks a one-dimensional
    latitude, longitude or time.
    """
    name = "dataset" if isinstance(store, xr.Dataset) else str(store)
    dataset = store if isinstance(store, xr.Dataset) else open_raw(name, absent, cache)
    return with_standard_names(selected(dataset, select or {}, name), name)


def with_standard_names(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """A dataset under standard names, see `open_fields`; `name` is what messages call it."""
    found = {axis: _find(dataset, axis, name, required=axis != "level") for axis in ("time", "lat", "lon", "level")}
    _require_a_grid(dataset, found, name)
    for axis in ("time", "lat", "lon"):
        dataset = _as_dimension(dataset, str(found[axis]), axis, name)
    if found["level"] is not None:
        dataset = _with_levels(dataset, found["level"], name)
    _require_times(dataset, name)
    return with_exact_times(_in_standard_order(with_degrees(dataset, name), name))


def _require_a_grid(dataset: xr.Dataset, found: Mapping[str, str | None], store: str) -> None:
    names = {axis: str(found[axis]) for axis in ("lat", "lon")}
    require_two_dimensions(dataset, names, store)
    for axis, name in names.items():
        require_degrees(dataset, axis, name, store)


def _with_levels(dataset: xr.Dataset, found: str, store: str) -> xr.Dataset:
    """Pressure levels as the dimension `level`, in hPa."""
    if dataset[found].ndim > 0:
        return with_pressure_in_hpa(_as_dimension(dataset, found, "level", store), store, found)
    if found != "level":
        dataset = dataset.drop_vars("level", errors="ignore").rename({found: "level"})
    return single_level_as_dimension(with_pressure_in_hpa(dataset, store, found), store)


def _find(dataset: xr.Dataset, axis: str, store: str, *, required: bool = True) -> str | None:
    """The coordinate for `axis`; a coordinate with its own dimension takes precedence."""
    by_attributes = list(map(str, dataset.cf.coordinates.get(CF_KEYS[axis], [])))
    if axis == "time":
        by_attributes += map(str, dataset.cf.axes.get("T", []))
    if axis == "level":
        by_attributes = sorted({str(n) for n in (*by_attributes, *dataset.indexes) if is_pressure(dataset[n])})
    candidates = by_attributes or [n for n in USUAL_NAMES[axis] if n in dataset.coords]
    if axis == "time" and not candidates:
        candidates = only_times(dataset)
    on_dimension = [n for n in candidates if n in dataset.dims] or candidates
    if on_dimension:
        return on_dimension[0]
    if not required:
        return None
    have = ", ".join(map(str, dataset.coords)) or "none"
    if axis in ("lat", "lon") and is_on_a_map(dataset):
        raise StoreError(
            f"store {store}: lies on a map or around another pole (coordinates {have}), expected latitudes and longitudes. {REGRID}"
        )
    raise StoreError(
        f"store {store}: found no {axis} among its coordinates ({have}), expected one with standard_name "
        f"'{STANDARD_NAMES[axis]}' or named {', '.join(USUAL_NAMES[axis])}. Rename yours or give it that attribute."
    )


def _as_dimension(dataset: xr.Dataset, found: str, axis: str, store: str) -> xr.Dataset:
    """Make the coordinate `found` the dimension `axis`."""
    if axis == "time":
        _require_one_axis_of_time(dataset, found, store)
    if (dimensions := dataset[found].ndim) > 1:
        raise StoreError(
            f"store {store}: {axis} '{found}' has {dimensions} dimensions, expected 1. "
            "Regrid to a latitude-longitude grid."
        )
    if dimensions == 1 and dataset[found].dims[0] != found:
        dataset = dataset.swap_dims({dataset[found].dims[0]: found})
    if found != axis:
        dataset = dataset.drop_vars(axis if axis in dataset.coords else []).rename({found: axis})
    return dataset if axis in dataset.dims else dataset.expand_dims(axis)


def _require_one_axis_of_time(dataset: xr.Dataset, found: str, store: str) -> None:
    """Raises StoreError for forecasts, whose times are those of their starts plus lead times: two axes."""
    for name, times in dataset.coords.items():
        is_time = name == found or name == "valid_time" or times.attrs.get("standard_name") == "time"
        if times.ndim > 1 and is_time:
            axes = list(map(str, times.dims))
            raise StoreError(
                f"store {store}: the time '{name}' lies on {len(axes)} axes, {' and '.join(axes)}, as in forecasts, expected one. Put the "
                f"steps of the forecasts one after the other: dataset.stack(valid={axes}).reset_index('valid').set_index(valid='{name}')"
                f".drop_vars({axes}).rename(valid='time')."
            )


def _require_times(dataset: xr.Dataset, store: str) -> None:
    values = dataset["time"].values
    if values.size and not (values.dtype.kind == "M" or isinstance(values[0], cftime.datetime)):
        raise StoreError(
            f"store {store}: time holds {values.dtype} instead of times, expected units such as 'hours since 2000-01-01'. "
            f"{relative_times(dataset['time'])}."
        )
    if unknown := np.flatnonzero(np.asarray(dataset["time"].isnull())).tolist():
        raise StoreError(
            f"store {store}: time has no value (NaT) at {len(unknown)} of {values.size} steps, the first of them step {unknown[0]}. "
            "Write these times, or leave these steps out."
        )


def _in_standard_order(dataset: xr.Dataset, store: str) -> xr.Dataset:
    for axis in ("time", "level", "lat", "lon"):
        if axis not in dataset.coords:
            continue
        index = dataset.indexes[axis]
        if len(index) == 0:
            raise StoreError(f"store {store}: {axis} has no values, expected at least one. Write some data into it.")
        if not index.is_unique or (axis in ("lat", "lon") and _nearly_twice(index)):
            twice = index[index.duplicated()][0] if not index.is_unique else _nearly_twice(index)[0]
            raise StoreError(
                f"store {store}: {axis} contains {twice} twice, expected each value once. Remove the duplicates"
                f"{'; a longitude of 360 is 0' if axis == 'lon' else ''}."
            )
        if index.is_monotonic_decreasing and len(index) > 1:
            dataset = dataset.isel({axis: slice(None, None, -1)})  # a slice is one contiguous read, an index array many
        elif not index.is_monotonic_increasing:
            dataset = dataset.isel({axis: np.argsort(index.values)})
    return dataset


def _nearly_twice(index: pd.Index) -> list[float]:
    """Coordinates that differ from the next by rounding only."""
    ascending = np.sort(index.values)
    steps = np.diff(ascending)
    return [] if steps.size == 0 else ascending[:-1][steps < ROUNDING * steps.mean()].tolist()
