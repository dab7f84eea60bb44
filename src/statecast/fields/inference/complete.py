"""What a store lacks, answered: missing values and times, or streams that were never measured.

Axes: K head, E member, T time, V channel, H row, W column of the grid, I, J those of a window, N token, P value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float

from statecast.answer import answer
from statecast.evaluation.loop import Progress, unseen
from statecast.fields.inference.forecast import check_record, labelled, with_attributes
from statecast.fields.inference.members import check_members, draw_members
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth, tiled_places
from statecast.fields.inference.tiles import blend, weighted
from statecast.fields.recipe import FieldTask
from statecast.fields.sources import Grid, Record, StoreError, Stores
from statecast.fields.sources.record import select_period, stream_channels, variables_of
from statecast.fields.tokenizers import FieldTokenizer, Place, read_window
from statecast.fields.tokenizers.windows import whole_domain
from statecast.streams import Question, Tokens, Window
from statecast.trained import ModelError, TrainedModel


def complete(
    trained: TrainedModel,
    stores: Stores,
    period: tuple[str, str],
    members: int,
    *,
    progress: Progress = unseen,
) -> xr.Dataset:
    """The period of a store with what is missing in it filled by the model; what was observed stays as it is.

    stores    of each stream, see `sources.open_stores`; times that they lack between those they have are asked too
    members   any number, see `members.draw_member`; all hold the same where something was observed

    Of a model that was fine-tuned to translate, only the streams that it was tuned to answer are asked, and returned. Each slab of time is
    answered from the window of the model's length in which it lies nearest to the middle. An asked stream needs no store: where `stores`
    have none of it on its grid, all of it is answered. A model that was trained on neighbourhoods is asked tile by tile, see `tiles`; what
    lies in none, or only in such where nothing was observed, stays missing.
    Returns variables on (number, time, [level,] lat, lon) in the units of the store.
    Raises ModelError for a model that fills no gaps or for several members of a deterministic one, StoreError for a period that is
    shorter than a window.
    """
    task = _task(trained)
    check_members(trained, members)
    asked_streams = task.asked_streams(tuple(trained.codecs))
    records, times = _records(trained, stores, period)
    _require_one_grid(trained, asked_streams)
    depth, slabs = slab_depth(trained), task.window_slabs
    _require_a_window(len(times), slabs * depth, period)
    filled = {}
    for name in asked_streams:
        filled[name] = np.full((members, len(times), *_shape(records[name])), np.nan, np.float32)
    firsts = sorted({*range(0, len(times) - depth + 1, depth), len(times) - depth})  # the last slab may overlap
    for done, first in enumerate(firsts):
        before = _slabs_before(first // depth, (len(times) - first) // depth, slabs)
        now = slice(first, first + depth)
        for name, fields in _answers(trained, records, first - before * depth, now, members).items():
            filled[name][:, now] = fields
        progress((done + 1) / len(firsts))
    return _merged(trained, records, filled, times, period)


def _slabs_before(earlier: int, remaining: int, slabs: int) -> int:
    """Slabs of the window before the one that is answered: it lies in the middle, or as near to it as the record's ends allow.

    earlier    slabs of the record before it
    remaining  slabs of the record from it on
    """
    return min(max(slabs // 2, slabs - remaining), earlier)


def _merged(
    trained: TrainedModel,
    records: Mapping[str, Record],
    filled: Mapping[str, Float[np.ndarray, "E T V H W"]],
    times: Sequence[Any],
    period: tuple[str, str],
) -> xr.Dataset:
    """What was observed, and the answers where nothing was, as labelled variables."""
    parts = []
    for name, fields in filled.items():
        known = records[name].read(slice(0, len(times)))
        completed = np.where(np.isfinite(known), known, fields)
        parts.append(labelled(trained.codecs[name], records[name], completed, "time"))
    members = len(next(iter(filled.values())))
    dataset = xr.merge(parts).assign_coords(time=times, number=np.arange(members))
    return with_attributes(dataset, f"{period[0]} to {period[1]}, what was missing filled")


def _require_a_window(steps: int, window_steps: int, period: tuple[str, str]) -> None:
    if steps < window_steps:
        raise StoreError(
            f"period {period[0]} to {period[1]}: has {steps} time steps, expected at least the {window_steps} of a window. "
            "Name a longer one."
        )


def _require_one_grid(trained: TrainedModel, asked: tuple[str, ...]) -> None:
    first, *others = (trained.codecs[name].climatology.grid for name in asked)
    if not all(grid.is_like(first) for grid in others):
        raise ModelError(
            f"the model answers streams on different grids ({', '.join(asked)}), expected one grid for one store. "
            "Fine-tune it for one of them."
        )


def _task(trained: TrainedModel) -> FieldTask:
    """Raises ModelError for a task that doesn't ask what is missing between or beside what is there."""
    task = trained.recipe.task
    if task.asks_ahead or not task.asks_hidden:
        raise ModelError(
            f"the model was trained for the task '{task.kind}', expected one that fills gaps, such as masked or fill. Use "
            "`statecast predict` with a model that forecasts."
        )
    return task


