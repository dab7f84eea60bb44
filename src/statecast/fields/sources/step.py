"""The step of a record: a fixed duration, or a number of calendar months, which are not equally long.

Axes: T time.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.times import DAY, HOUR, MINUTE, SECOND, TimeIndex, Times

HOURS_PER_MONTH = 365.2425 * 24 / 12  # 730.485, the mean of the Gregorian calendar
SHORTEST_MONTH = 28 * DAY
CHANGED = 8  # equal intervals in a row that are no single gaps: the record goes on with another step
CHANGED_UNEQUAL = 30  # the same for any intervals that are not the step, such as months in a record of days
CHANGED_SHORTER = 3  # the same for intervals that hold no whole number of steps
IRREGULAR = 0.05  # share of such intervals that a record may have, one at least: where its hours of the day were moved
WRITTEN_TO = 10**3  # ticks: a step that was written as hours of six decimals is exact to two milliseconds


@dataclass(frozen=True)
class Step:
    """From one time of a record to the next: `ticks` microseconds, or `months` calendar months if that is not 0.

    Months are months wherever in them a time lies: on the first, in the middle or at the end.
    """

    ticks: int = 0
    months: int = 0

    @classmethod
    def of_hours(cls, hours: float, months: int = 0) -> "Step":
        """From numbers in a file; durations near a whole second are that."""
        ticks = round(hours * HOUR)
        near = round(ticks / SECOND) * SECOND
        return cls(0, months) if months else cls(near if near and abs(near - ticks) <= 2 * WRITTEN_TO else ticks)

    @property
    def hours(self) -> float:
        """Of months their mean length: what they count as where hours are counted."""
        return self.months * HOURS_PER_MONTH if self.months else self.ticks / HOUR

    def counted_in(self) -> tuple[str, float]:
        """The units, with their CF name, in which a step is a whole number: hours, or else minutes, seconds or months; and that number."""
        if self.months:
            return "months", self.months
        for units, length in (("hours", HOUR), ("minutes", MINUTE)):
            if self.ticks % length == 0:
                return units, self.ticks / length
        return "seconds", self.ticks / SECOND

    def __str__(self) -> str:
        if self.months:
            return "1 month" if self.months == 1 else f"{self.months} months"
        for unit, length in (("h", HOUR), ("min", MINUTE)):
            if self.ticks >= length:
                return f"{self.ticks / length:g} {unit}"
        return f"{self.ticks / SECOND:g} s"

    def intervals(self, times: Times) -> tuple[Int[np.ndarray, " T"], int]:
        """Intervals between neighbouring times, and the step, in ticks or in months."""
        return (np.diff(times.months), self.months) if self.months else (np.diff(times.ticks), self.ticks)

    def is_next(self, times: Times) -> np.ndarray:
        """Of each interval, whether it is one step."""
        intervals, step = self.intervals(times)
        return intervals == step

    def count(self, times: Times, position: int) -> Int[np.ndarray, " T"]:
        """Whole steps from the time at `position` to each; a time between two of them counts as the earlier."""
        of = times.months if self.months else times.ticks
        return (of - of[position]) // (self.months or self.ticks)

    def around(self, times: Times, position: int, counts: Iterable[int]) -> TimeIndex:
        """The times so many steps after the one at `position`: the record's own where it has one, else as its own are stamped."""
        if not self.months:
            return times.at(int(times.ticks[position]) + count * self.ticks for count in counts)
        stamps = dict(zip(times.months.tolist(), times.ticks.tolist(), strict=True))
        months = [int(times.months[position]) + count * self.months for count in counts]
        missing = [month for month in months if month not in stamps]
        stamps |= zip(missing, times.stamped(missing), strict=True)
        return times.at(stamps[month] for month in months)

    def misfit(self, times: Times) -> str | None:
        """Why `times` are not those of a record with this step; None if they are. Missing times are no misfit."""
        intervals, step = self.intervals(times)
        is_off = (intervals % step != 0) | (intervals <= 0)
        is_other = intervals != step
        changed = _runs(intervals, np.where(is_off, CHANGED_SHORTER, CHANGED)) & is_other
        if not changed.any():
            changed = _runs(is_other, CHANGED_UNEQUAL) & is_other
        if changed.any():
            first = int(changed.argmax())
            return f"its step changes: {self} elsewhere, {_named(times, first)} from {times.index[first]} on"
        if is_off.sum() > max(1, IRREGULAR * len(intervals)):
            first = int(is_off.argmax())
            return f"its steps are unequal: most are {self}, but {times.index[first]} is followed by {times.index[first + 1]}"
        return None


def step_of(times: Times) -> Step:
    """The step of a record: the most frequent interval, or calendar months if there is at most one time in each month.

    In a calendar whose months are equally long these are months too. Raises StoreError for a single time, and for a record whose step
    changes or is unequal.
    """
    if len(times) < 2:
        raise StoreError("the period has only one time step, expected at least two. Name a longer period.")
    intervals = np.diff(times.ticks)
    fixed = Step(int(_most_frequent(intervals)))
    months = _months_of(times) if intervals.min() >= SHORTEST_MONTH else None
    if months is not None and (_are_stamped_alike(times) or fixed.misfit(times)):
        fixed = months
    if reason := fixed.misfit(times):
        raise StoreError(
            f"the times of the store are not evenly spaced; {reason}. Select a part with one step, or write its times rounded to that step."
        )
    return fixed


def _months_of(times: Times) -> Step | None:
    apart = np.diff(times.months)
    step = Step(months=int(_most_frequent(apart))) if (apart > 0).all() else None
    return step if step and not step.misfit(times) else None


def _are_stamped_alike(times: Times) -> bool:
    return times.stamped(times.months.tolist()) == times.ticks.tolist()


def _most_frequent(values: np.ndarray) -> int:
    """The smallest of several that are equally frequent."""
    counts = Counter(values.tolist())
    most = max(counts.values())
    return int(min(value for value, count in counts.items() if count == most))


def _runs(values: np.ndarray, least: np.ndarray | int) -> np.ndarray:
    """Whether each value lies in a run of `least` equal ones or more."""
    begins = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    lengths = np.diff(np.append(begins, len(values)))
    return np.repeat(lengths, lengths) >= least


def _named(times: Times, interval: int) -> str:
    return str(Step(int(times.ticks[interval + 1] - times.ticks[interval])))
