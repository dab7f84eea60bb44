"""Parts of an explanation as labelled arrays on the globe, with the attributes that CF requires.

Axes: N token, P value in a token; G level of a token, T time, V channel, H row, W column; L layer, K attention head; * any leading axes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from statecast.fields.explain.point import PointQuestion, numbers
from statecast.fields.inference.forecast import labelled
from statecast.fields.sources import Grid

AXES = {
    "time": {"standard_name": "time"},
    "level": {"standard_name": "air_pressure", "units": "hPa", "positive": "down"},
    "lat": {"standard_name": "latitude", "units": "degrees_north"},
    "lon": {"standard_name": "longitude", "units": "degrees_east"},
}


def on_token_grids(
    asked: PointQuestion,
    name: str,
    weights: Float[torch.Tensor, "*B N"],
    dims: tuple[str, ...] = (),
    long_name: str = "",
) -> xr.Dataset:
    """Weights of the visible tokens of all streams as variables STREAM_`name` on (*dims, *tokens).

    The coordinates of the token axes, [STREAM_level,] STREAM_time, STREAM_lat and STREAM_lon, are the centres of the tokens. Weights are
    NaN where a token was not visible; times without a visible token are left out.
    """
    parts = []
    sizes = [len(tokens) for tokens in asked.question.context.values()]
    of_streams = weights.double().cpu().split(sizes, dim=-1)
    for stream, of_visible in zip(asked.question.context, of_streams, strict=True):
        of_tokens = np.full((*weights.shape[:-1], len(asked.window[stream])), np.nan)
        of_tokens[..., asked.visible(stream)] = of_visible.numpy()
        coords = {}
        for axis, (centres, attributes) in token_coordinates(asked, stream).items():
            coords[f"{stream}_{axis}"] = (f"{stream}_{axis}", centres, attributes)
        on_axes = of_tokens.reshape(*weights.shape[:-1], *(len(centres) for _, centres, _ in coords.values()))
        about = {"long_name": f"{long_name}, stream {stream}", "units": "1"}
        array = xr.DataArray(on_axes, coords, [*dims, *coords], f"{stream}_{name}", about)
        has_visible = array.notnull().any([dim for dim in array.dims if dim != f"{stream}_time"])
        array = array.isel({f"{stream}_time": np.flatnonzero(has_visible)})
        if asked.streams[stream].tokenizer.groups == 1:
            array = array.isel({f"{stream}_level": 0}, drop=True)
        parts.append(array.to_dataset())
    return xr.merge(parts)


def token_coordinates(asked: PointQuestion, stream: str) -> dict[str, tuple[Any, dict[str, str]]]:
    """Centres of the tokens of a stream's window along G, T, H, W, with their attributes."""
    tokenizer = asked.streams[stream].tokenizer
    t, h, w = tokenizer.stream.patch
    grid, last = asked.streams[stream].record.grid, asked.times[t - 1 :: t]
    levels = tokenizer.stream.levels if tokenizer.groups > 1 else (np.nan,)
    centres = {
        "level": np.array(levels),
        "time": as_index([a + (b - a) / 2 for a, b in zip(asked.times[::t], last, strict=True)], asked),
        "lat": grid.lat.reshape(-1, h).mean(axis=1),
        "lon": grid.lon.reshape(-1, w).mean(axis=1),
    }
    return {axis: (values, AXES[axis]) for axis, values in centres.items()}


def as_index(times: list[Any], asked: PointQuestion) -> Any:
    """Times as an index in the record's own calendar."""
    return type(asked.located.record.dataset.indexes["time"])(times)


def on_fields(
    asked: PointQuestion, stream: str, tokens: np.ndarray, values: np.ndarray
) -> Float[np.ndarray, "T V H W"]:
    """Values (N P) of the tokens with the numbers `tokens` in a stream's window as a field, NaN elsewhere."""
    field = np.full(np.prod(asked.shape(stream)), np.nan)
    field[asked.layouts[stream][tokens]] = values
    return field.reshape(asked.shape(stream))


