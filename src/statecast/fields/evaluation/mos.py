"""Model output statistics at stations: a linear regression for each on the fields that are interpolated to it (Glahn & Lowry 1972).

Axes: T time, V variable, S station, X predictor, L asked step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from statecast.fields.evaluation.references import RIDGE, spread_starts
from statecast.fields.stations.points import at_points, interpolated
from statecast.fields.stations.series import StationSeries, StationWindow
from statecast.fields.stations.table import Stations
from statecast.fields.tokenizers import Located, StreamSource, whole_window

WINDOWS = 1500  # of the training period that it is fitted to
FEWEST = 60  # reports of a station that has weights of its own; another has those of all stations together


@dataclass(frozen=True)
class Mos:
    """anomaly of the station = w · (1, anomalies of all visible fields there[, its own last anomaly]), by least squares with a small ridge.

    history  steps of the window after which all is asked, and whose last is the predictor at all of them; None: fields of the same time
    own      of each station that training has seen, NaN of one with few reports
    pooled   of all stations
    """

    fields: tuple[str, ...]
    history: int | None
    stations: Stations
    own: Float[np.ndarray, "S L V X"]
    pooled: Float[np.ndarray, "L V X"]

    @classmethod
    def fit(
        cls,
        fields: tuple[str, ...],
        history: int | None,
        series: StationSeries,
        training: Mapping[str, StreamSource],
        steps: int,
    ) -> "Mos":
        """From the reports of the training period and the fields at their steps."""
        moments: np.ndarray | float = 0.0
        products: np.ndarray | float = 0.0
        counts: np.ndarray | float = 0.0
        for start in spread_starts(training, steps, WINDOWS):
            window = series.of(slice(int(start), int(start) + steps))
            x = predictors(fields, history, window, whole_window(training, int(start), steps))
            y = anomalies(window)[history or 0 :]
            known = np.isfinite(y)
            moments = moments + _of_asked(np.einsum("tsx,tsy,tvs->stvxy", x, x, known), history)
            products = products + _of_asked(np.einsum("tsx,tvs->stvx", x, np.where(known, y, 0.0)), history)
            counts = counts + _of_asked(np.moveaxis(known, -1, 0).astype(float), history)
        own, enough = _solved(np.asarray(moments), np.asarray(products)), np.asarray(counts) >= FEWEST
        pooled = _solved(np.sum(moments, axis=0), np.sum(products, axis=0))
        return cls(fields, history, series.reports.stations, np.where(enough[..., None], own, np.nan), pooled)

    def __call__(self, window: StationWindow, fields: Mapping[str, Located]) -> Float[np.ndarray, "T V 1 S"]:
        """The asked steps of a window, in the units of the reports."""
        x = predictors(self.fields, self.history, window, fields)
        weights = self._weights(window.stations)
        if self.history is None:
            weights = np.broadcast_to(weights, (len(weights), len(x), *weights.shape[2:]))
        found = np.einsum("tsx,stvx->tvs", x, weights) * window.codec.statistics.anomaly_std[:, None]
        return found[:, :, None] + window.climatology[self.history or 0 :]

    def _weights(self, stations: Stations) -> Float[np.ndarray, "S L V X"]:
        number = {name: i for i, name in enumerate(self.stations.ids)}
        weights = np.repeat(self.pooled[None], len(stations), axis=0)
        for s, name in enumerate(stations.ids):
            if name in number:
                weights[s] = np.where(np.isfinite(self.own[number[name]]), self.own[number[name]], self.pooled)
        return weights


def anomalies(window: StationWindow) -> Float[np.ndarray, "T V S"]:
    """In units of their standard deviation; NaN where nothing was reported."""
    return (window.values - window.climatology)[:, :, 0] / window.codec.statistics.anomaly_std[:, None]


def predictors(
    names: tuple[str, ...], history: int | None, window: StationWindow, fields: Mapping[str, Located]
) -> Float[np.ndarray, "T S X"]:
    """1 and the anomalies of all fields at the stations, 0 where they are missing, at each asked step."""
    steps, places = window.steps.stop - window.steps.start, window.stations
    parts = [np.ones((steps, len(places), 1))]
    for name in names:
        field = fields[name]
        scaled = np.nan_to_num(field.anomalies / field.tokenizer.climatology.anomaly_std[:, None, None])
        parts.append(np.moveaxis(interpolated(scaled, at_points(field.grid, places.lat, places.lon)), 1, -1))
    if history is None:
        return np.concatenate(parts, axis=-1)
    last = last_of(anomalies(window)[:history])
    parts.append(np.broadcast_to(np.nan_to_num(last).T, (steps, *last.T.shape)))
    at_start = np.concatenate(parts, axis=-1)[history - 1]
    return np.broadcast_to(at_start, (steps - history, *at_start.shape))


def last_of(values: Float[np.ndarray, "T *A"]) -> Float[np.ndarray, " *A"]:
    """The last value in time that is known; NaN where none is."""
    last = np.full(values.shape[1:], np.nan, values.dtype)
    for step in values:
        last = np.where(np.isfinite(step), step, last)
    return last


def _of_asked(sums: Float[np.ndarray, "S T *A"], history: int | None) -> Float[np.ndarray, "S L *A"]:
    """One set of weights for each asked step, or one for all steps of a window."""
    return sums if history is not None else sums.sum(axis=1, keepdims=True)


def _solved(moments: Float[np.ndarray, "*A X X"], products: Float[np.ndarray, "*A X"]) -> Float[np.ndarray, "*A X"]:
    size = moments.shape[-1]
    variance = np.trace(moments, axis1=-2, axis2=-1)[..., None, None] / size
    ridge = (RIDGE * variance + np.finfo(np.float32).tiny) * np.eye(size)
    return np.linalg.solve(moments + ridge, products[..., None])[..., 0]