def _shape(record: Record) -> tuple[int, int, int]:
    return (len(record.channels), *record.grid.shape)


def _records(trained: TrainedModel, stores: Stores, period: tuple[str, str]) -> tuple[dict[str, Record], list[Any]]:
    """Each stream at every time of the period, NaN where its store has none; the stores may lack all of one that is never visible."""
    selected = {name: select_period(dataset, period) for name, dataset in stores.items()}
    index = next(iter(selected.values())).indexes["time"]
    step = timedelta(hours=next(iter(trained.codecs.values())).climatology.step_h)
    times = [index[0] + k * step for k in range(round((index[-1] - index[0]) / step) + 1)]
    records = {}
    for name, tokenizer in trained.codecs.items():
        is_asked = name in _task(trained).hidden_streams
        records[name] = record_at(selected[name], tokenizer, times, is_asked=is_asked)
    return records, times


def record_at(dataset: xr.Dataset, tokenizer: FieldTokenizer, times: Sequence[Any], *, is_asked: bool) -> Record:
    """A stream at these times, NaN where its store has none; the store may lack all of one that `is_asked`."""
    fields = _on_its_grid(dataset, tokenizer, times) if is_asked else dataset
    stream_channels(fields, tokenizer.stream)
    record = Record.open(variables_of(fields, tokenizer.stream).reindex(time=list(times)), tokenizer.stream)
    check_record(tokenizer, record)
    return record


def _on_its_grid(dataset: xr.Dataset, tokenizer: FieldTokenizer, times: Sequence[Any]) -> xr.Dataset:
    """What the dataset has of an asked stream, NaN for all else, on the stream's own grid and levels."""
    known = tokenizer.climatology
    is_there = Grid(dataset.lat.values, dataset.lon.values).is_like(known.grid)
    plain: dict[str, Any] = {
        "time": xr.DataArray(list(times), dims="time"),
        "lat": known.grid.lat,
        "lon": known.grid.lon,
    }
    if is_there:
        plain |= {"lat": dataset.lat.values, "lon": dataset.lon.values}
    variables = {}
    for variable in tokenizer.stream.variables:
        levels, units = zip(
            *[(c.pressure_hpa, u) for c, u in zip(known.channels, known.units, strict=True) if c.variable == variable],
            strict=True,
        )
        axes: dict[str, Any] = plain if levels == (None,) else {"time": plain["time"], "level": sorted(levels), **plain}
        nothing = xr.DataArray(
            np.full([len(axis) for axis in axes.values()], np.nan, np.float32),
            axes,
            tuple(axes),
            attrs={"units": units[0]},
        )
        has = is_there and variable in dataset and ("level" in dataset[variable].dims) == (levels != (None,))
        variables[variable] = dataset[variable].reindex_like(nothing) if has else nothing
    return xr.Dataset(variables)


