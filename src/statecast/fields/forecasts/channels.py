"""What forecasts and analyses have in common: variables and levels, in the units of the analyses, and points.

Axes: H row, W column of the scored points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.fields.forecasts.choice import Choice, Region
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.forecasts import Forecasts
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.places import unbroken
from statecast.fields.sources.units import UNKNOWN_UNITS, are_same, are_unknown, conversion_of, converted, tell

Levels = tuple[float, ...] | None
KNOWN = ("init_time", "lead_time", "number", "level", "lat", "lon")
ROUNDING_DEG = 1e-4  # of the edges of a region


@dataclass(frozen=True)
class Points:
    """The points that are scored, and the area of each cell as a share of the sphere: that of the whole grid of the analyses."""

    grid: Grid
    area: Float[np.ndarray, "H W"]


def cut(dataset: xr.Dataset, region: Region | None) -> xr.Dataset:
    """The points of a dataset in a region. Raises StoreError if it has none."""
    if region is None:
        return dataset
    rows, columns = _inside(dataset, region)
    if not (len(rows) and len(columns)):
        grid = Grid(dataset.lat.values, dataset.lon.values)
        raise StoreError(
            f"region {' '.join(f'{x:g}' for x in region)}: has no point of the grid, which covers {grid.box}. Give SOUTH NORTH WEST EAST."
        )
    is_row = np.array_equal(columns, np.arange(columns[0], columns[0] + len(columns)))
    part = dataset.isel(lat=slice(rows[0], rows[-1] + 1), lon=slice(columns[0], columns[-1] + 1) if is_row else columns)
    lon = unbroken(part.lon.values % 360.0)
    part = part.assign_coords(lon=("lon", lon, dataset.lon.attrs))
    return part if (np.diff(lon) > 0).all() else part.isel(lon=np.argsort(lon))


def _inside(dataset: xr.Dataset, region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, eastwards from the western edge."""
    south, north, west, east = region
    if not (-90 <= south <= north <= 90 and -360 <= west <= 360 and -360 <= east <= 720):
        raise StoreError(
            f"region {' '.join(f'{x:g}' for x in region)}: is none, expected SOUTH NORTH WEST EAST in degrees, such as 30 60 -20 40."
        )
    lat, lon = dataset.lat.values, dataset.lon.values
    rows = np.flatnonzero((lat >= south - ROUNDING_DEG) & (lat <= north + ROUNDING_DEG))
    width = 360.0 if east - west >= 360 else (east - west) % 360
    eastwards = (lon - west + ROUNDING_DEG) % 360.0
    columns = np.flatnonzero(eastwards <= width + 2 * ROUNDING_DEG)
    return rows, columns[np.argsort(eastwards[columns])]


def scored_points(truth: xr.Dataset, region: Region | None) -> Points:
    """Of the analyses, before they are cut."""
    whole = Grid(np.asarray(truth.lat.values, float), np.asarray(truth.lon.values, float))
    areas = xr.Dataset({"area": (("lat", "lon"), whole.cell_area)}, {"lat": truth.lat, "lon": truth.lon})
    areas = cut(areas, region)
    grid = Grid(np.asarray(areas.lat.values, float), np.asarray(areas.lon.values, float))
    return Points(grid, areas["area"].values)


def on_points(forecasts: Forecasts, points: Points, choice: Choice) -> Forecasts:
    """The forecasts at the scored points, or on their own grid if they are to be regridded. Raises StoreError for other points."""
    if forecasts.grid.is_like(points.grid):
        return forecasts
    there = replace(forecasts, dataset=cut(forecasts.dataset, choice.region))
    if there.grid.is_like(points.grid):
        return there
    mine, theirs = there.grid, points.grid
    if choice.regrid is not None:
        tell(
            f"store {forecasts.name}: is interpolated from {_size(forecasts.grid)} to the {_size(theirs)} points of the analyses."
        )
        return forecasts
    part = f" or score a part: --region {_box(mine)}" if choice.region is None and _lies_in(mine, theirs) else ""
    raise StoreError(
        f"store {forecasts.name}: has {_size(mine)} points ({mine.box}), the analyses {_size(theirs)} ({theirs.box}), expected the same. "
        f"Pass --regrid bilinear,{part or ' or prepare both on one grid'}."
    )


def _size(grid: Grid) -> str:
    return f"{grid.shape[0]} x {grid.shape[1]}"


def _box(grid: Grid) -> str:
    return f"{grid.lat[0]:g} {grid.lat[-1]:g} {grid.lon[0]:g} {grid.lon[-1]:g}"


def _lies_in(part: Grid, whole: Grid) -> bool:
    """Whether each point of a grid is one of another."""
    rows = np.abs(part.lat[:, None] - whole.lat[None]).min(axis=1)
    columns = np.abs((part.lon[:, None] - whole.lon[None] + 180) % 360 - 180).min(axis=1)
    return bool(rows.max() < ROUNDING_DEG and columns.max() < ROUNDING_DEG)


