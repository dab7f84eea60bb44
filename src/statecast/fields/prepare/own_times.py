"""Times that each variable has in the inputs, of the times that any has: the others are gaps of it. Axes: T time."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import xarray as xr

from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.times import seconds_of
from statecast.fields.sources.units import tell

LISTED = 6  # variables that are named in a message


def own_times(dataset: xr.Dataset, parts: Sequence[tuple[str, xr.Dataset]]) -> xr.Dataset:
    """Of each variable in time that is put together from `parts`, True at the times that one of these has."""
    seconds, found = seconds_of(dataset["time"]) if "time" in dataset else np.zeros(0), {}
    for name, array in dataset.data_vars.items():
        if "time" in array.dims:
            given = [seconds_of(part["time"]) for _, part in parts if name in part and "time" in part[name].dims]
            found[name] = ("time", np.isin(seconds, np.concatenate(given)))
    return xr.Dataset(found, {"time": dataset["time"]} if found else {})


def at_own_times(
    array: xr.DataArray, own: xr.Dataset, function: Callable[[xr.DataArray], xr.DataArray]
) -> xr.DataArray:
    """What `function` makes of a variable at its own times, missing at the others."""
    if array.name not in own or own[array.name].values.all():
        return function(array)
    return function(array.isel(time=np.flatnonzero(own[array.name].values))).reindex(time=array["time"])


def as_ones(own: xr.Dataset) -> xr.Dataset:
    """1 at the times of each variable, missing at the others."""
    return own.map(lambda has: xr.where(has, 1.0, np.nan))


def require_shared_times(own: xr.Dataset) -> None:
    """Tell variables that are missing at times of others. Raises PrepareError for two that have no time in common."""
    gaps = {str(name): 1 - float(has.mean()) for name, has in own.data_vars.items() if not has.values.all()}
    for one, other in combinations(gaps, 2):
        if not (own[one].values & own[other].values).any():
            at = f"one is at {_first(own, one)}, the other at {_first(own, other)}"
            raise PrepareError(
                f"'{one}' and '{other}' have no time in common: {at}, so a store of both is half missing. Prepare them apart, "
                "or give every_h and `over`, what a step holds, of those that are means or sums."
            )
    if gaps:
        shares = ", ".join(f"'{name}' at {share:.1%}" for name, share in list(gaps.items())[:LISTED])
        more = f" and {len(gaps) - LISTED} others" if len(gaps) > LISTED else ""
        tell(
            f"of the {own.sizes['time']} times of the store some have no value of a variable: {shares}{more}. The inputs have others then, "
            "or not all of a step of every_h hours."
        )


def _first(own: xr.Dataset, name: str) -> str:
    """The first times of a variable in words; `none` if it has none."""
    times = own["time"].values[own[name].values][:2]
    return ", ".join(str(time)[:16] for time in times) or "none"
