"""A stream of stations beside the fields of a record: its reports in a window, as tokens.

Axes: T time, V variable, S station, R report, E member, N token, P value in a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from statecast.fields.sources import Grid, Record
from statecast.fields.sources.extremes import STAND_FOR_MISSING
from statecast.fields.sources.units import tell
from statecast.fields.stations.codec import StationCodec, channels_beside, fields_at
from statecast.fields.stations.options import StationStream
from statecast.fields.stations.points import around_points, at_points, interpolated
from statecast.fields.stations.reports import Reports
from statecast.fields.stations.statistics import StationClimate
from statecast.fields.stations.table import MOVED_DEG, StationError, Stations, StationTable, read_table
from statecast.fields.streams import SIDES
from statecast.fields.tokenizers import Located, StreamSource
from statecast.fields.tokenizers.first_guess import without_calendar
from statecast.streams import Tokens
from statecast.trained import ModelError

FARTHEST = 20.0  # standard deviations of anomalies: no weather is as far off
MOST_GROSS = 0.01  # share of the values that may be: gross errors of single reports


@dataclass(frozen=True)
class StationWindow:
    """The chosen stations in a window; values and climatology in the units of the reports."""

    codec: StationCodec
    reports: Reports
    climate: StationClimate
    steps: slice
    chosen: Int[np.ndarray, " S"]

    @property
    def stations(self) -> Stations:
        return self.reports.stations[self.chosen]

    @cached_property
    def values(self) -> Float[np.ndarray, "T V 1 S"]:
        """What was reported; NaN where nothing was."""
        return self.reports.read(self.steps, self.chosen)

    @cached_property
    def climatology(self) -> Float[np.ndarray, "T V 1 S"]:
        return self.climate.at(self.reports.record, self.steps, self.chosen)

    def tokens(self, fields: Mapping[str, Located], *, hide_calendar: bool) -> Tokens:
        """The tokens, with a first guess from the fields of the window where the codec has one."""
        coords = self.codec.coordinates(self.reports.record, self.steps, self.stations)
        guess = self.guess(fields) if self.codec.guessed else None
        tokens = self.codec.tokens(self.values, self.climatology, coords, guess)
        return without_calendar(tokens) if hide_calendar else tokens

    def guess(self, fields: Mapping[str, Located]) -> Float[np.ndarray, "T V S 9"]:
        """Anomalies of the field beside each variable, at the station and one grid spacing around it; 0 for a variable without one."""
        guess = np.zeros((*self.values.shape[:2], len(self.chosen), SIDES**2), np.float32)
        for variable, (name, channel) in self.beside.items():
            field = fields[name]
            anomalies = np.nan_to_num(field.fields[:, channel] - field.climatology[:, channel])
            matrix = at_points(field.grid, *around_points(field.grid, self.stations.lat, self.stations.lon))
            at = interpolated(anomalies, matrix).reshape(len(guess), len(self.chosen), SIDES**2)
            guess[:, self.codec.stream.variables.index(variable)] = at
        return guess

    def interpolated(self, fields: Mapping[str, Located]) -> Float[np.ndarray, "T V 1 S"]:
        """The field beside each variable at the stations, in its units; NaN for a variable without one."""
        values = np.full(self.values.shape, np.nan, np.float32)
        for variable, (name, channel) in self.beside.items():
            matrix = at_points(fields[name].grid, self.stations.lat, self.stations.lon)
            at = interpolated(fields[name].fields[:, channel], matrix)
            values[:, self.codec.stream.variables.index(variable), 0] = at
        return values

    def members(
        self, window: Tokens, queries: Tokens, said: Float[torch.Tensor, "E N P"]
    ) -> Float[np.ndarray, "E T V 1 S"]:
        """Answers about some of the tokens of the window in the units of the reports; the climatology elsewhere."""
        assert queries.index is not None
        filled = torch.zeros(len(said), *window.values.shape)
        filled[:, queries.index] = said[:, : len(queries)]
        return self.codec.to_values(filled, self.climatology)

    def asked(self, window: Tokens, queries: Tokens) -> Bool[np.ndarray, "T V 1 S"]:
        """True for the values of the tokens that are asked."""
        assert queries.index is not None
        asked = torch.zeros(window.values.shape)
        asked[queries.index] = 1.0
        return self.codec.joined(asked, self.climatology.shape) > 0

    @property
    def beside(self) -> dict[str, tuple[str, int]]:
        """The stream and the channel of the field beside each variable."""
        return channels_beside(self.codec.stream, self.codec.fields)


@dataclass(frozen=True)
class StationSeries:
    """The reports of a stream at the times of a record, and the climatology at its stations."""

    codec: StationCodec
    reports: Reports

    @cached_property
    def climate(self) -> StationClimate:
        return self.codec.climate(self.reports.stations)

    def window(self, steps: slice, grid: Grid) -> StationWindow:
        """The stations in a region that report at some of these steps."""
        chosen = self.reports.seen(steps)
        places = self.reports.stations
        return self.of(steps, chosen[grid.holds(places.lat[chosen], places.lon[chosen])])

    def of(self, steps: slice, chosen: Int[np.ndarray, " S"] | None = None) -> StationWindow:
        """Chosen stations, or all."""
        every = np.arange(len(self.reports.stations)) if chosen is None else chosen
        return StationWindow(self.codec, self.reports, self.climate, steps, every)


def open_series(
    name: str,
    stream: StationStream,
    record: Record,
    sources: Mapping[str, StreamSource],
    known: StationCodec | None,
    *,
    guessed: bool,
) -> StationSeries:
    """The reports of a stream at the times of a record of fields; statistics from them, unless the stream is known.

    Raises StationError for a table that can't be used, ModelError for one that is not of the kind that the model learned.
    """
    table = station_table(name, stream, sources, known)
    reports = Reports.of(table, record, stream.within_min).require_some()
    _require_measurements(reports.table)
    if known is None:
        reports = _without_gross_errors(reports, stream, sources)
        return StationSeries(StationCodec.fit(stream, reports, sources, guessed=guessed), reports)
    codec = replace(known, stream=stream, guessed=guessed)
    return StationSeries(codec, plausible(reports, codec))


def station_table(
    name: str, stream: StationStream, sources: Mapping[str, StreamSource], known: StationCodec | None
) -> StationTable:
    """The variables of a stream in the units of the fields beside them, or in which the model learned them."""
    climatologies = {n: source.tokenizer.climatology for n, source in sources.items()}
    beside = channels_beside(stream, climatologies)
    wanted: dict[str, str | None] = dict.fromkeys(stream.variables)
    for variable, (of, channel) in beside.items():
        wanted[variable] = climatologies[of].units[channel]
    if known is not None:
        wanted |= require_known(name, stream, known)
    table = read_table(stream.table, units=stream.units, zone=stream.zone).of_variables(wanted)
    if known is not None:
        require_same_places(table, known.statistics.stations)
    return table


def require_known(name: str, stream: StationStream, known: StationCodec) -> dict[str, str]:
    """The units of each variable. Raises ModelError for a stream that differs from the one that the model learned."""
    for option in ("variables", "first_guess", "orography", "steps"):
        before, now = getattr(known.stream, option), getattr(stream, option)
        if before != now:
            raise ModelError(
                f"stream {name}: {option} is {now}, the model learned it with {before}. Leave it, or give the stream another name."
            )
    return dict(zip(known.statistics.variables, known.statistics.units, strict=True))


def require_same_places(table: StationTable, known: Stations) -> None:
    """Raises StationError for a station that is elsewhere than the model learned."""
    number = {name: i for i, name in enumerate(known.ids)}
    for s, name in enumerate(table.stations.ids):
        if name in number:
            learned = known[np.array([number[name]])]
            turn = (table.stations.lon[s] - learned.lon[0] + 180.0) % 360.0 - 180.0
            if max(abs(table.stations.lat[s] - learned.lat[0]), abs(turn)) > 10 * MOVED_DEG:
                raise StationError(
                    f"table {table.name}: station {name} is at {table.stations.lat[s]:g} N {table.stations.lon[s]:g} E, the model learned "
                    f"it at {learned.lat[0]:g} N {learned.lon[0]:g} E. Give it another name."
                )


def _require_measurements(table: StationTable) -> None:
    """Raises StationError for a number that archives write where nothing was measured."""
    for variable, column in zip(table.variables, table.values.T, strict=True):
        for missing in STAND_FOR_MISSING:
            if (found := np.isclose(column, missing, rtol=1e-6, atol=0)).any():
                raise StationError(
                    f"table {table.name}: variable '{variable}' has the value {missing:g} in {found.sum()} reports, which archives write "
                    "where nothing was measured. Leave the cell empty."
                )


def _without_gross_errors(reports: Reports, stream: StationStream, sources: Mapping[str, StreamSource]) -> Reports:
    """Against the field beside each variable, but for the median of all departures: stations may lie high above the grid's ground."""
    climatologies = {n: source.tokenizer.climatology for n, source in sources.items()}
    beside = channels_beside(stream, climatologies)
    away = reports.departures(lambda steps: fields_at(sources, beside, reports.stations, stream.variables, steps))
    spread = np.full(len(stream.variables), np.inf)
    for variable, (name, channel) in beside.items():
        spread[stream.variables.index(variable)] = climatologies[name].anomaly_std[channel]
    return _screened(reports, away / spread, "the field beside it")


def plausible(reports: Reports, codec: StationCodec) -> Reports:
    """The reports without gross errors. Raises StationError if they are more than such: units were lost, or it is something else."""
    climate, every = codec.climate(reports.stations), np.arange(len(reports.stations))
    away = reports.departures(lambda steps: climate.at(reports.record, steps, every))
    return _screened(reports, away / codec.statistics.anomaly_std, "what the model learned")


def _screened(reports: Reports, away: Float[np.ndarray, "R V"], expected: str) -> Reports:
    bad = np.abs(away) > FARTHEST
    for variable, units, is_bad, column in zip(
        reports.table.variables, reports.table.units, bad.T, reports.table.values.T, strict=True
    ):
        known = np.isfinite(column).sum()
        if is_bad.sum() > MOST_GROSS * known:
            raise StationError(
                f"table {reports.table.name}: variable '{variable}' runs from {np.nanmin(column):g} to {np.nanmax(column):g} {units}, far "
                f"from {expected} in {is_bad.sum() / known:.0%} of the reports. Correct its values or its units."
            )
        if is_bad.any():
            tell(
                f"table {reports.table.name}: {is_bad.sum()} values of '{variable}' are far from {expected} and count as missing."
            )
    return reports.without(bad) if bad.any() else reports
