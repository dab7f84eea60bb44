"""How an answer changes with what is shown: its gradient, through every path of the model.

Axes: B sample (1), Q asked token, E member, P value in a token, N shown token.
"""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.models import StateModel
from statecast.streams import Question, Tokens, Window, stack_questions
from statecast.trained import ModelError

Members = Literal["mean"] | int
"""Which answer is meant: the mean of the ensemble, or one of its members by its number."""


def as_batch(question: Question, model: StateModel) -> Question:
    """One sample as a batch, on the model's device and in its precision."""
    weight = next(model.parameters())
    batch = stack_questions([question]).to(weight.device)
    return Question(*({n: _cast(t, weight.dtype) for n, t in part.items()} for part in (batch.context, batch.queries)))


def _cast(tokens: Tokens, dtype: torch.dtype) -> Tokens:
    return replace(tokens, values=tokens.values.to(dtype), coords=tokens.coords.to(dtype))


def chosen(members: Float[Tensor, "B Q E P"], which: Members) -> Float[Tensor, "B Q P"]:
    """The mean over members, or one of them."""
    return members.mean(dim=-2) if which == "mean" else members[..., which, :]


def read_members(text: str) -> Members:
    """`mean`, or the number of a member. Raises ModelError for anything else."""
    if text != "mean" and not text.isdecimal():
        raise ModelError(f"members is {text}, expected mean or the number of one member.")
    return "mean" if text == "mean" else int(text)


def check_which(which: Members, model: StateModel) -> None:
    """Raises ModelError for a member that the model's head has not."""
    if which != "mean" and not 0 <= which < model.head.members:
        raise ModelError(f"members is {which}, expected mean or the number of one, 0 to {model.head.members - 1}.")


def sensitivity(
    model: StateModel, question: Question, value: int, which: Members = "mean"
) -> dict[str, Float[Tensor, "1 N P"]]:
    """Gradient of one value of the one asked token with respect to every value shown, both in normalised units.

        ∂y / ∂x,   y = anchor(x) + spread · f(encoder(x), α)

    with the anchor's path. 0 for what was not observed: the model doesn't read it. One pass forward and back, with the fused
    attention: memory linear in the tokens.
    """
    context = {n: t.replace(t.values.detach().clone().requires_grad_()) for n, t in question.context.items()}
    (said,) = model(context, question.queries).values()
    return gradients(chosen(said.members, which)[0, 0, value], context)


def gradients(answer: Float[Tensor, ""], context: Window) -> dict[str, Float[Tensor, "1 N P"]]:
    """Of a scalar, for the values of each stream; 0 for a stream that has no part in it."""
    found = torch.autograd.grad(answer, [tokens.values for tokens in context.values()], allow_unused=True)
    zeros = (torch.zeros_like(tokens.values) for tokens in context.values())
    pairs = zip(context, found, zeros, strict=True)
    return {name: zero if gradient is None else gradient for name, gradient, zero in pairs}
