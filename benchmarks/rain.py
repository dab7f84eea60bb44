"""Labels of the coming day's rain over three regions of the sample, and what scores their probabilities. A library, not a script.

Axes: S window, L label, K class.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from shared import SAMPLE, Extent
from statecast import open_fields

STEP_H = 6
STEPS = 2  # of a window, one slab of the quickstart's tokens
AHEAD = 4  # steps of the coming day
CLASSES = ("dry", "normal", "wet")
ALL = 0  # a number of labels
SMALLEST = 1e-6  # probability that a log score counts: those that are kept are rounded

Box = tuple[tuple[float, float], tuple[float, float]]
"""South and north, west and east in degrees."""
REGIONS: dict[str, Box] = {
    "america": ((28, 48), (-95, -70)),
    "pacific": ((35, 60), (-160, -120)),
    "indian": ((-60, -35), (40, 90)),
}


def inside(lat: Any, lon: Any, box: Box) -> Any:
    """Which points lie in a box."""
    (south, north), (west, east) = box
    return (lat >= south) & (lat <= north) & ((lon - west) % 360 <= east - west)


def centre(box: Box) -> list[float]:
    (south, north), (west, east) = box
    return [(south + north) / 2, (west + east) / 2]


def slice_of(times: pd.DatetimeIndex, period: tuple[str, str]) -> slice:
    """The times of a period, whose last day counts whole."""
    return times.slice_indexer(*period)


@cache
def rain_index(extent: Extent, box: Box) -> pd.Series:
    """Root of the mean rain over a box at each time of the record, without the annual cycle of the training period."""
    rain = open_fields(SAMPLE)["tprate"]
    lat, lon = xr.broadcast(rain.lat, rain.lon)
    weight = np.cos(np.deg2rad(lat)) * inside(lat, lon, box)
    root = np.sqrt(rain.clip(min=0).weighted(weight).mean(("lat", "lon"))).to_series()
    phase = 2 * np.pi * (root.index - root.index[0]) / pd.Timedelta(days=365.25)
    cycle = np.stack([np.ones(len(root)), np.cos(phase), np.sin(phase)], axis=1)
    learned = slice_of(root.index, extent.train)
    fitted = np.linalg.lstsq(cycle[learned], root.values[learned], rcond=None)[0]
    return root - cycle @ fitted


def classified(index: pd.Series, extent: Extent) -> pd.Series:
    """The class of the coming day by the last time of a window, where that day lies in the same period as the window.

    Terciles are those of the training period.
    """
    coming = index.rolling(AHEAD).mean().shift(-AHEAD)
    periods = [coming[slice_of(index.index, period)] for period in (extent.train, extent.held_out)]
    train, held_out = (days.iloc[STEPS - 1 : -AHEAD] for days in periods)
    edges = np.quantile(train, [1 / 3, 2 / 3])
    both = pd.concat([train, held_out])
    return pd.Series(np.array(CLASSES)[np.digitize(both, edges)], both.index)


def memory_days(extent: Extent, region: str) -> float:
    """Decorrelation time of what a label is made of, in the training period."""
    index = rain_index(extent, REGIONS[region])
    days = index[slice_of(index.index, extent.train)].rolling(AHEAD).mean().dropna()
    return decorrelation(days.to_numpy()) * STEP_H / 24


def decorrelation(series: Float[np.ndarray, " T"]) -> float:
    """1 + 2 sum of the autocorrelations up to the first below 0, in steps: as many steps say as much as one independent value.

    (1 + r) / (1 - r) of a first-order autoregression with the coefficient r.
    """
    apart = series - series.mean()
    total = 1.0
    for lag in range(1, len(apart)):
        correlation = np.mean(apart[lag:] * apart[:-lag]) / np.var(apart)
        if correlation < 0:
            break
        total += 2 * float(correlation)
    return total


# Which windows are labelled


@dataclass(frozen=True)
class Parts:
    """The label of each region of each labelled window, by its last time.

    stop      held back, to stop a training at
    learn     learned from
    held_out  asked at the end
    """

    stop: pd.DataFrame
    learn: pd.DataFrame
    held_out: pd.DataFrame

    @property
    def known(self) -> pd.DataFrame:
        """What regressions are fitted to."""
        return pd.concat([self.stop, self.learn])

    @property
    def periods(self) -> tuple[list[str], list[str]]:
        """That hold the windows to learn from, and those to stop at."""
        found = []
        for part in (self.learn, self.stop):
            first = part.index[0] - pd.Timedelta(hours=STEP_H * (STEPS - 1))
            found.append([first.isoformat(), part.index[-1].isoformat()])
        return found[0], found[1]


def parts_of(extent: Extent) -> Parts:
    """All labelled windows: a fifth of the training period to stop at, the rest to learn from; no label's day lies in both."""
    labels = pd.DataFrame({region: classified(rain_index(extent, box), extent) for region, box in REGIONS.items()})
    train = labels.iloc[slice_of(labels.index, extent.train)]
    stop = train.iloc[: len(train) // 5]
    gap = pd.Timedelta(hours=STEP_H * (AHEAD + STEPS))
    learn = train.loc[stop.index[-1] + gap :]
    return Parts(stop, learn, labels.iloc[slice_of(labels.index, extent.held_out)])


def drawn(parts: Parts, size: int, seed: int) -> Parts:
    """So many labelled windows, a fifth of them to stop at. Each class is among those to learn from, as it is when a person chooses."""
    if size == ALL:
        return parts
    generator = np.random.default_rng([seed, size])
    while True:
        learn = _sample(parts.learn, size - size // 5, generator)
        if all(set(learn[region]) == set(CLASSES) for region in REGIONS):
            return replace(parts, stop=_sample(parts.stop, size // 5, generator), learn=learn)


def _sample(table: pd.DataFrame, count: int, generator: np.random.Generator) -> pd.DataFrame:
    return table.iloc[np.sort(generator.choice(len(table), count, replace=False))]


def codes_of(table: pd.DataFrame) -> Int[np.ndarray, "S L"]:
    return np.stack([[CLASSES.index(label) for label in table[region]] for region in REGIONS], axis=1)


# Scores of probabilities


def log_scores(probabilities: Float[np.ndarray, "*S K"], codes: Int[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """-log p of what happened, in nats."""
    of_truth = np.take_along_axis(probabilities, codes[..., None], axis=-1)[..., 0]
    return -np.log(np.maximum(of_truth, SMALLEST))


def hits(probabilities: Float[np.ndarray, "*S K"], codes: Int[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """1 where the most probable class happened, else 0."""
    return (probabilities.argmax(axis=-1) == codes).astype(float)


def brier_scores(probabilities: Float[np.ndarray, "*S K"], codes: Int[np.ndarray, "*S"]) -> Float[np.ndarray, "*S"]:
    """Sum of (p - o)² over the classes, 0 to 2 (Brier 1950)."""
    return ((probabilities - np.eye(probabilities.shape[-1])[codes]) ** 2).sum(axis=-1)
