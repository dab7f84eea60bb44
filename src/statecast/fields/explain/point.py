"""A question about one grid point: the context that its task shows, and the one token that holds the point.

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
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.recipe import FieldTask
from statecast.fields.sources import Grid, Record, StoreError, Stores
from statecast.fields.sources.record import select_period
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import FieldTokenizer, Place, read_window, split_patches
from statecast.fields.tokenizers.windows import whole_domain
from statecast.streams import Question, Tokens, Window
from statecast.tasks.base import at_steps
from statecast.trained import ModelError, TrainedModel

USUAL_LEAD_H = 24.0
LAYOUTS_TRIED = 100  # random ones of what is shown, until one leaves the point out


class QueryError(ValueError):
    """A point, variable, lead time or other option that the model or the store has not."""


@dataclass(frozen=True)
class PointQuestion:
    """What is shown and asked, and where each value of each token lies on the grid.

    question  the whole context, and of the queries the token that holds the point
    whole     the same context with all that the task asks
    layouts   index of each value of each token of a stream's window in its field, flattened from (T, V, H, W)
    stream    the stream that is asked, and `index` of the asked value in its flattened field
    times     of the window, T; `at` and `valid` are two of them
    """

    question: Question
    whole: Question
    window: Window
    records: Mapping[str, Record]
    places: Mapping[str, Place]
    layouts: Mapping[str, Int[np.ndarray, "N P"]]
    stream: str
    index: tuple[int, int, int, int]
    times: Sequence[Any]
    at: Any

    @property
    def grid(self) -> Grid:
        return self.records[self.stream].grid

    @property
    def valid(self) -> Any:
        """The time that is asked."""
        return self.times[self.index[0]]

    @property
    def channel(self) -> Channel:
        return self.records[self.stream].channels[self.index[1]]

    @property
    def units(self) -> str:
        return self.records[self.stream].units[self.index[1]]

    @property
    def lead_time_h(self) -> float:
        return (self.valid - self.at) / timedelta(hours=1)

    def shape(self, stream: str) -> tuple[int, int, int, int]:
        """T, V, H, W of a stream's window."""
        record = self.records[stream]
        return len(self.times), len(record.channels), *record.grid.shape

    def shown(self, stream: str) -> Int[np.ndarray, " N"]:
        """Where the tokens of the context stand in the stream's window."""
        return numbers(self.question.context[stream])


def ask_point(
    trained: TrainedModel,
    data: xr.Dataset | Stores,
    at: str,
    query: tuple[float, float, str],
    lead_time_h: float | None = None,
) -> PointQuestion:
    """The question that `trained` was tuned for, about one point.

    data         as `sources.open_fields` gives it, or one of them for each stream; a stream that the task translates to needs none
    at           a time of the store, the last that is shown (before the gap, if the model interpolates); a date means its first time
    query        latitude and longitude in degrees, and [STREAM.]VARIABLE[@LEVEL] with the level in hPa
    lead_time_h  hours from `at` to what is asked; if it isn't given 24, or the longest that the model reaches, and 0 for tasks that ask
                 nothing later than what they show. Of those, layouts of what is shown are drawn until one leaves the point out.

    Raises StoreError for a time that the store lacks, QueryError for a point off the grid, an unknown variable, level or lead time,
    ModelError for another grid, or a task that asks about no point.
    """
    task: FieldTask = trained.recipe.task
    steps, step_h = task.window_slabs * slab_depth(trained), next(iter(trained.codecs.values())).climatology.step_h
    known, reach = _known_steps(task, steps)
    ahead = _steps_ahead(lead_time_h, reach, step_h)
    stream, channel = find_channel(trained, task, query[2])
    stores = dict.fromkeys(trained.codecs, data) if isinstance(data, xr.Dataset) else data
    start = _time_of(next(stores[n] for n in trained.codecs if n not in task.hidden_streams), at)
    times = [start + timedelta(hours=step_h) * k for k in range(1 - known, steps - known + 1)]
    records = {n: record_at(stores[n], t, times, is_asked=n in task.hidden_streams) for n, t in trained.codecs.items()}
    row, column = find_point(records[stream].grid, *query[:2])
    places = {n: whole_domain(record.grid, 0, steps) for n, record in records.items()}
    window = read_window(trained.codecs, records, places)
    layouts = {n: layout(trained.codecs[n], steps) for n in records}
    index = (known - 1 + ahead, channel, row, column)
    token = window[stream][torch.tensor([_locate(layouts[stream], index, records[stream])[0]])]
    whole = _leave_out(task, window, stream, token)
    token = _as_asked(window[stream], task.asked_steps(steps), token)
    _require_shown(whole, times, at)
    return PointQuestion(
        replace(whole, queries={stream: token}),
        whole, window, records, places, layouts, stream, index, times, start,
    )  # fmt: skip


