"""Forecasts of a trained model as CF datasets. Axes: E sampled member, T time, V channel, H row, W column."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import cftime
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from statecast.fields.inference.members import check_members
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.inference.rollout import rolled_out
from statecast.fields.sources import Grid, Record, StoreError, Stores
from statecast.fields.sources.record import stream_channels, variables_of
from statecast.fields.sources.units import tell
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import FieldTokenizer, sources_of
from statecast.fields.tokenizers.plausible import require_plausible
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel

TIME_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
AXIS_ATTRIBUTES = {
    "time": {"standard_name": "time", "axis": "T"},
    "init_time": {"standard_name": "forecast_reference_time"},
    "number": {"standard_name": "realization", "units": "1", "long_name": "ensemble member"},
    "level": {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}
"""A forecast has no axis T: CF allows the attribute for coordinates of one dimension, and `valid_time` of a forecast has two."""


def forecast_task(trained: TrainedModel) -> Forecast:
    """The forecast that the model was fine-tuned for. Raises ModelError if it was trained for something else."""
    task = trained.recipe.task
    if not isinstance(task, Forecast):
        raise ModelError(
            f"the model was trained for the task '{task.kind}', expected forecast. "
            "Fine-tune it first: statecast finetune quickstart-forecast --from RUN --out RUN2."
        )
    return task


def forecast(trained: TrainedModel, stores: xr.Dataset | Stores, init: str, steps: int, members: int) -> xr.Dataset:
    """Forecast `steps` time steps from `init`, the last visible time.

    stores    the fields of each stream, or of all, as `sources.open_fields` returns them; they hold the history, up to `init`
    members   number of sampled members, any number, see `members.draw_member`; 1 for a deterministic model

    Returns variables on (init_time, number, lead_time, [level,] lat, lon) in the units of the store. More steps than the model was
    fine-tuned for are reached by roll-out: each member continues from its own last steps. A stream that never changes, such as the
    orography, is visible to the model and is not returned.
    Raises StoreError for an `init` without its history, ModelError for a wrong model, several members of a deterministic one, or
    streams on different grids, which one dataset can't hold.
    """
    task = forecast_task(trained)
    if steps < 1:
        raise ModelError(f"steps is {steps}, expected at least 1.")
    check_members(trained, members)
    depth, step_h = slab_depth(trained), next(iter(trained.codecs.values())).climatology.step_h
    history, leads = task.history * depth, task.leads * depth
    blocks = -(-steps // leads)
    if isinstance(stores, xr.Dataset):
        stores = dict.fromkeys(trained.codecs, stores)
    times = _times_around(next(iter(stores.values())), init, history, blocks * leads, step_h)
    records = {name: _record_at(stores[name], codec, times, history) for name, codec in trained.codecs.items()}
    changing = _changing(records)
    anomalies = rolled_out(trained, task, records, blocks, members)
    sources = sources_of(trained.codecs, records)
    parts = []
    for name in changing:
        ahead = sources[name].whole(history, steps)
        fields = ahead.tokenizer.to_fields(anomalies[name][:, :steps], ahead.climatology)
        parts.append(labelled(ahead.tokenizer, ahead.record, fields, "lead_time"))
    return _with_coordinates(merged(parts), times, history, steps, step_h)


def _changing(records: Mapping[str, Record]) -> list[str]:
    """The streams that a forecast returns. Raises ModelError if there are none, or if they lie on several grids."""
    changing = [name for name, record in records.items() if record.changes]
    if not changing:
        raise ModelError(
            "the model's streams never change, expected one that does. Fine-tune the model to forecast one."
        )
    _require_one_grid({name: records[name].grid for name in changing})
    return changing


def _require_one_grid(grids: Mapping[str, Grid]) -> None:
    first, *others = grids
    on_another_grid = [name for name in others if not grids[name].is_like(grids[first])]
    if on_another_grid:
        raise ModelError(
            f"the model forecasts streams on different grids ({first} and {on_another_grid[0]}), expected one grid for one forecast. "
            "Fine-tune it to forecast the streams of one grid."
        )


def _times_around(dataset: xr.Dataset, init: str, history: int, ahead: int, step_h: float) -> list[Any]:
    """The times of the history (the last one is `init`) and of the steps ahead, which may lie beyond the end of the store."""
    index = dataset.indexes["time"]
    asked = _as_index(init, index)
    position = -1 if asked is None else int(index.get_indexer(asked)[0])
    if position < 0:
        raise StoreError(
            f"init {init}: is not a time of the store, which has {index[0]} to {index[-1]}. Name one of its times."
        )
    step = timedelta(hours=step_h)
    return [index[position] + k * step for k in range(1 - history, ahead + 1)]


def _as_index(init: str, index: Any) -> Any:
    """`init` as an index of one time in the calendar of `index`; None if it can't be read as a time."""
    if isinstance(index, pd.DatetimeIndex):
        try:
            return pd.DatetimeIndex([pd.Timestamp(init)])
        except ValueError:
            return None
    for form in TIME_FORMATS:
        with suppress(ValueError):
            return xr.CFTimeIndex([cftime.datetime.strptime(init.replace(" ", "T"), form, calendar=index.calendar)])
    return None


