"""The roll-out: a forecast continues from its own answers, block by block. Axes: B sample, N and M token, P value in a token."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from statecast.axes import column_names
from statecast.models.heads import Prediction
from statecast.models.losses import question_losses
from statecast.models.state_model import StateModel
from statecast.streams import Question, Tokens, Window, concatenate
from statecast.tasks import Forecast, TaskOptions

Answer = Callable[[Question], Mapping[str, Prediction]]
Continue = Callable[[str, Prediction, Tokens], Tokens]
"""(stream, what was said, the asked tokens) -> the tokens that the next block is shown in their place."""
Slabs = dict[str, Int[Tensor, " N"]]


def mean_answer(name: str, said: Prediction, asked: Tokens) -> Tokens:
    """The mean of the head members, which needs no random numbers and passes gradients through all blocks."""
    return asked.replace(said.mean().to(asked.values.dtype))


def roll_out(
    answer: Answer, question: Question, task: Forecast, blocks: int, go_on: Continue = mean_answer
) -> Iterator[tuple[Question, Mapping[str, Prediction]]]:
    """The question of each block and its answer, where block r > 0 sees the answers to earlier blocks.

    question  the history is visible, the slabs of all blocks are asked
    go_on     may answer one sample with several, such as the members of an ensemble: the blocks after it then have as many

    The context of a block is the last `task.history` known slabs. Its coordinates along the order axis are relative to its own first token,
    so every block looks like the first one. A value that was not observed where it is asked is not visible in the next block either.
    """
    history, leads = task.history, task.leads
    of_known, of_asked = _slabs_of_question(question, history + leads * blocks)
    known, asked = dict(question.context), dict(question.queries)
    for first in range(0, leads * blocks, leads):
        start = first + history
        context = _within(known, of_known, first, start)
        queries = _within(asked, of_asked, start, start + leads)
        passed = _start(context) - _start(question.context)
        block_question = replace(question, context=_earlier(context, passed), queries=_earlier(queries, passed))
        predictions = answer(block_question)
        yield block_question, predictions
        answered = {name: go_on(name, predictions[name], tokens) for name, tokens in queries.items()}
        samples = max(len(tokens.values) for tokens in answered.values())
        asked = {name: as_many(tokens, samples) for name, tokens in asked.items()}
        known = {name: as_many(tokens, samples) for name, tokens in known.items()}
        for name, tokens in answered.items():
            of_answered = of_asked[name][_between(of_asked[name], start, start + leads)]
            known[name] = concatenate([known[name], tokens])
            of_known[name] = torch.cat([of_known[name], of_answered])


def as_many(tokens: Tokens, samples: int) -> Tokens:
    """The tokens of one sample for each of so many, without a copy; those of as many samples as they are."""
    if len(tokens.values) == samples:
        return tokens
    expand: Callable[[Tensor], Tensor] = lambda part: part.expand(samples, *part.shape[1:])  # noqa: E731
    return tokens.each(expand, expand)


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


def _slabs_of_question(question: Question, slabs: int) -> tuple[Slabs, Slabs]:
    """Which of the window's slabs each visible and each asked token of the asked streams lies in."""
    of_visible: Slabs = {}
    of_asked: Slabs = {}
    for name in question.queries:
        visible = len(question.context[name])
        of_both = _slabs(question, name, slabs)
        of_visible[name], of_asked[name] = of_both[:visible], of_both[visible:]
    return of_visible, of_asked


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


def _within(window: Window, slabs: Slabs, first: int, last: int) -> Window:
    """The tokens of the slabs from `first` up to `last`; a stream without slabs is whole."""
    return {
        name: tokens[_between(slabs[name], first, last)] if name in slabs else tokens for name, tokens in window.items()
    }


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
