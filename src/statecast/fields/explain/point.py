"""A question about one grid point: the visible context of the task, and the one token that holds the point.

Axes: T time, V channel, H row, W column of a window; N token, P value in a token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Int

from statecast.fields.inference.complete import record_at
from statecast.fields.inference.forecast import tell_other_step
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.recipe import FieldTask
from statecast.fields.sources import Grid, Record, StoreError, Stores, Times
from statecast.fields.sources.dates import find_time
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import (
    FieldTokenizer,
    Located,
    read_window,
    sources_of,
    split_patches,
    whole_window,
)
from statecast.streams import Question, Tokens, Window
from statecast.tasks.base import at_steps
from statecast.trained import ModelError, TrainedModel

DEFAULT_LEAD_H = 24.0
PRINTED = 1e-3  # of a step: how far a lead time may be from the one that is meant
LAYOUTS_TRIED = 100  # random choices of the hidden tokens, until one hides the point


class QueryError(ValueError):
    """A point, variable, lead time or other option that the model or the store doesn't have."""


@dataclass(frozen=True)
class PointQuestion:
    """The visible context, the asked token, and where each value of each token lies on the grid.

    question  the whole context, and a single query: the token that holds the point
    whole     the same context with all queries of the task
    streams   of the window, each over its whole domain
    layouts   index of each value of each token of a stream's window in its field, flattened from (T, V, H, W)
    stream    the asked stream, and `index` of the asked value in its field
    times     of the window, T; `at` and `valid` are two of them
    """

    question: Question
    whole: Question
    window: Window
    streams: Mapping[str, Located]
    layouts: Mapping[str, Int[np.ndarray, "N P"]]
    stream: str
    index: tuple[int, int, int, int]
    times: Sequence[Any]
    at: Any

    @property
    def located(self) -> Located:
        """The asked stream in the window."""
        return self.streams[self.stream]

    @property
    def grid(self) -> Grid:
        """The grid of the asked stream."""
        return self.located.record.grid

    @property
    def valid(self) -> Any:
        """The asked time."""
        return self.times[self.index[0]]

    @property
    def channel(self) -> Channel:
        return self.located.record.channels[self.index[1]]

    @property
    def units(self) -> str:
        return self.located.record.units[self.index[1]]

    @property
    def lead_time_h(self) -> float:
        return (self.valid - self.at) / timedelta(hours=1)

    def shape(self, stream: str) -> tuple[int, int, int, int]:
        """T, V, H, W of a stream's window."""
        record = self.streams[stream].record
        return len(self.times), len(record.channels), *record.grid.shape

    def visible(self, stream: str) -> Int[np.ndarray, " N"]:
        """Numbers of the visible tokens in the stream's window."""
        return numbers(self.question.context[stream])


