"""Times of records in any calendar as whole seconds, so that steps compare exactly."""

import cftime
import numpy as np
import xarray as xr

EPOCH_UNITS = "seconds since 1970-01-01"


def seconds_of(times: xr.DataArray) -> np.ndarray:
    """Seconds since 1970 in the calendar of `times`, rounded: a time that a float holds may be off by some microseconds."""
    if times.dtype.kind == "M":
        return np.round(times.values.astype("datetime64[us]").astype(np.int64) / 1e6).astype(np.int64)
    numbers = cftime.date2num(times.values, EPOCH_UNITS, calendar_of(times))
    return np.round(np.asarray(numbers, float)).astype(np.int64)


def calendar_of(times: xr.DataArray) -> str:
    return str(times.dt.calendar)


def step_of(seconds: np.ndarray) -> int:
    """The most frequent distance between neighbouring times; 0 for a single one."""
    if len(seconds) < 2:
        return 0
    distances, counts = np.unique(np.diff(seconds), return_counts=True)
    return int(distances[counts.argmax()])
