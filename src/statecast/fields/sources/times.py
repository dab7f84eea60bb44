"""The times of a record, exactly: whole microseconds (ticks) since 1970 in the calendar of the record, and where each month begins.

Everything that adds, compares or looks up times does so here, in integers. Times are never rebuilt as first + k·step in floating point.

Axes: T time.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeAlias

import cftime
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Int

TimeIndex: TypeAlias = pd.DatetimeIndex | xr.CFTimeIndex
SECOND, MINUTE, HOUR, DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6
TICK = timedelta(microseconds=1)
NICE = tuple(
    [DAY, 12 * HOUR, 6 * HOUR, 3 * HOUR, 2 * HOUR, HOUR]
    + [minutes * MINUTE for minutes in (30, 20, 15, 10, 5, 1)]
    + [seconds * SECOND for seconds in (30, 15, 10, 5, 1)]
    + [SECOND // 10, SECOND // 100, SECOND // 1000]
)  # what times are usually multiples of, counted from midnight
ROUNDING = 0.005  # of the shortest interval: more than float64 days of six decimals are off in a record of a minute
COARSE_ROUNDING = 0.05  # the same for times that are stored in float32: days since 1850 are off by up to 3 minutes
STARTS = ("init", "ref", "start", "base", "run")  # in names of the times at which forecasts start
END_OF_MONTH = 3 * DAY
MOST_ROUNDING = {ROUNDING: 60 * SECOND, COARSE_ROUNDING: 10 * MINUTE}


@dataclass(frozen=True)
class Times:
    """The times of a record, ascending."""

    index: TimeIndex

    @classmethod
    def of(cls, dataset: xr.Dataset) -> "Times":
        return cls(dataset.indexes["time"])

    def __len__(self) -> int:
        return len(self.index)

    @property
    def calendar(self) -> str:
        return "proleptic_gregorian" if isinstance(self.index, pd.DatetimeIndex) else str(self.index.calendar)

    @cached_property
    def ticks(self) -> Int[np.ndarray, " T"]:
        if isinstance(self.index, pd.DatetimeIndex):
            return np.asarray(self.index.as_unit("us").asi8)
        return np.array([self._tick(time) for time in self.index], dtype=np.int64)

    @cached_property
    def months(self) -> Int[np.ndarray, " T"]:
        """Months since the year 0: 12 · year + month - 1."""
        return np.asarray(self.index.year, np.int64) * 12 + np.asarray(self.index.month, np.int64) - 1

    def tick_of(self, year: int, month: int = 1, day: int = 1) -> int:
        """The tick of a midnight. Raises ValueError for a day that the calendar lacks."""
        midnight = cftime.datetime(year, month, day, calendar=self.calendar, has_year_zero=self._has_year_zero)
        return (midnight - self._origin) // TICK

    def month_begins(self, month: int) -> int:
        """The tick at which a month (see `months`) begins."""
        return self.tick_of(month // 12, month % 12 + 1)

    def at(self, ticks: Iterable[int]) -> TimeIndex:
        """The times with these ticks, in the type of the record's own."""
        wanted = np.array(list(ticks), dtype=np.int64)
        if isinstance(self.index, pd.DatetimeIndex):
            exact = pd.DatetimeIndex(wanted.astype("M8[us]"), name=self.index.name)
            coarse = exact.as_unit(self.index.unit)
            return coarse if bool((coarse == exact).all()) else exact
        first = self._tick(self.index[0])
        times = [self.index[0] + timedelta(microseconds=int(tick) - first) for tick in wanted]
        return xr.CFTimeIndex(times, name=self.index.name)

    def stamped(self, months: Iterable[int]) -> list[int]:
        """Ticks of other months, at the same place in the month as the record's own times.

        That is as long after the beginning of the month, or as long before its end, or in its middle: whichever most of the times have.
        """
        own = self.months
        begins = np.array([self.month_begins(month) for month in own])
        ends = np.array([self.month_begins(month + 1) for month in own])
        (after, has_after), (before, has_before) = (_most_frequent(x) for x in (self.ticks - begins, ends - self.ticks))
        has_before = has_before if before <= END_OF_MONTH else 0
        has_middle = int((2 * self.ticks == begins + ends).sum())
        stamps = []
        for month in months:
            begin, end = self.month_begins(month), self.month_begins(month + 1)
            if has_middle >= max(has_after, has_before):
                stamps.append((begin + end) // 2)
            else:
                stamps.append(begin + after if (has_after, before) >= (has_before, after) else end - before)
        return stamps

    def before(self, tick: int) -> int:
        """The number of times before a tick."""
        return self._bisected(bisect_left, tick)

    def up_to(self, tick: int) -> int:
        """The number of times up to a tick, inclusive."""
        return self._bisected(bisect_right, tick)

    def _bisected(self, bisect: Any, tick: int) -> int:
        """Of other calendars only the times that are compared are converted."""
        if isinstance(self.index, pd.DatetimeIndex):
            return int(bisect(self.ticks, tick))
        return int(bisect(self.index, tick, key=self._tick))

    def _tick(self, time: Any) -> int:
        return (time - self._origin) // TICK

    @cached_property
    def _has_year_zero(self) -> bool:
        return True if isinstance(self.index, pd.DatetimeIndex) else bool(self.index[0].has_year_zero)

    @cached_property
    def _origin(self) -> cftime.datetime:
        return cftime.datetime(1970, 1, 1, calendar=self.calendar, has_year_zero=self._has_year_zero)


def _most_frequent(values: np.ndarray) -> tuple[int, int]:
    """The most frequent value, and how often it occurs."""
    return Counter(values.tolist()).most_common(1)[0]


def only_times(dataset: xr.Dataset) -> list[str]:
    """The coordinate that holds times, whatever its name, such as the `XTIME` of WRF.

    Nothing if several do, or in forecasts, where it is that of the start.
    """
    lines = [(str(name), c) for name, c in dataset.coords.items() if c.ndim == 1 and c.size]
    found = [name for name, c in lines if c.dtype.kind == "M" or isinstance(c.values[0], cftime.datetime)]
    is_forecast = any(c.dtype.kind == "m" or "lead" in str(name).lower() for name, c in dataset.coords.items())
    is_start = any(word in name.lower() for name in found for word in STARTS)
    return found if len(found) == 1 and not is_forecast and not is_start else []


def relative_times(times: xr.DataArray) -> str:
    """The way to times that can be read, from numbers that are none: CDO writes dates such as 20200131.25 if it is asked to."""
    return "Convert it by `cdo -r copy`" if "%Y" in str(times.attrs.get("units", "")) else "Give it that attribute"


def with_exact_times(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with times that are free of rounding: 00:59:59.999997, or 01:00:01.76 of a float32, becomes 01:00:00.

    Only where intervals differ, or times are no whole seconds, and all of them lie close to multiples of one of `NICE`; the largest of
    these that serves is taken. Other times stay as they are.
    """
    times = Times.of(dataset)
    ticks = times.ticks
    intervals = np.diff(ticks)
    is_rounded = bool((ticks % SECOND).any()) or len(np.unique(intervals)) > 1
    if len(ticks) == 0 or not is_rounded:
        return dataset
    is_coarse = dataset["time"].encoding.get("dtype") == np.float32
    share = COARSE_ROUNDING if is_coarse else ROUNDING
    allowed = min(share * intervals.min(initial=DAY), MOST_ROUNDING[share])
    for nice in NICE:
        exact = (ticks + nice // 2) // nice * nice
        if np.abs(exact - ticks).max() <= min(allowed, COARSE_ROUNDING * nice) and (np.diff(exact) > 0).all():
            if np.array_equal(exact, ticks):
                return dataset
            attributes = dataset["time"].attrs
            return dataset.assign_coords(time=("time", times.at(exact), attributes))
    return dataset
