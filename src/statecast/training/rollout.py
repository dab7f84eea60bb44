"""Training through a roll-out: the model's own answer is what it is shown next. Axes: B sample, N token, E member, C coordinate."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from statecast.models.heads import Prediction
from statecast.models.state_model import StateModel, question_losses
from statecast.streams import COORDINATES, Question, Tokens, Window, concatenate
from statecast.tasks import Forecast

OFFSET = COORDINATES.index("offset_h")


def training_losses(
    answer: Callable[[Question], Mapping[str, Prediction]], model: StateModel, question: Question, task: object
) -> dict[str, Tensor]:
    """The loss of each stream in a training step: of one answer, or of a roll-out if the task asks for one."""
    if isinstance(task, Forecast) and task.rollout > 1:
        return unrolled_losses(answer, model, question, task)
    return question_losses(model, answer(question), question)


def unrolled_losses(
    answer: Callable[[Question], Mapping[str, Prediction]], model: StateModel, question: Question, task: Forecast
) -> dict[str, Tensor]:
    """For each stream the mean over blocks of `question_losses`, where block r > 0 is shown the answer to the blocks before it.

    question  what `Forecast` makes for training: the history is shown, the slabs of all `task.rollout` blocks are asked

    The mean of the members is shown, which needs no drawing of random numbers and lets gradients through all blocks (as the roll-outs of
    Lam et al. 2023, GraphCast, section 4.5). The last `task.history` slabs of what is known are the context, counted from their own first
    step: each block looks as the first does. A value that was not observed is not shown where it is answered, either.
    """
    history, leads = task.history, task.leads
    slabs = {name: _slabs(question, name, task.training_slabs) for name in question.queries}
    shown = {name: len(tokens) for name, tokens in question.context.items()}
    known, of_known = dict(question.context), {n: s[: shown[n]] for n, s in slabs.items()}
    of_asked = {n: s[shown[n] :] for n, s in slabs.items()}
    parts: dict[str, list[Tensor]] = {name: [] for name in question.queries}
    for block in range(task.rollout):
        first = block * leads
        context = {n: t[_between(of_known[n], first, first + history)] for n, t in known.items()}
        now = {n: _between(s, first + history, first + history + leads) for n, s in of_asked.items()}
        queries = {n: t[now[n]] for n, t in question.queries.items()}
        hours = _first_hour(context) - _first_hour(question.context)
        block_question = Question(_earlier(context, hours), _earlier(queries, hours))
        predictions = answer(block_question)
        for name, loss in question_losses(model, predictions, block_question).items():
            parts[name].append(loss)
        for name, tokens in queries.items():
            answered = tokens.replace(predictions[name].members.mean(dim=-2).to(tokens.values.dtype))
            known[name] = concatenate([known[name], answered])
            of_known[name] = torch.cat([of_known[name], of_asked[name][now[name]]])
    return {name: torch.stack(losses).mean() for name, losses in parts.items()}


def _slabs(question: Question, name: str, slabs: int) -> Int[Tensor, " N"]:
    """Which of the window's slabs each token lies in, shown ones first; streams with thinner tokens have several a slab."""
    offset = torch.cat([side[name].coords[0, :, OFFSET] for side in (question.context, question.queries)])
    own = torch.unique(offset, return_inverse=True)[1]
    return own * slabs // (int(own.max()) + 1)


def _between(slabs: Int[Tensor, " N"], first: int, last: int) -> Int[Tensor, " M"]:
    return ((slabs >= first) & (slabs < last)).nonzero()[:, 0]


def _first_hour(window: Window) -> float:
    return min(tokens.coords[0, :, OFFSET].min().item() for tokens in window.values())


def _earlier(window: Mapping[str, Tokens], hours: float) -> Window:
    """The same tokens with offsets that are smaller by so many hours; hour of the day and season stay."""
    if hours == 0:
        return dict(window)
    shift = torch.zeros(len(COORDINATES))
    shift[OFFSET] = hours
    return {name: replace(tokens, coords=tokens.coords - shift.to(tokens.coords)) for name, tokens in window.items()}
