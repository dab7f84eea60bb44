"""Shares of an energy on a scale that a flow learns easily: the cube root, standardised given an energy, with a gap for zeros.

Axes: * any, S shower, L layer, A alpha, R ring, K knot.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MOST_KNOTS = 12
VALUES_PER_KNOT = 100
PRIOR = 4.0  # values at the mean over all energies, which a group with few values leans on
GAP = 1.0  # width of the place of zeros, in standard deviations
SMALLEST_STD = 1e-3  # of a cube root
NARROW = 0.05  # of log energies: showers within it count as of one energy


@dataclass(frozen=True)
class Scale:
    """y = (s^(1/3) - m(e)) / d(e) for shares s > 0, with mean m and standard deviation d linear between knots of the log energy e.

    The cube root makes a gamma variable nearly normal (Wilson & Hilferty 1931). A share of 0 lies in a gap of width 1 below the value of
    s = 0, at a random place in training and in its middle otherwise; what is decoded from there is 0. m and d are those of shares > 0.

    knots      log energies
    mean, std  of each layer and ring, the same for all alphas
    """

    knots: Float[np.ndarray, "L K"]
    mean: Float[np.ndarray, "L K R"]
    std: Float[np.ndarray, "L K R"]

    @classmethod
    def fit(cls, energies: Float[np.ndarray, "S L"], shares: Float[np.ndarray, "S L A R"]) -> "Scale":
        """Statistics of showers. A layer without energy (-inf) does not count."""
        count = int(np.clip(shares.shape[0] * shares.shape[2] // VALUES_PER_KNOT, 2, MOST_KNOTS))
        parts = [_fit_layer(energies[:, layer], shares[:, layer], count) for layer in range(shares.shape[1])]
        return cls(*(np.stack(part).astype(np.float32) for part in zip(*parts, strict=True)))

    @classmethod
    def blank(cls, layers: int, rings: int) -> "Scale":
        """0 and 1: for sizes alone."""
        knots = np.tile(np.arange(2, dtype=np.float32), (layers, 1))
        return cls(knots, np.zeros((layers, 2, rings), np.float32), np.ones((layers, 2, rings), np.float32))

    def at(
        self, energies: Float[np.ndarray, "*B L"]
    ) -> tuple[Float[np.ndarray, "*B L 1 R"], Float[np.ndarray, "*B L 1 R"]]:
        """Mean and standard deviation at these log energies; beyond the outer knots the lines go on for at most one interval."""
        layer = np.arange(len(self.knots))
        above = np.clip((energies[..., None] >= self.knots).sum(axis=-1), 1, self.knots.shape[1] - 1)
        below, beyond = (layer, above - 1), (layer, above)
        low, high = self.knots[below], self.knots[beyond]
        weight = np.clip((energies - low) / (high - low), -1, 2).astype(np.float32)[..., None]
        mean = (1 - weight) * self.mean[below] + weight * self.mean[beyond]
        near, far = self.std[below], self.std[beyond]
        std = np.maximum((1 - weight) * near + weight * far, np.minimum(near, far) / 2)
        return mean[..., None, :], std[..., None, :]

    def normalised(
        self,
        shares: Float[np.ndarray, "*B L A R"],
        energies: Float[np.ndarray, "*B L"],
        place: Float[np.ndarray, "*B L A R"] | float,
    ) -> Float[np.ndarray, "*B L A R"]:
        """y; `place` says where in the gap zeros lie, from 0 to 1."""
        mean, std = self.at(energies)
        return (np.cbrt(shares) - mean) / std - (shares == 0) * (GAP * np.asarray(place, np.float32))

    def shares(
        self, values: Float[np.ndarray, "*B L A R"], energies: Float[np.ndarray, "*B L"]
    ) -> Float[np.ndarray, "*B L A R"]:
        """The inverse of `normalised`."""
        mean, std = self.at(energies)
        return np.maximum(values * std + mean, 0.0) ** 3


def _fit_layer(
    energy: Float[np.ndarray, " S"], shares: Float[np.ndarray, "S A R"], count: int
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, "K R"], Float[np.ndarray, "K R"]]:
    """Knots, means and standard deviations of a layer, from groups of showers of similar energy."""
    order = np.argsort(energy, kind="stable")[np.isneginf(energy).sum() :]
    energy, roots = energy[order], np.cbrt(shares[order])
    is_hit = roots > 0
    if len(energy) < count or energy[-1] - energy[0] < NARROW:  # one group says as much as several
        groups = [slice(None)] * count
        knots = (energy.mean() if len(energy) else 0.0) + np.arange(count) - (count - 1) / 2
    else:
        groups = [slice(part[0], part[-1] + 1) for part in np.array_split(np.arange(len(energy)), count)]
        knots = np.array([energy[group].mean() for group in groups])
        knots = knots + NARROW / 100 * np.arange(count)  # they increase, also where many energies are equal
    hits = max(1, int(is_hit.sum()))
    of_rings = _leaning(roots, is_hit, np.full(roots.shape[-1], roots.sum() / hits))
    mean = np.stack([_leaning(roots[group], is_hit[group], of_rings) for group in groups])
    expected = np.stack([np.interp(energy, knots, column) for column in mean.T], axis=-1)
    square = is_hit * (roots - expected[:, None, :]) ** 2
    overall = np.full(roots.shape[-1], square.sum() / hits)
    variance = np.stack([_leaning(square[group], is_hit[group], overall) for group in groups])
    return knots, mean, np.maximum(np.sqrt(variance), SMALLEST_STD)


def _leaning(
    values: Float[np.ndarray, "S A R"], is_hit: np.ndarray, prior: Float[np.ndarray, " R"]
) -> Float[np.ndarray, " R"]:
    """Mean of the values that are hit in each ring; few of them lean on the prior."""
    return (values.sum(axis=(0, 1)) + PRIOR * prior) / (is_hit.sum(axis=(0, 1)) + PRIOR)
