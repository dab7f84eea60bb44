"""Latitudes and longitudes: what is one, in degrees, and what only looks like one."""

import numpy as np
import xarray as xr

from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.units import are_unknown, conversion

STANDARD_NAMES = {"lat": "latitude", "lon": "longitude"}
PLAIN_NAMES = {"lat": ("lat", "latitude"), "lon": ("lon", "longitude")}
WHERE = {
    "lat": ("degree_n", "degrees_n", "degreen", "degreesn"),
    "lon": ("degree_e", "degrees_e", "degreee", "degreese"),
}
ROUNDING_DEG = 1e-3  # degrees beyond a pole or the seam of 360 that are rounding: 100 m
OF_MAPS = ("grid_latitude", "grid_longitude", "projection_x_coordinate", "projection_y_coordinate")
REGRID = "Regrid to a latitude-longitude grid."


def require_two_dimensions(dataset: xr.Dataset, names: dict[str, str], store: str) -> None:
    """Raises StoreError for latitudes and longitudes along the same dimension: of stations, of a track, of grid cells."""
    lat, lon = (dataset[names[axis]] for axis in ("lat", "lon"))
    shared = [str(dim) for dim in lat.dims if dim in lon.dims]
    if lat.ndim == lon.ndim == 1 and shared:
        raise StoreError(
            f"store {store}: latitudes and longitudes both lie along '{shared[0]}': a table of stations, a track, or an unstructured "
            f"or reduced grid, expected rows and columns. {REGRID} Stations are a stream of their own, see docs/stations.md."
        )


def require_degrees(dataset: xr.Dataset, axis: str, name: str, store: str) -> None:
    """Raises StoreError for a coordinate that stands for `lat` or `lon` and is none: of a rotated or projected grid, or a row number."""
    coordinate, expected = dataset[name], STANDARD_NAMES[axis]
    said, units = str(coordinate.attrs.get("standard_name", "")), str(coordinate.attrs.get("units", ""))
    if name.lower() in PLAIN_NAMES["lon" if axis == "lat" else "lat"]:
        raise StoreError(
            f"store {store}: '{name}' has the attributes of a {expected}. Correct its name or its attributes."
        )
    if said and said != expected:
        raise StoreError(f"store {store}: '{name}' is a {said}, expected a {expected}. {REGRID}")
    if not _are_degrees(units, axis) and (units == "1" or conversion(units, "degrees") is None or "degree" in units):
        raise StoreError(f"store {store}: {axis} '{name}' is in '{units}', expected degrees. {REGRID}")
    if not said and coordinate.ndim == 1 and (mapping := _projection(dataset)):
        raise StoreError(
            f"store {store}: has the grid mapping {mapping}, so that '{name}' may be no {expected}, expected a latitude-longitude grid. "
            f"{REGRID} If it is one, give '{name}' the standard_name {expected}."
        )
    is_plain, says_where = name.lower() in PLAIN_NAMES[axis], units.lower().startswith(WHERE[axis])
    if not said and not says_where and (not is_plain or _counts(coordinate)):
        why = "counts rows or columns" if _counts(coordinate) else f"is not said to be a {expected}"
        raise StoreError(
            f"store {store}: '{name}' {why}, expected a {expected}. If it is one, give it the units {_units(axis)}."
        )


def _are_degrees(units: str, axis: str) -> bool:
    """True without any units too; not of degrees to the south or west, or along the other axis."""
    return (
        are_unknown(units)
        or units.lower() in ("degree", "degrees", "deg", "°")
        or units.lower().startswith(WHERE[axis])
    )


def _units(axis: str) -> str:
    return "degrees_north" if axis == "lat" else "degrees_east"


def _counts(coordinate: xr.DataArray) -> bool:
    """True for 0, 1, 2, ... or 1, 2, 3, ...: what a dimension without coordinates looks like, or gets."""
    values = np.asarray(coordinate.values)
    numbers = np.arange(values.size)
    return values.ndim == 1 and values.size > 2 and any(np.array_equal(values, numbers + k) for k in (0, 1))


