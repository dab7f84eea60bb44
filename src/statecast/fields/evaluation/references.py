"""What a specialist would try first where one stream is asked of others: interpolation, regression, quantile mapping.

Axes: T time, V channel, H row, W column, X visible value, S season, Q quantile.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from statecast.fields.tokenizers import FieldTokenizer, Located, StreamSource, whole_window
from statecast.fields.tokenizers.first_guess import bilinear, first_guess, guessed_channels

RIDGE = 1e-3  # of the mean variance of the visible values, so that redundant channels don't get large weights
WINDOWS = 400  # of the training period that a baseline is fitted to
QUANTILES = np.linspace(0.0, 1.0, 51)
FEWEST = 100  # values of a season that quantiles are estimated from; with fewer, those of all seasons


def is_wholly_guessed(name: str, tokenizers: Mapping[str, FieldTokenizer]) -> bool:
    """True if every channel of the stream has a first guess."""
    guessed = sum(len(pairs) for pairs in guessed_channels(name, tokenizers).values())
    return guessed == len(tokenizers[name].climatology.channels)


@dataclass(frozen=True)
class Regression:
    """Linear regression of one stream's anomalies on those of the visible streams, interpolated to the same place, at the same time.

    One set of weights for each band of latitude and each asked channel, by least squares with a small ridge.
    """

    visible: tuple[str, ...]
    name: str
    weights: Float[np.ndarray, "H X V"]

    @classmethod
    def fit(cls, visible: tuple[str, ...], name: str, training: Mapping[str, StreamSource], steps: int) -> "Regression":
        """From the whole domain in windows that are spread evenly over the training period."""
        products: np.ndarray | float = 0.0
        moments: np.ndarray | float = 0.0
        for window in _windows(training, steps):
            x = _predictors(visible, name, window)
            y = window[name].fields - window[name].climatology
            known = np.isfinite(y)
            x = np.where(known.all(axis=1, keepdims=True), x, 0.0)
            products = products + np.einsum("txhw,tvhw->hxv", x, np.where(known, y, 0.0))
            moments = moments + np.einsum("txhw,tyhw->hxy", x, x)
        size = np.asarray(moments).shape[-1]
        variance = np.trace(moments, axis1=1, axis2=2)[:, None, None] / size
        ridge = (RIDGE * variance + np.finfo(np.float32).tiny) * np.eye(size)  # a band without values has none
        return cls(visible, name, np.linalg.solve(moments + ridge, products))

    def __call__(self, window: Mapping[str, Located]) -> Float[np.ndarray, "T V H W"]:
        """Anomalies of the asked stream in its window, in its units."""
        x = _predictors(self.visible, self.name, window)
        return np.einsum("txhw,hxv->tvhw", x, self.weights[window[self.name].place.rows])


def _predictors(visible: tuple[str, ...], name: str, window: Mapping[str, Located]) -> Float[np.ndarray, "T X H W"]:
    """Anomalies of the visible streams over their spread, at the points of the asked one; 0 where nothing was observed."""
    target = window[name].grid
    parts = []
    for other in visible:
        stream = window[other]
        scale = stream.tokenizer.climatology.anomaly_std[:, None, None]
        values = np.nan_to_num(stream.anomalies / scale)
        parts.append(values if stream.grid.is_like(target) else bilinear(values, stream.grid, target))
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class QuantileMapping:
    """The first guess, its quantiles at each point and season replaced by those of what was observed there.

    y = F_observed^-1(F_guess(x)), both empirical, by linear interpolation between quantiles; beyond the outermost the distance between
    them is added (Panofsky & Brier 1968; Boe et al. 2007). Where a point was never observed, the guess.
    """

    name: str
    guessed: Float[np.ndarray, "S Q V H W"]
    observed: Float[np.ndarray, "S Q V H W"]

    @classmethod
    def fit(cls, name: str, training: Mapping[str, StreamSource], steps: int) -> "QuantileMapping":
        """From the whole domain in windows that are spread evenly over the training period."""
        guesses, truths, months = [], [], []
        for window in _windows(training, steps):
            truth = window[name].fields
            truths.append(truth)
            guesses.append(np.where(np.isfinite(truth), first_guess(name, window), np.nan))
            months.append(window[name].month)
        season = np.concatenate(months) % 12 // 3
        known = [np.concatenate(values) for values in (guesses, truths)]
        return cls(name, *(_of_seasons(values, season) for values in known))

    def __call__(self, window: Mapping[str, Located]) -> Float[np.ndarray, "T V H W"]:
        """The stream's fields in its window, in its units."""
        stream, values = window[self.name], first_guess(self.name, window)
        season = stream.month % 12 // 3
        guessed, observed = stream.cut(self.guessed), stream.cut(self.observed)
        mapped = np.stack([map_quantiles(v, guessed[s], observed[s]) for v, s in zip(values, season, strict=True)])
        lowest = stream.tokenizer.climatology.lowest[:, None, None]
        return np.where(lowest >= 0, np.maximum(mapped, 0), mapped)


