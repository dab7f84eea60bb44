"""Parts of an explanation as labelled arrays on the globe, with the attributes that CF asks for.

Axes: N token, P value in a token; G level of a token, T time, V channel, H row, W column; L layer, K head; * any leading axes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from statecast.explain.point import PointQuestion
from statecast.inference.forecast import labelled
from statecast.streams import positions
from statecast.tokenizers import FieldTokenizer

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


def sensitivity_fields(
    asked: PointQuestion, tokenizers: Mapping[str, FieldTokenizer], gradients: Mapping[str, torch.Tensor], own: float
) -> xr.DataArray:
    """Gradients in normalised units as (time, channel, lat, lon): units of the answer for one standard deviation of an input's anomaly.

    `own` is the `slope` of what was asked. NaN where the model is shown nothing. The standard deviations stand beside the channels: divide
    by them for gradients in the units of the inputs.
    """
    parts = []
    for stream, tokens in asked.question.context.items():
        values = np.where(tokens.observed, gradients[stream][0].cpu().numpy() * own, np.nan)
        parts.append(on_fields(asked, stream, asked.shown(stream), values))
    field = np.concatenate(parts, axis=1)
    shown = np.flatnonzero(np.isfinite(field).any(axis=(1, 2, 3))).tolist()
    coords = {"time": ("time", as_index([asked.times[i] for i in shown], asked), AXES["time"]), **_grid(asked)}
    attributes = {
        "units": asked.units,
        "long_name": f"change of {asked.channel} at the point for one standard deviation of the anomaly of what is shown",
    }
    dims = ("time", "channel", "lat", "lon")
    array = xr.DataArray(field[shown], coords, dims, "sensitivity", attributes)
    return array.assign_coords(_channel_coordinates(asked, tokenizers))


def slope(asked: PointQuestion, tokenizer: FieldTokenizer, answer: float) -> float:
    """Change of the asked field for one unit of its normalised value, where that is `answer`: the standard deviation of its anomalies.

    Of a channel whose anomalies are differences of logarithms, log(1 + y / s), that times y + s.
    """
    std = float(tokenizer.climatology.anomaly_std[asked.index[1]])
    scale = tokenizer.stream.log_scale.get(asked.channel.variable)
    return std if scale is None else std * (float(point_fields(asked, tokenizer, np.array([answer]))[0]) + scale)


def point_fields(
    asked: PointQuestion, tokenizer: FieldTokenizer, values: Float[np.ndarray, " E"]
) -> Float[np.ndarray, " E"]:
    """Normalised answers at the point as the tokenizer writes them, in the units of the store."""
    step, channel, row, column = asked.index
    usual = tokenizer.usual(asked.records[asked.stream], asked.places[asked.stream])[step, :, row, column]
    anomalies = np.zeros((len(values), 1, len(usual), 1, 1), np.float32)
    anomalies[:, 0, channel, 0, 0] = values * tokenizer.climatology.anomaly_std[channel]
    return tokenizer.to_fields(anomalies, usual[None, :, None, None])[:, 0, channel, 0, 0]


def _channel_coordinates(asked: PointQuestion, tokenizers: Mapping[str, FieldTokenizer]) -> dict[str, Any]:
    """VARIABLE@LEVEL of the channels that are shown, their stream, and units and standard deviation of their anomalies."""
    rows = [
        (str(c), stream, "1" if c.variable in tokenizers[stream].stream.log_scale else unit, std)
        for stream in asked.question.context
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
    """Normalised answers (N P) to all that the task asks, at the valid time: VARIABLE_`suffix` on ([level,] lat, lon) in its units."""
    parts = []
    for stream, values in answers.items():
        tokenizer, record = tokenizers[stream], asked.records[stream]
        index = positions(asked.whole.queries[stream], asked.window[stream]).numpy()
        field = on_fields(asked, stream, index, values.cpu().numpy())[asked.index[0]]
        anomaly = field * tokenizer.climatology.anomaly_std[:, None, None]
        fields = labelled(tokenizer, record, anomaly[None, None], "time").isel(number=0, time=0)
        parts.append(fields.rename({name: f"{name}_{suffix}" for name in fields.data_vars}))
    merged = xr.merge(parts)
    logarithms = {f"{v}_{suffix}" for stream in answers for v in tokenizers[stream].stream.log_scale}
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


def _grid(asked: PointQuestion) -> dict[str, Any]:
    return {"lat": ("lat", asked.grid.lat, AXES["lat"]), "lon": ("lon", asked.grid.lon, AXES["lon"])}
