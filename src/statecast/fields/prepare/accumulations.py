"""Rates from accumulated amounts, and coarser steps. Axes: T time, the rest are grid axes."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.spec import VariableOptions
from statecast.fields.prepare.times import seconds_of, step_of
from statecast.fields.sources.times import SECOND, Times

IS_RATE = "is_rate"  # attribute of an array whose accumulation has been undone along its forecast steps
MONTH_S, DAY_H = 28 * 86400, 24.0
RATE_NAMES = {
    "lwe_thickness_of_precipitation_amount": "lwe_precipitation_rate",
    "precipitation_amount": "precipitation_flux",
    "integral_wrt_time_of_surface_downwelling_shortwave_flux_in_air": "surface_downwelling_shortwave_flux_in_air",
    "integral_wrt_time_of_surface_downwelling_longwave_flux_in_air": "surface_downwelling_longwave_flux_in_air",
}


def as_rate(array: xr.DataArray, options: VariableOptions) -> xr.DataArray:
    """The mean rate over the step before each time, in the units of the amounts per second.

    step    x(t) / Δ                        x(t) is the amount since t - Δ, as in ERA5
    start   (x(t) - x(t - Δ)) / Δ           x(t) is the amount since the last start before t, as in ERA5-Land and ERA-Interim;
            x(t) / Δ where t - Δ is a start

    A step whose predecessor is not in the record is missing. Raises PrepareError for a single time, whose Δ is not known, and for months.
    """
    if options.accumulation == "none" or array.attrs.get(IS_RATE):
        return array
    seconds = seconds_of(array["time"])
    step = round((options.accumulation_h or 0) * 3600) or step_of(seconds)
    if step <= 0:
        raise PrepareError(
            f"variable '{array.name}': has one time, so how long it accumulates is not known. Give accumulation_h."
        )
    _require_length(str(array.name), step_of(seconds), options)
    amounts = _increments(array, seconds, step, options) if options.accumulation == "start" else array
    return _as_rate(amounts, array, 1.0 / step, options)


def _require_length(name: str, step_s: int, options: VariableOptions) -> None:
    """Raises PrepareError for months, which are not equally long, unless the amounts are said to be those of days."""
    if step_s >= MONTH_S and (options.accumulation_h or 0.0) < DAY_H:
        raise PrepareError(
            f"variable '{name}': has monthly steps, so how long it accumulates is not known; in monthly means of ERA5 it is a day. "
            f"Give known.{name}.accumulation_h=24, or whatever it is."
        )


def rate_of_steps(array: xr.DataArray, options: VariableOptions) -> xr.DataArray:
    """As `as_rate`, for amounts since the start of each forecast, along their dimension `step`."""
    hours = array["step"].values / np.timedelta64(1, "h")
    lengths = np.diff(hours, prepend=0.0)
    if lengths[0] <= 0:  # step 0 holds nothing yet
        lengths[0] = np.nan
    increments = array - array.shift(step=1).where(xr.DataArray(np.arange(len(hours)) > 0, dims="step"), 0.0)
    per_second = xr.DataArray(1.0 / (lengths * 3600), dims="step")
    return _as_rate(increments, array, per_second, options)


def _increments(array: xr.DataArray, seconds: np.ndarray, step: int, options: VariableOptions) -> xr.DataArray:
    after_start = (seconds - step) % round(options.restart_h * 3600) == 0
    follows = np.concatenate([[False], np.diff(seconds) == step])
    of_time = {
        name: xr.DataArray(flags, dims="time")
        for name, flags in (("start", after_start), ("known", follows | after_start))
    }
    return xr.where(of_time["start"], array, array - array.shift(time=1)).where(of_time["known"]).transpose(*array.dims)


def _as_rate(
    amounts: xr.DataArray, array: xr.DataArray, per_second: float | xr.DataArray, options: VariableOptions
) -> xr.DataArray:
    if options.not_negative:
        amounts = amounts.where(~(amounts < 0), 0.0)
    rate = (amounts * per_second).transpose(*array.dims)
    attrs = {k: v for k, v in array.attrs.items() if k not in ("standard_name", "long_name")}
    attrs |= {"units": f"{array.attrs.get('units', '1')} s-1", "cell_methods": "time: mean", IS_RATE: 1}
    if name := RATE_NAMES.get(str(array.attrs.get("standard_name", "")), ""):
        attrs["standard_name"] = name
    return rate.drop_attrs(deep=False).assign_attrs(attrs).rename(array.name)


REDUCTIONS = {"mean": "mean", "sum": "sum", "minimum": "min", "maximum": "max"}


def at_every(
    dataset: xr.Dataset, every_h: float | None, over: Mapping[str, str], own: xr.Dataset | None = None
) -> xr.Dataset:
    """The dataset at steps of `every_h` hours, counted from 00 UTC; each variable holds what `over` says of the step before.

    own  True at the times that a variable has, of those that any has; none: each has all

    A mean, sum or extreme of a step that is not wholly in the record is missing. Raises PrepareError if the steps don't divide.
    """
    if every_h is None or "time" not in dataset.dims:
        return dataset
    every = round(every_h * 3600)
    step = step_of(seconds_of(dataset["time"]))
    if step > every or (step and every % step):
        raise PrepareError(
            f"every_h: {every_h:g} h is no multiple of the step of the inputs, {step / 3600:g} h. Name a multiple, or none."
        )
    arrays = {}
    for name, array in dataset.data_vars.items():
        if "time" in array.dims:
            has = own[name].values if own is not None and name in own else np.ones(array.sizes["time"], bool)
            given = array if has.all() else array.isel(time=np.flatnonzero(has))
            arrays[name] = _over(given, over.get(str(name), "instant"), every)
    beside = dataset.drop_vars([*arrays, "time"])
    return xr.merge([beside, *arrays.values()], join="outer", compat="override", combine_attrs="override")


def _over(array: xr.DataArray, over: str, every: int) -> xr.DataArray:
    """What a variable holds of each step of `every` seconds, at the end of the step."""
    seconds = seconds_of(array["time"])
    step = step_of(seconds)
    is_at_multiples = step == every and not (seconds % every).any()
    if over == "instant" or step == 0 or step > every or is_at_multiples:
        return _at_multiples(array, seconds, every)
    if every % step:
        raise PrepareError(
            f"every_h: {every / 3600:g} h is no multiple of the step of '{array.name}', {step / 3600:g} h. Name a multiple, or none."
        )
    count = every // step
    ends = np.unique(-(-seconds // every) * every)
    first, last = (np.searchsorted(seconds, edge, side="right") for edge in (ends - every, ends))
    is_whole = last - first == count
    kept = is_whole | np.isin(ends, seconds)
    times = Times(array.indexes["time"]).at(ends[kept] * SECOND)
    at = [np.minimum(first[kept] + part, len(seconds) - 1) for part in range(count)]
    parts = [array.isel(time=steps).assign_coords(time=times) for steps in at]
    stacked = xr.concat(parts, dim="part", coords="minimal", compat="override", join="override")
    reduced = getattr(stacked, REDUCTIONS[over])("part", skipna=False, keep_attrs=True)
    method = f"time: {over} (interval: {every / 3600:g} hours)"
    is_rate_mean = over == "mean" and array.attrs.get("cell_methods") == "time: mean"
    attrs = array.attrs if is_rate_mean else {**array.attrs, "cell_methods": method}
    return reduced.where(xr.DataArray(is_whole[kept], dims="time")).transpose(*array.dims).assign_attrs(attrs)


def _at_multiples(array: xr.DataArray, seconds: np.ndarray, every: int) -> xr.DataArray:
    steps = np.flatnonzero(seconds % every == 0)
    if len(steps) == 0:
        first = ", ".join(str(time)[:16] for time in array["time"].values[:2])
        raise PrepareError(
            f"every_h: no time of '{array.name}' is a multiple of {every / 3600:g} h from 00 UTC (it has {first}). Name another step; "
            f"if it is a mean or sum, give variables.{array.name}.over."
        )
    return array.isel(time=steps)
