"""What is in a table of stations, for people to read."""

from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from statecast.fields.stations.table import StationTable

HOUR_US, SHARES = 3600 * 10**6, (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class StationDescription:
    """The contents of a table; rich prints them, `str` returns the same as plain text."""

    table: StationTable

    def __rich__(self) -> Group:
        lines = {"stations": self._places(), "reports": self._reports(), "times": self._times()}
        return Group(self._variables(), *(Text(f"{name:<9} {line}") for name, line in lines.items()))

    def __str__(self) -> str:
        console = Console(width=160, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def _variables(self) -> Table:
        shown = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("variable", "units", "missing", "lowest", "median", "highest"):
            shown.add_column(name, justify="left" if name in ("variable", "units") else "right")
        for variable, units, column in zip(self.table.variables, self.table.units, self.table.values.T, strict=True):
            known = column[np.isfinite(column)]
            numbers = [f"{x:.4g}" for x in (known.min(), np.median(known), known.max())] if len(known) else [""] * 3
            shown.add_row(variable, units, f"{1 - len(known) / len(column):.1%}", *numbers)
        return shown

    def _places(self) -> str:
        places = self.table.stations
        box = f"{places.lat.min():.4g} to {places.lat.max():.4g} N, {places.lon.min():.4g} to {places.lon.max():.4g} E"
        return f"{len(places)}, {box}, {places.height_m.min():.4g} to {places.height_m.max():.4g} m"

    def _reports(self) -> str:
        counts = np.bincount(self.table.station, minlength=len(self.table.stations))
        low, middle, high = (f"{x:.0f}" for x in np.quantile(counts, SHARES))
        return f"{len(self.table)}, {middle} of a station in the median, {low} to {high} of eight in ten"

    def _times(self) -> str:
        first, last = self.table.ticks[[0, -1]].astype("M8[us]").astype("M8[s]")
        gaps = _gaps(self.table)
        return f"{first}Z to {last}Z, {gaps}"


def _gaps(table: StationTable) -> str:
    """Hours between the reports of a station."""
    order = np.lexsort((table.ticks, table.station))
    apart = np.diff(table.ticks[order])[np.diff(table.station[order]) == 0]
    if len(apart) == 0:
        return "one report of each station"
    low, middle, high = (f"{x / HOUR_US:.3g}" for x in np.quantile(apart, SHARES))
    return f"every {middle} h in the median, {low} to {high} h in eight of ten, at most {apart.max() / HOUR_US:.4g} h"
