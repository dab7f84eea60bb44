"""A light filter of answers: the points around each one correct it, which mends the edges between tokens.

Axes: L lead step, or 1 for all steps, T time, V channel, H row, W column, F feature, K head member, B any leading axes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
FEATURES = 2 * len(AROUND) + 1
RIDGE = 1e-4  # of the mean variance of the features: keeps those that hardly vary from large weights

Fields = Float[np.ndarray, "*B T V H W"]


@dataclass(frozen=True)
class EdgeFilter:
    """A linear correction of answered anomalies by the 3 × 3 points around each one, the same everywhere and for all head members:

        c = sum_n w_n (y_n - y)  +  v y  +  sum_n u_n (x_n - y)

    with y the mean of the head members, y_n that of the neighbours that were answered too, x_n the neighbours that were visible. A
    neighbour that was neither adds nothing. Quantiles get the same correction, so that their distances stay; members that are drawn are
    corrected `each` by itself, so that one does not depend on how many there are.

    weights  w, v and u of each lead step and channel; 0 where the filter does not help
    """

    weights: Float[np.ndarray, "L V F"]

    def corrected(
        self,
        heads: Float[np.ndarray, "*B K T V H W"],
        shown: Fields | None = None,
        *,
        periodic: bool,
        each: bool = False,
    ) -> Float[np.ndarray, "*B K T V H W"]:
        """Anomalies of the head members, NaN where nothing was answered, with the correction; `shown`: what was visible, NaN elsewhere."""
        corrected = heads if each else heads.mean(axis=-5, keepdims=True)
        shown = None if shown is None else np.broadcast_to(shown, corrected.shape)
        return (heads + self.correction(corrected, shown, periodic=periodic)).astype(heads.dtype)

    def correction(self, answered: Fields, shown: Fields | None = None, *, periodic: bool) -> Fields:
        """c at each point that was answered, 0 elsewhere."""
        total = np.zeros_like(answered)
        of_features = self.weights.transpose(2, 0, 1)[..., None, None]
        for weight, feature in zip(of_features, features(answered, shown, periodic=periodic), strict=False):
            total += weight * feature
        return total

    def save(self, path: Path) -> None:
        np.save(path, self.weights, allow_pickle=False)

    @classmethod
    def load(cls, path: Path, channels: int) -> "Self | None":
        """What `save` wrote; None if there is no such file. Raises ValueError for weights of other channels or that are no numbers."""
        if not path.exists():
            return None
        weights = np.load(path, allow_pickle=False)
        if weights.ndim != 3 or weights.shape[1:] != (channels, FEATURES) or not np.isfinite(weights).all():
            raise ValueError(f"{path.name} holds no filter of {channels} channels")
        return cls(weights)


def features(answered: Fields, shown: Fields | None, *, periodic: bool) -> Iterator[Fields]:
    """What a correction is a sum of, see `EdgeFilter`; 0 where a point or its neighbour is missing. Those of `shown` come last."""
    yield from _differences(answered, answered, periodic=periodic)
    yield np.nan_to_num(answered)
    if shown is not None:
        yield from _differences(shown, answered, periodic=periodic)


def _differences(around: Fields, answered: Fields, *, periodic: bool) -> Iterator[Fields]:
    rows, columns = answered.shape[-2:]
    beside = [(0, 0)] * (answered.ndim - 2)
    wide = np.pad(around, [*beside, (1, 1), (0, 0)], constant_values=np.nan)
    sides = [*beside, (0, 0), (1, 1)]
    wide = np.pad(wide, sides, mode="wrap") if periodic else np.pad(wide, sides, constant_values=np.nan)
    for row, column in AROUND:
        neighbour = wide[..., 1 + row : 1 + row + rows, 1 + column : 1 + column + columns]
        yield np.nan_to_num(neighbour - answered)


@dataclass(frozen=True)
class Moments:
    """Sums over points, by which a filter is fitted and judged.

    of_features  of the products of any two features
    with_error   of the products of each feature with the error of the answers
    """

    of_features: Float[np.ndarray, "L V F F"]
    with_error: Float[np.ndarray, "L V F"]

    @classmethod
    def of(
        cls,
        answered: Fields,
        shown: Fields,
        truth: Fields,
        area: Float[np.ndarray, "H W"],
        *,
        by_step: bool,
        periodic: bool,
    ) -> "Moments":
        """Of one window, weighted by `area`; over all its steps unless `by_step`. One channel at a time, to bound the memory."""
        of_channels = []
        for channel in range(answered.shape[1]):
            one = slice(channel, channel + 1)
            of_channels.append(_products(answered[:, one], shown[:, one], truth[:, one], area, periodic=periodic))
        of_features, with_error = (np.concatenate(parts, axis=1) for parts in zip(*of_channels, strict=True))
        if by_step:
            return cls(of_features, with_error)
        return cls(of_features.sum(axis=0, keepdims=True), with_error.sum(axis=0, keepdims=True))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.of_features + other.of_features, self.with_error + other.with_error)

    def weights(self) -> Float[np.ndarray, "L V F"]:
        """Those of the least squared error."""
        variance = np.trace(self.of_features, axis1=-2, axis2=-1)[..., None, None] / FEATURES
        known = np.where(variance > 0, variance, 1.0)
        return np.linalg.solve(self.of_features + RIDGE * known * np.eye(FEATURES), self.with_error[..., None])[..., 0]

    def gain(self, weights: Float[np.ndarray, "L V F"]) -> Float[np.ndarray, "L V"]:
        """By how much a filter lowers the sum of squared errors."""
        quadratic = np.einsum("lvf,lvfg,lvg->lv", weights, self.of_features, weights)
        return 2 * np.einsum("lvf,lvf->lv", weights, self.with_error) - quadratic


def _products(
    answered: Fields, shown: Fields, truth: Fields, area: Float[np.ndarray, "H W"], *, periodic: bool
) -> tuple[Float[np.ndarray, "T V F F"], Float[np.ndarray, "T V F"]]:
    """Sums over the points of each step, see `Moments`."""
    found = np.stack(list(features(answered, shown, periodic=periodic)), axis=-1)
    weighted = found * (area * np.isfinite(truth - answered))[..., None]
    of_features = np.einsum("tvhwf,tvhwg->tvfg", weighted, found, optimize=True)
    return of_features, np.einsum("tvhwf,tvhw->tvf", weighted, np.nan_to_num(truth - answered), optimize=True)


def fitted(learned: Moments, held_out: Moments) -> EdgeFilter | None:
    """The filter of both, 0 where that of `learned` doesn't lower the error of `held_out`; None if it does so nowhere."""
    helps = held_out.gain(learned.weights()) > 0
    weights = (learned + held_out).weights() * helps[..., None]
    return EdgeFilter(weights.astype(np.float32)) if helps.any() else None
