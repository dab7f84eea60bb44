"""Filling of what a store lacks: missing values and times, or streams that were never measured.

Axes: K head member, E sampled member, T time, V channel, H row, W column of the grid, I, J those of a window, N token, P value.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float

from statecast.answer import answer
from statecast.evaluation.loop import Progress, unseen
from statecast.fields.inference.edges import mended, on_grid
from statecast.fields.inference.forecast import check_record, labelled, merged, with_attributes
from statecast.fields.inference.lattices import on_lattices, told
from statecast.fields.inference.members import check_members, draw_members, draws_states
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth, tiled_places
from statecast.fields.inference.tiles import blend
from statecast.fields.recipe import FieldTask
from statecast.fields.sources import Grid, Record, Step, StoreError, Stores, Times, step_of
from statecast.fields.sources.dates import select_period
from statecast.fields.sources.record import stream_channels, variables_of
from statecast.fields.sources.times import TimeIndex
from statecast.fields.tokenizers import FieldTokenizer, Located, StreamSource, read_window, sources_of
from statecast.models import AS_LEARNED, Draws
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
    """The period of a store with its missing values filled by the model; observed values stay as they are.

    stores    of each stream, see `sources.open_stores`; times missing between the times of the stores are asked too
    members   number of sampled members, any number, see `members.draw_member`; all are equal where something was observed

    A model that was fine-tuned to translate is asked for its target streams only, and only these are returned. Each slab of time is
    answered from the window of the model's length in whose middle it lies, or as near to the middle as the record allows. An asked stream
    needs no store: if `stores` have no values of it on its grid, all of it is answered. A model that was trained on neighbourhoods is asked
    tile by tile, see `tiles`; points outside all tiles in which something was observed stay missing.
    Returns variables on (number, time, [level,] lat, lon) in the units of the store.
    Raises ModelError for a model that fills no gaps or for several members of a deterministic one, StoreError for a period that is
    shorter than a window.
    """
    task = _task(trained)
    check_members(trained, members)
    asked_streams = task.asked_streams(tuple(trained.codecs))
    sources, times = period_sources(trained, stores, period)
    _require_one_grid(trained, asked_streams)
    depth, slabs = slab_depth(trained), task.window_slabs
    _require_a_window(len(times), slabs * depth, period)
    filled = {}
    for name in asked_streams:
        filled[name] = np.full((members, len(times), *_shape(sources[name].record)), np.nan, np.float32)
    firsts = sorted({*range(0, len(times) - depth + 1, depth), len(times) - depth})  # the last slab may overlap
    for done, first in enumerate(firsts):
        before = _slabs_before(first // depth, (len(times) - first) // depth, slabs)
        now = slice(first, first + depth)
        for name, fields in _answers(trained, sources, first - before * depth, now, members).items():
            filled[name][:, now] = fields
        progress((done + 1) / len(firsts))
    return told(_merged(sources, filled, times, period), trained)


def _slabs_before(earlier: int, remaining: int, slabs: int) -> int:
    """Slabs of the window before the asked one, which lies in the middle, or as near to it as the ends of the record allow.

    earlier    slabs of the record before it
    remaining  slabs of the record from it on
    """
    return min(max(slabs // 2, slabs - remaining), earlier)


def _merged(
    sources: Mapping[str, StreamSource],
    filled: Mapping[str, Float[np.ndarray, "E T V H W"]],
    times: TimeIndex,
    period: tuple[str, str],
) -> xr.Dataset:
    """What was observed, and the answers where nothing was, as labelled variables."""
    parts = []
    for name, fields in filled.items():
        answered = labelled(sources[name].tokenizer, sources[name].record, fields, "time")
        parts.append(_with_observed(answered, sources[name].record.dataset))
    members = len(next(iter(filled.values())))
    dataset = merged(parts).assign_coords(time=times, number=np.arange(members))
    return with_attributes(dataset, f"{period[0]} to {period[1]}, missing values filled")


def _with_observed(answered: xr.Dataset, observed: xr.Dataset) -> xr.Dataset:
    """The answers, but for what was observed: its values as they are in the store, in float64 if float32 would round them."""
    completed = {}
    for name, answers in answered.data_vars.items():
        dims = answers.dims[1:]
        known = observed[name].sel(level=answered.level) if "level" in dims else observed[name]
        values = known.transpose(*dims).values
        exact = np.result_type(values.dtype, np.float32)
        filled = np.where(np.isfinite(values), values.astype(exact), answers.values.astype(exact))
        completed[name] = (answers.dims, filled, answers.attrs)
    return answered.assign(completed)


def _require_a_window(steps: int, window_steps: int, period: tuple[str, str]) -> None:
    if steps < window_steps:
        raise StoreError(
            f"period {period[0]} to {period[1]}: has {steps} time steps, expected at least the {window_steps} of a window. "
            "Name a longer period."
        )


def _require_one_grid(trained: TrainedModel, asked: tuple[str, ...]) -> None:
    first, *others = (trained.codecs[name].climatology.grid for name in asked)
    if not all(grid.is_like(first) for grid in others):
        raise ModelError(
            f"the model answers streams on different grids ({', '.join(asked)}), expected one grid for one store. "
            "Fine-tune it for one of them."
        )


def _task(trained: TrainedModel) -> FieldTask:
    """The task of the model. Raises ModelError for one that doesn't ask for values missing between or beside observed ones."""
    task = trained.recipe.task
    if task.asks_ahead or not task.asks_hidden:
        raise ModelError(
            f"the model was trained for the task '{task.kind}', expected one that fills gaps, such as masked or fill. Use "
            "`statecast predict` with a model that forecasts."
        )
    return task


