"""Climatology of a record, and spread and correlation of the anomalies, in two passes of bounded memory, see `monthly`.

Axes: T time, M month, D hour of the day, V channel, H row, W column, K lag in time steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from statecast.fields.sources.anomalies import chunks, fit_anomalies
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.extremes import Extremes
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.monthly import MonthlySums, MonthlyWeights, between_months, parts_of
from statecast.fields.sources.record import Record
from statecast.fields.sources.step import Step
from statecast.fields.sources.units import are_same
from statecast.fields.streams import Channel

LONG_NAMES = {
    "mean": "climatological mean around the middle of the month",
    "anomaly_std": "standard deviation of anomalies",
    "correlation": "correlation of anomalies with those a lag earlier",
    "units": "units of the channel",
    "variable": "variable of the channel",
    "pressure": "pressure of the channel",
    "step": "time step of the record",
    "lowest": "smallest value of the channel",
    "month": "month of the year",
    "hour_utc": "hour of the day, UTC",
    "lag": "lag in time",
}
OF_CHANNELS = ("anomaly_std", "correlation", "lowest")  # arrays whose first axis is V
SMALLEST_SPREAD = 1e-7  # relative to the largest mean: anything smaller is float32 rounding


@dataclass(frozen=True)
class Climatology:
    """Climatological mean at each grid point, and the spread of the anomalies of each channel.

    mean         mean around the middle of each month, per hour of the day, channel and grid point, in the channel's units; NaN: never
                 observed. `at` interpolates between the months
    anomaly_std  standard deviation of the departures from `mean`: one number per channel, averaged with area weights
    correlation  of these departures with those K time steps earlier, at the same point
    hours_utc    the hours of the day in `mean`, ascending
    lowest       smallest value of each channel; 0 if those below 0 are rounding, see `Extremes`
    """

    mean: Float[np.ndarray, "M D V H W"]
    anomaly_std: Float[np.ndarray, " V"]
    correlation: Float[np.ndarray, "V K"]
    hours_utc: Float[np.ndarray, " D"]
    channels: tuple[Channel, ...]
    units: tuple[str, ...]
    grid: Grid
    step: Step
    lowest: Float[np.ndarray, " V"]

    @property
    def step_h(self) -> float:
        """Hours between the steps of the record, see `Step.hours`."""
        return self.step.hours

    def at(
        self,
        months_passed: Float[np.ndarray, " T"],
        hour_utc: Float[np.ndarray, " T"],
        rows: slice = slice(None),
        columns: np.ndarray | None = None,
    ) -> Float[np.ndarray, "T V H W"]:
        """The climatological mean at each step of a window, linear in time from the middle of one month to that of the next.

        A mean that jumped at the end of a month would make all anomalies jump there. The nearest available hour of the day is used,
        which is usually the same hour.
        """
        hour = self.nearest_hour(hour_utc)
        before, after, share = between_months(months_passed)
        of_rows = self.mean[:, :, :, rows]  # a view: the global fields are not copied
        earlier, later = of_rows[before, hour], of_rows[after, hour]
        if columns is not None:
            earlier, later = earlier[..., columns], later[..., columns]
        return earlier + share.astype(np.float32)[:, None, None, None] * (later - earlier)

    def nearest_hour(self, hour_utc: Float[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
        """Index of the hour of the day in `mean` that is nearest to each of these."""
        return np.abs((hour_utc[:, None] - self.hours_utc[None, :] + 12) % 24 - 12).argmin(axis=1)

    def other_units(self, record: Record) -> Iterator[tuple[Channel, str, str]]:
        """Channels whose units mean something else in `record`: the channel, its units there and here. Unknown units match any."""
        learned = dict(zip(self.channels, self.units, strict=True))
        for channel, units in zip(record.channels, record.units, strict=True):
            if not are_same(units, learned.get(channel, units)):
                yield channel, units, learned[channel]

    @property
    def units_of_variables(self) -> dict[str, str]:
        """The units of each variable."""
        return {channel.variable: units for channel, units in zip(self.channels, self.units, strict=True)}

    def with_known(self, known: "Climatology") -> "Climatology":
        """A copy with the statistics of `known` for each of its channels. Raises StoreError if the grid or the hours of the day differ."""
        if not np.array_equal(known.hours_utc, self.hours_utc) or known.grid.shape != self.grid.shape:
            raise StoreError(
                "the data and the known climatology have different hours of the day or grids. Prepare the data as before."
            )
        mean, of_channels = self.mean.copy(), {name: getattr(self, name).copy() for name in OF_CHANNELS}
        for new, channel in enumerate(self.channels):
            if channel in known.channels:
                old = known.channels.index(channel)
                mean[:, :, new] = known.mean[:, :, old]
                for name, values in of_channels.items():
                    values[new] = getattr(known, name)[old]
        return replace(self, mean=mean, **of_channels)

    def save(self, path: Path) -> None:
        """Write as CF NetCDF; `load` is the inverse."""
        dataset = xr.Dataset(
            {
                "mean": (("month", "hour_utc", "channel", "lat", "lon"), self.mean),
                "anomaly_std": ("channel", self.anomaly_std),
                "correlation": (("channel", "lag"), self.correlation),
                "units": ("channel", list(self.units)),
                "variable": ("channel", [c.variable for c in self.channels]),
                "pressure": (
                    "channel",
                    [np.nan if c.pressure_hpa is None else c.pressure_hpa for c in self.channels],
                    {"units": "hPa"},
                ),
                "step": ((), self.step_h, {"units": "h", "months": self.step.months}),
                "lowest": ("channel", self.lowest),
            },
            coords={
                "month": np.arange(1, 13),
                "hour_utc": ("hour_utc", self.hours_utc, {"units": "h"}),
                "lag": ("lag", np.arange(self.correlation.shape[1]) * self.step_h, {"units": "h"}),
                "lat": ("lat", self.grid.lat, {"standard_name": "latitude", "units": "degrees_north"}),
                "lon": ("lon", self.grid.lon, {"standard_name": "longitude", "units": "degrees_east"}),
            },
            attrs={
                "Conventions": "CF-1.11",
                "title": "Climatology of the training period, per month and hour of the day: linear in time between the middles of months",
            },
        )
        for name, text in LONG_NAMES.items():
            dataset[name].attrs["long_name"] = text
        for coordinate in dataset.coords.values():
            coordinate.encoding["_FillValue"] = None  # CF allows none there
        dataset.to_netcdf(path, encoding={"mean": {"zlib": True, "complevel": 4}})

    @classmethod
    def load(cls, path: Path) -> "Climatology":
        """Read a file written by `save`."""
        with xr.open_dataset(path, engine="netcdf4") as dataset:
            pressures = dataset.pressure.values
            channels = tuple(
                Channel(str(name), None if np.isnan(p) else float(p))
                for name, p in zip(dataset.variable.values, pressures, strict=True)
            )
            return cls(
                mean=dataset["mean"].values,
                anomaly_std=dataset.anomaly_std.values,
                correlation=dataset.correlation.values,
                hours_utc=dataset.hour_utc.values,
                channels=channels,
                units=tuple(map(str, dataset.units.values)),
                grid=Grid(dataset.lat.values, dataset.lon.values),
                step=Step.of_hours(float(dataset["step"]), int(dataset["step"].attrs.get("months", 0))),
                lowest=dataset.lowest.values,
            )


@dataclass(frozen=True)
class Reference:
    """Reference fields for the climatology of a record, at its points and times, in its channels and units, with a known climatology.

    fields  of the given steps of the record; NaN where nothing is known
    mean    as `Climatology.mean`, for the hours of the day of the record
    lowest  as `Climatology.lowest`; infinite for a channel without a reference
    """

    fields: Callable[[slice], Float[np.ndarray, "T V H W"]]
    mean: Float[np.ndarray, "M D V H W"]
    lowest: Float[np.ndarray, " V"]


def fit_climatology(record: Record, reference: Reference | None = None, *, spread: bool = True) -> Climatology:
    """Climatology of the whole `record`, which should cover the training period only.

    With a `reference`, it is the climatology of the reference plus the mean difference between the two (the delta method of downscaling):
    a short record determines the difference, but not the climatology itself. Where the two were never observed together, the record's own
    climatology is used. A channel that is never negative, in the record and in the known values of the reference, has no negative
    climatology.

    The mean of a month covers all values from the middle of the previous month to the middle of the next, with weights that fall
    linearly to 0 there, two months in total (as in WeatherBench 2, Rasp et al. 2024). A month (or hour of a month) with fewer than
    `ENOUGH` values and less than half of the largest number takes the mean of the nearest one with more. Sums are kept in float64
    as departures from the first step. The climatology of a constant field, such as the orography, is its area mean, and its spread is
    spatial. Without `spread`, that and the correlation are NaN, and the record is read once. Raises StoreError for a channel without any
    value, for a channel that never departs from its climatology, and for a record that is too short.
    """
    weights = MonthlyWeights.of(record)
    mean = np.empty((12, len(weights.hours), len(record.channels), *record.grid.shape), np.float32)
    extremes = Extremes(len(record.channels))
    origin, seen = np.empty(mean.shape[2:]), np.empty(mean.shape[2:], bool)
    for channels, rows in parts_of(record, len(weights.hours), by_variable=reference is None):
        part, place = record.only(channels), (channels, rows)
        first = (part.read(slice(0, 1), rows) - _beside(reference, slice(0, 1), rows))[0].astype(np.float64)
        origin[place] = np.where(np.isfinite(first), first, 0.0)
        sums = MonthlySums(weights, origin[place])
        for chunk in chunks(part, rows):
            values = part.read(chunk, rows)
            extremes.add(values, channels)
            sums.add(chunk, values - _beside(reference, chunk, rows))
        seen[place] = sums.seen
        mean[:, :, channels, rows] = _with_reference(sums.mean(), reference, place)
    if reference is None:
        _require_values(record, seen)
    lowest = extremes.lowest_value()
    extremes.require_measurements(record)
    for v, channel in enumerate(record.channels):
        if channel.variable in record.static:
            constant = _area_mean(record, origin[v], seen[v])
            mean[:, :, v] = _with_reference(constant, reference, (v,))
    if reference is not None:
        lowest = np.minimum(lowest, reference.lowest)
        _lean(mean, lowest, record)
    climatology = Climatology(
        mean,
        np.full(len(record.channels), np.nan, np.float32),
        np.full((len(record.channels), 1), np.nan, np.float32),
        weights.hours,
        record.channels,
        record.units,
        record.grid,
        record.step,
        lowest.astype(np.float32),
    )
    if not spread:
        return climatology
    found = fit_anomalies(
        record, lambda t: record.read(t) - climatology.at(record.months_passed[t], record.hour_utc[t])
    )
    _require_spread(record, found.std, _magnitudes(mean))
    return replace(climatology, anomaly_std=found.std, correlation=found.correlation)


def _beside(reference: Reference | None, steps: slice, rows: slice) -> np.ndarray:
    return np.zeros(1, np.float32) if reference is None else reference.fields(steps)[:, :, rows]


def _with_reference(mean: np.ndarray, reference: Reference | None, place: tuple[slice | int, ...]) -> np.ndarray:
    return mean if reference is None else mean + reference.mean[(slice(None), slice(None), *place)]


def _area_mean(record: Record, values: Float[np.ndarray, "H W"], seen: Bool[np.ndarray, "H W"]) -> np.ndarray:
    """The mean over the points that were seen, at these; NaN elsewhere."""
    area = record.grid.cell_area * seen
    return np.where(seen, (area / area.sum() * values).sum() - values, np.nan) + values


def _lean(mean: Float[np.ndarray, "M D V H W"], lowest: Float[np.ndarray, " V"], record: Record) -> None:
    """The record's own climatology where the reference was never observed with it; none below 0 for what is never negative."""
    np.copyto(mean, fit_climatology(record).mean, where=~np.isfinite(mean))
    for v, least in enumerate(lowest):
        if least >= 0:
            np.maximum(mean[:, :, v], 0.0, out=mean[:, :, v])


def _magnitudes(mean: Float[np.ndarray, "M D V H W"]) -> Float[np.ndarray, " V"]:
    """The largest magnitude of each channel, without a copy of all values."""
    axes = (0, 1, 3, 4)
    return np.maximum(np.nanmax(mean, axis=axes), -np.nanmin(mean, axis=axes))


def _require_values(record: Record, seen: Bool[np.ndarray, "V H W"]) -> None:
    times = record.dataset.indexes["time"]
    for channel, known in zip(record.channels, seen, strict=True):
        if not known.any():
            raise StoreError(
                f"variable '{channel}' has no value in the training period (NaN everywhere from {times[0]} to {times[-1]}), expected some. "
                "Leave it out or name another period."
            )


def _require_spread(record: Record, spread: np.ndarray, magnitude: np.ndarray) -> None:
    for channel, std, size in zip(record.channels, spread, magnitude, strict=True):
        if not std > SMALLEST_SPREAD * size:
            raise StoreError(
                f"variable '{channel}' never departs from its climatology in the training period, "
                "expected it to vary. Leave it out or name a longer period."
            )
