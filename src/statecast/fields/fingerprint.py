"""What identifies the record that a model learned from: its contents, whatever its path.

With it a record is recognised from any directory, through links and as a copy, and one that changed under a run is noticed.

Axes: H row, W column.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.fields.recipe import FieldRecipe
from statecast.fields.source import FieldSource
from statecast.fields.sources import Record, Times
from statecast.fields.sources.dates import DateError, read_time
from statecast.fields.stations.reports import Reports
from statecast.fields.streams import Channel

FIELDS, READ_FIELDS = 64, 16  # sampled times of a record in memory, and of one that is read from its store
CHANNELS = 3  # of a stream that are sampled: the first, the middle and the last that change in time
COMPARED = 16  # sampled times that are looked for in another record
POINTS = 12  # of a sampled field, from its smallest to its largest value
DISTINCT = 6  # of them at least: a field without rain tells nothing
PACKED = (
    1e-3  # of the range of these values: more than packing into 16 bits changes them, less than another analysis does
)
TOLD = ("standard_name", "units", "cell_methods")  # attributes that say what a variable means


def fingerprint(recipe: FieldRecipe, source: FieldSource) -> dict[str, Any]:
    """The periods that a recipe learns from, and what identifies each stream of its record: units, grid, times and some values.

    The values of a record in memory have a checksum; of a larger one only the fields of `READ_FIELDS` times are read.
    """
    streams = {name: _of_record(stream.record) for name, stream in source.streams.items()}
    found: dict[str, Any] = {"periods": [list(period) for period in recipe.data.learned_periods], "streams": streams}
    if source.stations:
        found["stations"] = {name: _of_reports(series.reports) for name, series in source.stations.items()}
    return found


def _of_reports(reports: Reports) -> dict[str, str]:
    table, places = reports.table, reports.stations
    return {
        "places": f"{len(places)} stations, {checksum(np.concatenate([places.lat, places.lon, places.height_m]))}",
        "reports": f"{len(reports)} reports, {checksum(table.ticks)}, {checksum(table.values)}",
    }


def _of_record(record: Record) -> dict[str, Any]:
    times, arrays = record.times, {channel.variable: record.dataset[channel.variable] for channel in record.channels}
    steps = _spread(len(record), READ_FIELDS if record.in_memory is None else FIELDS)
    return {
        "channels": list(map(str, record.channels)),
        "attributes": {name: {k: str(a.attrs[k]) for k in TOLD if k in a.attrs} for name, a in arrays.items()},
        "grid": f"{record.grid.box}, {checksum(np.concatenate([record.grid.lat, record.grid.lon]))}",
        "times": f"{times.index[0]} to {times.index[-1]}, {len(times)} times, {checksum(times.ticks)}",
        "values": None if record.in_memory is None else checksum(record.in_memory),
        "fields": {str(channel): _samples(record, channel, steps) for channel in _sampled(record)},
    }


def _sampled(record: Record) -> list[Channel]:
    changing = [channel for channel in record.channels if channel.variable not in record.static]
    return [changing[i] for i in _spread(len(changing), CHANNELS)]


def _spread(size: int, most: int) -> list[int]:
    """Numbers below `size`, evenly spaced from the first to the last, `most` of them or all."""
    return np.unique(np.linspace(0, size - 1, min(most, size)).round().astype(int)).tolist() if size else []


def _samples(record: Record, channel: Channel, steps: Iterable[int]) -> dict[str, list[list[float]]]:
    """By time, of the fields that tell something, some points of the flattened field and their values."""
    samples, number = {}, record.channels.index(channel)
    for step in steps:
        kept = record.in_memory
        field = _field(record.dataset, channel, step) if kept is None else kept[step, number]
        distinct, at = np.unique(field, return_index=True)
        distinct, at = distinct[np.isfinite(distinct)], at[np.isfinite(distinct)]
        chosen = _spread(len(distinct), POINTS)
        if len(chosen) >= DISTINCT:
            samples[str(record.times.index[step])] = [at[chosen].tolist(), distinct[chosen].astype(float).tolist()]
    return samples


def _field(dataset: xr.Dataset, channel: Channel, step: int) -> Float[np.ndarray, "H W"]:
    array = dataset[channel.variable].isel(time=step)
    if channel.pressure_hpa is not None:
        array = array.sel(level=channel.pressure_hpa)
    return array.transpose("lat", "lon").values.astype(np.float32)


def checksum(values: np.ndarray) -> str:
    """CRC-32 of an array's bytes; all kinds of NaN are the same."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return f"{zlib.crc32(np.ascontiguousarray(values).data):08x}"


def holds(known: Mapping[str, Any], dataset: xr.Dataset, *, wholly: bool = False) -> bool:
    """Whether a dataset holds fields of the stream with this fingerprint, at the same times and with the same values, but for packing.

    wholly  True: all that are looked for, so that it is the record itself and no part of it
    """
    found: list[bool] = []
    for name, samples in known["fields"].items():
        channel = _channel(name)
        steps = _steps_of(dataset, channel, samples)
        if wholly and len(steps) < len(samples):
            return False
        texts = list(steps)
        for text in [texts[i] for i in _spread(len(texts), COMPARED)]:
            found.append(_is_same(_field(dataset, channel, steps[text]), *samples[text]))
            if found[-1] and not wholly:
                return True
    return bool(found) and all(found)


def _is_same(field: Float[np.ndarray, "H W"], points: list[int], values: list[float]) -> bool:
    if max(points) >= field.size:
        return False
    return bool(np.abs(field.flat[points] - np.array(values)).max() <= PACKED * (values[-1] - values[0]))


def _steps_of(dataset: xr.Dataset, channel: Channel, texts: Iterable[str]) -> dict[str, int]:
    """Of those of the times that a dataset has, with a value of the channel, their steps."""
    array = dataset.get(channel.variable)
    if array is None or "time" not in array.dims or ("level" in array.dims) != (channel.pressure_hpa is not None):
        return {}
    if channel.pressure_hpa is not None and channel.pressure_hpa not in array["level"].values:
        return {}
    times, steps = Times.of(dataset), {}
    for text in texts:
        try:
            tick = read_time(text, times)
        except DateError:  # of another calendar
            continue
        if times.before(tick) < times.up_to(tick):
            steps[text] = times.before(tick)
    return steps


def _channel(name: str) -> Channel:
    variable, _, level = name.rpartition("@")
    return Channel(variable, float(level)) if variable else Channel(level, None)
