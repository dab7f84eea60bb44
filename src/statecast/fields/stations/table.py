"""Reports of stations from a table: who measured what, where and when. Axes: R report, S station, V variable."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from statecast.documents import is_file
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.units import UNKNOWN_UNITS, are_unknown, conversion, conversion_of_values, is_unit, tell
from statecast.fields.stations.describe import LATITUDES

NAMES = {
    "station": ("station", "station_id", "id", "site", "wigos_station_identifier"),
    "time": ("time", "valid_time", "datetime", "date"),
    "lat": LATITUDES,
    "lon": ("lon", "longitude", "lon_deg"),
    "height": ("height", "altitude", "elevation", "elev", "alt", "height_m"),
}
"""Columns by the names that they usually have."""
ENDINGS = (".csv", ".parquet", ".nc", ".nc4", ".cdf")
WITH_UNITS = re.compile(r"(?P<name>.*?)\s*\[(?P<units>[^\]]*)\]\s*")
MOVED_DEG, MOVED_M = 0.01, 50.0  # a kilometre, and rounding of heights: of one place they differ by less


class StationError(StoreError):
    """A table of stations that can't be used."""


@dataclass(frozen=True)
class Stations:
    """Places: names, degrees north, degrees east from 0 to 360, metres above the sea."""

    ids: tuple[str, ...]
    lat: Float[np.ndarray, " S"]
    lon: Float[np.ndarray, " S"]
    height_m: Float[np.ndarray, " S"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, chosen: np.ndarray) -> "Stations":
        ids = tuple(np.array(self.ids, dtype=object)[chosen].tolist())
        return Stations(ids, self.lat[chosen], self.lon[chosen], self.height_m[chosen])


@dataclass(frozen=True)
class StationTable:
    """Reports in the order of their times; `ticks` are microseconds since 1970 UTC, `values` NaN where nothing was measured."""

    name: str
    stations: Stations
    station: Int[np.ndarray, " R"]
    ticks: Int[np.ndarray, " R"]
    values: Float[np.ndarray, "R V"]
    variables: tuple[str, ...]
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.station)

    def of_stations(self, kept: Bool[np.ndarray, " S"]) -> "StationTable":
        """The reports of some of the stations, which are numbered anew."""
        number = np.cumsum(kept) - 1
        rows = kept[self.station]
        return replace(
            self,
            stations=self.stations[np.flatnonzero(kept)],
            station=number[self.station[rows]],
            ticks=self.ticks[rows],
            values=self.values[rows],
        )

    def of_variables(self, wanted: Mapping[str, str | None], *, may_lack: bool = False) -> "StationTable":
        """The variables in the units that are wanted, None: as they are.

        may_lack  a variable that the table has not is missing everywhere, instead of an error
        Raises StationError for a variable that it lacks, or in other units.
        """
        columns, in_units = [], []
        for variable, units in wanted.items():
            if variable not in self.variables and may_lack:
                columns.append(np.full(len(self), np.nan))
                in_units.append(units or UNKNOWN_UNITS)
                continue
            if variable not in self.variables:
                known = ", ".join(self.variables) or "none"
                raise StationError(f"table {self.name}: has no variable '{variable}'. Variables: {known}. Name one.")
            number = self.variables.index(variable)
            have = self.units[number]
            self._require_units(variable, have, units)
            factor, offset = conversion_of_values(have, units or have) or (1.0, 0.0)
            columns.append(self.values[:, number] * factor + offset)
            in_units.append(units or have)
        values = np.stack(columns, axis=1).astype(np.float32)
        return replace(self, values=values, variables=tuple(wanted), units=tuple(in_units))

    def _require_units(self, variable: str, have: str, units: str | None) -> None:
        if are_unknown(have):
            raise StationError(
                f"table {self.name}: variable '{variable}' has no units, expected some. Name the column '{variable} [K]', or set "
                f"units: {{{variable}: K}} in the stream."
            )
        if (units is not None and conversion_of_values(have, units) is None) or not is_unit(have):
            wanted = f"can't be converted to '{units}'" if units else "is no unit"
            raise StationError(f"table {self.name}: variable '{variable}' is in '{have}', which {wanted}. Correct it.")


