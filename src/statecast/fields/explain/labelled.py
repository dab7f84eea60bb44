"""Parts of an explanation as labelled arrays on the globe, with the attributes that CF asks for.

Axes: N token, P value in a token; G level of a token, T time, V channel, H row, W column; L layer, K head; * any leading axes.
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
from statecast.fields.tokenizers import FieldTokenizer

AXES = {
    "time": {"standard_name": "time"},
    "level": {"standard_name": "air_pressure", "units": "hPa", "positive": "down"},
    "lat": {"standard_name": "latitude", "units": "degrees_north"},
    "lon": {"standard_name": "longitude", "units": "degrees_east"},
}


def on_token_grids(
    asked: PointQuestion,
    tokenizers: Mapping[str, FieldTokenizer],
    name: str,
    weights: Float[torch.Tensor, "*B N"],
    dims: tuple[str, ...] = (),
    long_name: str = "",
) -> xr.Dataset:
    """Weights of the shown tokens of all streams as variables STREAM_`name` on (*dims, *tokens).

    The axes of tokens, [STREAM_level,] STREAM_time, STREAM_lat and STREAM_lon, are their centres; NaN where a token was not shown, and
    times of which none was shown are left out.
    """
    parts = []
    sizes = [len(tokens) for tokens in asked.question.context.values()]
    for stream, theirs in zip(asked.question.context, weights.double().cpu().split(sizes, dim=-1), strict=True):
        coords = token_coordinates(asked, stream, tokenizers[stream])
        spread = np.full((*weights.shape[:-1], len(asked.window[stream])), np.nan)
        spread[..., asked.shown(stream)] = theirs.numpy()
        grid = spread.reshape(*weights.shape[:-1], *(len(values) for values, _ in coords.values()))
        axes = [f"{stream}_{axis}" for axis in coords]
        labels = {f"{stream}_{axis}": (f"{stream}_{axis}", v, a) for axis, (v, a) in coords.items()}
        attributes = {"long_name": f"{long_name}, stream {stream}", "units": "1"}
        array = xr.DataArray(grid, labels, [*dims, *axes], f"{stream}_{name}", attributes)
        shown = array.notnull().any([dim for dim in array.dims if dim != f"{stream}_time"])
        array = array.isel({f"{stream}_time": np.flatnonzero(shown)})
        parts.append(
            (array if tokenizers[stream].groups > 1 else array.isel({f"{stream}_level": 0}, drop=True)).to_dataset()
        )
    return xr.merge(parts)


def token_coordinates(
    asked: PointQuestion, stream: str, tokenizer: FieldTokenizer
) -> dict[str, tuple[Any, dict[str, str]]]:
    """Centres of the tokens of a stream's window along G, T, H, W, with their attributes."""
    t, h, w = tokenizer.stream.patch
    grid, step = asked.records[stream].grid, asked.times[1] - asked.times[0]
    levels = tokenizer.stream.levels if tokenizer.groups > 1 else (np.nan,)
    centres = {
        "level": np.array(levels),
        "time": as_index([time + step * ((t - 1) / 2) for time in asked.times[::t]], asked),
        "lat": grid.lat.reshape(-1, h).mean(axis=1),
        "lon": grid.lon.reshape(-1, w).mean(axis=1),
    }
    return {axis: (values, AXES[axis]) for axis, values in centres.items()}


def as_index(times: list[Any], asked: PointQuestion) -> Any:
    """Times as an index of the record's own calendar."""
    return type(asked.records[asked.stream].dataset.indexes["time"])(times)


def on_fields(
    asked: PointQuestion, stream: str, tokens: np.ndarray, values: np.ndarray
) -> Float[np.ndarray, "T V H W"]:
    """Values (N P) of the tokens that stand at `tokens` of a stream's window as a field, NaN elsewhere."""
    field = np.full(np.prod(asked.shape(stream)), np.nan)
    field[asked.layouts[stream][tokens]] = values
    return field.reshape(asked.shape(stream))


def gradient_fields(
    asked: PointQuestion, gradients: Mapping[str, torch.Tensor]
) -> dict[str, Float[np.ndarray, "T V H W"]]:
    """Gradients (1 N P) for the shown values of each stream as fields, NaN where the model is shown nothing."""
    fields = {}
    for stream, tokens in asked.question.context.items():
        values = np.where(tokens.observed, gradients[stream][0].cpu().numpy(), np.nan)
        fields[stream] = on_fields(asked, stream, asked.shown(stream), values)
    return fields


def sensitivity_arrays(
    asked: PointQuestion,
    tokenizers: Mapping[str, FieldTokenizer],
    gradients: Mapping[str, Float[np.ndarray, "T V H W"]],
    own: float,
) -> xr.Dataset:
    """Gradients as units of the answer for one standard deviation of an input's anomaly, from those in normalised units by stream.

    `sensitivity` on (time, channel, lat, lon) for the streams on the grid that is asked, if any is shown, and STREAM_sensitivity on axes
    of its own for each one on another grid. `own` is the `slope` of what was asked. The standard deviations stand beside the channels:
    divide by them for gradients in the units of the inputs. Times of which nothing was shown are left out.
    """
    seen = np.any([np.isfinite(field).any(axis=(1, 2, 3)) for field in gradients.values()], axis=0)
    steps = np.flatnonzero(seen).tolist()
    time = ("time", as_index([asked.times[i] for i in steps], asked), AXES["time"])
    attributes = {
        "units": asked.units,
        "long_name": f"change of {asked.channel} at the point for one standard deviation of the anomaly of what is shown",
    }
    parts = []
    for stream, together in _by_grid(asked, gradients).items():
        field = np.concatenate([gradients[name] for name in together], axis=1)[steps] * own
        grid = asked.grid if stream is None else asked.records[stream].grid
        coords = {"time": time, **_grid(grid), **_channels(asked, tokenizers, together)}
        array = xr.DataArray(field, coords, ("time", "channel", "lat", "lon"), attrs=attributes)
        name, own_names = _named(stream)
        parts.append(array.rename(own_names).to_dataset(name=name))
    return xr.merge(parts)