def is_on_a_map(dataset: xr.Dataset) -> bool:
    """Whether rows and columns are those of a map or of a sphere with another pole."""
    said = {str(coordinate.attrs.get("standard_name", "")) for coordinate in dataset.coords.values()}
    return bool(said & set(OF_MAPS)) or _projection(dataset) is not None


def _projection(dataset: xr.Dataset) -> str | None:
    """The mapping of a grid that is not one of latitude and longitude."""
    for variable in dataset.variables.values():
        mapping = str(variable.attrs.get("grid_mapping_name", "latitude_longitude"))
        if mapping != "latitude_longitude":
            return mapping
    return None


def with_degrees(dataset: xr.Dataset, store: str) -> xr.Dataset:
    """`lat` within -90 and 90, `lon` from 0 to 360, see `unbroken`; what is beyond by rounding is brought back.

    Raises StoreError for values that are no degrees.
    """
    lat, lon = (_in_degrees(dataset[axis], axis) for axis in ("lat", "lon"))
    for axis, values in (("lat", lat), ("lon", lon)):
        if unknown := np.flatnonzero(~np.isfinite(values)).tolist():
            raise StoreError(
                f"store {store}: {axis} has no value at {len(unknown)} of {values.size} positions, the first of them {unknown[0]}. "
                "Write these, or leave them out."
            )
    if lat.size and not np.abs(lat).max() <= 90.0 + ROUNDING_DEG:
        raise StoreError(
            f"store {store}: lat runs from {lat.min():g} to {lat.max():g}, expected degrees within -90 and 90. {REGRID}"
        )
    is_beyond = lon.size and not (
        lon.min() >= -360.0 - ROUNDING_DEG and lon.max() <= 540.0 and np.ptp(lon) <= 360.0 + ROUNDING_DEG
    )
    if is_beyond:
        raise StoreError(
            f"store {store}: lon runs from {lon.min():g} to {lon.max():g}, expected degrees of one turn around the globe. {REGRID}"
        )
    lon = lon % 360.0
    lon = np.where(lon > 360.0 - ROUNDING_DEG * _finest(lon), lon - 360.0, lon)
    return dataset.assign_coords(
        lat=("lat", np.clip(lat, -90.0, 90.0), {"standard_name": "latitude", "units": "degrees_north"}),
        lon=("lon", unbroken(lon), {"standard_name": "longitude", "units": "degrees_east"}),
    )


def _finest(lon: np.ndarray) -> float:
    """1, or less for columns closer than a degree, so that no column is rounding."""
    steps = np.abs(np.diff(np.unique(lon.round(6))))
    return float(min(1.0, steps.min())) if steps.size else 1.0


def _in_degrees(coordinate: xr.DataArray, axis: str) -> np.ndarray:
    return degrees_per(coordinate, axis) * coordinate.values.astype(float)


def degrees_per(coordinate: xr.DataArray, axis: str) -> float:
    """Degrees per unit of a latitude or longitude, `axis` lat or lon."""
    units = str(coordinate.attrs.get("units", ""))
    rule = None if _are_degrees(units, axis) else conversion(units, "degrees")
    return 1.0 if rule is None else rule.factor


def unbroken(lon: np.ndarray) -> np.ndarray:
    """Longitudes from 0 to 360; for a region across Greenwich starting below 0, so that neighbours stay neighbours."""
    ascending = np.sort(lon)
    gaps = np.diff(ascending, append=ascending[:1] + 360.0)
    widest = int(gaps.argmax()) if len(lon) else 0
    is_broken = (
        len(lon) > 1 and gaps[widest] > 1.5 * gaps[-1]
    )  # 1.5: the gaps of a global grid are equal up to rounding
    return np.where(lon > ascending[widest], lon - 360.0, lon) if is_broken else lon