def _record_at(dataset: xr.Dataset, tokenizer: Any, times: Any, history: int) -> Record:
    stream_channels(dataset, tokenizer.stream)
    record = Record.open(variables_of(dataset, tokenizer.stream).reindex(time=times), tokenizer.stream)
    check_record(tokenizer, record)
    if not np.isfinite(record.read(slice(0, history))).any(axis=(1, 2, 3)).all():
        raise StoreError(
            f"the forecast needs {history} steps up to its start ({times[0]} to {times[history - 1]}); "
            "the store lacks some. Name a later init."
        )
    _tell_of_missing(record, history, times)
    return record


def _tell_of_missing(record: Record, history: int, times: Sequence[Any]) -> None:
    """A variable that is missing at the start is forecast all the same, from the others."""
    is_known = np.isfinite(record.read(slice(0, history))).any(axis=(0, 2, 3))
    for channel in [str(c) for c, known in zip(record.channels, is_known, strict=True) if not known]:
        tell(
            f"variable '{channel}' has no value from {times[0]} to {times[history - 1]}: it is forecast from the other variables alone."
        )


def check_record(tokenizer: Any, record: Record) -> None:
    """Raises ModelError unless the record has the grid, the units and about the values of the stream's climatology."""
    mine, theirs = tokenizer.climatology.grid, record.grid
    if not mine.is_like(theirs):
        raise ModelError(
            f"the model's grid is {mine.shape[0]} x {mine.shape[1]}, "
            f"the store's is {theirs.shape[0]} x {theirs.shape[1]} or has other points. "
            "Regrid the store, or fine-tune with the store as a stream of its own name."
        )
    for channel, units, learned in tokenizer.climatology.other_units(record):
        raise ModelError(
            f"variable '{channel}' is in '{units}' in the store, the model learned it in '{learned}'. Convert it."
        )
    require_plausible(tokenizer, record)


def labelled(
    tokenizer: FieldTokenizer, record: Record, fields: Float[np.ndarray, "E T V H W"], time: str
) -> xr.Dataset:
    """Fields of a stream as variables on (number, `time`, [level,] lat, lon), with the attributes that they have in the store."""
    variables: dict[str, Any] = {}
    for variable in tokenizer.stream.variables:
        index = [i for i, c in enumerate(record.channels) if c.variable == variable]
        channel: Channel = record.channels[index[0]]
        attributes = {
            k: v for k, v in record.dataset[variable].attrs.items() if k in ("standard_name", "long_name", "units")
        }
        if channel.pressure_hpa is None:
            variables[variable] = (("number", time, "lat", "lon"), fields[:, :, index[0]], attributes)
        else:
            variables[variable] = (("number", time, "level", "lat", "lon"), fields[:, :, index], attributes)
    levels = {"level": list(tokenizer.stream.levels)} if tokenizer.stream.levels else {}
    return xr.Dataset(variables, coords={**levels, "lat": record.grid.lat, "lon": record.grid.lon})


def merged(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The fields of streams on one grid, which may differ by rounding, as one dataset."""
    lat, lon = parts[0].lat, parts[0].lon
    return xr.merge([part.assign_coords(lat=lat, lon=lon) for part in parts])


def _with_coordinates(fields: xr.Dataset, times: Any, history: int, steps: int, step_h: float) -> xr.Dataset:
    start, valid = times[history - 1], times[history : history + steps]
    lead = np.arange(1, steps + 1) * step_h
    fields = fields.assign_coords(
        number=np.arange(fields.sizes["number"]),
        lead_time=("lead_time", lead, {"standard_name": "forecast_period", "units": "hours"}),
    )
    fields = fields.expand_dims(init_time=[start])
    fields = fields.assign_coords(valid_time=(("init_time", "lead_time"), np.array([valid]), {"standard_name": "time"}))
    return with_attributes(fields, f"Forecast from {start}")


def with_attributes(fields: xr.Dataset, title: str) -> xr.Dataset:
    """Fields with the attributes that CF requires; coordinates are written without a fill value."""
    for axis, attributes in AXIS_ATTRIBUTES.items():
        if axis in fields.coords:
            fields[axis].attrs = dict(attributes)
    for coordinate in fields.coords.values():
        coordinate.encoding["_FillValue"] = None
    fields.attrs = {"Conventions": "CF-1.11", "source": f"statecast {version('statecast')}", "title": title}
    return fields


def write_forecast(fields: xr.Dataset, out: Path) -> None:
    """Write as Zarr, or as NetCDF if the name ends in .nc. The lead time stays a number of hours, as in CF.

    A Zarr store also has consolidated metadata, where `xarray.open_zarr` looks first; without them it warns.
    """
    if out.suffix == ".nc":
        fields.to_netcdf(out)
        return
    with (
        catch_warnings()
    ):  # zarr warns that consolidated metadata are not in its specification yet; other readers ignore them
        filterwarnings("ignore", message="Consolidated metadata is currently not part")
        fields.to_zarr(out, mode="w-", zarr_format=3, consolidated=True)