def ask_point(
    trained: TrainedModel,
    data: xr.Dataset | Stores,
    at: str,
    query: tuple[float, float, str],
    lead_time_h: float | None = None,
) -> PointQuestion:
    """The question that `trained` was fine-tuned for, about one point.

    data         a dataset as `sources.open_fields` returns it, or one for each stream; the target stream of a translation needs none
    at           a time of the store, the last visible one (before the gap, if the model interpolates); a date means its first time
    query        latitude and longitude in degrees, and [STREAM.]VARIABLE[@LEVEL] with the level in hPa
    lead_time_h  hours from `at` to the asked time; by default 24, or the longest that the model reaches. It is 0 for tasks whose queries
                 are not later than the visible tokens; for these, hidden tokens are drawn at random until the point is one of them.

    Raises StoreError for a time that the store lacks, QueryError for a point outside the grid, an unknown variable, level or lead time,
    ModelError for another grid, or a task without queries about points.
    """
    task: FieldTask = trained.recipe.task
    steps, step = task.window_slabs * slab_depth(trained), next(iter(trained.codecs.values())).climatology.step
    known, reach = _known_steps(task, steps)
    ahead = _steps_ahead(lead_time_h, reach, step.hours)
    stream, channel = find_channel(trained, task, query[2])
    stores = dict.fromkeys(trained.codecs, data) if isinstance(data, xr.Dataset) else data
    of_store = Times.of(next(stores[n] for n in trained.codecs if n not in task.hidden_streams))
    position = find_time("at", at, of_store)
    tell_other_step(step, of_store)
    times = step.around(of_store, position, range(1 - known, steps - known + 1))
    records = {n: record_at(stores[n], t, times, is_asked=n in task.hidden_streams) for n, t in trained.codecs.items()}
    row, column = find_point(records[stream].grid, *query[:2])
    streams = whole_window(sources_of(trained.codecs, records), 0, steps)
    window = read_window(streams, hide_calendar=trained.recipe.window.hide_calendar)
    layouts = {n: layout(trained.codecs[n], steps) for n in records}
    index = (known - 1 + ahead, channel, row, column)
    token = window[stream][torch.tensor([_locate(layouts[stream], index, records[stream])[0]])]
    whole = _with_token_hidden(task, window, stream, token)
    token = _as_asked(window[stream], task.asked_steps(steps), token)
    _require_visible(whole, list(times), at)
    question = replace(whole, queries={stream: token})
    return PointQuestion(
        question, whole, window, streams, layouts, stream, index, list(times), of_store.index[position]
    )


def numbers(tokens: Tokens) -> Int[np.ndarray, " N"]:
    """Numbers of tokens in the window that they come from."""
    assert tokens.index is not None
    return tokens.index.numpy()


def value_in_token(asked: PointQuestion) -> int:
    """Position of the asked value in its token."""
    return _locate(asked.layouts[asked.stream], asked.index, asked.located.record)[1]


def layout(tokenizer: FieldTokenizer, steps: int) -> Int[np.ndarray, "N P"]:
    """Index of each value of each token in the flattened field (T, V, H, W) of a window over the whole domain."""
    known = tokenizer.climatology
    shape = (steps, len(known.channels), *known.grid.shape)
    index = np.arange(np.prod(shape)).reshape(shape)[:, tokenizer.channel_order()]
    return split_patches(index, tokenizer.stream.patch, tokenizer.groups)


def find_channel(trained: TrainedModel, task: FieldTask, name: str) -> tuple[str, int]:
    """Stream and number of the channel [STREAM.]VARIABLE[@LEVEL].

    Raises QueryError for a channel that isn't asked, or a name that fits several levels or streams; the message lists the possible names.
    """
    exact: list[tuple[str, int]] = []
    of_variable: list[tuple[str, int]] = []
    full_names: dict[tuple[str, int], str] = {}
    for stream in task.asked_streams(tuple(trained.codecs)):
        for number, channel in enumerate(trained.codecs[stream].climatology.channels):
            full_names[stream, number] = f"{stream}.{channel}"
            if name in (str(channel), f"{stream}.{channel}"):
                exact.append((stream, number))
            if name in (channel.variable, f"{stream}.{channel.variable}"):
                of_variable.append((stream, number))
    matches = exact or of_variable
    if len(matches) == 1:
        return matches[0]
    if len({stream for stream, _ in matches}) > 1:
        raise QueryError(
            f"query {name}: is in several streams. Name one of {', '.join(full_names[match] for match in matches)}."
        )
    names = dict.fromkeys(full.split(".", 1)[1] for full in full_names.values())
    problem = "lies on several levels" if matches else "is nothing that the model answers"
    raise QueryError(f"query {name}: {problem}. It answers {', '.join(names)}. Name one of these.")


