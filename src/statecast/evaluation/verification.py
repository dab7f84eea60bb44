"""A verification: the statistics of one forecast at each case, the scores made of them, how certain these are, and the files they go to.

Axes: S case, B resampling, R rank; *A are the axes of a domain, with a label for each of their positions.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from statecast.evaluation.scores import Scores, mean_scores

BOOTSTRAP_SAMPLES = 1000
INTERVAL = (2.5, 97.5)
SEED = 0  # of the resamplings: the same interval in every run
COMMON_LABELS = ("forecast", "task", "metric", "value", "low", "high", "n")
"""Keys of a record that all domains have."""


@dataclass(frozen=True)
class LabelAxis:
    """An axis of the statistics, and the labels of its positions.

    name    of the dimension in `scores.nc`
    labels  keys of a record in `scores.json`, each with its value at every position
    coords  coordinates in `scores.nc`, each (name of the axis, values, attributes) as xarray takes it; none: the labels
    """

    name: str
    labels: Mapping[str, Sequence[Any]]
    coords: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if taken := [key for key in self.labels if key in COMMON_LABELS]:
            raise ValueError(
                f"axis {self.name}: label '{taken[0]}' is a key that every record has ({', '.join(COMMON_LABELS)}). Take another name."
            )
        lengths = {key: len(values) for key, values in self.labels.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(
                f"axis {self.name}: labels have different lengths ({lengths}), expected a value for every position."
            )

    def __len__(self) -> int:
        return len(next(iter(self.labels.values())))

    def at(self, position: int) -> dict[str, Any]:
        """The labels of one position."""
        return {key: values[position] for key, values in self.labels.items()}

    def coordinates(self) -> dict[str, tuple[Any, ...]]:
        """The coordinates in `scores.nc`, NaN where a label is None."""
        if self.coords:
            return dict(self.coords)
        coords: dict[str, tuple[Any, ...]] = {}
        for key, values in self.labels.items():
            coords[key] = (self.name, [math.nan if value is None else value for value in values])
        return coords


@dataclass(frozen=True)
class Verification:
    """Statistics of one forecast at each case.

    axes           of the statistics after the first, which is that of the cases
    statistics     by name; NaN where a case says nothing
    positions      where each case lies, such as hours of the record
    decorrelation  how far apart cases have to lie to be independent, in the units of `positions`, which then increase; 0: all are
                   independent
    members        of the forecast
    scores         a function from the means of the statistics over cases to the scores
    ranks          how often the truth had each rank among the members, over all cases; None: not counted
    """

    forecast: str
    task: str
    axes: tuple[LabelAxis, ...]
    statistics: Mapping[str, Float[np.ndarray, "S *A"]]
    positions: Float[np.ndarray, " S"]
    decorrelation: float = 0.0
    members: int = 1
    scores: Scores = mean_scores
    ranks: Float[np.ndarray, "*A R"] | None = None

    def __post_init__(self) -> None:
        expected = (len(self.positions), *map(len, self.axes))
        for name, values in self.statistics.items():
            if values.shape != expected:
                axes = ", ".join(["case", *(axis.name for axis in self.axes)])
                raise ValueError(
                    f"statistic {name} of {self.forecast}: has the shape {values.shape}, expected {expected} ({axes})."
                )
        if self.decorrelation > 0 and (np.diff(self.positions) <= 0).any():
            raise ValueError(
                f"positions of the cases of {self.forecast}: don't increase, so that those that depend on one another can't be resampled "
                "together. Order the cases by their positions."
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return tuple(self._values)

    def labels(self, key: str) -> tuple[Any, ...]:
        """A label, or a coordinate of `scores.nc`, at every position of its axis. Raises KeyError if no axis has it."""
        known: dict[str, Sequence[Any]] = {}
        for axis in self.axes:
            known |= {name: values for name, (_, values, *_) in axis.coords.items()} | dict(axis.labels)
        return tuple(known[key])

    def value(self, metric: str) -> Float[np.ndarray, "*A"]:
        """The score over all cases. Raises KeyError for a metric that the statistics don't allow."""
        if metric not in self._values:
            raise KeyError(f"metric {metric}: is none of {self.forecast}. Metrics: {', '.join(self.metrics)}.")
        return self._values[metric]

    def interval(self, metric: str) -> tuple[Float[np.ndarray, "*A"], Float[np.ndarray, "*A"]]:
        """95 % interval by resampling the cases in blocks as long as their decorrelation."""
        return interval_of(self.resampled[metric])

    @cached_property
    def counted(self) -> Int[np.ndarray, "*A"]:
        """The number of cases with a value."""
        known = [np.isfinite(values) for values in self.statistics.values()]
        return np.asarray(np.any(known, axis=0).sum(axis=0))

    @cached_property
    def _values(self) -> dict[str, Float[np.ndarray, "*A"]]:
        once = np.ones((1, len(self.positions)))
        means = {name: weighted_mean(once, values)[0] for name, values in self.statistics.items()}
        return dict(self.scores(means, self.members))

    @cached_property
    def resampled(self) -> dict[str, Float[np.ndarray, "B *A"]]:
        """Each score of each resampling of the cases, the same resamplings for every score."""
        cases = len(self.positions)
        draws = block_bootstrap(cases, self._block, BOOTSTRAP_SAMPLES, np.random.default_rng(SEED))
        counts = np.stack([np.bincount(drawn, minlength=cases) for drawn in draws])
        means = {name: weighted_mean(counts, values) for name, values in self.statistics.items()}
        return dict(self.scores(means, self.members))

    @property
    def blocks(self) -> float:
        """How many independent parts the cases have."""
        return len(self.positions) / max(1, self._block)

    @property
    def _block(self) -> int:
        """Neighbouring cases that are resampled together."""
        if self.decorrelation == 0 or len(self.positions) == 1:
            return 1
        return round(self.decorrelation / float(np.diff(self.positions).min()))

    def of_cases(self, chosen: Bool[np.ndarray, " S"]) -> "Verification":
        """The same for some of the cases; ranks are those of all cases and left out."""
        statistics = {name: values[chosen] for name, values in self.statistics.items()}
        return replace(self, positions=self.positions[chosen], statistics=statistics, ranks=None)

    def records(self) -> list[dict[str, Any]]:
        """The scores as `scores.json` holds them: a record for each metric and position, with the labels of the last axis first."""
        records = []
        for metric in self.metrics:
            value, (low, high) = self.value(metric), self.interval(metric)
            for position in np.ndindex(value.shape):
                if np.isfinite(value[position]):
                    numbers = [float(array[position]) for array in (value, low, high)]
                    records.append(self.record(metric, position, *numbers))
        return records

    def record(self, metric: str, position: tuple[int, ...], value: float, low: float, high: float) -> dict[str, Any]:
        """A record of `scores.json`."""
        record = {"forecast": self.forecast, "task": self.task, **self._labels_at(position), "metric": metric}
        return {**record, "value": value, "low": low, "high": high, "n": int(self.counted[position])}

    def _labels_at(self, position: tuple[int, ...]) -> dict[str, Any]:
        labels: dict[str, Any] = {}
        for axis, index in reversed(list(zip(self.axes, position, strict=True))):
            labels |= axis.at(index)
        return labels

    def dataset(self) -> xr.Dataset:
        """The scores as labelled arrays, and the rank histogram."""
        dims = tuple(axis.name for axis in self.axes)
        scores = {metric: (dims, self.value(metric)) for metric in self.metrics}
        if self.ranks is not None:
            scores["rank_histogram"] = ((*dims, "rank"), self.ranks)
        coords: dict[str, Any] = {}
        for axis in self.axes:
            coords |= axis.coordinates()
        return xr.Dataset(scores, coords=coords)