def sensitivities(explained: xr.Dataset) -> list[xr.DataArray]:
    """The arrays of `sensitivity_arrays`, all on axes of the same names."""
    found = []
    for variable in explained.data_vars:
        name, own_names = _named(str(variable).removesuffix("sensitivity").removesuffix("_") or None)
        if variable == name:
            found.append(explained[name].rename({theirs: plain for plain, theirs in own_names.items()}))
    return found


def _named(stream: str | None) -> tuple[str, dict[str, str]]:
    """Name of a sensitivity and of its coordinates: plain ones on the grid that is asked, a stream's own on another one."""
    channels = {f"channel{suffix}": f"{stream}_channel{suffix}" for suffix in ("", "_stream", "_units", "_std")}
    axes = {axis: f"{stream}_grid_{axis}" for axis in ("lat", "lon")}
    return ("sensitivity", {}) if stream is None else (f"{stream}_sensitivity", channels | axes)


def _by_grid(asked: PointQuestion, streams: Iterable[str]) -> dict[str | None, list[str]]:
    """None -> the streams on the grid that is asked; every other one by itself."""
    found: dict[str | None, list[str]] = {}
    for stream in streams:
        is_asked = asked.records[stream].grid.is_like(asked.grid)
        found.setdefault(None if is_asked else stream, []).append(stream)
    return found


def slope(asked: PointQuestion, tokenizer: FieldTokenizer, answer: float) -> float:
    """Change of the asked field for one unit of its normalised value, where that is `answer`."""
    channel = asked.index[1]
    fields = np.zeros((len(tokenizer.climatology.channels), 1, 1))
    fields[channel] = point_fields(asked, tokenizer, np.array([answer]))
    return float(tokenizer.slope(fields)[channel].item())


def point_fields(
    asked: PointQuestion, tokenizer: FieldTokenizer, values: Float[np.ndarray, " E"]
) -> Float[np.ndarray, " E"]:
    """Normalised answers at the point as the tokenizer writes them, in the units of the store."""
    step, channel, row, column = asked.index
    usual = tokenizer.usual(asked.records[asked.stream], asked.places[asked.stream])[step, :, row, column]
    anomalies = np.zeros((len(values), 1, len(usual), 1, 1), np.float32)
    anomalies[:, 0, channel, 0, 0] = values * tokenizer.climatology.anomaly_std[channel]
    return tokenizer.to_fields(anomalies, usual[None, :, None, None])[:, 0, channel, 0, 0]


def _channels(asked: PointQuestion, tokenizers: Mapping[str, FieldTokenizer], streams: Sequence[str]) -> dict[str, Any]:
    """VARIABLE@LEVEL of the channels of some streams, their stream, and units and standard deviation of their anomalies."""
    rows = [
        (str(c), stream, "1" if c.variable in tokenizers[stream].stream.log_scale else unit, std)
        for stream in streams
        for c, unit, std in zip(
            asked.records[stream].channels, asked.records[stream].units, tokenizers[stream].climatology.anomaly_std, strict=True
        )
    ]  # fmt: skip
    names, owners, units, stds = map(list, zip(*rows, strict=True))
    return {
        "channel": ("channel", names, {"long_name": "variable and level in hPa"}),
        "channel_stream": ("channel", owners),
        "channel_units": ("channel", units),
        "channel_std": ("channel", np.array(stds), {"long_name": "standard deviation of the channel's anomalies"}),
    }


def anomaly_maps(
    asked: PointQuestion,
    tokenizers: Mapping[str, FieldTokenizer],
    answers: Mapping[str, torch.Tensor],
    suffix: str,
    long_name: str,
) -> xr.Dataset:
    """Normalised answers (N P) to all that the task asks on the grid of the point, at the valid time, in units of the channels.

    Variables are VARIABLE_`suffix` on ([level,] lat, lon).
    """
    parts, streams = [], _by_grid(asked, answers)[None]
    for stream in streams:
        values = answers[stream]
        tokenizer, record = tokenizers[stream], asked.records[stream]
        index = numbers(asked.whole.queries[stream])
        field = on_fields(asked, stream, index, values.cpu().numpy())[asked.index[0]]
        anomaly = field * tokenizer.climatology.anomaly_std[:, None, None]
        fields = labelled(tokenizer, record, anomaly[None, None], "time").isel(number=0, time=0)
        fields = fields.assign_coords(_grid(asked.grid))  # stores may differ by rounding
        parts.append(fields.rename({name: f"{name}_{suffix}" for name in fields.data_vars}))
    merged = xr.merge(parts)
    logarithms = {f"{v}_{suffix}" for stream in streams for v in tokenizers[stream].stream.log_scale}
    for name, array in merged.data_vars.items():
        units = "1" if name in logarithms else array.attrs.get("units", "unknown")
        array.attrs = {"units": units, "long_name": f"{long_name}, {name}"}
    return merged


def point_coordinates(asked: PointQuestion) -> dict[str, Any]:
    """When and where was asked, as scalar coordinates."""
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