def map_quantiles(
    values: Float[np.ndarray, " *G"], guessed: Float[np.ndarray, "Q *G"], observed: Float[np.ndarray, "Q *G"]
) -> Float[np.ndarray, " *G"]:
    """Each value as the observed quantile of its rank among the guessed ones, see `QuantileMapping`."""
    below = (guessed <= values).sum(axis=0).clip(1, len(guessed) - 1)[None]
    x0, x1 = (np.take_along_axis(guessed, index, axis=0)[0] for index in (below - 1, below))
    y0, y1 = (np.take_along_axis(observed, index, axis=0)[0] for index in (below - 1, below))
    share = np.divide(values - x0, x1 - x0, out=(values >= x1).astype(values.dtype), where=x1 > x0).clip(0, 1)
    beyond = np.maximum(values - guessed[-1], 0) + np.minimum(values - guessed[0], 0)
    mapped = y0 + share * (y1 - y0) + beyond
    return np.where(np.isfinite(observed).all(axis=0), mapped, values)


def _of_seasons(values: Float[np.ndarray, "T V H W"], season: Int[np.ndarray, " T"]) -> Float[np.ndarray, "S Q V H W"]:
    """Seasons with too few values share the quantiles of all."""
    of_seasons: list[np.ndarray] = []
    of_all: np.ndarray | None = None
    for number in range(4):
        is_season = season == number
        if is_season.sum() >= FEWEST:
            of_seasons.append(_quantiles(values[is_season]))
        else:
            of_all = _quantiles(values) if of_all is None else of_all
            of_seasons.append(of_all)
    return np.stack(of_seasons)


def _quantiles(values: Float[np.ndarray, "T V H W"]) -> Float[np.ndarray, "Q V H W"]:
    known = np.isfinite(values)
    always = known.all(axis=0)
    sometimes = known.any(axis=0) & ~always
    quantiles = np.full((len(QUANTILES), *values.shape[1:]), np.nan)
    quantiles[:, always] = np.quantile(values[:, always], QUANTILES, axis=0)
    if sometimes.any():  # where there are gaps numpy goes from point to point
        quantiles[:, sometimes] = np.nanquantile(values[:, sometimes], QUANTILES, axis=0)
    return quantiles


def spread_starts(training: Mapping[str, StreamSource], steps: int, most: int) -> Int[np.ndarray, " S"]:
    """Where at most so many windows start, evenly over the period."""
    starts = next(iter(training.values())).record.starts(steps)
    return starts[np.unique(np.linspace(0, len(starts) - 1, most).astype(int))]


def _windows(training: Mapping[str, StreamSource], steps: int) -> Iterator[dict[str, Located]]:
    """The whole domain of every grid."""
    for start in spread_starts(training, steps, WINDOWS):
        yield whole_window(training, int(start), steps)
