"""Monthly means from weighted sums, made in blocks of bounded memory.

Axes: T time, M month, D hour of the day, V channel, H row, W column.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from statecast.fields.sources.record import Record

ENOUGH = 15.0  # total weight that suffices for the mean of an hour of a month, whatever other months have
MEMORY_GIB = 4.0  # of the sums and means that are worked on at once: as many rows of as many channels as fit
ARRAYS = 10  # of float64 that exist at the same time while a mean is made: sums, weights, and what fills months


def row_blocks(values_per_row: int, rows: int) -> list[slice]:
    """Rows in blocks whose means take at most `MEMORY_GIB` to make, at least one row each.

    values_per_row  of the mean: months x hours x channels x columns
    """
    size = max(1, int(MEMORY_GIB * 2**30) // (8 * ARRAYS * values_per_row))
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def parts_of(record: Record, hours: int, *, by_variable: bool = True) -> Iterator[tuple[slice, slice]]:
    """Channels and rows that are worked on at once: all of them if there is memory for it, else those of one variable, some rows at a time.

    Variables lie apart in a store, so that nothing is read twice unless rows are split.
    """
    rows, columns = record.grid.shape
    everything = slice(0, len(record.channels))
    per_channel = 12 * hours * columns
    groups = [everything]
    if by_variable and len(row_blocks(per_channel * len(record.channels), rows)) > 1:
        groups = list(record.of_variables.values())
    for channels in groups:
        for block in row_blocks(per_channel * (channels.stop - channels.start), rows):
            yield channels, block


@dataclass(frozen=True)
class MonthlyWeights:
    """How much each time of a record counts for the mean of which months and hour of the day.

    hours   of the day that occur, ascending; `hour` the index of that of each time
    before  month whose middle precedes each time, and the one after it, with `share` of the way gone
    """

    hours: Float[np.ndarray, " D"]
    hour: Int[np.ndarray, " T"]
    before: Int[np.ndarray, " T"]
    after: Int[np.ndarray, " T"]
    share: Float[np.ndarray, " T"]

    @classmethod
    def of(cls, record: Record) -> "MonthlyWeights":
        hours = np.unique(record.hour_utc)
        return cls(hours, np.searchsorted(hours, record.hour_utc), *between_months(record.months_passed))


class MonthlySums:
    """Sums of departures from `origin`, and of their weights, for each month and hour of the day, in float64."""

    def __init__(self, weights: MonthlyWeights, origin: Float[np.ndarray, "V H W"]) -> None:
        self._weights, self._origin = weights, origin
        self._total, self._weight = np.zeros((2, 12, len(weights.hours), *origin.shape))

    def add(self, steps: slice, values: Float[np.ndarray, "T V H W"]) -> None:
        departures = values - self._origin
        seen = np.isfinite(departures)
        departures = np.where(seen, departures, 0.0)
        w = self._weights
        for i, t in enumerate(range(steps.start, steps.stop)):
            for month, part in ((w.before[t], 1 - w.share[t]), (w.after[t], w.share[t])):
                self._total[month, w.hour[t]] += part * departures[i]
                self._weight[month, w.hour[t]] += part * seen[i]

    @property
    def seen(self) -> Bool[np.ndarray, "V H W"]:
        """Where there was a value at any time."""
        return self._weight.any(axis=(0, 1))

    def mean(self) -> Float[np.ndarray, "M D V H W"]:
        return monthly_mean(self._total, self._weight) + self._origin


def monthly_mean(
    total: Float[np.ndarray, "M D *grid"], weight: Float[np.ndarray, "M D *grid"]
) -> Float[np.ndarray, "M D *grid"]:
    """The mean of each month and hour of the day from weighted sums; one with too few values takes that of the nearest with more."""
    return _fill_months(_of_enough(total, weight))


def _of_enough(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    enough = weight >= np.minimum(weight.max(axis=0) / 2, ENOUGH)
    return np.divide(total, weight, out=np.full(total.shape, np.nan), where=enough & (weight > 0))


def between_months(months_passed: Float[np.ndarray, " T"]) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, " T"]]:
    """The months, 0 to 11, whose middles precede and follow each time, and the relative position between them, 0 to 1."""
    from_first = months_passed - 0.5
    before = np.floor(from_first).astype(int)
    return before % 12, (before + 1) % 12, from_first - before


def _fill_months(mean: np.ndarray) -> np.ndarray:
    """Fill months and hours without a value from the same hour of the nearest month, or the mean of two equally near."""
    filled = mean.copy()
    for distance in range(1, 7):
        neighbours = np.stack([np.roll(mean, distance, axis=0), np.roll(mean, -distance, axis=0)])
        seen = np.isfinite(neighbours)
        nearest = np.divide(
            np.where(seen, neighbours, 0).sum(0), seen.sum(0), out=np.full(mean.shape, np.nan), where=seen.any(0)
        )
        filled = np.where(np.isfinite(filled), filled, nearest)
    hourly = np.isfinite(filled)
    any_hour = np.divide(
        np.where(hourly, filled, 0).sum(1, keepdims=True),
        hourly.sum(1, keepdims=True),
        out=np.full_like(filled[:, :1], np.nan),
        where=hourly.any(1, keepdims=True),
    )
    return np.where(hourly, filled, any_hour)
