"""Standard deviation and autocorrelation of anomalies, in one pass that holds at most one chunk of a record in memory.

Axes: T time, V channel, H row, W column, K lag in time steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

STEPS_PER_CHUNK = 64  # 0.2 GB for ten channels on a grid of 1 degree
CHUNK_BYTES = 2**29  # of a chunk on a larger grid; what is done with it takes some five times as much
STEPS_TOGETHER = 8  # at least, and a multiple of them: a prepared store keeps as many in one chunk
LONGEST_LAG = 64  # steps: longer than any window used for training on a laptop
CORRELATED_POINTS = 512  # of the grid, evenly spaced; a mean over more points would hardly differ


class Areas(Protocol):
    """The points of a record, in rows and columns, and the area of the cell of each."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def cell_area(self) -> Float[np.ndarray, "H W"]: ...


class Steps(Protocol):
    """What statistics of anomalies ask of a record."""

    def __len__(self) -> int: ...

    @property
    def channels(self) -> Sequence[Any]: ...

    @property
    def grid(self) -> Areas: ...

    @property
    def hours(self) -> Float[np.ndarray, " T"]: ...

    @property
    def step_h(self) -> float: ...


@dataclass(frozen=True)
class AnomalyStatistics:
    """Statistics of each channel.

    std          root mean square over all times and, with area weights, all points
    correlation  of anomalies at the same point with those K steps earlier, 1 at lag 0
    """

    std: Float[np.ndarray, " V"]
    correlation: Float[np.ndarray, "V K"]


def chunks(record: Steps, rows: slice = slice(None)) -> list[slice]:
    """The steps of `record`, divided into chunks whose values, of some rows, are read together."""
    height, width = record.grid.shape
    per_step = 4 * len(record.channels) * len(range(height)[rows]) * width
    fitting = CHUNK_BYTES // per_step // STEPS_TOGETHER * STEPS_TOGETHER
    size = min(STEPS_PER_CHUNK, max(STEPS_TOGETHER, fitting))
    return [slice(t, min(t + size, len(record))) for t in range(0, len(record), size)]


def fit_anomalies(record: Steps, anomalies: Callable[[slice], Float[np.ndarray, "T V H W"]]) -> AnomalyStatistics:
    """Statistics of the anomalies that `anomalies` returns for a slice of the steps of `record`; NaN is ignored.

        r_k = (1 - k / T) <x_t x_(t-k)> / <x_t²>

    with means over all pairs in which both values were observed. The first factor, where T is the number of steps of the record, shrinks
    estimates from few pairs: without gaps it makes r positive definite, and so a valid autocorrelation, which a plain mean over pairs
    need not be.
    """
    area = record.grid.cell_area
    thin = (slice(None), slice(None), *[slice(None, None, _stride(record))] * 2)
    total, weight = np.zeros(len(record.channels)), np.zeros(len(record.channels))
    products, pairs = np.zeros((2, len(record.channels), LONGEST_LAG + 1))
    recent: np.ndarray | None = None
    for chunk in chunks(record):
        of_chunk = anomalies(chunk)
        seen = np.isfinite(of_chunk)
        of_chunk = np.where(seen, of_chunk, np.float32(0))
        total += np.einsum("tvhw,hw->v", of_chunk.astype(np.float64) ** 2, area)
        weight += np.einsum("tvhw,hw->v", seen, area)
        root = np.sqrt(area).astype(np.float32)
        # both factors of a pair take the root of the area
        now = np.stack([(of_chunk * root)[thin], (seen * root)[thin]]).reshape(2, *of_chunk.shape[:2], -1)
        known = now if recent is None else np.concatenate([recent, now], axis=1)
        _add_pairs(
            products, pairs, known, record.hours[chunk.stop - known.shape[1] : chunk.stop], now.shape[1], record.step_h
        )
        recent = known[:, -LONGEST_LAG:]
    return AnomalyStatistics(np.sqrt(total / weight).astype(np.float32), _correlation(products, pairs, len(record)))


def _stride(record: Steps) -> int:
    """Distance between the rows, and the columns, from which the correlation is estimated."""
    return ceil((np.prod(record.grid.shape) / CORRELATED_POINTS) ** 0.5)


def _add_pairs(
    products: np.ndarray, pairs: np.ndarray, known: np.ndarray, hours: np.ndarray, new: int, step_h: float
) -> None:
    """Add products and counts of pairs of each of the last `new` known steps with earlier ones, by lag; not across a gap in time."""
    steps = known.shape[1]
    for lag in range(min(LONGEST_LAG, steps - 1) + 1):
        later = np.arange(max(steps - new, lag), steps)
        later = later[np.abs(hours[later] - hours[later - lag] - lag * step_h) < 1e-3 * step_h]
        for sums, values in zip((products, pairs), known, strict=True):
            sums[:, lag] += np.einsum("tvp,tvp->v", values[later], values[later - lag])


def _correlation(products: np.ndarray, pairs: np.ndarray, steps: int) -> Float[np.ndarray, "V K"]:
    mean = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    variance = mean[:, :1]
    shrinkage = np.clip(1 - np.arange(LONGEST_LAG + 1) / steps, 0, 1)
    found = np.divide(mean, variance, out=np.zeros_like(mean), where=variance > 0) * shrinkage
    found[:, 0] = 1.0
    return np.clip(found, -1, 1).astype(np.float32)
