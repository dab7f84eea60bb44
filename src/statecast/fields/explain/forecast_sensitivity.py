"""Sensitivity of a forecast that lies further ahead than the model reaches in one question. Axes: B sample (1), N token."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

import torch
import xarray as xr

from statecast.explain.sensitivity import as_batch, gradients, leaf
from statecast.fields.explain.labelled import gradient_fields, point_coordinates, sensitivity_arrays, slope
from statecast.fields.explain.point import PointQuestion, ask_point, numbers, value_in_token
from statecast.fields.inference.forecast import forecast_task
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.inference.rollout import with_usual_observed
from statecast.models import Prediction
from statecast.rollout import roll_out
from statecast.streams import Question
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel


def forecast_sensitivity(
    trained: TrainedModel, dataset: xr.Dataset, at: str, query: tuple[float, float, str], lead_time_h: float
) -> xr.DataArray:
    """Sensitivity (time, channel, lat, lon) of a forecast at one point to the state at `at`, at any lead time.

    As far as the model reaches in one question it is that of `explain`. Further ahead the ensemble's mean continues from its own last
    steps, block by block, and the gradient is taken through all blocks. A roll-out of `statecast predict` continues from each member
    instead: this is the gradient along the mean path. The store need not reach beyond `at`.

    Raises what `ask_point` raises, ModelError for a model that doesn't forecast, or whose streams lie on several grids.
    """
    task = forecast_task(trained)
    reach_h = task.leads * slab_depth(trained) * next(iter(trained.codecs.values())).climatology.step_h
    blocks = max(1, math.ceil(lead_time_h / reach_h))
    asked = ask_point(_with_leads(trained, task.leads * blocks), dataset, at, query, lead_time_h)
    if not all(record.grid.is_like(asked.grid) for record in asked.records.values()):
        raise ModelError(
            "the model's streams lie on several grids, expected one. Chain a model of streams on one grid."
        )
    known = with_usual_observed(asked.whole, trained.codecs, asked.records, asked.places)
    question = as_batch(known, trained.model)
    visible = {name: tokens.replace(leaf(tokens.values)) for name, tokens in question.context.items()}
    said = _last_answer(trained, asked, replace(question, context=visible), task, blocks)
    answer = said.mean()[0, 0, value_in_token(asked)]
    found = gradients(answer, [tokens.values for tokens in visible.values()])
    fields = gradient_fields(asked, dict(zip(visible, found, strict=True)))
    own = slope(asked, trained.codecs[asked.stream], float(answer.detach()))
    field = sensitivity_arrays(asked, trained.codecs, fields, own).sensitivity
    return field.assign_coords(point_coordinates(asked))


def _with_leads(trained: TrainedModel, leads: int) -> TrainedModel:
    """The model as if it answered so many slabs in one question."""
    task = trained.recipe.task.model_copy(update={"leads": leads})
    return replace(trained, recipe=trained.recipe.model_copy(update={"task": task}))


def _last_answer(
    trained: TrainedModel, asked: PointQuestion, question: Question, task: Forecast, blocks: int
) -> Prediction:
    """What is said of the token that holds the point, at the end of a roll-out along the mean; nothing else is asked of the last block."""
    (token,) = numbers(asked.question.queries[asked.stream]).tolist()

    def answer(block: Question) -> Mapping[str, Prediction]:
        tokens = block.queries[asked.stream]
        assert tokens.index is not None
        here = torch.nonzero(tokens.index[0] == token)[:, 0]
        if len(here):
            block = replace(block, queries={asked.stream: tokens[here]})
        return trained.model.answer(block)

    for _, answers in islice(roll_out(answer, question, task, blocks), blocks):  # nothing continues from the last
        said = answers[asked.stream]
    return said
