"""The roll-out of a forecast of fields: each member continues from its own answers, all members as one batch.

A model whose window is the whole domain stays in its tokens from block to block. Those of neighbourhoods that overlap differ: of a model
that was trained on them the state lies on the grid, one token a step, and each block cuts neighbourhoods from it and blends their answers.

Axes: E member as sample, K head, N token, P value in a token, T time, V channel, H row, W column.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from statecast.fields.inference.blocks import Records, block_heads, device_of
from statecast.fields.inference.members import quantiles, smooth_normals
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth
from statecast.fields.tokenizers import FieldTokenizer, Place, read_window
from statecast.fields.tokenizers.windows import whole_domain
from statecast.models import Prediction
from statecast.rollout import Answer, as_many, roll_out
from statecast.streams import Question, Tokens, stack_questions
from statecast.tasks import Forecast
from statecast.trained import TrainedModel

APART_H = 240.0  # of the members' fields of two blocks that start a step apart: ten times as long as these are alike
VALUES_AT_ONCE = 2**23  # of a block, of all heads and of the members that are answered as a batch: 32 MiB

Codecs = Mapping[str, FieldTokenizer]


@torch.inference_mode()
def rolled_out(
    trained: TrainedModel, task: Forecast, records: Records, blocks: int, members: int
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Anomalies of each member at all steps after the history, in the units of the channels; NaN where nothing is usual.

    records  the history, and the steps of all blocks, of which the times alone count
    """
    codecs, answer = codecs_and_answer(trained, task, records)
    question = stack_questions([forecast_question(trained, codecs, task, records, blocks)]).to(device_of(trained))
    of_a_member = trained.model.head.members * sum(t.values.numel() for t in question.queries.values()) // blocks
    at_once = max(1, VALUES_AT_ONCE // of_a_member)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in records}
    for first in range(0, members, at_once):
        some = range(first, min(first + at_once, members))
        normal = normal_tokens(trained, codecs, task, records, blocks, some)
        for name, fields in _drawn(codecs, answer, question, task, blocks, normal).items():
            parts[name].append(fields)
    return {name: np.concatenate(fields) for name, fields in parts.items()}


def _drawn(
    codecs: Codecs,
    answer: Answer,
    question: Question,
    task: Forecast,
    blocks: int,
    normal: Mapping[str, Float[Tensor, "E N P"]],
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Anomalies of the members whose smooth fields are `normal`, block after block."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in question.queries}

    def draw(name: str, said: Prediction, asked: Tokens) -> Tokens:
        assert said.members is not None and asked.index is not None
        values = quantiles(said.members, normal[name][:, asked.index[0]])
        tokens = as_many(asked, len(values))
        parts[name].append(_anomalies(codecs[name], torch.where(tokens.observed, values, torch.nan)))
        return tokens.replace(torch.where(tokens.observed, values, 0.0))

    for _ in roll_out(answer, question, task, blocks, draw):
        pass
    return {name: np.concatenate(fields, axis=1) for name, fields in parts.items()}


def forecast_question(trained: TrainedModel, codecs: Codecs, task: Forecast, records: Records, blocks: int) -> Question:
    """All blocks asked of the whole domain at once, from the first step of the records on."""
    asked = task.model_copy(update={"leads": task.leads * blocks})
    steps = asked.window_slabs * slab_depth(trained)
    places = {name: whole_domain(record.grid, 0, steps) for name, record in records.items()}
    question = asked.complete(read_window(codecs, records, places))
    return with_usual_observed(question, codecs, records, places)


def with_usual_observed(question: Question, codecs: Codecs, records: Records, places: Mapping[str, Place]) -> Question:
    """The question in which what has a climatology counts as observed where it is asked, and nothing else does.

    What is never observed has none: it stays unobserved in the blocks that continue from the answer.
    """
    queries = {}
    for name, tokens in question.queries.items():
        assert tokens.index is not None
        has_usual = codecs[name].cut(np.isfinite(codecs[name].usual(records[name], places[name])))
        queries[name] = replace(tokens, observed=has_usual[tokens.index])
    return replace(question, queries=queries)


def normal_tokens(
    trained: TrainedModel, codecs: Codecs, task: Forecast, records: Records, blocks: int, members: range
) -> dict[str, Float[Tensor, "E N P"]]:
    """The smooth field of each member at the values of the tokens of the whole window.

    A block starts from the member's own past, which holds what was drawn for it: what it adds is new. Its hours lie far from those of the
    block before.
    """
    depth, found = slab_depth(trained), {}
    history, leads = task.history * depth, task.leads * depth
    step = np.arange(history + leads * blocks)
    block = (step - history) // leads
    for name, record in records.items():
        hours = record.hours[step] + APART_H * leads * block
        fields = smooth_normals(members, record.grid, hours, len(record.channels)).astype(np.float32)
        found[name] = torch.stack([codecs[name].cut(field) for field in fields]).to(device_of(trained))
    return found


def codecs_and_answer(
    trained: TrainedModel, task: Forecast, records: Records
) -> tuple[dict[str, FieldTokenizer], Answer]:
    """How what is known is cut into tokens, and how a block is answered: by the model at once, or neighbourhood by neighbourhood."""
    codecs = {name: trained.codecs[name] for name in records}
    if model_windows(trained).is_whole:
        return codecs, trained.model.answer
    on_grid = {name: _step_by_step(codec) for name, codec in codecs.items()}
    return on_grid, partial(_answer_by_tiles, trained, on_grid, task, records)


def _step_by_step(codec: FieldTokenizer) -> FieldTokenizer:
    """One token a step; where each level has tokens of its own, one a step and level."""
    stream = codec.stream.model_copy(update={"patch": (1, *codec.climatology.grid.shape)})
    return replace(codec, stream=stream)


def _answer_by_tiles(
    trained: TrainedModel, codecs: Codecs, task: Forecast, records: Records, question: Question
) -> dict[str, Prediction]:
    """The heads in ascending order, so that a quantile of what is blended is the blend of the quantiles."""
    first, visible = 0, {}
    for name, tokens in question.context.items():
        assert tokens.index is not None
        numbers = tokens.index[0]
        first = int(numbers.min())
        in_order = tokens[numbers.argsort()]
        visible[name] = _anomalies(codecs[name], torch.where(in_order.observed, in_order.values, torch.nan))
    found = {}
    for name, fields in block_heads(trained, task, records, first, visible, in_order=True).items():
        of_samples = [torch.stack([codecs[name].from_anomalies(head) for head in heads], dim=1) for heads in fields]
        found[name] = Prediction(torch.stack(of_samples).to(device_of(trained)))
    return found


def _anomalies(codec: FieldTokenizer, values: Float[Tensor, "E N P"]) -> Float[np.ndarray, "E T V H W"]:
    """Token values over some steps of the whole domain as anomalies in the units of the channels."""
    grid = codec.climatology.grid
    steps = values[0].numel() // (len(codec.climatology.channels) * grid.lat.size * grid.lon.size)
    return codec.to_anomalies(values, whole_domain(grid, 0, steps))
