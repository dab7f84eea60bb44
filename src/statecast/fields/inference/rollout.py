"""The roll-out of a forecast of fields: each member continues from its own answers, all members as one batch.

A model whose window is the whole domain keeps its state in tokens from block to block. Overlapping neighbourhoods, and several token
lattices, have different tokens: the state then lies on the grid, one token a step, and each block cuts windows from it and blends their
answers.

Axes: E sampled member, K head member, N token, P value in a token, T time, V channel, H row, W column.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from statecast.fields.inference.blocks import Records, block_heads
from statecast.fields.inference.lattices import shifts_of
from statecast.fields.inference.members import smooth_normals
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth
from statecast.fields.tokenizers import (
    FieldTokenizer,
    Located,
    StreamSource,
    read_window,
    sources_of,
    whole_window,
)
from statecast.fields.tokenizers.edges import EdgeFilter
from statecast.fields.tokenizers.windows import whole_domain
from statecast.models import Draws, Prediction, StateModel
from statecast.models.heads import quantiles
from statecast.rollout import Answer, as_many, roll_out
from statecast.streams import Question, Tokens, stack_questions
from statecast.tasks import Forecast
from statecast.trained import TrainedModel

APART_H = 240.0  # between the smooth fields of two blocks a step apart: ten times their correlation time
VALUES_AT_ONCE = (
    2**23
)  # of one block: of all head members and of the sampled members that are answered as one batch, 32 MiB

Sources = Mapping[str, StreamSource]


@torch.inference_mode()
def rolled_out(
    trained: TrainedModel, task: Forecast, records: Records, blocks: int, members: int
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Anomalies of each sampled member at all steps after the history, in the units of the channels; NaN where there is no climatology.

    records  the history, and the steps of all blocks, of which only the times are used
    """
    sources, answer = sources_and_answer(trained, task, records)
    question = stack_questions([forecast_question(trained, sources, task, blocks)]).to(trained.device)
    values_of_a_member = trained.model.head.members * sum(t.values.numel() for t in question.queries.values()) // blocks
    at_once = max(1, VALUES_AT_ONCE // values_of_a_member)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in records}
    for first in range(0, members, at_once):
        batch = range(first, min(first + at_once, members))
        if trained.model.draws_states and model_windows(trained).is_whole:
            drawing = mending(drawing_states(trained.model, batch), sources)
            fields_of = _drawn(sources, drawing, question, task, blocks)
        else:
            normal = normal_tokens(trained, sources, task, blocks, batch)
            fields_of = _drawn(sources, answer, question, task, blocks, normal)
        for name, fields in fields_of.items():
            parts[name].append(fields)
    return {name: np.concatenate(fields) for name, fields in parts.items()}


def _drawn(
    sources: Sources,
    answer: Answer,
    question: Question,
    task: Forecast,
    blocks: int,
    normal: Mapping[str, Float[Tensor, "E N P"]] | None = None,
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    """Anomalies of the sampled members whose smooth fields are `normal`, block after block; None: the head members are states."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in question.queries}

    def draw(name: str, prediction: Prediction, asked: Tokens) -> Tokens:
        assert prediction.members is not None and asked.index is not None
        if normal is None:
            values = prediction.members.transpose(1, 2).flatten(0, 1)
        else:
            values = quantiles(prediction.members, normal[name][:, asked.index[0]])
        tokens = as_many(asked, len(values))
        parts[name].append(_anomalies(sources[name].tokenizer, torch.where(tokens.observed, values, torch.nan)))
        return tokens.replace(torch.where(tokens.observed, values, 0.0))

    for _ in roll_out(answer, question, task, blocks, draw):
        pass
    return {name: np.concatenate(fields, axis=1) for name, fields in parts.items()}


def drawing_states(model: StateModel, members: range) -> Answer:
    """How a flow or noise head answers block after block: at first one sample with these members, then each member with one of its own."""
    blocks = count()

    def answer(question: Question) -> dict[str, Prediction]:
        block = next(blocks)
        if block == 0:
            return model.answer(question, Draws(len(members), members.start))
        seed = torch.tensor(members, device=next(model.parameters()).device)
        return model.answer(replace(question, seed=seed), Draws(1, seed=block))

    return answer


def forecast_question(trained: TrainedModel, sources: Sources, task: Forecast, blocks: int) -> Question:
    """All blocks asked of the whole domain at once, from the first step of the records on."""
    asked = task.model_copy(update={"leads": task.leads * blocks})
    streams = whole_window(sources, 0, asked.window_slabs * slab_depth(trained))
    question = asked.complete(read_window(streams, hide_calendar=trained.recipe.window.hide_calendar))
    return with_climatology_observed(question, streams)


def with_climatology_observed(question: Question, streams: Mapping[str, Located]) -> Question:
    """The question with asked values marked as observed where there is a climatology, and only there.

    What was never observed has none: it stays unobserved in the blocks that continue from the answer.
    """
    queries = {}
    for name, tokens in question.queries.items():
        assert tokens.index is not None
        has_climatology = streams[name].tokenizer.cut(np.isfinite(streams[name].climatology))
        queries[name] = replace(tokens, observed=has_climatology[tokens.index])
    return replace(question, queries=queries)


def normal_tokens(
    trained: TrainedModel, sources: Sources, task: Forecast, blocks: int, members: range
) -> dict[str, Float[Tensor, "E N P"]]:
    """The smooth field of each sampled member at the values of the tokens of the whole window.

    A block starts from the member's own past, which holds what was drawn for it: the block adds only what is new. Its hours therefore lie
    far from those of the block before.
    """
    depth = slab_depth(trained)
    history, leads = task.history * depth, task.leads * depth
    step = np.arange(history + leads * blocks)
    block = (step - history) // leads
    normal = {}
    for name, source in sources.items():
        record = source.record
        hours = record.hours[step] + APART_H * leads * block
        fields = smooth_normals(members, record.grid, hours, len(record.channels)).astype(np.float32)
        of_members = [source.tokenizer.cut(field) for field in fields]
        normal[name] = torch.stack(of_members).to(trained.device)
    return normal


def sources_and_answer(
    trained: TrainedModel, task: Forecast, records: Records
) -> tuple[dict[str, StreamSource], Answer]:
    """The records with what cuts them into tokens, and how a block is answered: at once, or window by window."""
    sources = sources_of(trained.codecs, records)
    if model_windows(trained).is_whole and len(shifts_of(trained)) == 1:
        return sources, mending(trained.model.answer, sources)
    on_grid = {}
    for name, source in sources.items():
        on_grid[name] = replace(source, tokenizer=_step_by_step(source.tokenizer))
    return on_grid, partial(_answer_by_windows, trained, on_grid, task)


def mending(answer: Answer, sources: Sources) -> Answer:
    """The answers to questions about all tokens of some steps, corrected by the filter of each stream that has one."""
    edges = {name: source.tokenizer.edges for name, source in sources.items() if source.tokenizer.edges is not None}

    def mended(question: Question) -> dict[str, Prediction]:
        said = dict(answer(question))
        for name in edges.keys() & said.keys():
            said[name] = _mended(said[name], question.queries[name], sources[name].tokenizer, edges[name])
        return said

    return mended if edges else answer


def _mended(said: Prediction, asked: Tokens, tokenizer: FieldTokenizer, edges: EdgeFilter) -> Prediction:
    assert said.members is not None
    known = asked.observed.unsqueeze(1)
    members = torch.where(known, said.members.transpose(1, 2), torch.nan)  # B E N P
    corrected = members if said.is_drawn else members.mean(dim=1, keepdim=True)
    fields = _anomalies(tokenizer, corrected.flatten(0, 1))
    found = edges.correction(fields, periodic=tokenizer.climatology.grid.is_periodic)
    of_members = torch.stack([tokenizer.from_anomalies(field) for field in found]).to(said.members)
    correction = of_members.unflatten(0, corrected.shape[:2]).transpose(1, 2)
    return replace(said, members=said.members + correction)


def _step_by_step(tokenizer: FieldTokenizer) -> FieldTokenizer:
    """The tokenizer with one token for each step, or for each step and level where each level has tokens of its own."""
    stream = tokenizer.stream.model_copy(update={"patch": (1, *tokenizer.climatology.grid.shape)})
    return replace(tokenizer, stream=stream)


def _answer_by_windows(
    trained: TrainedModel, sources: Sources, task: Forecast, question: Question
) -> dict[str, Prediction]:
    """The head members that are blended from all windows, see `block_heads`."""
    first, visible = 0, {}
    for name, tokens in question.context.items():
        assert tokens.index is not None
        numbers = tokens.index[0]
        first = int(numbers.min())
        in_order = tokens[numbers.argsort()]
        values = torch.where(in_order.observed, in_order.values, torch.nan)
        visible[name] = _anomalies(sources[name].tokenizer, values)
    records = {name: source.record for name, source in sources.items()}
    predictions = {}
    for name, samples in block_heads(trained, task, records, first, visible).items():
        tokenizer = sources[name].tokenizer
        of_samples = []
        for heads in samples:
            of_heads = [tokenizer.from_anomalies(head) for head in heads]
            of_samples.append(torch.stack(of_heads, dim=1))
        predictions[name] = Prediction(torch.stack(of_samples).to(trained.device))
    return predictions


def _anomalies(tokenizer: FieldTokenizer, values: Float[Tensor, "E N P"]) -> Float[np.ndarray, "E T V H W"]:
    """Token values over some steps of the whole domain as anomalies in the units of the channels."""
    grid = tokenizer.climatology.grid
    steps = values[0].numel() // (len(tokenizer.climatology.channels) * grid.lat.size * grid.lon.size)
    return tokenizer.to_anomalies(values, whole_domain(grid, 0, steps))