def find_point(grid: Grid, lat_deg: float, lon_deg: float) -> tuple[int, int]:
    """Row and column of the nearest grid point. Raises QueryError for a place outside the grid's cells."""
    row = int(np.abs(grid.lat - lat_deg).argmin())
    apart = np.abs((grid.lon - lon_deg + 180) % 360 - 180)
    column = int(apart.argmin())
    margin, aside = grid.spacing_deg / 2 + 1e-6, grid.column_spacing_deg / 2 + 1e-6
    reaches = [
        (edge, sign * 90.0 if 90 - sign * edge < grid.spacing_deg else edge + sign * margin)
        for sign, edge in ((-1, grid.lat.min()), (1, grid.lat.max()))
    ]
    inside = reaches[0][1] <= lat_deg <= reaches[1][1] and (grid.is_periodic or apart[column] <= aside)
    if not inside or not -180 <= lon_deg <= 360:
        raise QueryError(
            f"query {lat_deg:g} {lon_deg:g}: lies outside the grid, which has latitudes {grid.lat.min():g} to {grid.lat.max():g} "
            f"and longitudes {grid.lon.min():g} to {grid.lon.max():g}. Name a latitude and a longitude inside it, in degrees."
        )
    return row, column


def _known_steps(task: FieldTask, steps: int) -> tuple[int, int]:
    """Steps of the window before the asked gap, the middle one of several gaps, and steps of that gap.

    All steps and 0 for a task whose queries are not later than its visible tokens.
    """
    if not task.asks_hidden:
        raise ModelError(
            f"the model was trained for the task '{task.kind}', expected one that asks about points of a field."
        )
    gaps = task.gaps(steps)
    if not gaps:
        return steps, 0
    middle = gaps[(len(gaps) - 1) // 2]
    return middle.start, len(middle)


def _steps_ahead(lead_time_h: float | None, reach: int, step_h: float) -> int:
    allowed = [k * step_h for k in range(1, reach + 1)] or [0.0]
    if lead_time_h is None:
        lead_time_h = DEFAULT_LEAD_H if DEFAULT_LEAD_H in allowed else allowed[-1]
    chosen = int(np.abs(np.array(allowed) - lead_time_h).argmin())
    if abs(allowed[chosen] - lead_time_h) > PRINTED * step_h:  # hours of minutes or months are printed rounded
        raise QueryError(
            f"lead time {lead_time_h:g} h: is none that the model answers. Lead times: {', '.join(f'{h:g}' for h in allowed)} h. "
            "Name one of these."
        )
    return round(allowed[chosen] / step_h)


def _locate(layout: Int[np.ndarray, "N P"], index: tuple[int, int, int, int], record: Record) -> tuple[int, int]:
    """Token and value in it of an element of a field."""
    shape = (
        layout.size // len(record.channels) // np.prod(record.grid.shape),
        len(record.channels),
        *record.grid.shape,
    )
    token, value = np.argwhere(layout == np.ravel_multi_index(index, shape))[0]
    return int(token), int(value)


def _with_token_hidden(task: FieldTask, window: Window, stream: str, token: Tokens) -> Question:
    """The task's question about a window, with the first random choice of hidden tokens that asks for the token."""
    (wanted,) = numbers(token)
    for seed in range(LAYOUTS_TRIED):
        question = task.complete(window, seed)
        asked = question.queries.get(stream)
        if asked is not None and wanted in numbers(asked):
            return question
    raise QueryError(
        f"the point is visible in each of {LAYOUTS_TRIED} random questions of the task '{task.kind}', expected it hidden in one. "
        "Name another point, or another time."
    )


def _as_asked(tokens: Tokens, steps: Bool[np.ndarray, " T"], token: Tokens) -> Tokens:
    """The token with its asked time steps marked as observed, whether the store has values of them or not."""
    asked = at_steps(replace(tokens, observed=torch.ones_like(tokens.observed)), steps)
    return asked[torch.from_numpy(np.flatnonzero(np.isin(numbers(asked), numbers(token))))]


def _require_visible(question: Question, times: Sequence[Any], at: str) -> None:
    """Raises StoreError if nothing was observed in a slab of time of the context."""
    for tokens in question.context.values():
        offset, has_values = tokens.coordinate("offset_h"), tokens.observed.any(dim=-1)
        if any(not has_values[offset == slab].any() for slab in offset.unique()):
            raise StoreError(
                f"at {at}: the model needs the visible steps between {times[0]} and {times[-1]}, and the store lacks some of them. "
                "Name a later time."
            )