def read_table(
    path: str | Path, *, units: Mapping[str, str] | None = None, zone: str | None = None, needs_reports: bool = True
) -> StationTable:
    """The reports in a CSV, Parquet or NetCDF file, all of its columns of numbers.

    A column has its name and its units, as `t2m [K]`; in NetCDF the attribute. Without a column of stations each place is one. Unless it
    `needs_reports`, a table without times holds stations alone.
    Raises StationError, in one line, for a file or a column that is not there, a latitude that is none, a time that can't be read or has no
    zone, a station that moves or reports twice at one time.
    """
    name = str(path)
    if not is_file(Path(path)) or Path(path).suffix not in ENDINGS:
        what = f"ends in '{Path(path).suffix}'" if is_file(Path(path)) else "there is no such file"
        raise StationError(f"table {name}: {what}, expected a CSV, Parquet or NetCDF file (.csv, .parquet, .nc).")
    frame = _read(Path(path))
    known = _columns(frame, name, needs_reports=needs_reports)
    of_columns = dict(map(_name_and_units, (c for c in frame.columns if c not in known.values())))
    measured = {n: frame[c] for c in frame.columns if (n := _name_and_units(c)[0]) in of_columns}
    numbers = {n: _numbers(column, n, name) for n, column in measured.items() if column.dtype.kind in "fiub"}
    in_units = {n: (units or {}).get(n, of_columns[n]) for n in numbers}
    lat, lon = (_degrees(frame[known[axis]], axis, name) for axis in ("lat", "lon"))
    height = _metres(frame[known["height"]], name) if "height" in known else np.zeros(len(frame))
    if "height" not in known:
        tell(
            f"table {name}: has no column of heights ({', '.join(NAMES['height'])}); all stations count as at sea level."
        )
    ids = [f"{y:.3f} {x:.3f}" for y, x in zip(lat, lon, strict=True)]
    if "station" in known:
        ids = list(map(str, frame[known["station"]]))
    if "time" not in known:
        stations, _ = _stations(ids, lat, lon % 360.0, height, name)
        nothing = np.zeros(0, np.int64)
        return StationTable(name, stations, nothing, nothing, np.zeros((0, 0)), (), ())
    ticks = _ticks(frame[known["time"]], name, "UTC" if Path(path).suffix in ENDINGS[2:] else zone)
    stations, station = _stations(ids, lat, lon % 360.0, height, name)
    values = np.stack([*numbers.values()], axis=1) if numbers else np.zeros((len(frame), 0))
    order = np.lexsort((station, ticks))
    table = StationTable(
        name, stations, station[order], ticks[order], values[order], tuple(numbers), tuple(in_units.values())
    )
    _require_once(table)
    return table


def _read(path: Path) -> pd.DataFrame:
    from statecast.fields.stations.netcdf import read_time_series

    try:
        if path.suffix == ".csv":
            names = [c for c in pd.read_csv(path, nrows=0) if _name_and_units(c)[0].lower() in NAMES["station"]]
            return pd.read_csv(path, dtype=dict.fromkeys(names, str))  # 00123 is a name
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return read_time_series(path)
    except ImportError:
        raise StationError(
            f"table {path}: Parquet needs pyarrow. Install statecast[hep], or write a CSV file."
        ) from None
    except StationError:
        raise
    except (OSError, ValueError) as error:
        raise StationError(f"table {path}: can't be read ({str(error).splitlines()[0]}).") from error


def _columns(frame: pd.DataFrame, name: str, *, needs_reports: bool) -> dict[str, str]:
    """The columns that say who, where and when, by what they say."""
    plain = {_name_and_units(column)[0].lower(): column for column in reversed(frame.columns)}
    found = {axis: plain[n] for axis, names in NAMES.items() for n in reversed(names) if n in plain}
    for axis in ("lat", "lon", *(["time"] if needs_reports else [])):
        if axis not in found:
            raise StationError(
                f"table {name}: has no column '{axis}' ({', '.join(NAMES[axis])}). Columns: {', '.join(map(str, frame.columns))}. Add it."
            )
    if len(frame) == 0:
        raise StationError(f"table {name}: has no row, expected one for each report.")
    return found


def _name_and_units(column: object) -> tuple[str, str]:
    found = WITH_UNITS.fullmatch(str(column))
    return (found["name"], found["units"]) if found else (str(column), UNKNOWN_UNITS)


def _numbers(column: pd.Series, what: str, name: str) -> Float[np.ndarray, " R"]:
    try:
        return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise StationError(f"table {name}: column '{what}' holds texts ({error}), expected numbers.") from None


def _metres(column: pd.Series, name: str) -> Float[np.ndarray, " R"]:
    """Heights, whose units stand behind the name of their column; without units they are metres."""
    units = _name_and_units(column.name)[1]
    rule = conversion("m" if are_unknown(units) else units, "m")
    if rule is None:
        raise StationError(f"table {name}: the heights are in '{units}', expected metres. Correct it.")
    return _numbers(column, "height", name) * rule.factor


