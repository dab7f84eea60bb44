"""Forecasts of a trained model as CF datasets. Axes: E sampled member, T time, V channel, H row, W column."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.fields.inference.lattices import told
from statecast.fields.inference.members import check_members
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.inference.rollout import rolled_out
from statecast.fields.sources import Climatology, Grid, Record, Step, StoreError, Stores, Times, step_of
from statecast.fields.sources.dates import find_time
from statecast.fields.sources.record import stream_channels, variables_of
from statecast.fields.sources.times import TimeIndex
from statecast.fields.sources.units import tell
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import FieldTokenizer, sources_of
from statecast.fields.tokenizers.plausible import require_plausible
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel

AXIS_ATTRIBUTES = {
    "time": {"standard_name": "time", "axis": "T"},
    "init_time": {"standard_name": "forecast_reference_time"},
    "number": {"standard_name": "realization", "units": "1", "long_name": "ensemble member"},
    "level": {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"},
    "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
}
"""A forecast has no axis T: CF allows the attribute for coordinates of one dimension, and `valid_time` of a forecast has two."""

OF_VARIABLES = ("standard_name", "long_name", "units", "units_metadata", "cell_methods")
"""Attributes of a variable in the store that hold for what is forecast of it."""


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
    depth, step = slab_depth(trained), next(iter(trained.codecs.values())).climatology.step
    history, leads = task.history * depth, task.leads * depth
    blocks = -(-steps // leads)
    if isinstance(stores, xr.Dataset):
        stores = dict.fromkeys(trained.codecs, stores)
    times = times_around(next(iter(stores.values())), init, range(1 - history, blocks * leads + 1), step)
    records = {name: history_record(stores[name], codec, times, history) for name, codec in trained.codecs.items()}
    changing = _changing(records)
    anomalies = rolled_out(trained, task, records, blocks, members)
    sources = sources_of(trained.codecs, records)
    parts = []
    for name in changing:
        ahead = sources[name].whole(history, steps)
        fields = ahead.tokenizer.to_fields(anomalies[name][:, :steps], ahead.climatology)
        parts.append(labelled(ahead.tokenizer, ahead.record, fields, "lead_time"))
    return told(_with_coordinates(merged(parts), times, history, steps, step), trained)


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


def times_around(dataset: xr.Dataset, init: str, counts: range, step: Step) -> TimeIndex:
    """The times so many steps after `init`, some of which may lie beyond the end of the store."""
    times = Times.of(dataset)
    position = find_time("init", init, times)
    tell_other_step(step, times)
    return step.around(times, position, counts)


def tell_other_step(step: Step, times: Times) -> None:
    """Print one line on standard error if a store, of which single states are used, has another step than the model."""
    if len(times) < 2 or (step.is_next(times).any() and not step.misfit(times)):
        return
    try:
        reason = f"the store has steps of {step_of(times)}, the model learned steps of {step}"
    except StoreError as error:
        reason = str(error).rstrip(".")
    print(f"note: {reason}; only the times that steps of {step} reach are used.", file=sys.stderr)


def history_record(dataset: xr.Dataset, tokenizer: Any, times: Any, history: int) -> Record:
    stream_channels(dataset, tokenizer.stream)
    fields = variables_of(dataset, tokenizer.stream).reindex(time=times)
    record = Record.open(fields, tokenizer.stream, step=tokenizer.climatology.step)
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


def check_record(tokenizer: Any, record: Record, *, must_be_plausible: bool = True) -> None:
    """Raises ModelError unless the record has the grid, the units, the step and about the values of the stream's climatology.

    must_be_plausible  False where values may be wrong, see `require_plausible`
    """
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
    require_step(tokenizer.climatology.step, record)
    _require_hours(tokenizer.climatology, record)
    if must_be_plausible:
        require_plausible(tokenizer, record)


def require_step(step: Step, record: Record) -> None:
    """Raises ModelError for a record of another step: what is learned of six hours says nothing of one or of twelve."""
    if len(record) > 1 and record.step != step:
        raise ModelError(
            f"the store has steps of {record.step}, the model learned steps of {step}. Give a store of such steps: select its times, or "
            "train a model with this one."
        )


def _require_hours(known: Climatology, record: Record) -> None:
    """Raises ModelError for a record at hours of the day between those that the model learned: its climatology is of other hours."""
    hours = np.unique(record.hour_utc)
    apart = np.abs((hours - known.hours_utc[known.nearest_hour(hours)] + 12) % 24 - 12)
    if apart.max() > min(known.step_h, 24.0) / 4:
        learned = ", ".join(f"{hour:g}" for hour in known.hours_utc)
        raise ModelError(
            f"the store has times at {hours[apart.argmax()]:g} h UTC, the model learned {learned} h. Give a store with times at these "
            "hours."
        )


def labelled(
    tokenizer: FieldTokenizer, record: Record, fields: Float[np.ndarray, "E T V H W"], time: str
) -> xr.Dataset:
    """Fields of a stream as variables on (number, `time`, [level,] lat, lon), with the attributes that they have in the store."""
    variables: dict[str, Any] = {}
    for variable in tokenizer.stream.variables:
        index = [i for i, c in enumerate(record.channels) if c.variable == variable]
        channel: Channel = record.channels[index[0]]
        attributes = {k: v for k, v in record.dataset[variable].attrs.items() if k in OF_VARIABLES}
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


def _with_coordinates(fields: xr.Dataset, times: TimeIndex, history: int, steps: int, step: Step) -> xr.Dataset:
    """The lead time is a whole number of steps in hours, or, of steps that are none, in minutes, seconds or months."""
    start, valid = times[history - 1], times[history : history + steps]
    units, length = step.counted_in()
    lead = np.arange(1, steps + 1) * length
    fields = fields.assign_coords(
        number=np.arange(fields.sizes["number"]),
        lead_time=("lead_time", lead, {"standard_name": "forecast_period", "units": units}),
    )
    fields = fields.expand_dims(init_time=[start])
    fields = fields.assign_coords(
        valid_time=(("init_time", "lead_time"), valid.values[None], {"standard_name": "time"})
    )
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
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    fields = fields.assign_attrs(history=f"{now} written by statecast {version('statecast')}")
    if out.suffix == ".nc":
        fields.to_netcdf(out)
        return
    with (
        catch_warnings()
    ):  # zarr warns that consolidated metadata are not in its specification yet; other readers ignore them
        filterwarnings("ignore", message="Consolidated metadata is currently not part")
        fields.to_zarr(out, mode="w-", zarr_format=3, consolidated=True)
