"""The roll-out: a forecast continues from its own answers, block by block. Axes: B sample, N and M token, P value in a token."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from statecast.axes import column_names
from statecast.models.heads import Prediction
from statecast.models.state_model import StateModel, question_losses
from statecast.streams import Question, Tokens, Window, concatenate
from statecast.tasks import Forecast, TaskOptions

Answer = Callable[[Question], Mapping[str, Prediction]]
Continue = Callable[[str, Prediction, Tokens], Tokens]
"""(stream, prediction, asked tokens) -> the tokens that are visible in their place to the next block."""


def mean_answer(name: str, said: Prediction, asked: Tokens) -> Tokens:
    """The mean of the head members, which needs no random numbers and passes gradients through all blocks."""
    return asked.replace(said.mean().to(asked.values.dtype))


def roll_out(
    answer: Answer, question: Question, task: Forecast, blocks: int, go_on: Continue = mean_answer
) -> Iterator[tuple[Question, Mapping[str, Prediction]]]:
    """The question of each block and its answer, where block r > 0 sees the answers to earlier blocks.

    question  the history is visible, and the slabs of all blocks are asked
    go_on     makes visible tokens of a block's answers

    The context of a block is the last `task.history` known slabs. Its coordinates along the order axis are relative to its own first token,
    so every block looks like the first one. A value that was not observed where it is asked is not visible in the next block either.
    """
    history, leads = task.history, task.leads
    slabs = history + leads * blocks
    visible = {name: len(tokens) for name, tokens in question.context.items()}
    of_all = {name: _slabs(question, name, slabs) for name in question.queries}
    of_known = {name: of[: visible[name]] for name, of in of_all.items()}
    of_asked = {name: of[visible[name] :] for name, of in of_all.items()}
    known = dict(question.context)
    for block in range(blocks):
        first = block * leads
        context = {
            name: tokens[_between(of_known[name], first, first + history)] if name in of_known else tokens
            for name, tokens in known.items()
        }
        now = {name: _between(of, first + history, first + history + leads) for name, of in of_asked.items()}
        queries = {name: tokens[now[name]] for name, tokens in question.queries.items()}
        passed = _start(context) - _start(question.context)
        block_question = replace(question, context=_earlier(context, passed), queries=_earlier(queries, passed))
        predictions = answer(block_question)
        yield block_question, predictions
        for name, tokens in queries.items():
            answered = go_on(name, predictions[name], tokens)
            known[name] = concatenate([_as_many(known[name], answered), answered])
            of_known[name] = torch.cat([of_known[name], of_asked[name][now[name]]])


def training_losses(answer: Answer, model: StateModel, question: Question, task: TaskOptions) -> dict[str, Tensor]:
    """The loss of each stream in a training step: of one answer or, if the task requires a roll-out, the mean over its blocks.

    Roll-outs as in Lam et al. 2023, GraphCast, section 4.5.
    """
    if not isinstance(task, Forecast) or task.rollout == 1:
        return question_losses(model, answer(question), question)
    parts: dict[str, list[Tensor]] = {name: [] for name in question.queries}
    for block_question, predictions in roll_out(answer, question, task, task.rollout):
        for name, loss in question_losses(model, predictions, block_question).items():
            parts[name].append(loss)
    return {name: torch.stack(losses).mean() for name, losses in parts.items()}


def _as_many(tokens: Tokens, others: Tokens) -> Tokens:
    """The tokens of one sample, repeated for as many samples as `others` has."""
    samples = len(others.values)
    if len(tokens.values) == samples:
        return tokens
    expand: Callable[[Tensor], Tensor] = lambda part: part.expand(samples, *part.shape[1:])  # noqa: E731
    return tokens.each(expand, expand)


def _slabs(question: Question, name: str, slabs: int) -> Int[Tensor, " N"]:
    """The slab of the window in which each token lies, visible tokens first; streams with thinner tokens have several per slab."""
    parts = []
    for side in (question.context, question.queries):
        order = side[name].order()
        assert order is not None
        parts.append(order[0])
    own = torch.unique(torch.cat(parts), return_inverse=True)[1]
    return own * slabs // (int(own.max()) + 1)


def _between(slabs: Int[Tensor, " N"], first: int, last: int) -> Int[Tensor, " M"]:
    return ((slabs >= first) & (slabs < last)).nonzero()[:, 0]


def _start(window: Window) -> float:
    """The first coordinate of the window on the order axis."""
    firsts = []
    for tokens in window.values():
        order = tokens.order()
        if order is not None:
            firsts.append(order[0].min().item())
    return min(firsts)


def _earlier(window: Mapping[str, Tokens], passed: float) -> Window:
    """The same tokens, moved back by `passed` on the order axis; other coordinates of that axis, such as the hour of day, do not change."""
    if passed == 0:
        return dict(window)
    shifted = {}
    for name, tokens in window.items():
        column = tokens.spec.order_column
        if column is not None:
            shift = torch.zeros(tokens.coords.shape[-1])
            shift[column_names(tokens.spec.axes).index(column)] = passed
            tokens = replace(tokens, coords=tokens.coords - shift.to(tokens.coords))
        shifted[name] = tokens
    return shifted
