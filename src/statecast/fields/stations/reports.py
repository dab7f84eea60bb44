"""The reports of stations at the time steps of a record of fields. Axes: R report, T time, V variable, S station, W window."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from statecast.fields.sources import Record
from statecast.fields.sources.anomalies import chunks
from statecast.fields.sources.times import MINUTE, Times
from statecast.fields.sources.units import tell
from statecast.fields.stations.table import StationError, Stations, StationTable


@dataclass(frozen=True)
class Reports:
    """Reports by the time steps of a record, in the order of the steps; at most one of a station at a step."""

    table: StationTable
    record: Record
    step: Int[np.ndarray, " R"]

    @classmethod
    def of(cls, table: StationTable, record: Record, within_min: float) -> "Reports":
        """The report of each station that is nearest to each time step, none farther away than `within_min`.

        Raises StationError for a table without a report near any of the steps, or in the region, of the record.
        """
        inside = record.grid.holds(table.stations.lat, table.stations.lon)
        if not inside.any():
            raise StationError(
                f"table {table.name}: none of its {len(inside)} stations lies in {record.grid.box}, which the record covers."
            )
        if not inside.all():
            tell(
                f"table {table.name}: {(~inside).sum()} of {len(inside)} stations lie outside the record, {record.grid.box}."
            )
        table = table.of_stations(inside)
        ticks = _ticks(record.times, table.name)
        after = np.searchsorted(ticks, table.ticks).clip(1, max(1, len(ticks) - 1))
        before = np.minimum(after - 1, len(ticks) - 1)
        after = np.minimum(after, len(ticks) - 1)
        is_later = ticks[after] - table.ticks < table.ticks - ticks[before]
        step = np.where(is_later, after, before)
        away = np.abs(ticks[step] - table.ticks)
        order = np.lexsort((away, table.station, step))
        order = order[away[order] <= within_min * MINUTE]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (np.diff(step[order]) != 0) | (np.diff(table.station[order]) != 0)
        order = order[is_first]
        return cls(_rows(table, order), record, step[order])

    def require_some(self) -> "Reports":
        """These reports. Raises StationError if there are none."""
        if len(self.step):
            return self
        times, table = self.record.times.index, self.table
        raise StationError(
            f"table {table.name}: has no report near a time step from {times[0]} to {times[-1]}. Name a period that it covers."
        )

    @property
    def stations(self) -> Stations:
        return self.table.stations

    def __len__(self) -> int:
        return len(self.step)

    def rows(self, steps: slice) -> slice:
        """The reports at some steps."""
        first, last = np.searchsorted(self.step, (steps.start, steps.stop))
        return slice(int(first), int(last))

    def seen(self, steps: slice) -> Int[np.ndarray, " S"]:
        """The numbers of the stations that report at some of these steps, ascending."""
        return np.unique(self.table.station[self.rows(steps)])

    def is_seen(self, starts: Int[np.ndarray, " W"], steps: int) -> Bool[np.ndarray, " W"]:
        """Whether any station reports in each of the windows of so many steps."""
        return np.searchsorted(self.step, starts + steps) > np.searchsorted(self.step, starts)

    def read(self, steps: slice, chosen: Int[np.ndarray, " S"]) -> Float[np.ndarray, "T V 1 S"]:
        """Values of some stations; NaN where nothing was reported."""
        rows, shape = self.rows(steps), (steps.stop - steps.start, len(self.table.variables), 1, len(chosen))
        values = np.full(shape, np.nan, np.float32)
        column = np.full(len(self.stations), -1)
        column[chosen] = np.arange(len(chosen))
        at, when = column[self.table.station[rows]], self.step[rows] - steps.start
        known = at >= 0
        values[when[known], :, 0, at[known]] = self.table.values[rows][known]
        return values

    def departures(self, expected: Callable[[slice], Float[np.ndarray, "T V 1 S"]]) -> Float[np.ndarray, "R V"]:
        """What was reported less what is expected of all stations at some steps."""
        away = np.full(self.table.values.shape, np.nan, np.float32)
        for chunk in chunks(self.record):
            rows = self.rows(chunk)
            if rows.stop > rows.start:
                of_rows = expected(chunk)[self.step[rows] - chunk.start, :, 0, self.table.station[rows]]
                away[rows] = self.table.values[rows] - of_rows
        return away

    def before(self, step: int) -> "Reports":
        """The reports of earlier steps."""
        rows = np.arange(self.rows(slice(0, step)).stop)
        return replace(self, table=_rows(self.table, rows), step=self.step[rows])

    def without(self, bad: Bool[np.ndarray, "R V"]) -> "Reports":
        """The same reports, with some values missing."""
        return replace(self, table=replace(self.table, values=np.where(bad, np.nan, self.table.values)))


def _rows(table: StationTable, rows: Int[np.ndarray, " R"]) -> StationTable:
    return replace(table, station=table.station[rows], ticks=table.ticks[rows], values=table.values[rows])


def _ticks(times: Times, name: str) -> Int[np.ndarray, " T"]:
    """Raises StationError for times of another calendar than the stations'."""
    if times.calendar not in ("standard", "gregorian", "proleptic_gregorian"):
        raise StationError(
            f"table {name}: has times of the standard calendar, the record of fields those of {times.calendar}. Convert the store by "
            "xarray's `convert_calendar`."
        )
    return times.ticks