def _shape(record: Record) -> tuple[int, int, int]:
    return (len(record.channels), *record.grid.shape)


def period_sources(
    trained: TrainedModel, stores: Stores, period: tuple[str, str]
) -> tuple[dict[str, StreamSource], TimeIndex]:
    """Each stream at every time of the period, NaN where its store has no value, and these times.

    The stores may lack a stream that is never visible.
    """
    selected = {name: select_period(dataset, period) for name, dataset in stores.items()}
    step = next(iter(trained.codecs.values())).climatology.step
    times = _all_times(Times.of(next(iter(selected.values()))), step)
    records = {}
    for name, tokenizer in trained.codecs.items():
        is_asked = name in _task(trained).hidden_streams
        records[name] = record_at(selected[name], tokenizer, times, is_asked=is_asked)
    return sources_of(trained.codecs, records), times


def _all_times(known: Times, step: Step) -> TimeIndex:
    """The times of a period and those that it lacks. Raises ModelError if a time of it is none that the model's steps reach."""
    counts = step.count(known, 0)
    times = step.around(known, 0, range(int(counts[-1]) + 1))
    if not known.index.isin(times).all():
        between = known.index[~known.index.isin(times)][0]
        raise ModelError(
            f"the store has the time {between}, which lies between steps of {step} from {known.index[0]} on, expected the steps that "
            "the model learned. Select the times of such steps, or write them rounded to it."
        )
    reason = step.misfit(known)
    if len(known) > 1 and not step.is_next(known).any():
        reason = f"the step of the store is {step_of(known)}"
    if reason:
        print(f"note: {reason}; steps of {step} between its times are filled.", file=sys.stderr)
    return times


def record_at(dataset: xr.Dataset, tokenizer: FieldTokenizer, times: TimeIndex, *, is_asked: bool) -> Record:
    """A stream at these times, NaN where its store has no value; the store may lack all of a stream that `is_asked`."""
    fields = _on_its_grid(dataset, tokenizer, times) if is_asked else dataset
    stream_channels(fields, tokenizer.stream)
    at_times = variables_of(fields, tokenizer.stream).reindex(time=times)
    record = Record.open(at_times, tokenizer.stream, step=tokenizer.climatology.step)
    check_record(tokenizer, record)
    return record


def _on_its_grid(dataset: xr.Dataset, tokenizer: FieldTokenizer, times: TimeIndex) -> xr.Dataset:
    """The variables of an asked stream on its own grid and levels, NaN where the dataset lacks them."""
    known = tokenizer.climatology
    has_its_grid = Grid(dataset.lat.values, dataset.lon.values).is_like(known.grid)
    plain: dict[str, Any] = {
        "time": times,
        "lat": known.grid.lat,
        "lon": known.grid.lon,
    }
    if has_its_grid:
        plain |= {"lat": dataset.lat.values, "lon": dataset.lon.values}
    variables = {}
    for variable in tokenizer.stream.variables:
        channels = [i for i, channel in enumerate(known.channels) if channel.variable == variable]
        levels = [known.channels[i].pressure_hpa for i in channels]
        has_levels = levels != [None]
        axes: dict[str, Any] = {"time": plain["time"], "level": sorted(levels), **plain} if has_levels else plain
        values = np.full([len(axis) for axis in axes.values()], np.nan, np.float32)
        nothing = xr.DataArray(values, axes, tuple(axes), attrs={"units": known.units[channels[0]]})
        is_there = has_its_grid and variable in dataset and ("level" in dataset[variable].dims) == has_levels
        variables[variable] = dataset[variable].reindex_like(nothing) if is_there else nothing
    return xr.Dataset(variables)