def common_channels(truth: xr.Dataset, stores: Sequence[Forecasts], choice: Choice) -> dict[str, Levels]:
    """The variables, by their names in the analyses, with the levels that all stores have; None for a variable without levels.

    Raises StoreError for a variable or level that was named and is not there, and if there is nothing in common.
    """
    fields = sorted(
        str(name) for name in truth.data_vars if _is_field(truth[name], {"time"})
    )  # a store may list them in any order
    names = choice.variables or {name: name for name in fields}
    channels: dict[str, Levels] = {}
    for name, theirs in names.items():
        if choice.variables:
            _require_variable(truth, name, "the analyses", {"time"})
        forecasts = [store.dataset.get(theirs) for store in stores]
        for store, array in zip(stores, forecasts, strict=True):
            if choice.variables:
                _require_variable(store.dataset, theirs, f"store {store.name}", store.times)
            elif array is not None and _is_field(array, store.times):
                _require_known_dimensions(array, store.name)
        pairs = zip(stores, forecasts, strict=True)
        if all(array is not None and _is_field(array, store.times) for store, array in pairs):
            levels = _common_levels(name, [truth[name], *(array for array in forecasts if array is not None)], choice)
            if levels != ():
                channels[name] = levels
    if not channels:
        raise _nothing_in_common(truth, stores)
    return channels


def _is_field(array: xr.DataArray, times: set[str]) -> bool:
    return {*times, "lat", "lon"} <= set(map(str, array.dims)) and array.dtype.kind in "fiu"


def _require_variable(dataset: xr.Dataset, name: str, where: str, times: set[str]) -> None:
    if name not in dataset.data_vars or not _is_field(dataset[name], times):
        have = ", ".join(str(n) for n, array in dataset.data_vars.items() if _is_field(array, times)) or "none"
        on = ", ".join(sorted(times | {"lat", "lon"}))
        raise StoreError(
            f"variable '{name}': is none of {where} that depends on {on}. It has {have}. Name one of these, or "
            "NAME=NAME_IN_THE_FORECAST."
        )
    if times != {"time"}:
        _require_known_dimensions(dataset[name], where)


def _require_known_dimensions(array: xr.DataArray, where: str) -> None:
    if other := [str(d) for d in array.dims if d not in KNOWN and array.sizes[d] > 1]:
        raise StoreError(
            f"{where}: variable '{array.name}' has the dimension '{other[0]}' of {array.sizes[other[0]]}, expected initial and lead time, "
            "member, level, latitude and longitude. Select one value of it first."
        )


def _common_levels(name: str, arrays: Sequence[xr.DataArray], choice: Choice) -> Levels:
    """() if there are none in common, or if only some of the arrays have levels."""
    with_levels = ["level" in array.dims for array in arrays]
    if not any(with_levels):
        return None
    if not all(with_levels):
        if choice.variables:
            raise StoreError(f"variable '{name}': has levels in one store and none in another. Give both the same.")
        return ()
    known = [set(map(float, array["level"].values)) for array in arrays]
    common = set.intersection(*known)
    if missing := [level for level in choice.levels if level not in common]:
        have = ", ".join(f"{level:g}" for level in sorted(common)) or "none"
        raise StoreError(
            f"variable '{name}': level {missing[0]:g} hPa is not in all stores. In common: {have}. Name these."
        )
    return tuple(sorted(choice.levels or common))


def _nothing_in_common(truth: xr.Dataset, stores: Sequence[Forecasts]) -> StoreError:
    have = [f"the analyses have {_listed(truth)}", *(f"{store.name} has {_listed(store.dataset)}" for store in stores)]
    return StoreError(
        f"no variable is in common: {', '.join(have)}. Name pairs: --variables NAME=NAME_IN_THE_FORECAST."
    )


def _listed(dataset: xr.Dataset, most: int = 6) -> str:
    names = list(map(str, dataset.data_vars))
    return (", ".join(names[:most]) or "none") + (" ..." if len(names) > most else "")


def in_units_of(truth: xr.Dataset, forecasts: Forecasts, names: Mapping[str, str]) -> Forecasts:
    """The forecasts of variables, by their `names` in the analyses, in the units of these.

    A conversion, and units that one of the two lacks, are told. Raises StoreError for units of something else.
    """
    whole = forecasts.dataset
    dataset = whole.drop_vars(list(whole.data_vars)).assign({name: whole[theirs] for name, theirs in names.items()})
    wanted = {name: str(truth[name].attrs.get("units", UNKNOWN_UNITS)) for name in names}
    for name, units in wanted.items():
        have = str(dataset[name].attrs.get("units", UNKNOWN_UNITS))
        if are_unknown(have) != are_unknown(units):
            where, there = ("the forecast", units) if are_unknown(have) else ("the analyses", have)
            tell(f"variable '{name}' has no units in {where}: they are taken as '{there}'.")
        if not are_same(have, units) and conversion_of(dataset[name], units) is None:
            raise StoreError(
                f"variable '{name}': is in '{have}' in {forecasts.name} and in '{units}' in the analyses, which measures something else. "
                "Leave it out, or correct the units."
            )
        _tell_means(name, dataset[name], truth[name])
    return replace(forecasts, dataset=converted(dataset, wanted, "as the analyses are"))


def _tell_means(name: str, forecast: xr.DataArray, truth: xr.DataArray) -> None:
    """Say that a mean or a sum over an interval is compared with what may be one over another."""
    if said := _over_time(forecast) or _over_time(truth):
        tell(f"variable '{name}' is no instantaneous value ({said}): see that both stores mean the same interval.")


def _over_time(array: xr.DataArray) -> str:
    methods, step = str(array.attrs.get("cell_methods", "")), str(array.attrs.get("GRIB_stepType", ""))
    if any(f"time: {method}" in methods for method in ("sum", "mean", "maximum", "minimum")):
        return methods
    return step if step in ("accum", "avg", "max", "min") else ""