def _answers(
    trained: TrainedModel,
    records: Mapping[str, Record],
    first: int,
    now: slice,
    members: int,
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Members of what is asked in the steps `now`, from the window that begins at step `first`; NaN where nothing was missing.

    What neighbourhoods say is blended before members are drawn, so that a member is one field across all of them.
    """
    steps = _task(trained).window_slabs * slab_depth(trained)
    neighbourhoods = tiled_places(model_windows(trained), first, steps)
    heads_of = [_heads(trained, records, places, now) for places in neighbourhoods]
    if all(heads is None for heads in heads_of):
        raise StoreError(
            f"nothing was observed from {records[next(iter(records))].dataset['time'].values[first]} on for a whole window."
        )
    filled = {}
    for name in _task(trained).asked_streams(tuple(trained.codecs)):
        tokenizer, record = trained.codecs[name], records[name]
        placed = weighted([places[name] for places in neighbourhoods], record.grid.shape)
        parts = [(tile, heads[name]) for tile, heads in zip(placed, heads_of, strict=True) if heads and name in heads]
        if parts:
            anomalies = draw_members(blend(parts, record.grid.shape), members, record.grid, record.hours[now])
            climatology = tokenizer.usual(record, whole_domain(record.grid, now.start, now.stop - now.start))
            filled[name] = tokenizer.to_fields(anomalies, climatology)
    return filled


def _heads(
    trained: TrainedModel, records: Mapping[str, Record], places: Mapping[str, Place], now: slice
) -> dict[str, Float[np.ndarray, "K T V I J"]] | None:
    """The heads' anomalies in the steps `now` of a window, NaN where nothing was missing; None if nothing was observed in it."""
    first = next(iter(places.values())).start
    window = read_window(trained.codecs, records, places)
    question = _about_missing(_task(trained), window, records, first, now)
    if not question.context:
        return None
    anomalies = {}
    for name, values in (answer(trained, question) if question.queries else {}).items():
        whole = torch.full((len(values), *window[name].values.shape), torch.nan)
        whole[:, question.queries[name].index] = values
        of_window = trained.codecs[name].to_anomalies(whole, places[name])
        anomalies[name] = of_window[:, now.start - first : now.stop - first]
    return anomalies


def _about_missing(task: FieldTask, window: Window, records: Mapping[str, Record], first: int, now: slice) -> Question:
    """What is missing in the steps `now` of a window that begins at step `first`, given what was observed in all of it.

    Nothing is shown of a stream that is never visible.
    """
    context: Window = {}
    queries: Window = {}
    asked_streams = task.asked_streams(tuple(window))
    for name, tokens in window.items():
        seen = tokens.observed.any(dim=-1)
        if seen.any() and name not in task.hidden_streams:
            context[name] = tokens[seen.nonzero()[:, 0]]
        missing = ~tokens.observed.all(dim=-1) & _within(tokens, records[name].step_h, first, now)
        if missing.any() and name in asked_streams:
            queries[name] = _of_missing(tokens)[missing.nonzero()[:, 0]]
    return Question(context, queries)


def _of_missing(tokens: Tokens) -> Tokens:
    """Tokens as they are asked: `observed` names the steps at which nothing was, where there are some, so that others count as known."""
    steps = ~tokens.steps()[..., None, :, None]
    whole = steps.expand(*tokens.values.shape[:-1], *tokens.spec.dimensions).flatten(-3)
    lacks_steps = whole.any(dim=-1, keepdim=True)
    return replace(tokens, observed=torch.where(lacks_steps, whole, ~tokens.observed))


def _within(tokens: Tokens, step_h: float, first: int, now: slice) -> Bool[torch.Tensor, " N"]:
    """True for the tokens whose centre lies in the steps `now` of a window that begins at step `first`."""
    step = tokens.coordinate("offset_h") / step_h + first
    return (step > now.start - 0.5) & (step < now.stop - 0.5)
