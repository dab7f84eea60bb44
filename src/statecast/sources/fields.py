"""Zarr and NetCDF stores of gridded fields, opened under standard names.

Whatever the store calls them, the result has the dimensions `time`, `level` (hPa, ascending), `lat` (degrees north, ascending) and
`lon` (degrees east, 0 to 360, ascending). Coordinates are found by CF attributes first, then by usual names.
"""

from pathlib import Path

import cf_xarray  # noqa: F401  (registers the accessor Dataset.cf)
import numpy as np
import xarray as xr

from statecast.sources.samples import SAMPLES, sample_path

USUAL_NAMES = {
    "time": ("time", "valid_time", "t", "date"),
    "level": ("level", "lev", "plev", "isobaricInhPa", "isobaric", "pressure", "pressure_level"),
    "lat": ("lat", "latitude", "y", "nav_lat"),
    "lon": ("lon", "longitude", "x", "nav_lon"),
}
CF_KEYS = {"time": "time", "level": "vertical", "lat": "latitude", "lon": "longitude"}
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
LARGEST_PRESSURE_HPA = 1100.0  # levels without units that exceed it can only be Pa


class StoreError(ValueError):
    """A store, or something asked of it, that can't be understood; the message says what, what was expected and the remedy."""


def open_fields(store: str | Path | xr.Dataset) -> xr.Dataset:
    """Open a Zarr or NetCDF store, a sample (`sample:atmosphere`, `sample:storm1996`) or take a Dataset, under standard names.

    Returns a lazy Dataset: dimensions among time, level [hPa], lat [degrees_north], lon [degrees_east], each coordinate ascending.
    Raises StoreError if it is no store, or has no latitude, longitude or time.
    """
    name = "dataset" if isinstance(store, xr.Dataset) else str(store)
    dataset = store if isinstance(store, xr.Dataset) else _open(name)
    names = {_find(dataset, axis, name): axis for axis in ("time", "lat", "lon")}
    level = _find(dataset, "level", name, required=False)
    if level is not None:
        names[level] = "level"
    for found, axis in names.items():
        if dataset[found].ndim > 1:
            raise StoreError(
                f"store {name}: {axis} '{found}' has {dataset[found].ndim} dimensions, expected 1. Regrid to a latitude-longitude grid."
            )
    dataset = dataset.rename({found: axis for found, axis in names.items() if found != axis})
    dataset = dataset.expand_dims([axis for axis in ("time", "lat", "lon") if axis not in dataset.dims])
    return _in_standard_order(_with_pressure_in_hpa(dataset, name), name)


def _open(store: str) -> xr.Dataset:
    path = sample_path(store) if store in SAMPLES else store
    remote = "://" in store
    if store.startswith("sample:") and store not in SAMPLES:
        raise StoreError(f"store {store}: no such sample. Samples: {', '.join(SAMPLES)}.")
    if not remote and not Path(path).exists():
        raise StoreError(
            f"store {store}: does not exist. Give a Zarr store, a NetCDF file or a sample ({', '.join(SAMPLES)})."
        )
    is_netcdf = not remote and Path(path).is_file()
    try:
        if is_netcdf:
            return xr.open_dataset(path, chunks=None)
        if not remote:
            return xr.open_zarr(
                path,
                chunks=None,
                consolidated=(Path(path) / ".zmetadata").exists() or None if _is_v2(Path(path)) else False,
            )
        return xr.open_zarr(path, chunks=None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        kind = "NetCDF file" if is_netcdf else "Zarr store"
        reason = str(error).strip().split("\n")[0]
        raise StoreError(
            f"store {store}: is no {kind} that can be read ({reason}). Give a Zarr store or a NetCDF file."
        ) from error


def _is_v2(path: Path) -> bool:
    return (path / ".zgroup").exists()


def _find(dataset: xr.Dataset, axis: str, store: str, *, required: bool = True) -> str | None:
    by_attributes = [
        str(n)
        for n in dataset.cf.coordinates.get(CF_KEYS[axis], []) + dataset.cf.axes.get({"time": "T"}.get(axis, ""), [])
    ]
    if axis == "level":
        by_attributes = [n for n in by_attributes if str(dataset[n].attrs.get("units", "")).lower() in HPA_PER_UNIT]
    candidates = list(dict.fromkeys(by_attributes)) or [
        n for n in USUAL_NAMES[axis] if n in dataset.coords or n in dataset.dims
    ]
    on_dimension = [n for n in candidates if n in dataset.dims] or candidates
    if on_dimension:
        return on_dimension[0]
    if not required:
        return None
    have = ", ".join(map(str, dataset.coords)) or "none"
    expected = f"standard_name '{'latitude' if axis == 'lat' else 'longitude' if axis == 'lon' else axis}'"
    raise StoreError(
        f"store {store}: found no {axis} among its coordinates ({have}). Expected {expected} or a name of {USUAL_NAMES[axis]}."
    )


def _with_pressure_in_hpa(dataset: xr.Dataset, store: str) -> xr.Dataset:
    if "level" not in dataset.coords:
        return dataset
    level = dataset["level"]
    units = str(level.attrs.get("units", "")).lower()
    if units and units not in HPA_PER_UNIT:
        raise StoreError(
            f"store {store}: levels are in '{units}', expected a pressure ({', '.join(HPA_PER_UNIT)}). Interpolate to pressure."
        )
    factor = HPA_PER_UNIT[units] if units else (0.01 if float(level.max()) > LARGEST_PRESSURE_HPA else 1.0)
    attributes = {"standard_name": "air_pressure", "units": "hPa", "positive": "down"}
    values = np.round(np.atleast_1d(level.values).astype(float) * factor, 6)
    dataset = dataset if "level" in dataset.dims else dataset.expand_dims("level")
    return dataset.assign_coords(level=("level", values, attributes))


def _in_standard_order(dataset: xr.Dataset, store: str) -> xr.Dataset:
    lon = np.asarray(dataset["lon"].values, dtype=float) % 360.0
    dataset = dataset.assign_coords(
        lon=("lon", lon, {"standard_name": "longitude", "units": "degrees_east"}),
        lat=(
            "lat",
            np.asarray(dataset["lat"].values, dtype=float),
            {"standard_name": "latitude", "units": "degrees_north"},
        ),
    )
    for axis in ("time", "level", "lat", "lon"):
        if axis not in dataset.coords:
            continue
        index = dataset.indexes[axis]
        if not index.is_unique:
            raise StoreError(
                f"store {store}: {axis} has values that occur twice, expected each once. Remove the duplicates."
            )
        if not index.is_monotonic_increasing:
            dataset = dataset.isel({axis: np.argsort(index.values)})
    return dataset
