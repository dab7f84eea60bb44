"""Forecasts of a trained model as CF datasets. Axes: E member, T time, V channel, H row, W column; B member as batch, N token, P value."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

import cftime
import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float

from statecast.answer import answer
from statecast.fields.inference.members import check_members, draw_member
from statecast.fields.inference.tiles import blend, tiles
from statecast.fields.sources import Grid, Record, StoreError, Stores
from statecast.fields.sources.record import stream_channels, variables_of
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import FieldTokenizer, Place, read_window
from statecast.fields.tokenizers.windows import whole_domain
from statecast.streams import Question, Window
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
"""No axis T in a forecast: CF keeps the attribute for axes of one dimension, and its times are `valid_time`, on two."""
APART_H = 240.0  # of the members' fields of two blocks that start a step apart: ten times as long as these are alike


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
    """Forecast `steps` time steps from `init`, the last time that is shown.

    stores    the fields of each stream, or of all, as `sources.open_fields` gives them; they hold what is shown, up to `init`
    members   any number, see `members.draw_member`; one of a deterministic model

    Returns variables on (init_time, number, lead_time, [level,] lat, lon) in the units of the store. More steps than the model was
    fine-tuned for are reached by roll-out: each member goes on from its own last steps. A stream that never changes, such as the orography,
    is shown and not returned.
    Raises StoreError for an `init` without its history, ModelError for a wrong model, too many members of a deterministic one, or
    streams on different grids, which no one dataset can hold.
    """
    task = forecast_task(trained)
    if steps < 1:
        raise ModelError(f"steps is {steps}, expected at least 1.")
    check_members(trained, members)
    depth, step_h = slab_depth(trained), next(iter(trained.codecs.values())).climatology.step_h
    history = task.history * depth
    needed = -(-steps // (task.leads * depth)) * task.leads * depth
    if isinstance(stores, xr.Dataset):
        stores = dict.fromkeys(trained.codecs, stores)
    times = _times_around(next(iter(stores.values())), init, history, needed, step_h)
    records = {name: _record_at(stores[name], t, times, history) for name, t in trained.codecs.items()}
    changing = [name for name, record in records.items() if record.changes]
    if not changing:
        raise ModelError("the model's streams never change, expected one that does. Fine-tune it to forecast one.")
    _require_one_grid({name: records[name].grid for name in changing})
    anomalies = _roll_out(trained, task, records, needed, members)
    parts = []
    for name in changing:
        tokenizer, place = trained.codecs[name], whole_domain(records[name].grid, history, steps)
        fields = tokenizer.to_fields(anomalies[name][:, :steps], tokenizer.usual(records[name], place))
        parts.append(labelled(tokenizer, records[name], fields, "lead_time"))
    return _with_coordinates(xr.merge(parts), times, history, steps, step_h)


def _require_one_grid(grids: Mapping[str, Grid]) -> None:
    first, *others = grids
    if apart := [name for name in others if not grids[name].is_like(grids[first])]:
        raise ModelError(
            f"the model forecasts streams on different grids ({first} and {apart[0]}), which one forecast can't hold, expected one grid. "
            "Fine-tune it to forecast the streams of one grid."
        )


def slab_depth(trained: TrainedModel) -> int:
    """Time steps of a slab: the depth of the deepest tokens."""
    return max(tokenizer.stream.patch[0] for tokenizer in trained.codecs.values())


def _times_around(dataset: xr.Dataset, init: str, history: int, ahead: int, step_h: float) -> list[Any]:
    """The times of the history (the last one is `init`) and of the steps ahead, which may lie beyond the end of the store."""
    index = dataset.indexes["time"]
    asked = _as_index(init, index)
    found = [-1] if asked is None else index.get_indexer(asked)
    if found[0] < 0:
        raise StoreError(
            f"init {init}: is no time of the store, which has {index[0]} to {index[-1]}. Name one of its times."
        )
    step = timedelta(hours=step_h)
    return [index[int(found[0])] + k * step for k in range(1 - history, ahead + 1)]


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
    return record


def check_record(tokenizer: Any, record: Record) -> None:
    """Raises ModelError unless the record has the grid and the units that the stream's climatology has."""
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


def _roll_out(
    trained: TrainedModel, task: Forecast, records: Mapping[str, Record], needed: int, members: int
) -> dict[str, np.ndarray]:
    """Anomalies (E T V H W) of all the steps after the history, in the units of the channels."""
    depth = slab_depth(trained)
    history, leads = task.history * depth, task.leads * depth
    known = {name: _observed_anomalies(trained, name, record, history, members) for name, record in records.items()}
    for first in range(0, needed, leads):
        shown = {name: fields[:, first:] for name, fields in known.items()} if first else None
        for name, answers in forecast_block(trained, task, records, first, members, shown).items():
            known[name] = np.concatenate([known[name], answers], axis=1)
    return {name: fields[:, history:] for name, fields in known.items()}


