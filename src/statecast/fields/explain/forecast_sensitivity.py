"""Sensitivity of a forecast that lies further ahead than the model reaches in one question. Axes: B sample (1), N token."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

import torch
import xarray as xr

from statecast.explain.sensitivity import as_batch, gradients, leaf
from statecast.fields.explain.labelled import gradient_fields, point_coordinates, sensitivity_arrays, slope_at
from statecast.fields.explain.point import PRINTED, PointQuestion, ask_point, numbers, value_in_token
from statecast.fields.inference.forecast import forecast_task
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.inference.rollout import with_climatology_observed
from statecast.models import Prediction
from statecast.rollout import roll_out
from statecast.streams import Question
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel


def forecast_sensitivity(
    trained: TrainedModel, dataset: xr.Dataset, at: str, query: tuple[float, float, str], lead_time_h: float
) -> xr.DataArray:
    """Sensitivity (time, channel, lat, lon) of a forecast at one point to the state at `at`, at any lead time.

    Up to the lead time that the model reaches in one question it is that of `explain`. Further ahead the mean of the head members continues
    from its own last steps, block by block, and the gradient is taken through all blocks: it is the gradient along the path of the mean,
    whereas a roll-out of `statecast predict` continues from each sampled member. The store need not reach beyond `at`.

    Raises the errors of `ask_point`, ModelError for a model that doesn't forecast, or whose streams lie on several grids.
    """
    task = forecast_task(trained)
    reach_h = task.leads * slab_depth(trained) * next(iter(trained.codecs.values())).climatology.step_h
    blocks = max(1, math.ceil(lead_time_h / reach_h - PRINTED))
    asked = ask_point(_with_leads(trained, task.leads * blocks), dataset, at, query, lead_time_h)
    if not all(stream.record.grid.is_like(asked.grid) for stream in asked.streams.values()):
        raise ModelError(
            "the model's streams lie on several grids, expected one grid. Use a model whose streams lie on one grid."
        )
    question = as_batch(with_climatology_observed(asked.whole, asked.streams), trained.model)
    visible = {name: tokens.replace(leaf(tokens.values)) for name, tokens in question.context.items()}
    prediction = _last_answer(trained, asked, replace(question, context=visible), task, blocks)
    answer = prediction.mean()[0, 0, value_in_token(asked)]
    of_streams = gradients(answer, [tokens.values for tokens in visible.values()])
    fields = gradient_fields(asked, dict(zip(visible, of_streams, strict=True)))
    array = sensitivity_arrays(asked, fields, slope_at(asked, float(answer.detach()))).sensitivity
    return array.assign_coords(point_coordinates(asked))


def _with_leads(trained: TrainedModel, leads: int) -> TrainedModel:
    """The model with the task to answer `leads` slabs in one question."""
    task = trained.recipe.task.model_copy(update={"leads": leads})
    return replace(trained, recipe=trained.recipe.model_copy(update={"task": task}))


def _last_answer(
    trained: TrainedModel, asked: PointQuestion, question: Question, task: Forecast, blocks: int
) -> Prediction:
    """The answer to the token that holds the point, at the end of a roll-out along the mean; the last block asks nothing else."""
    (token,) = numbers(asked.question.queries[asked.stream]).tolist()

    def answer(block: Question) -> Mapping[str, Prediction]:
        tokens = block.queries[asked.stream]
        assert tokens.index is not None
        here = torch.nonzero(tokens.index[0] == token)[:, 0]
        if len(here):
            block = replace(block, queries={asked.stream: tokens[here]})
        return trained.model.answer(block)

    for _, answers in islice(roll_out(answer, question, task, blocks), blocks):  # nothing continues from the last
        last = answers[asked.stream]
    return last
