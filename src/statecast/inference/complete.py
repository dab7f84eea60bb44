"""What a store lacks, answered: missing values and times, or streams that were never measured.

Axes: E member, T time, V channel, H row, W column, N token, P value.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float

from statecast.inference.answer import answer
from statecast.inference.forecast import AXIS_ATTRIBUTES, check_grid, check_members, labelled, slab_depth
from statecast.sources import Record, StoreError
from statecast.sources.record import select_period, stream_channels
from statecast.streams import Question, Tokens, Window
from statecast.tokenizers import FieldTokenizer
from statecast.tokenizers.windows import whole_domain
from statecast.trained import ModelError, TrainedModel

UNANSWERABLE = ("forecast",)


def complete(
    trained: TrainedModel,
    dataset: xr.Dataset,
    period: tuple[str, str],
    members: int,
    *,
    progress: Callable[[float], None] = lambda done: None,
) -> xr.Dataset:
    """The period of a store with what is missing in it filled by the model; what was observed stays as it is.

    dataset   as `sources.open_fields` gives it; times that it lacks between those it has are asked too
    members   at most as many as the model's head has; all hold the same where something was observed

    Of a model that was fine-tuned to translate, only the streams that it was tuned to answer are asked, and returned. Each slab of time is
    answered from the window of the model's length in which it lies nearest to the middle. Returns variables on
    (number, time, [level,] lat, lon) in the units of the store.
    Raises ModelError for a model that forecasts or too many members, StoreError for a period that is shorter than a window.
    """
    task = trained.recipe["task"]
    if task["kind"] in UNANSWERABLE:
        raise ModelError(
            "the model was trained for the task 'forecast'. Use `statecast predict`, or a model that was trained to fill gaps."
        )
    check_members(trained, members)
    records, times = _records(trained, dataset, period, asked=tuple(task.get("to", ())))
    asked_streams = task.get("to") or tuple(trained.tokenizers)
    depth, slabs = slab_depth(trained), _slabs(trained)
    if len(times) < slabs * depth:
        raise StoreError(
            f"period {period[0]} to {period[1]}: has {len(times)} time steps, expected at least the {slabs * depth} of a window. "
            "Name a longer one."
        )
    filled = {
        name: np.full((members, len(times), *_shape(records[name])), np.nan, np.float32) for name in asked_streams
    }
    total = len(times) // depth
    for slab in range(total):
        first = min(max(0, slab - slabs // 2), total - slabs) * depth
        now = slice(slab * depth, (slab + 1) * depth)
        for name, fields in _answers(trained, records, first, now, asked_streams, members).items():
            filled[name][:, now] = fields
        progress((slab + 1) / total)
    parts = []
    for name in asked_streams:
        known = records[name].read(slice(0, len(times)))
        parts.append(
            labelled(trained.tokenizers[name], records[name], np.where(np.isfinite(known), known, filled[name]), "time")
        )
    return _with_attributes(xr.merge(parts).assign_coords(time=times, number=np.arange(members)), period)


def _slabs(trained: TrainedModel) -> int:
    task = trained.recipe["task"]
    return int(task["slabs"]) if "slabs" in task else int(task["before"] + task["between"] + task["after"])


def _shape(record: Record) -> tuple[int, int, int]:
    return (len(record.channels), *record.grid.shape)


def _records(
    trained: TrainedModel, dataset: xr.Dataset, period: tuple[str, str], asked: tuple[str, ...]
) -> tuple[dict[str, Record], list[Any]]:
    """Each stream at every time of the period, NaN where the store has none; of asked streams the store may lack variables."""
    selected = select_period(dataset, period)
    index = selected.indexes["time"]
    step = timedelta(hours=next(iter(trained.tokenizers.values())).climatology.step_h)
    depth = slab_depth(trained)
    times = [index[0] + k * step for k in range(round((index[-1] - index[0]) / step) + 1)]
    times = times[: len(times) // depth * depth]
    records = {}
    for name, tokenizer in trained.tokenizers.items():
        fields = _with_missing(selected, tokenizer) if name in asked else selected
        stream_channels(fields, tokenizer.stream)
        records[name] = Record.open(fields[list(tokenizer.stream.variables)].reindex(time=times), tokenizer.stream)
        check_grid(tokenizer, records[name])
    return records, times


def _with_missing(dataset: xr.Dataset, tokenizer: FieldTokenizer) -> xr.Dataset:
    """The dataset with NaN for variables of an asked stream that it lacks."""
    climatology, missing = tokenizer.climatology, {}
    for variable in tokenizer.stream.variables:
        if variable not in dataset:
            levels = [c.pressure_hpa for c in climatology.channels if c.variable == variable and c.pressure_hpa]
            dims = ("time", "level", "lat", "lon") if levels else ("time", "lat", "lon")
            shape = [len(levels) if d == "level" else dataset.sizes[d] for d in dims]
            units = next(
                u for c, u in zip(climatology.channels, climatology.units, strict=True) if c.variable == variable
            )
            missing[variable] = (dims, np.full(shape, np.nan, np.float32), {"units": units})
    return dataset.assign(missing) if missing else dataset


def _answers(
    trained: TrainedModel,
    records: Mapping[str, Record],
    first: int,
    now: slice,
    asked_streams: tuple[str, ...],
    members: int,
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Members of what is asked in the steps `now`, from the window that begins at step `first`; NaN where nothing was missing."""
    steps = _slabs(trained) * slab_depth(trained)
    places = {name: whole_domain(record.grid, first, steps) for name, record in records.items()}
    window = {name: trained.tokenizers[name].tokenize(records[name], place) for name, place in places.items()}
    translates = trained.recipe["task"]["kind"] == "translate"
    context: Window = {}
    queries: Window = {}
    for name, tokens in window.items():
        seen = tokens.observed.any(dim=-1)
        if seen.any() and not (translates and name in asked_streams):
            context[name] = tokens[seen.nonzero()[:, 0]]
        if name in asked_streams:
            missing = ~tokens.observed.all(dim=-1) & _within(trained, records[name], name, tokens, first, now)
            queries |= {name: tokens[missing.nonzero()[:, 0]]} if missing.any() else {}
    if not context:
        raise StoreError(
            f"nothing was observed from {records[next(iter(records))].dataset['time'].values[first]} on for a whole window."
        )
    filled = {}
    for name, values in (answer(trained, Question(context, queries)) if queries else {}).items():
        tokenizer, place = trained.tokenizers[name], places[name]
        position = {row.tobytes(): i for i, row in enumerate(window[name].coords.numpy())}
        index = torch.tensor([position[row.tobytes()] for row in queries[name].coords.numpy()])
        whole = torch.full((members, *window[name].values.shape), torch.nan)
        whole[:, index] = values[:members]
        anomalies = tokenizer.to_anomalies(whole, place)
        inside = slice(now.start - first, now.stop - first)
        filled[name] = tokenizer.to_fields(anomalies, tokenizer.usual(records[name], place))[:, inside]
    return filled


def _within(
    trained: TrainedModel, record: Record, name: str, tokens: Tokens, first: int, now: slice
) -> Bool[torch.Tensor, " N"]:
    """True for the tokens whose centre lies in the steps `now`."""
    offset = tokens.coordinate("offset_h")
    begin, end = ((step - first) * record.step_h for step in (now.start, now.stop))
    half_step = record.step_h / 2
    return (offset > begin - half_step) & (offset < end - half_step)


def _with_attributes(fields: xr.Dataset, period: tuple[str, str]) -> xr.Dataset:
    fields["time"].attrs = {"standard_name": "time"}
    for axis, attributes in AXIS_ATTRIBUTES.items():
        if axis in fields.coords:
            fields[axis].attrs = attributes
    fields.attrs = {
        "Conventions": "CF-1.11",
        "source": f"statecast {version('statecast')}",
        "title": f"{period[0]} to {period[1]}, what was missing filled",
    }
    return fields
