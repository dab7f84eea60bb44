"""What a task asks of one window of a record, and the models' answers, on the grid.

Axes: E member, T time of a window, V channel, H row, W column.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.fields.evaluation.answers import answered, asked_points
from statecast.fields.inference.forecast import slab_depth
from statecast.fields.recipe import FieldTask
from statecast.fields.sources import Record
from statecast.fields.tokenizers import Located, read_window
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
    models: Mapping[str, TrainedModel], streams: Mapping[str, Located]
) -> tuple[dict[str, Case], dict[str, Answers]]:
    """Ask the models' question about a window: for each asked stream the case and each model's head members."""
    first = next(iter(models.values()))
    task = task_of(first)
    window = read_window(streams, hide_calendar=first.recipe.window.hide_calendar)
    start = next(iter(streams.values())).place.start
    question = replace(task.complete(window, seed=start), seed=torch.tensor(start))
    anomalies = {key: answered(model, streams, window, question) for key, model in models.items()}
    cases: dict[str, Case] = {}
    answers: dict[str, Answers] = {}
    for name, queries in question.queries.items():
        stream = streams[name]
        answers[name] = {key: stream.tokenizer.to_fields(of[name], stream.climatology) for key, of in anomalies.items()}
        is_asked = task.asked_steps(stream.place.steps)[:, None, None, None]  # some steps of a token may be visible
        asked = asked_points(stream, window[name], queries) & is_asked
        truth = np.where(np.isfinite(stream.climatology), stream.fields, np.nan)
        cases[name] = Case(truth, stream.climatology, asked)
    return cases, answers
