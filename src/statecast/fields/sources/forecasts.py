"""Stores of forecasts in any layout: each value has an initial time, a lead time and, in an ensemble, a member.

Axes: I initial time, L lead time, E member.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from statecast.fields.sources.dimensions import LEAD_TIMES, with_axis
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.fields import USUAL_NAMES as NAMES_OF_AXES
from statecast.fields.sources.fields import with_standard_names
from statecast.fields.sources.fill_values import AbsentChunks
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.levels import is_pressure
from statecast.fields.sources.opening import open_raw
from statecast.fields.sources.step import HOURS_PER_MONTH
from statecast.fields.sources.times import HOUR, MINUTE, SECOND, Times, with_exact_times
from statecast.fields.sources.units import are_unknown, conversion, tell

USUAL_NAMES = {
    "init_time": (
        *("init_time", "initial_time", "initialization_time", "forecast_reference_time", "reference_time", "reftime"),
        *("init", "time"),
    ),
    "lead_time": (*LEAD_TIMES, "lead", "forecast_hour", "fhour"),
    "number": ("number", "realization", "member", "ensemble", "ensemble_member", "sample"),
}
STANDARD_NAMES = {
    "init_time": "forecast_reference_time",
    "lead_time": "forecast_period",
    "number": "realization",
}
LEVEL_NAMES = NAMES_OF_AXES["level"]
MONTHS = ("month", "months")
GIVEN = "given_valid_time"  # ticks, if the store has them
TOLERANCE = (
    MINUTE  # between a valid time that a store gives and the sum of its initial and lead times: rounding of float32
)


@dataclass(frozen=True)
class Forecasts:
    """A store of forecasts.

    dataset      lazily, with dimensions init_time, lead_time, number if it is an ensemble, level, lat and lon as `open_fields` has them;
                 of an initial or lead time that was no dimension there is a coordinate, which the variables lack
    lead_ticks   exact lead times, ascending; none: they are calendar months
    """

    name: str
    dataset: xr.Dataset
    lead_ticks: Int[np.ndarray, " L"] | None

    @cached_property
    def init(self) -> Times:
        """Initial times."""
        return Times(self.dataset.indexes["init_time"])

    @cached_property
    def valid_ticks(self) -> Int[np.ndarray, "I L"]:
        """Valid times, exactly."""
        if self.lead_ticks is None:
            return np.asarray(self.dataset[GIVEN].transpose("init_time", "lead_time").values)
        return np.asarray(self.init.ticks[:, None] + self.lead_ticks[None])

    @cached_property
    def lead_time_h(self) -> tuple[float, ...]:
        """Lead times in hours, of months their mean length."""
        if self.lead_ticks is None:
            return tuple(float(months) * HOURS_PER_MONTH for months in self.dataset["lead_time"].values)
        return tuple(float(tick) / HOUR for tick in self.lead_ticks)

    @cached_property
    def times(self) -> set[str]:
        """Dimensions of time that a forecast in the store has."""
        used = {str(dim) for array in self.dataset.data_vars.values() for dim in array.dims}
        return {"init_time", "lead_time"} & used

    @property
    def members(self) -> int:
        """Members of the ensemble, 1 for a single forecast."""
        return int(self.dataset.sizes.get("number", 1))

    @cached_property
    def grid(self) -> Grid:
        return Grid(np.asarray(self.dataset.lat.values, float), np.asarray(self.dataset.lon.values, float))


def open_forecasts(store: str, absent: AbsentChunks | None = None) -> Forecasts:
    """Open a store of forecasts, see `opening.open_raw` for its kinds.

    Initial time, lead time and member are found by their standard names (forecast_reference_time, forecast_period, realization), else by
    usual names; each may be a dimension, a coordinate of one value, or, the lead time, lie along the valid time. So WeatherBench 2, cfgrib,
    CF and what `statecast predict` writes are read.

    Raises StoreError for a store without an initial or a lead time, for units of the lead time that are no time, and for valid times that
    are not their sum.
    """
    dataset = open_raw(store, absent, keep_steps=True)
    lead = _require(dataset, "lead_time", store)
    dataset = _as_dimension(dataset, lead, store)
    init = _require(dataset, "init_time", store, apart_from=lead)
    if dataset[init].attrs.get("standard_name") == "time":
        tell(f"store {store}: '{init}' is taken as the initial time, since it has lead times beside it.")
    dataset = _with_given_valid_times(dataset, init, lead)
    dataset = _renamed(_as_dimension(dataset, init, store), {lead: "lead_time", init: "time"})
    dataset["time"].attrs = {"standard_name": "time"}
    dataset, ticks = _with_lead_times(_with_members(dataset), store)
    dataset = with_standard_names(_in_chunks(dataset), store).rename(time="init_time")
    found = Forecasts(store, dataset, ticks)
    _require_sums(found)
    return found


def _find(dataset: xr.Dataset, axis: str) -> str | None:
    """By standard name, else by usual names, dimensions first."""
    by_attributes = sorted(
        str(n) for n, v in dataset.variables.items() if v.attrs.get("standard_name") == STANDARD_NAMES[axis]
    )
    by_name = [n for n in USUAL_NAMES[axis] if n in dataset.coords or n in dataset.dims]
    candidates = by_attributes or by_name
    return next((name for name in candidates if name in dataset.dims), candidates[0] if candidates else None)


def _require(dataset: xr.Dataset, axis: str, store: str, apart_from: str | None = None) -> str:
    """What `_find` finds; a time that depends on the lead time is a valid one. Raises StoreError if there is none."""
    valid = [name for name, coordinate in dataset.coords.items() if name == "time" and apart_from in coordinate.dims]
    found = _find(dataset.drop_vars(valid), axis)
    if found is None or found not in dataset.variables:
        what = "lead time" if axis == "lead_time" else "initial time"
        have = ", ".join(f"{name} ({size})" for name, size in dataset.sizes.items()) or "none"
        raise StoreError(
            f"store {store}: found no {what} among its dimensions {have}, expected standard_name '{STANDARD_NAMES[axis]}' or a name like "
            f"{', '.join(USUAL_NAMES[axis][:5])}. Is it a forecast?"
        )
    return found


def _as_dimension(dataset: xr.Dataset, name: str, store: str) -> xr.Dataset:
    """Make the coordinate `name` a dimension of its own."""
    dataset = dataset.set_coords(name)
    dims = list(map(str, dataset[name].dims))
    if not dims:
        return with_axis(dataset, name)
    if len(dims) > 1 or (dims[0] != name and dims[0] in dataset.indexes and _is_lead_time(dataset[dims[0]])):
        raise StoreError(
            f"store {store}: '{name}' lies along {' and '.join(dims)}, expected a dimension of initial and one of lead times. Unstack: "
            "dataset.set_index(DIMENSION=[INITIAL, LEAD]).unstack('DIMENSION')."
        )
    return dataset if dims[0] == name else dataset.swap_dims({dims[0]: name})


def _is_lead_time(coordinate: xr.DataArray) -> bool:
    said = coordinate.attrs.get("standard_name") == STANDARD_NAMES["lead_time"]
    return said or coordinate.name in USUAL_NAMES["lead_time"]


def _with_given_valid_times(dataset: xr.Dataset, init: str, lead: str) -> xr.Dataset:
    """The valid times that a store gives itself as ticks, 0 where it gives none; they are taken off the coordinates."""
    found = []
    for name, coordinate in dataset.coords.items():
        is_valid = name in ("valid_time", "time") or coordinate.attrs.get("standard_name") == "time"
        if is_valid and name not in (init, lead):
            found.append(str(name))
    given = next((dataset[name] for name in sorted(found) if dataset[name].dtype.kind in "MO"), None)
    if given is not None:
        flat = given.values.ravel()
        known = ~np.asarray(pd.isnull(flat))
        ticks = np.zeros(flat.shape, np.int64)
        ticks[known] = _ticks(flat[known])
        dataset = dataset.assign_coords({GIVEN: (given.dims, ticks.reshape(given.shape))})
    return dataset.drop_vars(found)


def _ticks(times: np.ndarray) -> np.ndarray:
    return Times(pd.DatetimeIndex(times) if times.dtype.kind == "M" else xr.CFTimeIndex(times)).ticks


def _renamed(dataset: xr.Dataset, names: dict[str, str]) -> xr.Dataset:
    """Whatever else has one of the new names is left out."""
    taken = [new for old, new in names.items() if new != old and new in dataset.variables and new not in names]
    return dataset.drop_vars(taken).rename({old: new for old, new in names.items() if old != new})


def _with_members(dataset: xr.Dataset) -> xr.Dataset:
    name = _find(dataset, "number")
    if name is None:
        return dataset
    if name in dataset.variables and dataset[name].ndim == 1 and name not in dataset.dims:
        dataset = dataset.set_coords(name).swap_dims({dataset[name].dims[0]: name})
    if name not in dataset.dims:
        return dataset.drop_vars(name)
    numbers = np.arange(dataset.sizes[name])
    return _renamed(dataset, {name: "number"}).assign_coords(number=numbers)


def _in_chunks(dataset: xr.Dataset) -> xr.Dataset:
    """By Dask, if a level is no dimension yet: xarray would read all that it gives the dimension to."""
    single = [name for name, coordinate in dataset.coords.items() if coordinate.ndim == 0]
    if any(name in LEVEL_NAMES or is_pressure(dataset[name]) for name in single):
        return dataset.chunk({"time": 1, "lead_time": 1})
    return dataset


def _with_lead_times(dataset: xr.Dataset, store: str) -> tuple[xr.Dataset, np.ndarray | None]:
    """Ascending lead times, in hours or months, and their ticks."""
    values, units = dataset["lead_time"].values, " ".join(str(dataset["lead_time"].attrs.get("units", "")).split())
    if units.lower() in MONTHS:
        ticks, leads = None, np.asarray(values, float)
        if GIVEN not in dataset.coords:
            raise StoreError(
                f"store {store}: its lead times are months, but it gives no valid times, expected both. Add 'valid_time'."
            )
    else:
        ticks = _exact(_lead_ticks(values, units, store), dataset["lead_time"].encoding.get("dtype"))
        leads = ticks / HOUR
    unknown = ~np.isfinite(leads) | (leads < 0)
    if unknown.any() or len(np.unique(leads)) < len(leads):
        raise StoreError(f"store {store}: a lead time is missing, negative or there twice. Leave it out.")
    order = np.argsort(leads)
    if not np.array_equal(order, np.arange(len(order))):
        dataset = dataset.isel(lead_time=order)
    dataset = dataset.assign_coords(lead_time=("lead_time", leads[order]))
    if GIVEN in dataset.coords:
        sizes = {"time": dataset.sizes["time"], "lead_time": len(leads)}
        dataset = dataset.assign_coords({GIVEN: dataset[GIVEN].variable.set_dims(sizes)})
    return dataset, None if ticks is None else ticks[order]


def _lead_ticks(values: np.ndarray, units: str, store: str) -> np.ndarray:
    if values.dtype.kind == "m":
        if np.isnat(values).any():
            raise StoreError(f"store {store}: a lead time is missing (NaT). Leave it out.")
        return np.asarray(values.astype("timedelta64[ns]").astype(np.int64) / 1000)
    rule = None if are_unknown(units) or units.startswith("year") else conversion(units, "s")
    if rule is None or values.dtype.kind not in "fiu":
        raise StoreError(f"store {store}: its lead times are in '{units}', expected a unit of time such as hours.")
    return np.asarray(values, float) * (rule.factor * SECOND)


def _exact(ticks: Float[np.ndarray, " L"], stored: np.dtype | None) -> Int[np.ndarray, " L"]:
    """Free of rounding, by the rule for times of a record."""
    ticks = np.round(ticks).astype(np.int64)
    order = np.argsort(ticks)
    if len(np.unique(ticks)) < len(ticks):
        return ticks
    times = xr.Dataset(coords={"time": pd.DatetimeIndex(ticks[order].astype("M8[us]"))})
    times["time"].encoding["dtype"] = stored
    exact = np.empty_like(ticks)
    exact[order] = Times.of(with_exact_times(times)).ticks
    return exact


def _require_sums(forecasts: Forecasts) -> None:
    """Raises StoreError for given valid times that are not the sums of initial and lead times."""
    if GIVEN not in forecasts.dataset.coords:
        return
    given = forecasts.dataset[GIVEN].transpose("init_time", "lead_time").values
    wrong = np.argwhere((np.abs(given - forecasts.valid_ticks) > TOLERANCE) & (given != 0))
    if len(wrong):
        i, lead = wrong[0]
        times = forecasts.init
        said, expected = times.at([int(given[i, lead])])[0], times.at([int(forecasts.valid_ticks[i, lead])])[0]
        raise StoreError(
            f"store {forecasts.name}: says that the forecast from {times.index[i]} with lead time {forecasts.lead_time_h[lead]:g} h is "
            f"valid at {said}, expected {expected}. Is its initial time a valid time?"
        )


def require_unique(names: Sequence[str], stores: Sequence[Forecasts]) -> None:
    """Raises StoreError for an initial time that two stores have."""
    seen: dict[int, str] = {}
    for name, store in zip(names, stores, strict=True):
        for position, tick in enumerate(store.init.ticks.tolist()):
            if tick in seen:
                raise StoreError(
                    f"stores {seen[tick]} and {name} both have a forecast from {store.init.index[position]}. Leave one out."
                )
            seen[tick] = name
