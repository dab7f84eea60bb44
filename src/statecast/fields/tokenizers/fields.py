"""Gridded fields as tokens: anomalies in units of their standard deviation, with coordinates.

Axes: T time, V channel, H row, W column, K lag, N token, P value in a token, G value in a token and margin, C coordinate, B leading axes.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import nn

from statecast.axes import SURFACE_PRESSURE_HPA, column_names
from statecast.fields.anchors import FieldAnchor, FieldSpec, field_spec
from statecast.fields.sources import Climatology, Grid, Record, StoreError, fit_anomalies, fit_climatology
from statecast.fields.sources.climatology import Reference
from statecast.fields.streams import Stream
from statecast.fields.tokenizers.edges import EdgeFilter
from statecast.fields.tokenizers.patches import split_with_margin
from statecast.fields.tokenizers.windows import Place, whole_domain
from statecast.patches import check_patch, join_patches, split_patches
from statecast.streams import Tokens

LARGEST_LOG = 20.0  # e^20 scales: keeps the answers of an untrained model finite


@dataclass(frozen=True)
class FieldTokenizer:
    """Converts windows of a record to tokens, and tokens to fields.

    value = (f(field) - f(climatology(time of the year, hour, place))) / std of such anomalies in the training period

    where f(x) = x, or log(1 + x / scale) for variables with a `log_scale`, whose anomalies are dimensionless differences of logarithms.

    edges  what corrects the answers of the model that the stream belongs to; None: nothing
    """

    stream: Stream
    climatology: Climatology
    edges: EdgeFilter | None = None

    @classmethod
    def fit(cls, stream: Stream, record: Record, reference: Reference | None = None) -> "FieldTokenizer":
        """Fit the statistics to a record of the training period only. For `reference` and errors, see `fit_climatology`."""
        tokenizer = cls(stream, fit_climatology(record, reference))
        if not stream.log_scale:
            return tokenizer
        tokenizer._require_rain_like()

        def anomalies(steps: slice) -> Float[np.ndarray, "T V H W"]:
            return tokenizer.anomalies(record, whole_domain(record.grid, steps.start, steps.stop - steps.start))

        fitted = fit_anomalies(record, anomalies)
        return cls(stream, replace(tokenizer.climatology, anomaly_std=fitted.std, correlation=fitted.correlation))

    def _require_rain_like(self) -> None:
        """Raises StoreError for a `log_scale` of a channel that is below 0 by more than its spread: such values would be lost."""
        known = self.climatology
        for channel, is_log, lowest, std in zip(
            known.channels, self.is_logarithmic.ravel(), known.lowest, known.anomaly_std, strict=True
        ):
            if is_log and lowest < -std:
                raise StoreError(
                    f"variable '{channel}' has a log_scale, but negative values down to {lowest:g}, expected none. Leave its log_scale "
                    "out, or set what is below 0 to 0 when you prepare the store."
                )

    @cached_property
    def _log_scale(self) -> Float[np.ndarray, "V 1 1"]:
        scales = self.stream.log_scale
        return np.array([scales.get(c.variable, np.inf) for c in self.climatology.channels], np.float32)[:, None, None]

    @property
    def is_logarithmic(self) -> Bool[np.ndarray, "V 1 1"]:
        """True for channels whose anomalies are differences of logarithms."""
        return np.isfinite(self._log_scale)

    @property
    def groups(self) -> int:
        """Tokens at each place and time: 1, or one per level."""
        return 1 if self.stream.levels_share_token else len(self.stream.levels)

    @cached_property
    def spec(self) -> FieldSpec:
        """What a model may know of the stream."""
        return field_spec(
            self.layout[0],
            self.stream.patch,
            self.climatology.step_h,
            self.stream.patch[1] * self.climatology.grid.spacing_deg,
            guessed=bool(self.stream.first_guess),
            levels_apart=self.groups > 1,
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """What a token holds, in its order: `t@500`; without the level where each level has tokens of its own."""
        channels = [self.climatology.channels[i] for i in self.channel_order()]
        if self.groups == 1:
            return tuple(map(str, channels))
        return tuple(channel.variable for channel in channels[: len(channels) // self.groups])

    @property
    def categories(self) -> tuple[str, ...]:
        """None: fields are continuous."""
        return ()

    def save(self, directory: Path, name: str) -> None:
        self.climatology.save(directory / f"{name}.nc")
        if self.edges is not None:
            self.edges.save(directory / f"{name}.edges.npy")

    @classmethod
    def load(cls, stream: Stream, directory: Path, name: str) -> "FieldTokenizer":
        """What `save` wrote."""
        climatology = Climatology.load(directory / f"{name}.nc")
        return cls(stream, climatology, EdgeFilter.load(directory / f"{name}.edges.npy", len(climatology.channels)))

    def calibrate(self, anchor: nn.Module | None) -> None:
        """How long anomalies last is data, not learned."""
        assert isinstance(anchor, FieldAnchor)
        anchor.of_lag.copy_(torch.from_numpy(self.correlation()))

    @property
    def values_per_token(self) -> int:
        return math.prod(self.layout)

    @property
    def layout(self) -> tuple[int, int, int]:
        """Channels, time steps and points of a token."""
        steps, rows, columns = self.stream.patch
        return len(self.climatology.channels) // self.groups, steps, rows * columns

    def correlation(self) -> Float[np.ndarray, "V K"]:
        """Correlation of anomalies with those K steps earlier, for each channel of a token; mean over levels if each has its own tokens."""
        return self.climatology.correlation.reshape(-1, self.groups, self.climatology.correlation.shape[1]).mean(axis=1)

    def channel_order(self) -> np.ndarray:
        """Order of the channels along V in a token array: by level first if each level has its own tokens."""
        channels = np.arange(len(self.climatology.channels))
        return channels if self.groups == 1 else channels.reshape(-1, self.groups).T.reshape(-1)

    def tokenize(self, record: Record, place: Place) -> Tokens:
        """The tokens of the window at `place`. Raises ValueError if the patch does not divide it."""
        values = self.from_anomalies(self.anomalies(record, place))
        observed = values.isfinite()
        coords = self.coordinates(record, place)
        area = torch.cos(torch.deg2rad(coords[..., 0]))  # of a cell, relative to one at the equator
        return Tokens(torch.where(observed, values, 0.0), coords, observed, self.spec, weight=area).numbered()

    def anomalies(self, record: Record, place: Place) -> Float[np.ndarray, "T V H W"]:
        """Departures from the climatology in the window at `place`; NaN where nothing was observed."""
        fields = record.read(place.time_steps, place.rows, place.columns)
        return self.departures(fields, self.climatology_at(record, place))

    def departures(
        self, fields: Float[np.ndarray, "*B V H W"], climatology: Float[np.ndarray, "*B V H W"]
    ) -> Float[np.ndarray, "*B V H W"]:
        """f(fields) - f(climatology); the inverse of `to_fields`."""
        plain = fields - climatology
        if not self.stream.log_scale:
            return plain
        logs = np.log1p(np.maximum(fields, 0) / self._log_scale)
        logs_of_climatology = np.log1p(np.maximum(climatology, 0) / self._log_scale)
        return np.where(self.is_logarithmic, logs - logs_of_climatology, plain)

    def slope(self, fields: Float[np.ndarray, "*B V H W"]) -> Float[np.ndarray, "*B V H W"]:
        """Change of the fields per unit of their token values: ∂field / ∂value."""
        return self._scale() * np.where(self.is_logarithmic, np.maximum(fields, 0) + self._log_scale, 1.0)

    def climatology_at(self, record: Record, place: Place) -> Float[np.ndarray, "T V H W"]:
        """The climatological mean in the window at `place`, in the units of the channels."""
        steps = place.time_steps
        return self.climatology.at(record.months_passed[steps], record.hour_utc[steps], place.rows, place.columns)

    def to_anomalies(self, values: Float[torch.Tensor, "*B N P"], place: Place) -> Float[np.ndarray, "*B T V H W"]:
        """Token values as anomalies in the units of the channels."""
        rows, columns = self.climatology.grid.lat[place.rows], place.columns
        shape = (place.steps, len(self.climatology.channels), len(rows), len(columns))
        flat = values.detach().cpu().numpy().reshape(-1, *values.shape[-2:])
        fields = np.stack([join_patches(v, self.stream.patch, shape, self.groups) for v in flat])
        fields = fields[:, :, np.argsort(self.channel_order())] * self._scale()
        return fields.reshape(*values.shape[:-2], *shape)

    def to_fields(
        self, anomalies: Float[np.ndarray, "E T V H W"], climatology: Float[np.ndarray, "T V H W"]
    ) -> Float[np.ndarray, "E T V H W"]:
        """Anomalies of the members added to the climatology; channels that are never negative stay so."""
        fields = anomalies + climatology
        if self.stream.log_scale:
            logs = np.minimum(anomalies + np.log1p(np.maximum(climatology, 0) / self._log_scale), LARGEST_LOG)
            with np.errstate(invalid="ignore"):  # inf * 0, where the result is not used
                fields = np.where(self.is_logarithmic, self._log_scale * np.expm1(logs), fields)
        for channel in np.flatnonzero((self.climatology.lowest >= 0) | self.is_logarithmic.ravel()):
            if (fields[:, :, channel] < 0).any():
                fields[:, :, channel] = non_negative(fields[:, :, channel])
        return fields

    def from_anomalies(self, fields: Float[np.ndarray, "T V H W"]) -> Float[torch.Tensor, "N P"]:
        """The inverse of `to_anomalies`: anomalies in the units of the channels as token values."""
        return self.cut(self._scaled(fields))

    def cut(self, fields: Shaped[np.ndarray, "T V H W"]) -> Shaped[torch.Tensor, "N P"]:
        """Fields over a window as values of tokens, in units of their own."""
        return torch.from_numpy(split_patches(fields[:, self.channel_order()], self.stream.patch, self.groups))

    def with_margin(self, fields: Float[np.ndarray, "T V H W"], *, periodic: bool) -> Float[torch.Tensor, "N G"]:
        """As `from_anomalies`, with a margin around each token, see `split_with_margin`."""
        ordered = self._scaled(fields)[:, self.channel_order()]
        return torch.from_numpy(split_with_margin(ordered, self.stream.patch, self.groups, periodic=periodic))

    def _scaled(self, fields: Float[np.ndarray, "T V H W"]) -> Float[np.ndarray, "T V H W"]:
        return (fields / self._scale()).astype(np.float32)

    def coordinates(self, record: Record, place: Place) -> Float[torch.Tensor, "N C"]:
        """The centre of each token along `field_axes`; the offset counts from the first step of the window."""
        t, h, w = self.stream.patch
        grid: Grid = record.grid
        check_patch(
            (place.steps, len(self.climatology.channels), len(grid.lat[place.rows]), len(place.columns)),
            self.stream.patch,
            self.groups,
        )
        lat = grid.lat[place.rows].reshape(-1, h).mean(axis=1)
        lon = np.unwrap(grid.lon[place.columns], period=360.0).reshape(-1, w).mean(axis=1) % 360.0
        offset, hour, year = slab_times(record, place.time_steps, t)
        pressure = self._pressure_of_groups()
        shape = (self.groups, len(offset), len(lat), len(lon))
        columns = {
            "latitude_deg": lat[None, None, :, None],
            "longitude_deg": lon[None, None, None, :],
            "offset_h": offset[None, :, None, None],
            "hour_utc": hour[None, :, None, None],
            "year_fraction": year[None, :, None, None],
            "pressure_hpa": pressure[:, None, None, None],
            "spacing_deg": np.full((1, 1, 1, 1), grid.spacing_deg),
        }
        of_tokens = {
            name: torch.from_numpy(np.broadcast_to(values, shape).reshape(-1).astype(np.float32))
            for name, values in columns.items()
        }
        of_tokens["solar_time_rad"] = solar_time_rad(of_tokens["hour_utc"], of_tokens["longitude_deg"])
        return torch.stack([of_tokens[name] for name in column_names(self.spec.axes)], dim=-1)

    def _pressure_of_groups(self) -> Float[np.ndarray, " G"]:
        pressures = np.array(
            [SURFACE_PRESSURE_HPA if c.pressure_hpa is None else c.pressure_hpa for c in self.climatology.channels]
        )
        return np.exp(np.log(pressures[self.channel_order()]).reshape(self.groups, -1).mean(axis=1))

    def _scale(self) -> Float[np.ndarray, "V 1 1"]:
        return self.climatology.anomaly_std[:, None, None]


def slab_times(record: Record, steps: slice, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the middle of each slab: hours since the first step of the window, hour of the day, elapsed fraction of the year."""
    first = np.arange(steps.start, steps.stop, depth)
    half_span_h = (depth - 1) / 2 * record.step_h
    offset = record.hours[first] - record.hours[steps.start] + half_span_h
    hour = (record.hour_utc[first] + half_span_h) % 24.0
    of_steps = record.year_fraction[steps].reshape(-1, depth)
    year = np.unwrap(of_steps, period=1.0, axis=1).mean(axis=1) % 1.0
    return offset, hour, year


def solar_time_rad(
    hour_utc: Float[torch.Tensor, " N"], longitude_deg: Float[torch.Tensor, " N"]
) -> Float[torch.Tensor, " N"]:
    """Local mean solar time as an angle: 0 or 2π at midnight, π or 3π at noon. Only its sine and cosine are used."""
    return hour_utc * (2 * math.pi / 24) + torch.deg2rad(longitude_deg)


def non_negative(members: Float[np.ndarray, "E *grid"], iterations: int = 6) -> Float[np.ndarray, "E *grid"]:
    """Members max(x - s, 0), where s preserves their mean (or gives 0 if the mean was negative).

    Only truncating negative rain would make every ensemble mean too wet. Newton's method is used: the mean is piecewise linear in s.
    """
    target = np.maximum(members.mean(axis=0), 0.0)
    shift = np.zeros_like(target)
    for _ in range(iterations):
        kept = np.maximum(members - shift, 0.0)
        share = (kept > 0).mean(axis=0)
        shift += np.divide(kept.mean(axis=0) - target, share, out=np.zeros_like(target), where=share > 0)
    return np.maximum(members - shift, 0.0)
