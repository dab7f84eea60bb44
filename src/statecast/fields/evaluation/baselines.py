"""What a forecast has to beat: persistence, climatology, the distribution of the training period, interpolation between what is shown.

Axes: E member, T time, V channel, H row, W column.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from statecast.fields.sources import Record


def persistence(last: Float[np.ndarray, "V H W"], steps: int) -> Float[np.ndarray, "1 T V H W"]:
    """The last known state at all times, as an ensemble of one."""
    return np.broadcast_to(last, (1, steps, *last.shape))


@dataclass(frozen=True)
class ClimatologicalEnsemble:
    """States of the training period from the same month and hour of the day, as an ensemble: climatology's own distribution.

    At most `most` of them, evenly spread over the training period, and the same number for every month and hour. Where the training
    period has fewer than two from a month and hour, all months serve.
    """

    record: Record
    most: int = 32
    _kept: dict[tuple[int, float], np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def members(self) -> int:
        """Members of every ensemble: the number of days that the least covered month and hour of the training period has."""
        bins = np.stack([self.record.month, self.record.hour_utc], axis=-1)
        counts = np.unique(bins, axis=0, return_counts=True)[1]
        return int(min(self.most, counts[counts > 1].min(initial=self.most)))

    def at(self, month: int, hour_utc: float) -> Float[np.ndarray, "E V H W"]:
        key = (int(month), float(hour_utc))
        if key not in self._kept:
            distance = np.abs((self.record.hour_utc - hour_utc + 12) % 24 - 12)
            same_hour = distance == distance.min()
            candidates = np.flatnonzero(same_hour & (self.record.month == month))
            candidates = candidates if len(candidates) > 1 else np.flatnonzero(same_hour)
            chosen = candidates[np.linspace(0, len(candidates) - 1, self.members).round().astype(int)]
            self._kept[key] = np.concatenate([self.record.read(slice(i, i + 1)) for i in chosen])
        return self._kept[key]

    def for_times(self, month: np.ndarray, hour_utc: np.ndarray) -> Float[np.ndarray, "E T V H W"]:
        """The ensemble for each time of a window."""
        return np.stack([self.at(m, h) for m, h in zip(month, hour_utc, strict=True)], axis=1)


def interpolate_shown(
    anomalies: Float[np.ndarray, "T V H W"], shown: Bool[np.ndarray, "T H W"], *, periodic: bool
) -> Float[np.ndarray, "T V H W"]:
    """Linear interpolation in time and space from the grid points that are shown (Delaunay), nearest neighbour outside their hull.

    One time step counts as far as one grid point. A periodic domain is continued by a quarter on either side. An axis along which
    all shown points agree, such as a single time, plays no part. Where nothing is shown at all, climatology: 0.
    """
    if not shown.any():
        return np.zeros_like(anomalies)
    columns = anomalies.shape[-1]
    margin = columns // 4 if periodic else 0
    around = np.arange(-margin, columns + margin)
    points = np.argwhere(shown[..., around % columns]).astype(float)
    wrapped = np.moveaxis(anomalies, 1, -1)[:, :, around % columns]
    values = wrapped[shown[..., around % columns]]
    t, h, w = np.nonzero(~shown)
    wanted = np.stack([t, h, w + margin], axis=-1).astype(float)
    interpolated = _linear(points, values, wanted)
    outside = ~np.isfinite(interpolated).all(axis=-1)
    if outside.any():
        interpolated[outside] = NearestNDInterpolator(points, values)(wanted[outside])
    filled = np.moveaxis(anomalies, 1, -1).copy()
    filled[t, h, w] = interpolated
    return np.moveaxis(filled, -1, 1)


def _linear(points: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Linear interpolation inside the hull of `points`, NaN outside; NaN everywhere if they span no volume."""
    axes = np.ptp(points, axis=0) > 0
    if axes.sum() < 2 or len(points) <= axes.sum():
        return np.full((len(wanted), values.shape[-1]), np.nan)
    jitter = 1e-6 * np.random.default_rng(0).standard_normal(points.shape)  # a lattice has no unique triangulation
    inwards = 1e-5 * (points.mean(axis=0) - wanted)  # or jitter would put half of the hull's faces outside
    return LinearNDInterpolator((points + jitter)[:, axes], values)((wanted + inwards)[:, axes])


def interpolate_in_time(
    anomalies: Float[np.ndarray, "T V H W"], gap: Bool[np.ndarray, " T"]
) -> Float[np.ndarray, "T V H W"]:
    """Linear interpolation at each point between the last step before a gap and the first one after it; `gap` is True inside.

    Before the first step that is shown, and after the last one, the nearest of them.
    """
    times, shown = np.arange(len(gap)), np.flatnonzero(~gap)
    after = np.searchsorted(shown, times).clip(0, len(shown) - 1)
    before = (np.searchsorted(shown, times, side="right") - 1).clip(0)
    first, last = shown[before], shown[after]
    span = np.where(last > first, last - first, 1)
    share = np.where(last > first, (times - first) / span, 0.0)[:, None, None, None]
    return (1 - share) * anomalies[first] + share * anomalies[last]