def forecast_block(
    trained: TrainedModel,
    task: Forecast,
    records: Mapping[str, Record],
    first: int,
    members: int | None = None,
    shown: Mapping[str, Float[np.ndarray, "E T V H W"]] | None = None,
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Anomalies of the steps that are asked of the window that begins at step `first`, on the whole grid.

    As many `members` as are asked for, see `members.draw_member`, or the answers of all heads. A model that was trained on neighbourhoods
    is asked tile by tile, see `tiles`. What is `shown` (each member's own history, as anomalies) stands in for what the records hold. NaN
    where nothing is usual. Raises ModelError for tiles of streams on different grids.
    """
    depth, first_name = slab_depth(trained), next(iter(records))
    history, leads = task.history * depth, task.leads * depth
    grid, extent = records[first_name].grid, trained.recipe.window.extent
    if extent is not None and not all(record.grid.is_like(grid) for record in records.values()):
        raise ModelError(
            "the model was trained on neighbourhoods of streams on different grids, which can't be put together to a whole. "
            "Train one with window.extent null, or forecast one stream."
        )
    placed = tiles(grid, extent and tuple(extent))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in records}
    for tile in placed:
        whole = len(placed) == 1
        places = {
            name: whole_domain(record.grid, first, history + leads) if whole else tile.place(first, history + leads)
            for name, record in records.items()
        }
        window = read_window({name: trained.codecs[name] for name in records}, records, places)
        question = task.complete(window)
        if members is None or shown is None:
            heads = _ahead(trained, records, places, answer(trained, question), history)
            found = heads if members is None else _drawn(heads, records, places, history, range(members))
        else:
            found = {name: np.empty((0, leads)) for name in records}
            for member in range(members):
                here = {name: _cut(fields[member], places[name]) for name, fields in shown.items()}
                asked = Question(_as_context(trained, question, here), question.queries)
                heads = _ahead(trained, records, places, answer(trained, asked), history)
                for name, own in _drawn(heads, records, places, history, [member]).items():
                    found[name] = np.concatenate([found[name], own]) if len(found[name]) else own
        for name, fields in found.items():
            parts[name].append(fields)
    if len(placed) == 1:
        return {name: fields for name, (fields,) in parts.items()}  # each on its own grid
    return {name: blend(zip(placed, found, strict=True), grid.shape) for name, found in parts.items()}


def _ahead(
    trained: TrainedModel,
    records: Mapping[str, Record],
    places: Mapping[str, Place],
    answers: Mapping[str, torch.Tensor],
    history: int,
) -> dict[str, Float[np.ndarray, "E T V I J"]]:
    """The heads' answers as anomalies; NaN where nothing is usual."""
    found = {}
    for name, values in answers.items():
        tokenizer, place = trained.codecs[name], places[name]
        ahead = Place(place.start + history, place.steps - history, place.rows, place.columns)
        has_usual = np.isfinite(tokenizer.usual(records[name], ahead))
        found[name] = np.where(has_usual, tokenizer.to_anomalies(values, ahead), np.nan)
    return found


def _drawn(
    heads: Mapping[str, Float[np.ndarray, "K T V I J"]],
    records: Mapping[str, Record],
    places: Mapping[str, Place],
    history: int,
    members: Iterable[int],
) -> dict[str, Float[np.ndarray, "E T V I J"]]:
    found = {}
    for name, fields in heads.items():
        record, place = records[name], places[name]
        # a block starts from the member's own past, which holds what was drawn for it: what it adds is new
        hours = record.hours[place.start + history : place.start + place.steps] + APART_H * place.start
        grid = Grid(record.grid.lat[place.rows], record.grid.lon[place.columns])
        found[name] = np.stack([draw_member(fields, member, grid, hours) for member in members])
    return found


def _as_context(trained: TrainedModel, question: Question, shown: Mapping[str, Float[np.ndarray, "T V I J"]]) -> Window:
    """The context of a question with these anomalies in place of what was observed."""
    context: Window = {}
    for name, tokens in question.context.items():
        values = trained.codecs[name].from_anomalies(shown[name])
        context[name] = replace(tokens, values=values.nan_to_num(), observed=values.isfinite())
    return context


def _cut(fields: Float[np.ndarray, "T V H W"], place: Place) -> Float[np.ndarray, "T V I J"]:
    return fields[..., place.rows, :][..., place.columns]


def _observed_anomalies(
    trained: TrainedModel, name: str, record: Record, history: int, members: int
) -> Float[np.ndarray, "E T V H W"]:
    """The history as every member sees it, NaN where nothing was observed."""
    anomalies = trained.codecs[name].anomalies(record, whole_domain(record.grid, 0, history))
    return np.broadcast_to(anomalies, (members, *anomalies.shape))


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
    """The attributes that CF asks for, of the coordinates and of the whole; no coordinate has a value for missing ones."""
    for axis, attributes in AXIS_ATTRIBUTES.items():
        if axis in fields.coords:
            fields[axis].attrs = dict(attributes)
    for coordinate in fields.coords.values():
        coordinate.encoding["_FillValue"] = None
    fields.attrs = {"Conventions": "CF-1.11", "source": f"statecast {version('statecast')}", "title": title}
    return fields


def write_forecast(fields: xr.Dataset, out: Path) -> None:
    """Write as Zarr, or as NetCDF if the name ends in .nc. The lead time stays a number of hours, as CF has it.

    A Zarr store has its metadata in one place too, which is where `xarray.open_zarr` looks first, and warns if it doesn't find them.
    """
    if out.suffix == ".nc":
        fields.to_netcdf(out)
        return
    with catch_warnings():  # other readers pass over what zarr tells is not in the specification yet
        filterwarnings("ignore", message="Consolidated metadata is currently not part")
        fields.to_zarr(out, mode="w-", zarr_format=3, consolidated=True)