def _answers(
    trained: TrainedModel, sources: Mapping[str, StreamSource], first: int, now: slice, members: int
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Sampled members of what is asked in the steps `now`, from the window that begins at step `first`; NaN where nothing was missing.

    The head members of neighbourhoods and lattices are blended before members are sampled, so that a sampled member is one field across all
    of them.
    """
    steps = _task(trained).window_slabs * slab_depth(trained)
    windows = on_lattices(trained, tiled_places(model_windows(trained), first, steps))
    is_joint = draws_states(trained, windows)
    draws = Draws(members) if is_joint else AS_LEARNED
    heads_of = []
    for window in windows:
        streams = {name: source.at(window[name].place(first, steps)) for name, source in sources.items()}
        heads_of.append(_heads(trained, streams, now, draws, in_order=len(windows) > 1))
    if all(heads is None for heads in heads_of):
        times = next(iter(sources.values())).record.dataset["time"].values
        raise StoreError(
            f"nothing was observed from {times[first]} on in a whole window, expected values of a visible stream. "
            "Name a period with observations."
        )
    filled = {}
    for name in _task(trained).asked_streams(tuple(trained.codecs)):
        asked = sources[name].whole(now.start, now.stop - now.start)
        grid = asked.record.grid
        parts = [(w[name], heads[name]) for w, heads in zip(windows, heads_of, strict=True) if heads and name in heads]
        if parts:
            heads = blend(parts, grid.shape)
            anomalies = heads if is_joint else draw_members(heads, members, grid, asked.record.hours[now])
            filled[name] = asked.tokenizer.to_fields(anomalies, asked.climatology)
    return filled


def _heads(
    trained: TrainedModel, streams: Mapping[str, Located], now: slice, draws: Draws, *, in_order: bool
) -> dict[str, Float[np.ndarray, "K T V I J"]] | None:
    """The head members' anomalies in the steps `now` of a window, NaN where nothing was missing; None if nothing was observed in it."""
    first = next(iter(streams.values())).place.start
    window = read_window(streams, hide_calendar=trained.recipe.window.hide_calendar)
    question = _about_missing(_task(trained), window, streams, now)
    if not question.context:
        return None
    anomalies = {}
    question = replace(question, seed=torch.tensor(first))
    for name, values in (answer(trained, question, draws) if question.queries else {}).items():
        ordered = values.sort(dim=0).values if in_order else values
        of_window = on_grid(streams[name], window[name], question.queries[name], ordered, elsewhere=np.nan)
        of_window = mended(trained, name, streams[name], window, question, of_window)
        anomalies[name] = of_window[:, now.start - first : now.stop - first]
    return anomalies


def _about_missing(task: FieldTask, window: Window, streams: Mapping[str, Located], now: slice) -> Question:
    """What is missing in the steps `now`, given all that was observed in the window.

    A stream that is never visible has no tokens in the context.
    """
    context: Window = {}
    queries: Window = {}
    asked_streams = task.asked_streams(tuple(window))
    for name, tokens in window.items():
        has_values = tokens.observed.any(dim=-1)
        if has_values.any() and name not in task.hidden_streams:
            context[name] = tokens[has_values.nonzero()[:, 0]]
        lies_in_now = _within(tokens, streams[name].record.step_h, streams[name].place.start, now)
        missing = ~tokens.observed.all(dim=-1) & lies_in_now
        if missing.any() and name in asked_streams:
            queries[name] = _of_missing(tokens)[missing.nonzero()[:, 0]]
    return Question(context, queries)


def _of_missing(tokens: Tokens) -> Tokens:
    """Tokens as queries: `observed` marks what is asked.

    Those are the time steps at which nothing was observed, or, in a token that has no such step, the single missing values.
    """
    steps = ~tokens.steps()[..., None, :, None]
    whole_steps = steps.expand(*tokens.values.shape[:-1], *tokens.spec.dimensions).flatten(-3)
    lacks_steps = whole_steps.any(dim=-1, keepdim=True)
    return replace(tokens, observed=torch.where(lacks_steps, whole_steps, ~tokens.observed))


def _within(tokens: Tokens, step_h: float, first: int, now: slice) -> Bool[torch.Tensor, " N"]:
    """True for the tokens whose centre lies in the steps `now` of a window that begins at step `first`."""
    step = tokens.coordinate("offset_h") / step_h + first
    return (step > now.start - 0.5) & (step < now.stop - 0.5)