def interval_of(resampled: Float[np.ndarray, "B *A"]) -> tuple[Float[np.ndarray, "*A"], Float[np.ndarray, "*A"]]:
    """95 % interval of what has a value in each resampling; NaN where none has one."""
    unknown = np.isnan(resampled).all(axis=0)
    low, high = np.nanpercentile(np.where(unknown, 0.0, resampled), INTERVAL, axis=0)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def weighted_mean(weights: Float[np.ndarray, "B S"], statistic: Float[np.ndarray, "S *A"]) -> Float[np.ndarray, "B *A"]:
    """Means over the cases with a value; NaN where none has."""
    total = np.einsum("bs,s...->b...", weights, np.isfinite(statistic))
    summed = np.einsum("bs,s...->b...", weights, np.nan_to_num(statistic))
    return np.divide(summed, total, out=np.full(total.shape, np.nan), where=total > 0)


def block_bootstrap(cases: int, block: int, samples: int, generator: np.random.Generator) -> Int[np.ndarray, "B S"]:
    """Indices of cases for each of `samples` resamplings, in circular blocks, since neighbouring cases may not be independent.

    Politis & Romano 1992.
    """
    block = max(1, min(block, cases))
    firsts = generator.integers(cases, size=(samples, -(-cases // block)))
    return ((firsts[:, :, None] + np.arange(block)) % cases).reshape(samples, -1)[:, :cases]


def write_scores(verifications: Sequence[Verification], out: Path, further: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write `scores.json`, with `further` records at its end, and `scores.nc` into the directory `out`."""
    records = [record for verification in verifications for record in verification.records()] + list(further)
    (out / "scores.json").write_text(json.dumps(records, indent=1, allow_nan=False), encoding="utf-8")
    groups = {f"/{v.task}/{v.forecast}".replace(" ", "_"): v.dataset() for v in verifications}
    xr.DataTree.from_dict(groups).to_netcdf(out / "scores.nc")