def _degrees(column: pd.Series, axis: str, name: str) -> Float[np.ndarray, " R"]:
    values = _numbers(column, axis, name)
    low, high = (-90.0, 90.0) if axis == "lat" else (-180.0, 360.0)
    bad = ~((values >= low) & (values <= high))
    if bad.any():
        raise StationError(
            f"table {name}: {axis} is {values[bad][0]:g} in row {int(bad.argmax()) + 1}, expected {low:g} to {high:g} degrees. Correct it."
        )
    return values


def _ticks(column: pd.Series, name: str, zone: str | None) -> Int[np.ndarray, " R"]:
    """Microseconds since 1970 UTC."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        times = column.dt.tz_convert("UTC")
    elif column.dtype.kind == "M":
        times = _in_zone(column, name, zone)
    else:
        times = _read_texts(column, name, zone)
    if times.isna().any():
        at = int(times.isna().to_numpy().argmax())
        raise StationError(
            f"table {name}: time '{column.iloc[at]}' in row {at + 1} can't be read or is ambiguous. Write 2001-02-03T06:00Z."
        )
    return times.dt.tz_localize(None).to_numpy().astype("M8[us]").astype(np.int64)


def _read_texts(column: pd.Series, name: str, zone: str | None) -> pd.Series:
    if column.dtype.kind in "iuf":
        raise StationError(
            f"table {name}: the times are numbers, such as {column.iloc[0]}, expected texts. Write 2001-02-03T06:00Z."
        )
    texts = column.astype(str).str.strip().str.replace(r"(?i)\s*(utc|z)$", "Z", regex=True)
    is_zoned = texts.str.contains(r":.*(?:Z|[+-]\d{2}(?::?\d{2})?)$|Z$", regex=True)
    if is_zoned.all():
        return pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce").astype("datetime64[us, UTC]")
    if is_zoned.any():
        at = int((~is_zoned).to_numpy().argmax())
        raise StationError(
            f"table {name}: time '{column.iloc[at]}' in row {at + 1} has no zone, but others have one. Write 2001-02-03T06:00Z."
        )
    naive = pd.to_datetime(texts, format="ISO8601", errors="coerce")
    return naive if naive.isna().any() else _in_zone(naive, name, zone)


def _in_zone(times: pd.Series, name: str, zone: str | None) -> pd.Series:
    if zone is None:
        raise StationError(
            f"table {name}: times such as '{times.iloc[0]}' have no zone. Write 2001-02-03T06:00Z, or set zone: UTC in the stream."
        )
    return times.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")


def _stations(
    ids: Sequence[str],
    lat: Float[np.ndarray, " R"],
    lon: Float[np.ndarray, " R"],
    height_m: Float[np.ndarray, " R"],
    name: str,
) -> tuple[Stations, Int[np.ndarray, " R"]]:
    """The places, and the number of the place of each report. Raises StationError for one that moves or has no height."""
    names, first, station = np.unique(np.array(ids, dtype=str), return_index=True, return_inverse=True)
    stations = Stations(tuple(names.tolist()), lat[first], lon[first], height_m[first])
    if not np.isfinite(height_m).all():
        bad = ids[int((~np.isfinite(height_m)).argmax())]
        raise StationError(
            f"table {name}: station {bad} has no height, expected metres above the sea. Add it, or leave it out."
        )
    turned = np.abs((lon - stations.lon[station] + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(lat))
    moved = np.maximum(turned, np.abs(lat - stations.lat[station])) > MOVED_DEG
    moved |= np.abs(height_m - stations.height_m[station]) > MOVED_M
    if moved.any():
        at = int(moved.argmax())
        places = [f"{y:g} N {x:g} E {z:g} m" for y, x, z in ((lat[at], lon[at], height_m[at]),)]
        number = station[at]
        places.append(f"{stations.lat[number]:g} N {stations.lon[number]:g} E {stations.height_m[number]:g} m")
        raise StationError(
            f"table {name}: station {ids[at]} moves: it is at {places[1]} and at {places[0]}. Give each place a name of its own."
        )
    return stations, station


def _require_once(table: StationTable) -> None:
    twice = (np.diff(table.ticks) == 0) & (np.diff(table.station) == 0)
    if twice.any():
        at = int(twice.argmax())
        when = table.ticks[at].astype("M8[us]").astype("M8[s]")
        raise StationError(
            f"table {table.name}: station {table.stations.ids[table.station[at]]} reports twice at {when}Z ({twice.sum()} such rows), "
            "expected once. Keep one of the rows."
        )
