"""Climatology and spread of a record, in one pass that holds no more than a chunk of it.

Axes: M month, D hour of the day, V channel, H row, W column.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.sources.fields import StoreError
from statecast.sources.grid import Grid
from statecast.sources.record import Record
from statecast.streams import Channel

STEPS_PER_CHUNK = 64  # 0.3 GB for ten channels on a grid of 1 degree
SMALLEST_SPREAD = 1e-7  # of the largest mean: what is less is float32's rounding


@dataclass(frozen=True)
class Climatology:
    """What is usual at each grid point, and how far each channel strays from it.

    mean         mean per month, hour of the day, channel and grid point, in the channel's units; NaN: never observed
    anomaly_std  standard deviation of the departures from `mean`: one number a channel, averaged by cell area
    hours_utc    the hours of the day that `mean` knows, ascending
    lowest       smallest value of each channel
    """

    mean: Float[np.ndarray, "M D V H W"]
    anomaly_std: Float[np.ndarray, " V"]
    hours_utc: Float[np.ndarray, " D"]
    channels: tuple[Channel, ...]
    units: tuple[str, ...]
    grid: Grid
    step_h: float
    lowest: Float[np.ndarray, " V"]

    def at(
        self, month: np.ndarray, hour_utc: np.ndarray, rows: slice = slice(None), columns: np.ndarray | None = None
    ) -> Float[np.ndarray, "T V H W"]:
        """The mean for each step of a window, at the nearest hour of the day that is known (as a rule the same)."""
        distance = np.abs((hour_utc[:, None] - self.hours_utc[None, :] + 12) % 24 - 12)
        window = self.mean[:, :, :, rows][
            month - 1, distance.argmin(axis=1)
        ]  # rows first: a view, not a copy of globes
        return window if columns is None else window[..., columns]

    def with_known(self, known: "Climatology") -> "Climatology":
        """The same with the statistics of `known` for each channel that it has, if it lies on the same grid and hours of the day."""
        if not np.array_equal(known.hours_utc, self.hours_utc) or known.grid.shape != self.grid.shape:
            raise StoreError(
                "the data has other hours of the day or another grid than what is known of it. Prepare it alike."
            )
        mean, anomaly_std, lowest = self.mean.copy(), self.anomaly_std.copy(), self.lowest.copy()
        for new, channel in enumerate(self.channels):
            if channel in known.channels:
                old = known.channels.index(channel)
                mean[:, :, new], anomaly_std[new], lowest[new] = (
                    known.mean[:, :, old],
                    known.anomaly_std[old],
                    known.lowest[old],
                )
        return replace(self, mean=mean, anomaly_std=anomaly_std, lowest=lowest)

    def save(self, path: Path) -> None:
        """Write as CF NetCDF, from which `load` makes an equal one."""
        dataset = xr.Dataset(
            {
                "mean": (("month", "hour_utc", "channel", "lat", "lon"), self.mean),
                "anomaly_std": ("channel", self.anomaly_std),
                "units": ("channel", list(self.units)),
                "variable": ("channel", [c.variable for c in self.channels]),
                "pressure": (
                    "channel",
                    [np.nan if c.pressure_hpa is None else c.pressure_hpa for c in self.channels],
                    {"units": "hPa"},
                ),
                "step": ((), self.step_h, {"units": "h"}),
                "lowest": ("channel", self.lowest),
            },
            coords={
                "month": np.arange(1, 13),
                "hour_utc": self.hours_utc,
                "lat": ("lat", self.grid.lat, {"standard_name": "latitude", "units": "degrees_north"}),
                "lon": ("lon", self.grid.lon, {"standard_name": "longitude", "units": "degrees_east"}),
            },
            attrs={
                "Conventions": "CF-1.11",
                "title": "Climatology of the training period, per month and hour of the day",
            },
        )
        dataset.to_netcdf(path, encoding={"mean": {"zlib": True, "complevel": 4}})

    @classmethod
    def load(cls, path: Path) -> "Climatology":
        """Read what `save` wrote."""
        with xr.open_dataset(path) as dataset:
            pressures = dataset.pressure.values
            channels = tuple(
                Channel(str(name), None if np.isnan(p) else float(p))
                for name, p in zip(dataset.variable.values, pressures, strict=True)
            )
            return cls(
                mean=dataset["mean"].values,
                anomaly_std=dataset.anomaly_std.values,
                hours_utc=dataset.hour_utc.values,
                channels=channels,
                units=tuple(map(str, dataset.units.values)),
                grid=Grid(dataset.lat.values, dataset.lon.values),
                step_h=float(dataset["step"]),
                lowest=dataset.lowest.values,
            )


def fit_climatology(record: Record) -> Climatology:
    """Climatology of the whole of `record`: give it the training period only.

    A month (or hour of a month) that the record never saw takes the mean of the nearest month that it did see. Sums are
    kept in float64 as departures from the first step, so that the spread of a large value (geopotential) survives the
    subtraction. What never changes, such as the orography, has its area mean as its climatology and a spread in space.
    Raises StoreError for a channel without any value, for one that never departs from its climatology, and for a record
    too short to have one.
    """
    hours = np.unique(record.hour_utc)
    bins = (record.month - 1, np.searchsorted(hours, record.hour_utc))
    shape = (12, len(hours), len(record.channels), *record.grid.shape)
    total, count, squares = np.zeros(shape), np.zeros(shape, np.int32), np.zeros(shape[2:])
    lowest = np.full(shape[2], np.inf)
    origin = record.read(slice(0, 1))[0].astype(np.float64)
    origin = np.where(np.isfinite(origin), origin, 0.0)
    for start in range(0, len(record), STEPS_PER_CHUNK):
        chunk = slice(start, start + STEPS_PER_CHUNK)
        values_read = record.read(chunk)
        seen = np.isfinite(values_read)
        lowest = np.minimum(lowest, np.where(seen, values_read, np.inf).min(axis=(0, 2, 3)))
        departures = values_read - origin
        departures = np.where(seen, departures, 0.0)
        for axis_bins, values, is_seen in zip(
            zip(bins[0][chunk], bins[1][chunk], strict=True), departures, seen, strict=True
        ):
            total[axis_bins] += values
            count[axis_bins] += is_seen
        squares += (departures**2).sum(axis=0)
    is_static = np.array([c.variable in record.static for c in record.channels])
    _require_values(record, count)
    _require_repetition(record, count)
    mean = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
    within = squares - (np.nan_to_num(mean) * total).sum(axis=(0, 1))
    magnitude = np.nanmax(np.abs(mean + origin), axis=(0, 1, 3, 4))
    for v in np.flatnonzero(is_static):
        is_known = count[:, :, v].any(axis=(0, 1))
        area = record.grid.cell_area * is_known
        departure = np.where(is_known, (area / area.sum() * origin[v]).sum() - origin[v], np.nan)
        mean[:, :, v], within[v] = departure, len(record) * departure**2
    anomaly_std = _area_mean_std(within, count.sum(axis=(0, 1)), magnitude, record)
    return Climatology(
        (_fill_months(mean) + origin).astype(np.float32),
        anomaly_std.astype(np.float32),
        hours,
        record.channels,
        record.units,
        record.grid,
        record.step_h,
        lowest.astype(np.float32),
    )


def _require_values(record: Record, count: np.ndarray) -> None:
    for channel, n in zip(record.channels, count.sum(axis=(0, 1, 3, 4)), strict=True):
        if n == 0:
            raise StoreError(
                f"variable '{channel}' has no value in the training period (NaN everywhere), expected some. "
                "Leave it out or name another period."
            )


def _require_repetition(record: Record, count: np.ndarray) -> None:
    for channel, n in zip(record.channels, count.max(axis=(0, 1, 3, 4)), strict=True):
        if n < 2:
            raise StoreError(
                f"variable '{channel}' has one value for each month and hour of the day in the training period, "
                "expected more, to tell what is usual from what is not. Name a longer period."
            )


def _area_mean_std(within: np.ndarray, count: np.ndarray, magnitude: np.ndarray, record: Record) -> np.ndarray:
    area = record.grid.cell_area * (count > 0)
    variance = np.divide(within, count, out=np.zeros_like(within), where=count > 0)
    mean_variance = (variance * area).sum(axis=(1, 2)) / area.sum(axis=(1, 2))
    std = np.sqrt(np.maximum(mean_variance, 0.0))
    for channel, spread, size in zip(record.channels, std, magnitude, strict=True):
        if not spread > SMALLEST_SPREAD * size:
            raise StoreError(
                f"variable '{channel}' is constant for each month and hour of the day in the training period, "
                "expected it to vary. Leave it out or name a longer period."
            )
    return std


def _fill_months(mean: np.ndarray) -> np.ndarray:
    """Where a month and hour has no value: the same hour of the nearest month; the mean of two that are as near."""
    filled = mean.copy()
    for distance in range(1, 7):
        neighbours = np.stack([np.roll(mean, distance, axis=0), np.roll(mean, -distance, axis=0)])
        seen = np.isfinite(neighbours)
        nearest = np.divide(
            np.where(seen, neighbours, 0).sum(0), seen.sum(0), out=np.full(mean.shape, np.nan), where=seen.any(0)
        )
        filled = np.where(np.isfinite(filled), filled, nearest)
    hourly = np.isfinite(filled)
    any_hour = np.divide(
        np.where(hourly, filled, 0).sum(1, keepdims=True),
        hourly.sum(1, keepdims=True),
        out=np.full_like(filled[:, :1], np.nan),
        where=hourly.any(1, keepdims=True),
    )
    return np.where(hourly, filled, any_hour)
