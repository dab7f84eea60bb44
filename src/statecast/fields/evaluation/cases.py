"""What a task asks of one window of a record, and the models' answers, on the grid.

Axes: E member, T time of a window, V channel, H row, W column.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from statecast.answer import answer
from statecast.fields.evaluation.reconstruction import on_grid
from statecast.fields.evaluation.references import Places, read_place
from statecast.fields.inference.forecast import slab_depth
from statecast.fields.recipe import FieldTask
from statecast.fields.sources import Record
from statecast.fields.tokenizers import read_window
from statecast.trained import ModelError, TrainedModel

TASKS = ("interpolate", "refine", "translate", "fill")
"""Kinds of tasks that are verified by what they ask of each window."""


@dataclass(frozen=True)
class Case:
    """One window of one asked stream: truth (NaN where there is no climatology), climatology, and where it was asked. Physical units."""

    truth: Float[np.ndarray, "T V H W"]
    climatology: Float[np.ndarray, "T V H W"]
    asked: Bool[np.ndarray, "T V H W"]


Answers = Mapping[str, Float[np.ndarray, "E T V H W"]]
"""Members of each forecast by its name, in physical units."""


def task_of(trained: TrainedModel) -> FieldTask:
    """The task that the model was fine-tuned for. Raises ModelError for one that is verified elsewhere."""
    task = trained.recipe.task
    if task.kind not in TASKS:
        raise ModelError(f"the model was trained for the task '{task.kind}', expected one of {', '.join(TASKS)}.")
    return task


def window_steps(trained: TrainedModel) -> int:
    """Time steps of the window of one question."""
    return task_of(trained).window_slabs * slab_depth(trained)


def scored_streams(trained: TrainedModel, records: Mapping[str, Record]) -> tuple[str, ...]:
    """The streams that the model's task asks wholly, or else all that change in time."""
    changing = [name for name in trained.codecs if records[name].changes]
    return task_of(trained).hidden_streams or tuple(changing)


def ask(
    models: Mapping[str, TrainedModel], records: Mapping[str, Record], places: Places
) -> tuple[dict[str, Case], dict[str, Answers]]:
    """Put the models' question about the window at `places`: for each asked stream the case and each model's members."""
    first = next(iter(models.values()))
    task = task_of(first)
    window = read_window(first.codecs, records, {name: places[name] for name in first.codecs})
    question = task.complete(window, seed=next(iter(places.values())).start)
    values = {key: answer(model, question) for key, model in models.items()}
    cases: dict[str, Case] = {}
    answers: dict[str, Answers] = {}
    for name, queries in question.queries.items():
        tokenizer, place = first.codecs[name], places[name]
        climatology, truth = tokenizer.usual(records[name], place), read_place(records[name], place)
        members: dict[str, Float[np.ndarray, "E T V H W"]] = {}
        for key, of_streams in values.items():
            anomalies, asked = on_grid(tokenizer, window[name], queries, of_streams[name], place)
            members[key] = tokenizer.to_fields(anomalies, climatology)
        asked = asked & task.asked_steps(place.steps)[:, None, None, None]  # inside a token some may be shown
        answers[name] = members
        cases[name] = Case(np.where(np.isfinite(climatology), truth, np.nan), climatology, asked)
    return cases, answers
