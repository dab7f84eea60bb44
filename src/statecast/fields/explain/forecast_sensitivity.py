"""Sensitivity of a forecast that lies further ahead than the model reaches in one question.

Axes: B sample (1), N token, P value in a token, T time step, V channel, H row, W column.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from statecast.explain.sensitivity import as_batch, gradients, leaf
from statecast.fields.explain.labelled import gradient_fields, point_coordinates, sensitivity_arrays, slope
from statecast.fields.explain.point import PointQuestion, ask_point, layout, value_in_token
from statecast.fields.inference.forecast import forecast_task, slab_depth
from statecast.fields.tokenizers import FieldTokenizer
from statecast.streams import Window
from statecast.trained import ModelError, TrainedModel


def forecast_sensitivity(
    trained: TrainedModel, dataset: xr.Dataset, at: str, query: tuple[float, float, str], lead_time_h: float
) -> xr.DataArray:
    """Sensitivity (time, channel, lat, lon) of a forecast at one point to the state at `at`, at any lead time.

    As far as the model reaches in one question it is that of `explain`. Further ahead the ensemble's mean goes on from its own last
    steps, block by block, and the gradient is taken through all blocks. A roll-out of `statecast predict` goes on from each member
    instead: this is the gradient along the mean path. The store must hold the start of each block, whose values it doesn't read.

    Raises what `ask_point` raises, ModelError for a model that doesn't forecast, or whose streams lie on several grids.
    """
    blocks = _blocks(trained, dataset, at, query, lead_time_h)
    if not all(record.grid.is_like(blocks[0].grid) for record in blocks[0].records.values()):
        raise ModelError(
            "the model's streams lie on several grids, expected one. Chain a model of streams on one grid."
        )
    first = as_batch(blocks[0].question, trained.model)
    shown = {n: t.replace(leaf(t.values)) for n, t in first.context.items()}
    context = shown
    for block, following in pairwise(blocks):
        predictions = trained.model(context, as_batch(block.whole, trained.model).queries)
        means = {name: said.members.mean(dim=-2) for name, said in predictions.items()}
        context = _go_on(trained, context, means, following)
    (said,) = trained.model(context, as_batch(blocks[-1].question, trained.model).queries).values()
    answer = said.members.mean(dim=-2)[0, 0, value_in_token(blocks[-1])]
    own = slope(blocks[-1], trained.codecs[blocks[-1].stream], float(answer.detach()))
    found = gradients(answer, [tokens.values for tokens in shown.values()])
    fields = gradient_fields(blocks[0], dict(zip(shown, found, strict=True)))
    field = sensitivity_arrays(blocks[0], trained.codecs, fields, own).sensitivity
    start, end = point_coordinates(blocks[0]), point_coordinates(blocks[-1])
    return field.assign_coords(
        end | {"init_time": start["init_time"], "lead_time": ((), float(lead_time_h), end["lead_time"][2])}
    )


def _blocks(
    trained: TrainedModel, dataset: xr.Dataset, at: str, query: tuple[float, float, str], lead_time_h: float
) -> list[PointQuestion]:
    """The questions of a roll-out, one after the other; the last one asks for the point at the lead time."""
    task = forecast_task(trained)
    reach_h = task.leads * slab_depth(trained) * next(iter(trained.codecs.values())).climatology.step_h
    before = max(0, int(np.ceil(lead_time_h / reach_h)) - 1)
    blocks: list[PointQuestion] = []
    for number in range(before + 1):
        lead = reach_h if number < before else lead_time_h - before * reach_h
        start = at if not blocks else (blocks[-1].at + timedelta(hours=reach_h)).isoformat()
        blocks.append(ask_point(trained, dataset, start, query, lead))
    return blocks


def _go_on(
    trained: TrainedModel, context: Window, means: dict[str, Float[Tensor, "B N P"]], following: PointQuestion
) -> Window:
    """What the next block is shown: the last steps of the history and the answer to it, in place of what was observed."""
    task, depth = forecast_task(trained), slab_depth(trained)
    history, leads = task.history * depth, task.leads * depth
    shown: Window = {}
    for name, coming in as_batch(following.question, trained.model).context.items():
        tokenizer = trained.codecs[name]
        past, future = (
            _fields(tokenizer, tokens, steps)
            for tokens, steps in ((context[name].values, history), (means[name], leads))
        )
        recent = torch.cat([past, future])[-history:]
        usual = tokenizer.usual(following.records[name], following.places[name])[:history]
        known = torch.from_numpy(np.isfinite(usual)).to(recent.device)
        index = torch.from_numpy(layout(tokenizer, history)).to(recent.device)
        observed = known.flatten()[index][None]
        shown[name] = replace(coming, values=recent.flatten()[index][None] * observed, observed=observed)
    return shown


def _fields(tokenizer: FieldTokenizer, tokens: Float[Tensor, "1 N P"], steps: int) -> Float[Tensor, "T V H W"]:
    """Token values of a window of `steps` over the whole domain as normalised fields; gradients pass."""
    order = torch.from_numpy(layout(tokenizer, steps).reshape(-1).argsort()).to(tokens.device)
    known = tokenizer.climatology
    return tokens.flatten()[order].reshape(steps, len(known.channels), *known.grid.shape)
