"""Reports of stations as tokens: anomalies in units of their standard deviation, at points.

Axes: T time, V variable, S station, E member, N token, P value in a token, C coordinate, G value of a first guess, R report, K lag.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import nn

from statecast.axes import SURFACE_PRESSURE_HPA, column_names
from statecast.fields.anchors import FieldAnchor, FieldSpec, field_spec
from statecast.fields.sources import Climatology, Record, StoreError, fit_anomalies
from statecast.fields.stations.options import StationStream
from statecast.fields.stations.points import PointGrid, at_points, interpolated
from statecast.fields.stations.reports import Reports
from statecast.fields.stations.statistics import (
    Relief,
    StationClimate,
    StationStatistics,
    fit_bias,
    harmonics,
    place_features,
)
from statecast.fields.stations.table import Stations
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import StreamSource, join_patches, split_patches
from statecast.fields.tokenizers.fields import non_negative, slab_times, solar_time_rad
from statecast.streams import Tokens

STANDARD_LAPSE_PER_M, STANDARD_EXPONENT = 2.25577e-5, 5.25588  # of the ICAO standard atmosphere in the troposphere
TOKEN_DEG = 5.0  # size of the spots that attention starts with, where no field says another


@dataclass(frozen=True)
class StationCodec:
    """Converts reports to tokens and back: value = (report - climatology at the station) / std of such anomalies in the training period.

    fields   climatologies of the streams that `first_guess` names
    guessed  True: answers start from the field beside the stations, which is visible and they are not
    """

    stream: StationStream
    statistics: StationStatistics
    fields: Mapping[str, Climatology]
    guessed: bool = False

    @classmethod
    def fit(
        cls, stream: StationStream, reports: Reports, sources: Mapping[str, StreamSource], *, guessed: bool
    ) -> "StationCodec":
        """From the reports and the fields of the training period. Raises StoreError for a variable without any value or spread."""
        beside = channels_beside(stream, {name: s.tokenizer.climatology for name, s in sources.items()})
        relief = None if stream.orography is None else _relief(stream.orography, sources)
        places = place_features(reports.stations, relief)
        away = reports.departures(lambda steps: fields_at(sources, beside, reports.stations, stream.variables, steps))
        moments, products = _sums(reports, away)
        _require_values(reports, moments)
        is_guessed = np.array([variable in beside for variable in stream.variables])
        bias, own = fit_bias(moments, products, places, is_guessed)
        known, record = reports.table, reports.record
        shape = len(stream.variables)
        first = StationStatistics(
            stream.variables, known.units, record.step, reports.stations, bias, own, np.ones(shape), np.ones((shape, 1)),
            np.nanmin(known.values, axis=0), relief,
        )  # fmt: skip
        codec = cls(stream, first, {name: sources[name].tokenizer.climatology for name, _ in beside.values()}, guessed)
        return replace(codec, statistics=codec._with_anomalies(reports))

    def _with_anomalies(self, reports: Reports) -> StationStatistics:
        """The statistics with the spread and the correlation of the anomalies."""
        climate, every = self.climate(reports.stations), np.arange(len(reports.stations))

        def anomalies(steps: slice) -> Float[np.ndarray, "T V 1 S"]:
            return reports.read(steps, every) - climate.at(reports.record, steps, every)

        fitted = fit_anomalies(StationSteps(reports.record, self.stream.variables, PointGrid(len(every))), anomalies)
        for variable, std in zip(self.stream.variables, fitted.std, strict=True):
            if not std > 0:
                raise StoreError(
                    f"table {reports.table.name}: variable '{variable}' never departs from its climatology in the training period, "
                    "expected it to vary. Leave it out or name a longer period."
                )
        return replace(self.statistics, anomaly_std=fitted.std, correlation=fitted.correlation)

    def climate(self, stations: Stations) -> StationClimate:
        """The climatology at stations, which training need not have seen."""
        beside = channels_beside(self.stream, self.fields)
        of_variables = {
            self.stream.variables.index(variable): (self.fields[name], channel)
            for variable, (name, channel) in beside.items()
        }
        return StationClimate.of(self.statistics, stations, of_variables)

    @property
    def spec(self) -> FieldSpec:
        deg = min((known.grid.spacing_deg * 2 for known in self.fields.values()), default=TOKEN_DEG)
        return station_spec(self.stream, self.statistics.step.hours, deg, guessed=self.guessed)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.stream.variables

    @property
    def categories(self) -> tuple[str, ...]:
        """None: what is measured is continuous."""
        return ()

    def save(self, directory: Path, name: str) -> None:
        self.statistics.dataset().assign_attrs(guessed=int(self.guessed)).to_netcdf(directory / f"{name}.nc")

    @classmethod
    def load(
        cls, stream: StationStream, directory: Path, name: str, fields: Mapping[str, Climatology]
    ) -> "StationCodec":
        with xr.open_dataset(directory / f"{name}.nc", engine="netcdf4") as data:
            beside = {field.split(".")[0] for field in stream.first_guess.values()}
            statistics = StationStatistics.of(data.load())
            return cls(stream, statistics, {name: fields[name] for name in beside}, bool(data.attrs["guessed"]))

    def calibrate(self, anchor: nn.Module | None) -> None:
        """How long anomalies last is data, not learned."""
        assert isinstance(anchor, FieldAnchor)
        anchor.of_lag.copy_(torch.from_numpy(self.statistics.correlation))

    def tokens(
        self,
        values: Float[np.ndarray, "T V 1 S"],
        climatology: Float[np.ndarray, "T V 1 S"],
        coords: Float[torch.Tensor, "N C"],
        guess: Float[np.ndarray, "T V S 9"] | None,
    ) -> Tokens:
        """The tokens of a window, slab by slab, all stations in each: also those that a slab has no report of."""
        anomalies = (values - climatology) / self._std
        numbers = torch.from_numpy(split_patches(anomalies.astype(np.float32), self.stream.patch))
        observed = numbers.isfinite()
        of_guess = None if guess is None else torch.from_numpy(self._cut_guess(guess / self._std))
        return Tokens(torch.where(observed, numbers, 0.0), coords, observed, self.spec, guess=of_guess).numbered()

    def _cut_guess(self, guess: Float[np.ndarray, "T V S 9"]) -> Float[np.ndarray, "N G"]:
        depth = self.stream.steps
        slabs = guess.reshape(len(guess) // depth, depth, *guess.shape[1:]).transpose(0, 3, 2, 1, 4)
        return np.ascontiguousarray(slabs.reshape(len(slabs) * slabs.shape[1], -1).astype(np.float32))

    def to_values(
        self, members: Float[torch.Tensor, "E N P"], climatology: Float[np.ndarray, "T V 1 S"]
    ) -> Float[np.ndarray, "E T V 1 S"]:
        """Answers about all tokens of a window, in the units of the reports; what is never negative stays so."""
        values = np.stack([self.joined(part, climatology.shape) for part in members]) * self._std + climatology
        for v in np.flatnonzero(self.statistics.lowest >= 0):
            if (values[:, :, v] < 0).any():
                values[:, :, v] = non_negative(values[:, :, v])
        return values

    def joined(
        self, numbers: Float[torch.Tensor, "N P"], shape: tuple[int, int, int, int]
    ) -> Float[np.ndarray, "T V 1 S"]:
        """Numbers of all tokens of a window by time, variable and station."""
        return join_patches(numbers.detach().cpu().numpy(), self.stream.patch, shape)

    def coordinates(self, record: Record, steps: slice, stations: Stations) -> Float[torch.Tensor, "N C"]:
        """Place, middle of the slab, and the pressure that the standard atmosphere has at the height of the station."""
        offset, hour, year = slab_times(record, steps, self.stream.steps)
        columns = {
            "latitude_deg": stations.lat[None],
            "longitude_deg": stations.lon[None],
            "offset_h": offset[:, None],
            "hour_utc": hour[:, None],
            "year_fraction": year[:, None],
            "pressure_hpa": pressure_hpa(stations.height_m)[None],
        }
        shape = (len(offset), len(stations))
        of_tokens = {
            name: torch.from_numpy(np.broadcast_to(values, shape).reshape(-1).astype(np.float32))
            for name, values in columns.items()
        }
        of_tokens["solar_time_rad"] = solar_time_rad(of_tokens["hour_utc"], of_tokens["longitude_deg"])
        return torch.stack([of_tokens[name] for name in column_names(self.spec.axes)], dim=-1)

    @property
    def _std(self) -> Float[np.ndarray, "V 1 1"]:
        return self.statistics.anomaly_std[:, None, None]


@dataclass(frozen=True)
class StationSteps:
    """What `fit_anomalies` asks of the record of stations."""

    record: Record
    channels: tuple[str, ...]
    grid: PointGrid

    def __len__(self) -> int:
        return len(self.record)

    @property
    def hours(self) -> Float[np.ndarray, " T"]:
        return self.record.hours

    @property
    def step_h(self) -> float:
        return self.record.step_h


def station_spec(stream: StationStream, step_h: float, token_deg: float, *, guessed: bool) -> FieldSpec:
    """As of fields, but at points, which have no spacing, and as many as report."""
    spec = field_spec(len(stream.variables), stream.patch, step_h, token_deg, guessed=guessed)
    return replace(spec, axes=spec.axes[:3], ragged=True)


def pressure_hpa(height_m: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """Of the standard atmosphere, up to the tropopause."""
    height = np.clip(height_m, -1000.0, 11000.0)
    return SURFACE_PRESSURE_HPA * (1 - STANDARD_LAPSE_PER_M * height) ** STANDARD_EXPONENT


def channels_beside(stream: StationStream, known: Mapping[str, Climatology]) -> dict[str, tuple[str, int]]:
    """The stream and the number of the channel of the field beside each variable. Raises StoreError if there is none."""
    found = {}
    for variable, field in stream.first_guess.items():
        name, channel = field.split(".")
        plain, _, level = channel.partition("@")
        wanted = Channel(plain, float(level) if level else None)
        if name not in known or wanted not in known[name].channels:
            have = ", ".join(f"{n}.{c}" for n, k in known.items() for c in k.channels)
            raise StoreError(
                f"first_guess of {variable}: there is no field {field}. Fields: {have}. Name one of these."
            )
        found[variable] = (name, known[name].channels.index(wanted))
    return found


def fields_at(
    sources: Mapping[str, StreamSource],
    beside: Mapping[str, tuple[str, int]],
    stations: Stations,
    variables: tuple[str, ...],
    steps: slice,
) -> Float[np.ndarray, "T V 1 S"]:
    """The field beside each variable, interpolated to the stations; 0 for a variable without one."""
    values = np.zeros((steps.stop - steps.start, len(variables), 1, len(stations)), np.float32)
    for variable, (name, channel) in beside.items():
        record = sources[name].record
        matrix = at_points(record.grid, stations.lat, stations.lon)
        values[:, variables.index(variable), 0] = interpolated(record.read(steps)[:, channel], matrix)
    return values


def _relief(field: str, sources: Mapping[str, StreamSource]) -> Relief:
    name, variable = field.split(".")
    channel = Channel(variable, None)
    if name not in sources or channel not in sources[name].record.channels:
        raise StoreError(
            f"orography: there is no field {field}. Name the stream and the variable that hold heights in m."
        )
    record = sources[name].record
    return Relief(record.grid, record.read(slice(0, 1))[0, record.channels.index(channel)])


def _sums(reports: Reports, away: Float[np.ndarray, "R V"]) -> tuple[np.ndarray, np.ndarray]:
    """Σψψᵀ and Σψd of each station and variable, where something was reported."""
    record, station = reports.record, reports.table.station
    waves = harmonics(record.year_fraction[reports.step], record.hour_utc[reports.step], reports.stations.lon[station])
    size = (len(reports.stations), away.shape[1])
    moments = np.zeros((*size, waves.shape[1], waves.shape[1]))
    products = np.zeros((*size, waves.shape[1]))
    for v in range(away.shape[1]):
        known = np.isfinite(away[:, v])
        np.add.at(moments[:, v], station[known], waves[known, :, None] * waves[known, None])
        np.add.at(products[:, v], station[known], waves[known] * away[known, v, None])
    return moments, products


def _require_values(reports: Reports, moments: np.ndarray) -> None:
    for variable, count in zip(reports.table.variables, moments[..., 0, 0].sum(axis=0), strict=True):
        if count == 0:
            raise StoreError(
                f"table {reports.table.name}: variable '{variable}' has no value in the training period beside the fields, expected some. "
                "Leave it out or name another period."
            )