def gradient_fields(
    asked: PointQuestion, gradients: Mapping[str, torch.Tensor]
) -> dict[str, Float[np.ndarray, "T V H W"]]:
    """Gradients (1 N P) with respect to the visible values of each stream as fields, NaN where no value is visible."""
    fields = {}
    for stream, tokens in asked.question.context.items():
        values = np.where(tokens.observed, gradients[stream][0].cpu().numpy(), np.nan)
        fields[stream] = on_fields(asked, stream, asked.visible(stream), values)
    return fields


def sensitivity_arrays(
    asked: PointQuestion, gradients: Mapping[str, Float[np.ndarray, "T V H W"]], slope: float
) -> xr.Dataset:
    """Gradients in units of the answer per standard deviation of an input's anomaly.

    gradients  of each stream, in normalised units
    slope      change of the asked field for one normalised unit, see `slope_at`

    Returns `sensitivity` on (time, channel, lat, lon) for the streams on the grid of the asked point, if one of them is visible, and
    STREAM_sensitivity on its own axes for each stream on another grid. The standard deviations are coordinates of the channels: divide by
    them for gradients in the units of the inputs. Times without a visible value are left out.
    """
    has_visible = np.any([np.isfinite(field).any(axis=(1, 2, 3)) for field in gradients.values()], axis=0)
    steps = np.flatnonzero(has_visible).tolist()
    time = ("time", as_index([asked.times[i] for i in steps], asked), AXES["time"])
    attributes = {
        "units": asked.units,
        "long_name": f"change of {asked.channel} at the point for one standard deviation of the anomaly of a visible value",
    }
    parts = []
    for stream, together in _by_grid(asked, gradients).items():
        field = np.concatenate([gradients[name] for name in together], axis=1)[steps] * slope
        grid = asked.grid if stream is None else asked.streams[stream].record.grid
        coords = {"time": time, **_grid(grid), **_channels(asked, together)}
        array = xr.DataArray(field, coords, ("time", "channel", "lat", "lon"), attrs=attributes)
        name, own_names = _named(stream)
        parts.append(array.rename(own_names).to_dataset(name=name))
    return xr.merge(parts)


def sensitivities(explained: xr.Dataset) -> list[xr.DataArray]:
    """The arrays of `sensitivity_arrays`, all with the same names of axes."""
    arrays = []
    for variable in explained.data_vars:
        name, own_names = _named(str(variable).removesuffix("sensitivity").removesuffix("_") or None)
        if variable == name:
            plain_names = {own: plain for plain, own in own_names.items()}
            arrays.append(explained[name].rename(plain_names))
    return arrays


def _named(stream: str | None) -> tuple[str, dict[str, str]]:
    """Names of a sensitivity and of its coordinates: plain on the grid of the asked point, with the name of the stream on another grid."""
    channels = {f"channel{suffix}": f"{stream}_channel{suffix}" for suffix in ("", "_stream", "_units", "_std")}
    axes = {axis: f"{stream}_grid_{axis}" for axis in ("lat", "lon")}
    return ("sensitivity", {}) if stream is None else (f"{stream}_sensitivity", channels | axes)


def _by_grid(asked: PointQuestion, streams: Iterable[str]) -> dict[str | None, list[str]]:
    """The streams on the grid of the asked point, under None; every other stream by itself."""
    by_grid: dict[str | None, list[str]] = {}
    for stream in streams:
        is_on_grid = asked.streams[stream].record.grid.is_like(asked.grid)
        by_grid.setdefault(None if is_on_grid else stream, []).append(stream)
    return by_grid


def slope_at(asked: PointQuestion, answer: float) -> float:
    """Change of the asked field for one unit of its normalised value, where that value is `answer`."""
    tokenizer, channel = asked.located.tokenizer, asked.index[1]
    fields = np.zeros((len(tokenizer.climatology.channels), 1, 1))
    fields[channel] = point_fields(asked, np.array([answer]))
    return float(tokenizer.slope(fields)[channel].item())


