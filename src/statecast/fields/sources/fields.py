"""Zarr and NetCDF stores of gridded fields, opened under standard names.

Whatever their names in the store, the result has the dimensions `time`, `level` (hPa, ascending), `lat` (degrees north,
ascending) and `lon` (degrees east, ascending, 0 to 360; starting below 0 for a region across Greenwich). Coordinates are
identified by CF attributes first, then by common names.
"""

import json
from pathlib import Path

import cf_xarray  # noqa: F401  (registers the accessor Dataset.cf)
import cftime
import numpy as np
import xarray as xr

from statecast.fields.samples import SAMPLES, sample_path

USUAL_NAMES = {
    "time": ("time", "valid_time", "t", "date"),
    "level": ("level", "lev", "plev", "isobaricInhPa", "isobaric", "pressure", "pressure_level"),
    "lat": ("lat", "latitude", "y", "nav_lat"),
    "lon": ("lon", "longitude", "x", "nav_lon"),
}
CF_KEYS = {"time": "time", "level": "vertical", "lat": "latitude", "lon": "longitude"}
STANDARD_NAMES = {"time": "time", "level": "air_pressure", "lat": "latitude", "lon": "longitude"}
HPA_PER_UNIT = {
    "hpa": 1.0,
    "millibar": 1.0,
    "millibars": 1.0,
    "mbar": 1.0,
    "mb": 1.0,
    "pa": 0.01,
    "pascal": 0.01,
    "kpa": 10.0,
}
LARGEST_PRESSURE_HPA = 1100.0  # levels without units that exceed this must be in Pa


class StoreError(ValueError):
    """A store or a request that cannot be interpreted; the message states the problem, what was expected and found, and the remedy."""


class MissingStoreError(StoreError):
    """A store that does not exist."""


def open_fields(store: str | Path | xr.Dataset) -> xr.Dataset:
    """Open a Zarr or NetCDF store or a sample (`sample:atmosphere`, `sample:storm1996`), or accept a Dataset.

    Returns a lazy Dataset with standard names: dimensions time, lat [degrees_north], lon [degrees_east] and, if there
    are levels, level [hPa], each ascending.
    Raises MissingStoreError if the store does not exist, StoreError if it is not a readable store or lacks a one-dimensional
    latitude, longitude or time.
    """
    name = "dataset" if isinstance(store, xr.Dataset) else str(store)
    dataset = store if isinstance(store, xr.Dataset) else _open(name)
    found = {axis: _find(dataset, axis, name, required=axis != "level") for axis in ("time", "lat", "lon", "level")}
    for axis, coordinate in found.items():
        if coordinate is not None:
            dataset = _as_dimension(dataset, coordinate, axis, name)
    _require_times(dataset, name)
    return _in_standard_order(_with_pressure_in_hpa(_with_degrees(dataset, name), name), name)


def _open(store: str) -> xr.Dataset:
    path = sample_path(store) if store in SAMPLES else store
    remote = "://" in store
    if store.startswith("sample:") and store not in SAMPLES:
        raise StoreError(f"store {store}: no such sample. Samples: {', '.join(SAMPLES)}.")
    if not remote and not Path(path).exists():
        raise MissingStoreError(
            f"store {store}: does not exist. Give a Zarr store, a NetCDF file or a sample ({', '.join(SAMPLES)})."
        )
    is_netcdf = not remote and Path(path).is_file()
    try:
        if is_netcdf:
            return xr.open_dataset(path, chunks=None)
        if not remote:
            return xr.open_zarr(path, chunks=None, consolidated=_has_consolidated_metadata(Path(path)))
        return xr.open_zarr(path, chunks=None)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        kind = "NetCDF file" if is_netcdf else "Zarr store"
        reason = str(error).strip().split("\n")[0]
        raise StoreError(
            f"store {store}: cannot be read as a {kind} ({reason}). Give a Zarr store or a NetCDF file."
        ) from error


def _has_consolidated_metadata(store: Path) -> bool:
    """Whether the root tells the metadata of all arrays. While `data append` ends, it is the root that is right."""
    root = store / "zarr.json"
    if not root.is_file():
        return (store / ".zmetadata").exists()
    return bool(json.loads(root.read_text(encoding="utf-8")).get("consolidated_metadata"))