def numbers(tokens: Tokens) -> Int[np.ndarray, " N"]:
    """Where tokens stand in the window that they come from."""
    assert tokens.index is not None
    return tokens.index.numpy()


def value_in_token(asked: PointQuestion) -> int:
    """Where in its token the asked value stands."""
    return _locate(asked.layouts[asked.stream], asked.index, asked.records[asked.stream])[1]


def layout(tokenizer: FieldTokenizer, steps: int) -> Int[np.ndarray, "N P"]:
    """Index of each value of each token in the flattened field (T, V, H, W) of a window over the whole domain."""
    known = tokenizer.climatology
    shape = (steps, len(known.channels), *known.grid.shape)
    index = np.arange(np.prod(shape)).reshape(shape)[:, tokenizer.channel_order()]
    return split_patches(index, tokenizer.stream.patch, tokenizer.groups)


def find_channel(trained: TrainedModel, task: FieldTask, name: str) -> tuple[str, int]:
    """Stream and number of the channel [STREAM.]VARIABLE[@LEVEL].

    Raises QueryError for one that isn't asked, lies on several levels or in several streams, naming those that are.
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
    """Steps of the window up to the last one that is shown before the gap that is asked, the middle one of several; steps of that gap.

    All of them and 0 for a task that asks nothing later than what it shows.
    """
    if not task.asks_hidden:
        raise ModelError(f"the model was trained for the task '{task.kind}', which asks about no point of a field.")
    gaps = task.gaps(steps)
    if not gaps:
        return steps, 0
    middle = gaps[(len(gaps) - 1) // 2]
    return middle.start, len(middle)


def _steps_ahead(lead_time_h: float | None, reach: int, step_h: float) -> int:
    allowed = [k * step_h for k in range(1, reach + 1)] or [0.0]
    if lead_time_h is None:
        lead_time_h = USUAL_LEAD_H if USUAL_LEAD_H in allowed else allowed[-1]
    if lead_time_h not in allowed:
        raise QueryError(
            f"lead time {lead_time_h:g} h: is none that the model answers. Lead times: {', '.join(f'{h:g}' for h in allowed)} h. "
            "Name one of these."
        )
    return round(lead_time_h / step_h)


def _time_of(dataset: xr.Dataset, at: str) -> Any:
    index = dataset.indexes["time"]
    try:
        return select_period(dataset, (at, at)).indexes["time"][0]
    except StoreError as error:
        raise StoreError(
            f"at {at}: is no time of the store, which has {index[0]} to {index[-1]}. Name one of its times."
        ) from error


def _locate(layout: Int[np.ndarray, "N P"], index: tuple[int, int, int, int], record: Record) -> tuple[int, int]:
    """Token and value in it of an element of a field."""
    shape = (
        layout.size // len(record.channels) // np.prod(record.grid.shape),
        len(record.channels),
        *record.grid.shape,
    )
    token, value = np.argwhere(layout == np.ravel_multi_index(index, shape))[0]
    return int(token), int(value)


def _leave_out(task: FieldTask, window: Window, stream: str, token: Tokens) -> Question:
    """The task's question about a window, of the first random layout that asks for the token."""
    (wanted,) = numbers(token)
    for seed in range(LAYOUTS_TRIED):
        question = task.complete(window, seed)
        asked = question.queries.get(stream)
        if asked is not None and wanted in numbers(asked):
            return question
    raise QueryError(
        f"the task '{task.kind}' shows the point in each of {LAYOUTS_TRIED} random layouts. Name another one, or another time."
    )


def _as_asked(tokens: Tokens, steps: Bool[np.ndarray, " T"], token: Tokens) -> Tokens:
    """The token with the asked ones of its steps as observed, whether the store has them or not."""
    asked = at_steps(replace(tokens, observed=torch.ones_like(tokens.observed)), steps)
    return asked[torch.from_numpy(np.flatnonzero(np.isin(numbers(asked), numbers(token))))]


def _require_shown(question: Question, times: Sequence[Any], at: str) -> None:
    """Raises StoreError if a slab of time that is to be shown was not observed at all."""
    for tokens in question.context.values():
        offset, seen = tokens.coordinate("offset_h"), tokens.observed.any(dim=-1)
        if any(not seen[offset == slab].any() for slab in offset.unique()):
            raise StoreError(
                f"at {at}: the model needs the store from {times[0]} to {times[-1]} as far as it is shown, and some of it is missing. "
                "Name a later time."
            )
