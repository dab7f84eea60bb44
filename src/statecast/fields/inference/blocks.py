"""One block of a forecast: the head members on the whole grid, asked at once, on several lattices, or neighbourhood by neighbourhood.

Axes: E sample, K head member, N token, P value in a token, T time, V channel, H row, W column of the grid, I, J those of a window.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from statecast.fields.inference.lattices import on_lattices
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth, tiled_places
from statecast.fields.inference.tiles import blend
from statecast.fields.sources import Record
from statecast.fields.tokenizers import Located, read_window, sources_of
from statecast.models.heads import ascending
from statecast.models.noise import hashed
from statecast.streams import Question, stack_questions
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel

Records = Mapping[str, Record]
Fields = Float[np.ndarray, "E T V H W"]


@torch.inference_mode()
def forecast_block(
    trained: TrainedModel, task: Forecast, records: Records, first: int
) -> dict[str, Float[np.ndarray, "K T V H W"]]:
    """The head members' anomalies in the asked steps of the window that begins at step `first`, on the whole grid.

    A model that was trained on neighbourhoods is asked tile by tile, see `tiles`; `window.lattices` of its recipe says on how many token
    lattices, see `lattices`. NaN where there is no climatology. Raises ModelError for tiles of streams on different grids.
    """
    return {name: samples[0] for name, samples in block_heads(trained, task, records, first).items()}


def block_heads(
    trained: TrainedModel,
    task: Forecast,
    records: Records,
    first: int,
    visible: Mapping[str, Fields] | None = None,
) -> dict[str, Float[np.ndarray, "E K T V H W"]]:
    """As `forecast_block`, for several samples; where windows are blended, the head members are in ascending order at each point, so that a
    quantile of what is blended is the blend of the quantiles.

    visible  history of each sample, as anomalies on the whole grid, which replaces that of the records
    """
    sources, steps = sources_of(trained.codecs, records), task.window_slabs * slab_depth(trained)
    neighbourhoods = tiled_places(model_windows(trained), first, steps)
    if len(neighbourhoods) > 1:
        _require_one_grid(records)
    windows = on_lattices(trained, neighbourhoods)
    heads_of = []
    for window in windows:
        streams = {name: source.at(window[name].place(first, steps)) for name, source in sources.items()}
        heads_of.append(_heads(trained, task, streams, visible, in_order=len(windows) > 1))
    blended = {}
    for name, record in records.items():
        parts = [(window[name], heads[name]) for window, heads in zip(windows, heads_of, strict=True)]
        blended[name] = blend(parts, record.grid.shape)
    return blended


def _require_one_grid(records: Records) -> None:
    first, *others = (record.grid for record in records.values())
    if not all(grid.is_like(first) for grid in others):
        raise ModelError(
            "the model was trained on neighbourhoods of streams on different grids, whose answers can't be blended, expected one grid. "
            "Train a model with window.extent null, or forecast one stream."
        )


def _heads(
    trained: TrainedModel,
    task: Forecast,
    streams: Mapping[str, Located],
    visible: Mapping[str, Fields] | None,
    *,
    in_order: bool,
) -> dict[str, Float[np.ndarray, "E K T V I J"]]:
    """The head members' anomalies in the asked steps of one neighbourhood; NaN where there is no climatology."""
    window = read_window(streams, hide_calendar=trained.recipe.window.hide_calendar)
    question = task.complete(window)
    samples = [question] if visible is None else _with_history(question, streams, visible)
    history = task.history * slab_depth(trained)
    heads = {}
    batch = stack_questions(samples).to(trained.device)
    seed = hashed(next(iter(streams.values())).place.start, torch.arange(len(samples), device=trained.device))
    for name, prediction in trained.model.answer(replace(batch, seed=seed)).items():
        assert prediction.members is not None
        members = ascending(prediction.members) if in_order else prediction.members
        asked = streams[name].from_step(history)
        anomalies = asked.tokenizer.to_anomalies(members.transpose(1, 2), asked.place)
        heads[name] = np.where(np.isfinite(asked.climatology), anomalies, np.nan)
        if (edges := trained.codecs[name].edges) is not None:
            heads[name] = edges.corrected(heads[name], periodic=asked.grid.is_periodic, each=trained.model.draws_states)
    return heads


def _with_history(question: Question, streams: Mapping[str, Located], visible: Mapping[str, Fields]) -> list[Question]:
    """The question with the history of each sample, in anomalies, in place of what was observed."""
    questions = []
    for sample in range(len(next(iter(visible.values())))):
        context = {}
        for name, tokens in question.context.items():
            history = streams[name].cut(visible[name][sample])
            values = streams[name].tokenizer.from_anomalies(history)
            context[name] = replace(tokens, values=values.nan_to_num(), observed=values.isfinite())
        questions.append(replace(question, context=context))
    return questions
