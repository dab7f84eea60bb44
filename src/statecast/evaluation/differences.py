"""Whether two forecasts of the same cases differ by more than chance: paired differences of their scores.

Axes: S case, B resampling; *A are the axes of a domain.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.evaluation.verification import Verification, interval_of

COMPARED = ("rmse", "mae", "crps", "acc")
SUFFIX = "_difference"
FEWEST_BLOCKS = 5
"""Independent parts of the cases: with fewer, resamplings hardly differ and any difference would look certain."""


@dataclass(frozen=True)
class Difference:
    """Scores of a forecast less those of another one, over the cases that both have.

    The interval comes from the same resamplings of the cases, in blocks as long as their decorrelation, for both (a paired block
    bootstrap, Politis & Romano 1992; for pairs Gilleland 2020, J. Atmos. Ocean. Tech. 37, 2117): what both find hard alike cancels. It is
    of each score by itself; of twenty that don't differ, one is expected to exclude 0.
    """

    forecast: Verification
    other: Verification

    @classmethod
    def of(cls, forecast: Verification, other: Verification) -> "Difference":
        """Of two forecasts of the same cases. Raises ValueError for other cases."""
        if not np.array_equal(forecast.positions, other.positions):
            raise ValueError(
                f"{forecast.forecast} and {other.forecast} are of different cases, expected pairs. Verify both on the same cases."
            )
        both = {n: np.isfinite(v) & np.isfinite(other.statistics[n]) for n, v in forecast.statistics.items()}
        paired = []
        for each in (forecast, other):
            statistics = {n: np.where(both[n], v, np.nan) for n, v in each.statistics.items()}
            paired.append(replace(each, statistics=statistics))
        return cls(*paired)

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(metric for metric in COMPARED if metric in self.forecast.metrics and metric in self.other.metrics)

    @property
    def can_be_tested(self) -> bool:
        """Whether there are enough independent cases for an interval."""
        return self.forecast.blocks >= FEWEST_BLOCKS

    def value(self, metric: str) -> Float[np.ndarray, "*A"]:
        return self.forecast.value(metric) - self.other.value(metric)

    def interval(self, metric: str) -> tuple[Float[np.ndarray, "*A"], Float[np.ndarray, "*A"]]:
        """95 % interval; one that excludes 0 is a difference beyond chance."""
        return interval_of(self.forecast.resampled[metric] - self.other.resampled[metric])

    def records(self) -> list[dict[str, Any]]:
        """Records of `scores.json`, whose metrics are named `rmse_difference` and so on."""
        records = []
        for metric in self.metrics:
            value, (low, high) = self.value(metric), self.interval(metric)
            for position in np.ndindex(value.shape):
                if np.isfinite(value[position]):
                    numbers = [float(array[position]) for array in (value, low, high)]
                    records.append(self.forecast.record(f"{metric}{SUFFIX}", position, *numbers))
        return records
