"""The record of one stream: its channels over a period, read one window at a time.

Axes: T time, V channel, H row, W column.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from statecast.fields.sources.dates import select_period
from statecast.fields.sources.dimensions import listed
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.reading import values_of
from statecast.fields.sources.step import Step, step_of
from statecast.fields.sources.stored import Stored, read_together
from statecast.fields.sources.times import HOUR, Times
from statecast.fields.sources.units import UNKNOWN_UNITS
from statecast.fields.streams import Channel, Stream

KNOWN_DIMENSIONS = ("time", "level", "lat", "lon")
IN_MEMORY_GIB = 2.0  # a record up to this size is read once and kept in memory; a larger one is read window by window


@dataclass(frozen=True)
class Record:
    """Channels of a stream over the times of a store, created by `Record.open`.

    Variables without a time dimension, such as the orography, are the same at each step; `static` lists them.
    """

    dataset: xr.Dataset
    channels: tuple[Channel, ...]
    units: tuple[str, ...]
    in_memory: Float[np.ndarray, "T V H W"] | None = None
    static: tuple[str, ...] = ()
    known_step: Step | None = None

    @classmethod
    def open(
        cls,
        dataset: xr.Dataset,
        stream: Stream,
        period: tuple[str, str] | None = None,
        step: Step | None = None,
        in_memory_gib: float | None = None,
    ) -> "Record":
        """The stream's channels in `dataset` (as returned by `open_fields`), in `period` (see `select_period`).

        step           from one time to the next; none: as the times tell
        in_memory_gib  up to this size a record is kept in memory; none: `IN_MEMORY_GIB`

        Raises StoreError for a variable or level missing from the store and for a period without data.
        """
        channels = stream_channels(dataset, stream)
        static = tuple(name for name in stream.variables if "time" not in dataset[name].dims)
        fields = variables_of(dataset, stream).assign(
            {name: dataset[name].expand_dims(time=dataset["time"]) for name in static}
        )
        if period is not None:
            fields = select_period(fields, period)
        units = tuple(str(fields[c.variable].attrs.get("units", UNKNOWN_UNITS)) for c in channels)
        gib = fields.sizes["time"] * len(channels) * fields.sizes["lat"] * fields.sizes["lon"] * 4 / 2**30
        most = IN_MEMORY_GIB if in_memory_gib is None else in_memory_gib
        in_memory = _contiguous(fields, channels) if gib <= most else None
        return cls(fields, channels, units, in_memory, static, step)

    def __len__(self) -> int:
        return self.dataset.sizes["time"]

    @property
    def changes(self) -> bool:
        """True if any variable depends on time; false, for example, for a stream of orography alone."""
        return any(channel.variable not in self.static for channel in self.channels)

    @cached_property
    def grid(self) -> Grid:
        return Grid(np.asarray(self.dataset.lat.values, float), np.asarray(self.dataset.lon.values, float))

    @cached_property
    def times(self) -> Times:
        return Times.of(self.dataset)

    @cached_property
    def hours(self) -> Float[np.ndarray, " T"]:
        """Hours since the first step, in the calendar of the record; in a record of months each counts as a month of mean length."""
        if self.is_monthly:
            return (self.times.months - self.times.months[0]) * Step(months=1).hours
        return (self.times.ticks - self.times.ticks[0]) / HOUR

    @cached_property
    def hour_utc(self) -> Float[np.ndarray, " T"]:
        """Hour of the day of each step, 0 to 24, with minutes as a fraction. What belongs to a month has none: it is 0 there."""
        if self.is_monthly:
            return np.zeros(len(self))
        seconds = self._of_time("second") + self._of_time("microsecond") / 1e6
        return self._of_time("hour") + self._of_time("minute") / 60 + seconds / 3600

    @cached_property
    def month(self) -> np.ndarray:
        """Month of each step, 1 to 12."""
        return self._of_time("month")

    def _of_time(self, field: str) -> np.ndarray:
        """A field of the date of each step, as xarray names it."""
        return getattr(self.dataset["time"].dt, field).values

    @cached_property
    def months_passed(self) -> Float[np.ndarray, " T"]:
        """Months elapsed since the start of the year at each step, 0 to 12: 0.5 is the middle of January, in any calendar.

        In a record of months it is the middle of the month, wherever in it the time lies.
        """
        if self.is_monthly:
            return self.month - 0.5
        return self.month - 1 + (self._of_time("day") - 1 + self.hour_utc / 24) / self._of_time("days_in_month")

    @cached_property
    def year_fraction(self) -> Float[np.ndarray, " T"]:
        """Elapsed fraction of the year, 0 to 1, in the calendar of the record (including 360-day years)."""
        if self.is_monthly:
            return self.months_passed / 12
        return (self._of_time("dayofyear") - 1 + self.hour_utc / 24) / self._of_time("days_in_year")

    @cached_property
    def step(self) -> Step:
        """From one time to the next, see `step_of`. Raises StoreError if there is only one time, or if the step changes."""
        return self.known_step or step_of(self.times)

    @property
    def step_h(self) -> float:
        """Hours between steps, see `Step.hours`."""
        return self.step.hours

    @cached_property
    def is_monthly(self) -> bool:
        """True if the step is a number of calendar months; false also if there is no step."""
        try:
            return self.step.months > 0
        except StoreError:
            return False

    def only(self, channels: slice) -> "Record":
        """The record of some of its channels."""
        kept = None if self.in_memory is None else self.in_memory[:, channels]
        return replace(self, channels=self.channels[channels], units=self.units[channels], in_memory=kept)

    def starts(self, steps: int) -> np.ndarray:
        """Indices at which `steps` consecutive time steps without a gap begin.

        Raises StoreError if there are none.
        """
        gaps = np.zeros(0, bool) if len(self) < 2 else ~self.step.is_next(self.times)
        gaps_before = np.concatenate([[0], np.cumsum(gaps)])
        first = np.arange(max(0, len(self) - steps + 1))
        starts = first[gaps_before[first + steps - 1] == gaps_before[first]]
        if len(starts) == 0:
            raise StoreError(
                f"the period has {len(self)} time steps of {self.step}, but no {steps} consecutive ones without a gap, "
                "which a window needs. Name a longer period or a shorter window."
            )
        return starts

    def part(self, first: int, steps: int) -> "Record":
        """So many steps of the record from the number `first` on."""
        chosen = slice(first, first + steps)
        kept = None if self.in_memory is None else self.in_memory[chosen]
        return replace(self, dataset=self.dataset.isel(time=chosen), in_memory=kept, known_step=self.step)

    def read(
        self, steps: slice, rows: slice = slice(None), columns: np.ndarray | None = None
    ) -> Float[np.ndarray, "T V H W"]:
        """Values in the units of the store, float32, NaN where missing; `columns` may cross the date line."""
        columns = np.arange(self.grid.shape[1]) if columns is None else columns
        if self.in_memory is not None:
            return self.in_memory[steps, :, rows][..., columns]
        places = {"time": np.arange(len(self))[steps], "lat": np.arange(self.grid.shape[0])[rows], "lon": columns}
        values = np.empty((len(places["time"]), len(self.channels), len(places["lat"]), len(columns)), np.float32)
        try:
            others = self._read_stored(values, places)
        except Exception:  # noqa: BLE001  reading variable by variable tells which is damaged, and where
            others = list(self.of_variables)
        for variable in others:
            values[:, self.of_variables[variable]] = self._read_one(variable, places)
        return values

    def _read_stored(self, values: Float[np.ndarray, "T V H W"], places: Mapping[str, np.ndarray]) -> list[str]:
        """Read straight from Zarr what can be, at the same time; returns the other variables."""
        others, requests = [], []
        for variable, channels in self.of_variables.items():
            stored = self._stored[variable]
            if stored is None:
                others.append(variable)
                continue
            at = {dim: stored.positions[dim][index] for dim, index in places.items()}
            if "level" in stored.dims:
                at["level"] = stored.positions["level"][self._levels[variable]]
            requests += stored.requests(values[:, channels], at)
        if requests:
            read_together(requests)
        return others

    def _read_one(self, variable: str, places: Mapping[str, np.ndarray]) -> Float[np.ndarray, "T V H W"]:
        """The channels of a variable by xarray."""
        channels = self.channels[self.of_variables[variable]]
        spans = {dim: slice(places[dim][0], places[dim][-1] + 1) for dim in ("time", "lat")}
        window = self.dataset[[variable]].isel(spans)
        seam = np.flatnonzero(np.diff(places["lon"]) < 0)  # across the date line: two contiguous reads
        parts = np.split(places["lon"], seam + 1)
        return np.concatenate([_contiguous(window.isel(lon=slice(p[0], p[-1] + 1)), channels) for p in parts], axis=-1)

    @cached_property
    def of_variables(self) -> dict[str, slice]:
        """The channels of each variable, which lie side by side."""
        names = [channel.variable for channel in self.channels]
        return {name: slice(names.index(name), names.index(name) + names.count(name)) for name in dict.fromkeys(names)}

    @cached_property
    def _stored(self) -> dict[str, Stored | None]:
        return {name: Stored.of(self.dataset[name].variable) for name in self.of_variables}

    @cached_property
    def _levels(self) -> dict[str, Int[np.ndarray, " V"]]:
        """Where the levels of the channels of a variable lie among those of the record."""
        levels = {name: [c.pressure_hpa for c in self.channels[of]] for name, of in self.of_variables.items()}
        index = self.dataset.indexes
        return {name: index["level"].get_indexer(of) for name, of in levels.items() if of != [None]}


def _contiguous(window: xr.Dataset, channels: tuple[Channel, ...]) -> Float[np.ndarray, "T V H W"]:
    arrays = []
    for variable in dict.fromkeys(c.variable for c in channels):
        levels = [c.pressure_hpa for c in channels if c.variable == variable]
        array = window[variable] if levels == [None] else window[variable].sel(level=levels)
        values = values_of(array.transpose("time", ..., "lat", "lon")).astype(np.float32)
        arrays.append(values[:, None] if levels == [None] else values)
    return np.concatenate(arrays, axis=1)


def stream_channels(dataset: xr.Dataset, stream: Stream) -> tuple[Channel, ...]:
    """The channels of `stream` in a store: a variable with levels has one channel per level of the stream.

    Raises StoreError for a variable or level missing from the store, listing those it has.
    """
    channels: list[Channel] = []
    for variable in stream.variables:
        if variable not in dataset.data_vars:
            raise StoreError(
                f"the store has no variable '{variable}'. Variables: {', '.join(map(str, dataset.data_vars))}. "
                "Name one of these."
            )
        array = dataset[variable]
        missing = {"lat", "lon"} - set(map(str, array.dims))
        if missing:
            raise StoreError(
                f"variable '{variable}' has no {' and no '.join(sorted(missing))}, expected lat and lon. "
                "Leave it out of the stream."
            )
        if other := [str(d) for d in array.dims if d not in KNOWN_DIMENSIONS or d not in dataset.coords]:
            raise StoreError(
                f"variable '{variable}' has the dimension '{other[0]}', expected time, lat, lon and pressure levels. "
                f"Select one value in the recipe, data.select: {{{other[0]}: ...}}{_values(array, other[0])}."
            )
        if "level" not in array.dims:
            channels.append(Channel(variable, None))
            continue
        channels += _levels(array, stream, variable)
    if not stream.levels_share_token and any(c.pressure_hpa is None for c in channels):
        without = [c.variable for c in channels if c.pressure_hpa is None]
        raise StoreError(
            f"levels_share_token is false, but {', '.join(without)} has no levels. Put it in a stream of its own."
        )
    return tuple(channels)


def _values(array: xr.DataArray, dimension: str) -> str:
    return f", of {listed(array, dimension)}" if dimension in array.coords else ", or when you prepare the store"


def _levels(array: xr.DataArray, stream: Stream, variable: str) -> list[Channel]:
    have = [float(p) for p in array.level.values]
    known = ", ".join(f"{p:g}" for p in have)
    if not stream.levels:
        raise StoreError(
            f"variable '{variable}' has levels, but the stream names none. Levels: {known}. Name the ones you want."
        )
    for level in stream.levels:
        if level not in have:
            raise StoreError(
                f"variable '{variable}' has no level {level:g} hPa. Levels: {known}. "
                "Name one of these, or interpolate when you prepare the store."
            )
    return [Channel(variable, float(p)) for p in stream.levels]


def variables_of(dataset: xr.Dataset, stream: Stream) -> xr.Dataset:
    """The stream's variables, with the times of the dataset even if none of the variables has a time dimension."""
    return dataset[list(stream.variables)].assign_coords(time=dataset["time"])
