"""Labels of a record of fields: a class or a number for each time, from a table.

Axes: T time of the record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field, field_validator

from statecast.axes import Axis
from statecast.fields.sources.dates import DateError, read_time
from statecast.fields.sources.times import TimeIndex, Times, with_exact_times
from statecast.fields.tokenizers import Place
from statecast.labels import LabelCodec, LabelError
from statecast.streams import StreamOptions, Tokens

READERS = {".csv": pd.read_csv, ".parquet": pd.read_parquet}


class LabelStream(StreamOptions):
    """A class or a number of each window, asked as a stream of one token."""

    labels: str = Field(description="table of labels: a CSV, Parquet or NetCDF file with a time for each label")
    column: str = Field(description="column, or variable, that holds the labels")
    time: str = Field("time", description="column, or coordinate, that holds their times")
    target: Literal["class", "number"] = Field(
        "class", description="class: the labels are names; number: they are measured"
    )
    at: Literal["first", "middle", "last"] = Field("last", description="step of a window whose time its label has")
    place: tuple[float, float] | None = Field(
        None,
        description="latitude and longitude in degrees of what is labelled, such as the middle of a region: attention starts there; "
        "none: the label is of the whole window",
    )

    @field_validator("place")
    @classmethod
    def _lies_on_the_globe(cls, place: tuple[float, float] | None) -> tuple[float, float] | None:
        if place is not None and not (-90 <= place[0] <= 90 and -180 <= place[1] <= 360):
            raise ValueError(
                f"{list(place)} is no place, expected a latitude of -90 to 90 and a longitude of -180 to 360. Give the latitude first."
            )
        return place


@dataclass(frozen=True)
class LabelSeries:
    """The label of each time of a record, None where the table has none."""

    codec: LabelCodec
    values: Sequence[Any]

    @property
    def stream(self) -> LabelStream:
        assert isinstance(self.codec.stream, LabelStream)
        return self.codec.stream

    def of(self, place: Place) -> Any:
        """The label of a window."""
        return self.values[self._step(place.start, place.steps)]

    def tokens(self, place: Place) -> Tokens:
        return self.codec.tokens(self.of(place))

    def is_known(self, starts: np.ndarray, steps: int) -> np.ndarray:
        """Which windows have a label."""
        return np.array([self.values[self._step(int(start), steps)] is not None for start in starts], dtype=bool)

    def _step(self, start: int, steps: int) -> int:
        return start + {"first": 0, "middle": steps // 2, "last": steps - 1}[self.stream.at]


def with_place(codec: LabelCodec, stream: LabelStream, axes: Sequence[Axis]) -> LabelCodec:
    """The codec with the options of a stream, at its place if it has one; `axes` are those of the fields beside it."""
    if stream.place is None:
        return replace(codec, stream=stream, axes=(), coords=())
    sphere = next(axis for axis in axes if axis.kind == "sphere")
    latitude, longitude = stream.place
    return replace(codec, stream=stream, axes=(sphere,), coords=(latitude, longitude % 360))


def read_labels(stream: LabelStream, times: Any) -> list[Any]:
    """The label of each of `times`, an index of a record in its own calendar; None where the table has none.

    Raises LabelError for a table that can't be read, a column that it lacks, a time that is there twice, or a table that shares no time
    with the record.
    """
    path = Path(stream.labels)
    if not path.is_file():
        raise LabelError(f"labels {path}: there is no such file. Give a CSV, Parquet or NetCDF file.")
    known = _read_netcdf(stream, path) if path.suffix in (".nc", ".nc4") else _read_table(stream, path)
    if len(known[stream.time]) == 0:
        raise LabelError(f"labels {path}: holds no label. Give it a row for each time that has one.")
    keys = _in_calendar(known[stream.time], times, path)
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise LabelError(f"labels {path}: the time {twice} has several labels, expected one. Keep one of them.")
    values = {key: None if pd.isna(value) else value for key, value in zip(keys, known[stream.column], strict=True)}
    found = [values.get(time) for time in times]
    if all(value is None for value in found):
        raise LabelError(
            f"labels {path}: none of its times, {keys[0]} to {keys[-1]}, is a time of the record, which has {times[0]} to {times[-1]}. "
            "Give each label a time that the record has."
        )
    return found


def _read_table(stream: LabelStream, path: Path) -> Mapping[str, Sequence[Any]]:
    if path.suffix not in READERS:
        raise LabelError(f"labels {path}: ends in '{path.suffix}', expected .csv, .parquet or .nc.")
    try:
        table = READERS[path.suffix](path)
    except (OSError, ValueError, ImportError) as error:
        raise LabelError(f"labels {path}: can't be read ({str(error).splitlines()[0]}).") from error
    for column in (stream.time, stream.column):
        if column not in table.columns:
            raise LabelError(
                f"labels {path}: has no column '{column}'. Columns: {', '.join(map(str, table.columns))}. Name one."
            )
    return {column: table[column].tolist() for column in (stream.time, stream.column)}


def _read_netcdf(stream: LabelStream, path: Path) -> Mapping[str, Sequence[Any]]:
    try:
        with xr.open_dataset(path) as dataset:
            for name in (stream.time, stream.column):
                if name not in dataset.variables:
                    raise LabelError(
                        f"labels {path}: has no variable '{name}'. Variables: {', '.join(map(str, dataset.variables))}. Name one."
                    )
            values = dataset[stream.column]
            if values.dims != (stream.time,):
                raise LabelError(f"labels {path}: '{stream.column}' is on {values.dims}, expected ('{stream.time}',).")
            labels = xr.Dataset({"label": ("time", values.values)}, {"time": dataset[stream.time].values})
            if isinstance(labels.indexes["time"], TimeIndex):
                labels = with_exact_times(labels.sortby("time"))
            return {stream.time: list(labels.indexes["time"]), stream.column: labels["label"].values.tolist()}
    except LabelError:
        raise
    except (OSError, ValueError) as error:
        raise LabelError(f"labels {path}: can't be read ({str(error).splitlines()[0]}).") from error


def _in_calendar(given: Sequence[Any], index: TimeIndex, path: Path) -> list[Any]:
    """Times of a table as those of the record, in its calendar; a time that it has not is read as well."""
    times = Times(index)
    try:
        return list(times.at(read_time(str(time), times) for time in given))
    except DateError as error:
        raise LabelError(f"labels {path}: its times can't be read ({error}). Write 2001-02-03T06:00.") from None
