"""Intervals of scores that are no means over samples, by resampling the samples.

Axes: J sample, B resampling.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

RESAMPLINGS = 200
INTERVAL = (2.5, 97.5)
SEED = 0  # the same resamplings in every run

Statistic = Callable[..., float]
"""A score of arrays along J."""


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval, as `scores.json` holds it.

    forecast  name of the model or baseline
    labels    further keys, such as the signal class
    n         number of samples
    """

    forecast: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    labels: tuple[tuple[str, Any], ...] = ()

    def record(self) -> dict[str, Any]:
        """The record of `scores.json`."""
        numbers = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        return {"forecast": self.forecast, "task": self.task, **dict(self.labels), "metric": self.metric, **numbers}


def resampled(
    classes: Shaped[np.ndarray, " J"], resamplings: int = RESAMPLINGS, seed: int = SEED
) -> list[Int[np.ndarray, " J"]]:
    """Numbers of samples drawn with replacement, as many of each class as there are: a score of two classes stays defined."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(classes == name) for name in np.unique(classes)]
    draws = []
    for _ in range(resamplings):
        parts = [generator.choice(of_class, size=len(of_class)) for of_class in members]
        draws.append(np.concatenate(parts))
    return draws


def interval(
    statistic: Statistic, arrays: Sequence[Shaped[np.ndarray, "J ..."]], draws: Sequence[Int[np.ndarray, " J"]]
) -> tuple[float, float]:
    """95 % interval of a statistic of `arrays`, from its values at each of the draws."""
    values = [statistic(*(array[drawn] for array in arrays)) for drawn in draws]
    low, high = np.percentile(values, INTERVAL)
    return float(low), float(high)