def _find(dataset: xr.Dataset, axis: str, store: str, *, required: bool = True) -> str | None:
    """The coordinate for `axis`; a coordinate with its own dimension takes precedence."""
    by_attributes = list(map(str, dataset.cf.coordinates.get(CF_KEYS[axis], [])))
    if axis == "time":
        by_attributes += map(str, dataset.cf.axes.get("T", []))
    if axis == "level":
        by_attributes = [str(n) for n in (*by_attributes, *dataset.indexes) if _units(dataset[n]) in HPA_PER_UNIT]
    candidates = by_attributes or [n for n in USUAL_NAMES[axis] if n in dataset.coords]
    on_dimension = [n for n in candidates if n in dataset.dims] or candidates
    if on_dimension:
        return on_dimension[0]
    if not required:
        return None
    have = ", ".join(map(str, dataset.coords)) or "none"
    raise StoreError(
        f"store {store}: found no {axis} among its coordinates ({have}), expected one with standard_name "
        f"'{STANDARD_NAMES[axis]}' or named {', '.join(USUAL_NAMES[axis])}. Rename yours or give it that attribute."
    )


def _as_dimension(dataset: xr.Dataset, found: str, axis: str, store: str) -> xr.Dataset:
    """Make the coordinate `found` the dimension `axis`."""
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


def _require_times(dataset: xr.Dataset, store: str) -> None:
    values = dataset["time"].values
    if values.size and not (values.dtype.kind == "M" or isinstance(values[0], cftime.datetime)):
        raise StoreError(
            f"store {store}: time holds {values.dtype} instead of times, expected units such as 'hours since 2000-01-01'. "
            "Give it that attribute."
        )


def _units(array: xr.DataArray) -> str:
    return str(array.attrs.get("units", "")).strip().lower()


def _with_pressure_in_hpa(dataset: xr.Dataset, store: str) -> xr.Dataset:
    if "level" not in dataset.coords:
        return dataset
    level, units = dataset["level"], _units(dataset["level"])
    if units and units not in HPA_PER_UNIT:
        raise StoreError(
            f"store {store}: levels are in '{units}', expected a pressure ({', '.join(HPA_PER_UNIT)}). "
            "Interpolate to pressure."
        )
    factor = HPA_PER_UNIT[units] if units else (0.01 if float(level.max()) > LARGEST_PRESSURE_HPA else 1.0)
    attributes = {"standard_name": "air_pressure", "units": "hPa", "positive": "down"}
    return dataset.assign_coords(level=("level", np.round(level.values.astype(float) * factor, 6), attributes))


def _with_degrees(dataset: xr.Dataset, store: str) -> xr.Dataset:
    lat, lon = (dataset[axis].values.astype(float) for axis in ("lat", "lon"))
    if lat.size and not np.abs(lat).max() <= 90.0 + 1e-6:
        raise StoreError(
            f"store {store}: lat runs from {lat.min():g} to {lat.max():g}, expected degrees within -90 and 90. "
            "Regrid to a latitude-longitude grid."
        )
    return dataset.assign_coords(
        lat=("lat", lat, {"standard_name": "latitude", "units": "degrees_north"}),
        lon=("lon", _unbroken(lon % 360.0), {"standard_name": "longitude", "units": "degrees_east"}),
    )


def _unbroken(lon: np.ndarray) -> np.ndarray:
    """Longitudes from 0 to 360; for a region across Greenwich starting below 0, so that neighbours stay neighbours."""
    ascending = np.sort(lon)
    gaps = np.diff(ascending, append=ascending[:1] + 360.0)
    widest = int(gaps.argmax()) if len(lon) else 0
    is_broken = (
        len(lon) > 1 and gaps[widest] > 1.5 * gaps[-1]
    )  # 1.5: the gaps of a global grid are equal up to rounding
    return np.where(lon > ascending[widest], lon - 360.0, lon) if is_broken else lon


def _in_standard_order(dataset: xr.Dataset, store: str) -> xr.Dataset:
    for axis in ("time", "level", "lat", "lon"):
        if axis not in dataset.coords:
            continue
        index = dataset.indexes[axis]
        if len(index) == 0:
            raise StoreError(f"store {store}: {axis} has no values, expected at least one. Write some data into it.")
        if not index.is_unique:
            twice = index[index.duplicated()][0]
            raise StoreError(
                f"store {store}: {axis} contains {twice} twice, expected each value once. Remove the duplicates."
            )
        if index.is_monotonic_decreasing and len(index) > 1:
            dataset = dataset.isel({axis: slice(None, None, -1)})  # a slice is one contiguous read, an index array many
        elif not index.is_monotonic_increasing:
            dataset = dataset.isel({axis: np.argsort(index.values)})
    return dataset
