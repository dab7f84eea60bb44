"""One block of a forecast: what all heads answer on the whole grid, asked at once or neighbourhood by neighbourhood.

Axes: E member as sample, K head, N token, P value in a token, T time, V channel, H row, W column of the grid, I, J those of a window.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from statecast.fields.inference.members import ascending
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth, tiled_places
from statecast.fields.inference.tiles import blend, weighted
from statecast.fields.sources import Record
from statecast.fields.tokenizers import Place, read_window
from statecast.streams import Question, stack_questions
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel

Records = Mapping[str, Record]
Fields = Float[np.ndarray, "E T V H W"]


@torch.inference_mode()
def forecast_block(
    trained: TrainedModel, task: Forecast, records: Records, first: int
) -> dict[str, Float[np.ndarray, "K T V H W"]]:
    """What all heads answer of the window that begins at step `first`: anomalies of the asked steps, on the whole grid.

    A model that was trained on neighbourhoods is asked tile by tile, see `tiles`. NaN where nothing is usual. Raises ModelError for tiles
    of streams on different grids.
    """
    return {name: heads[0] for name, heads in block_heads(trained, task, records, first).items()}


def block_heads(
    trained: TrainedModel,
    task: Forecast,
    records: Records,
    first: int,
    visible: Mapping[str, Fields] | None = None,
    *,
    in_order: bool = False,
) -> dict[str, Float[np.ndarray, "E K T V H W"]]:
    """As `forecast_block`, of several samples whose own history is `visible` in place of what the records hold."""
    neighbourhoods = tiled_places(model_windows(trained), first, task.window_slabs * slab_depth(trained))
    if len(neighbourhoods) > 1:
        _require_one_grid(records)
    found = [_heads(trained, task, records, places, visible, in_order=in_order) for places in neighbourhoods]
    blended = {}
    for name, record in records.items():
        placed = weighted([places[name] for places in neighbourhoods], record.grid.shape)
        parts = [(tile, heads[name]) for tile, heads in zip(placed, found, strict=True)]
        blended[name] = blend(parts, record.grid.shape)
    return blended


def _require_one_grid(records: Records) -> None:
    first, *others = (record.grid for record in records.values())
    if not all(grid.is_like(first) for grid in others):
        raise ModelError(
            "the model was trained on neighbourhoods of streams on different grids, which can't be put together to a whole. "
            "Train one with window.extent null, or forecast one stream."
        )


def _heads(
    trained: TrainedModel,
    task: Forecast,
    records: Records,
    places: Mapping[str, Place],
    visible: Mapping[str, Fields] | None,
    *,
    in_order: bool,
) -> dict[str, Float[np.ndarray, "E K T V I J"]]:
    """The heads' anomalies of the asked steps of one neighbourhood; NaN where nothing is usual."""
    question = task.complete(read_window(trained.codecs, records, {name: places[name] for name in records}))
    samples = [question] if visible is None else _with_history(trained, question, places, visible)
    history, found = task.history * slab_depth(trained), {}
    for name, said in trained.model.answer(stack_questions(samples).to(device_of(trained))).items():
        assert said.members is not None
        members = ascending(said.members) if in_order else said.members
        codec, place = trained.codecs[name], places[name]
        ahead = Place(place.start + history, place.steps - history, place.rows, place.columns)
        has_usual = np.isfinite(codec.usual(records[name], ahead))
        found[name] = np.where(has_usual, codec.to_anomalies(members.transpose(1, 2), ahead), np.nan)
    return found


def _with_history(
    trained: TrainedModel, question: Question, places: Mapping[str, Place], visible: Mapping[str, Fields]
) -> list[Question]:
    """The question with the history of each sample, in anomalies, in place of what was observed."""
    questions = []
    for sample in range(len(next(iter(visible.values())))):
        context = {}
        for name, tokens in question.context.items():
            here = visible[name][sample][..., places[name].rows, :][..., places[name].columns]
            values = trained.codecs[name].from_anomalies(here)
            context[name] = replace(tokens, values=values.nan_to_num(), observed=values.isfinite())
        questions.append(replace(question, context=context))
    return questions


def device_of(trained: TrainedModel) -> torch.device:
    return next(trained.model.parameters()).device