def point_fields(asked: PointQuestion, values: Float[np.ndarray, " E"]) -> Float[np.ndarray, " E"]:
    """Normalised answers at the point, in the units of the store."""
    step, channel, row, column = asked.index
    tokenizer = asked.located.tokenizer
    climatology = asked.located.climatology[step, :, row, column]
    anomalies = np.zeros((len(values), 1, len(climatology), 1, 1), np.float32)
    anomalies[:, 0, channel, 0, 0] = values * tokenizer.climatology.anomaly_std[channel]
    return tokenizer.to_fields(anomalies, climatology[None, :, None, None])[:, 0, channel, 0, 0]


def _channels(asked: PointQuestion, streams: Sequence[str]) -> dict[str, Any]:
    """VARIABLE@LEVEL of the channels of some streams, their stream, and units and standard deviation of their anomalies."""
    names: list[str] = []
    stream_names: list[str] = []
    units: list[str] = []
    stds: list[float] = []
    for stream in streams:
        record, tokenizer = asked.streams[stream].record, asked.streams[stream].tokenizer
        names += [str(channel) for channel in record.channels]
        stream_names += [stream] * len(record.channels)
        for channel, of_record in zip(record.channels, record.units, strict=True):
            units.append("1" if channel.variable in tokenizer.stream.log_scale else of_record)
        stds += list(tokenizer.climatology.anomaly_std)
    return {
        "channel": ("channel", names, {"long_name": "variable and level in hPa"}),
        "channel_stream": ("channel", stream_names),
        "channel_units": ("channel", units),
        "channel_std": ("channel", np.array(stds), {"long_name": "standard deviation of the channel's anomalies"}),
    }


def anomaly_maps(asked: PointQuestion, answers: Mapping[str, torch.Tensor], suffix: str, long_name: str) -> xr.Dataset:
    """Normalised answers (N P) to all queries of the task on the grid of the point, at the valid time, in the units of the channels.

    Variables are VARIABLE_`suffix` on ([level,] lat, lon).
    """
    parts, logarithms = [], set()
    for stream in _by_grid(asked, answers)[None]:
        tokenizer, record = asked.streams[stream].tokenizer, asked.streams[stream].record
        logarithms |= {f"{variable}_{suffix}" for variable in tokenizer.stream.log_scale}
        index = numbers(asked.whole.queries[stream])
        field = on_fields(asked, stream, index, answers[stream].cpu().numpy())[asked.index[0]]
        anomaly = field * tokenizer.climatology.anomaly_std[:, None, None]
        fields = labelled(tokenizer, record, anomaly[None, None], "time").isel(number=0, time=0)
        fields = fields.assign_coords(_grid(asked.grid))  # those of stores may differ by rounding errors
        parts.append(fields.rename({name: f"{name}_{suffix}" for name in fields.data_vars}))
    merged = xr.merge(parts)
    for name, array in merged.data_vars.items():
        units = "1" if name in logarithms else array.attrs.get("units", "unknown")
        array.attrs = {"units": units, "long_name": f"{long_name}, {name}"}
    return merged


def point_coordinates(asked: PointQuestion) -> dict[str, Any]:
    """Time and place of the asked point, as scalar coordinates."""
    at, valid = xr.DataArray(as_index([asked.at, asked.valid], asked), dims="two").drop_vars("two", errors="ignore")
    lead = asked.lead_time_h
    return {
        "init_time": ((), at.values, {"standard_name": "forecast_reference_time"}),
        "valid_time": ((), valid.values, {"standard_name": "time"}),
        "lead_time": ((), lead, {"standard_name": "forecast_period", "units": "hours"}),
        "query_lat": ((), asked.grid.lat[asked.index[2]], AXES["lat"]),
        "query_lon": ((), asked.grid.lon[asked.index[3]], AXES["lon"]),
    }


def _grid(grid: Grid) -> dict[str, Any]:
    return {"lat": ("lat", grid.lat, AXES["lat"]), "lon": ("lon", grid.lon, AXES["lon"])}
