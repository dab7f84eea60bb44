"""How an answer changes with what is shown: its gradient, through every path of the model.

Axes: B sample (1), Q asked token, E member, P value in a token, G value of a first guess, N shown token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.models import StateModel
from statecast.streams import Question, Tokens
from statecast.trained import ModelError

Members = Literal["mean"] | int
"""Which answer is meant: the mean of the ensemble, or one of its members by its number."""


def as_batch(question: Question, model: StateModel) -> Question:
    """One sample as a batch, on the model's device and in its precision."""
    weight = next(model.parameters())
    batch = question.each(_with_sample_axis).to(weight.device)  # without padding: one token is asked
    return batch.each(lambda tokens: _cast(tokens, weight.dtype))


def _with_sample_axis(tokens: Tokens) -> Tokens:
    return tokens.each(lambda part: part[None], lambda part: part[None])


def _cast(tokens: Tokens, dtype: torch.dtype) -> Tokens:
    guess = None if tokens.guess is None else tokens.guess.to(dtype)
    return replace(tokens, values=tokens.values.to(dtype), coords=tokens.coords.to(dtype), guess=guess)


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


@dataclass(frozen=True)
class Sensitivity:
    """Gradient of one value of an answer, all in normalised units.

    shown   for every value that is shown, by stream
    guess   for the first guess that the answer starts from, if there is one
    """

    shown: dict[str, Float[Tensor, "1 N P"]]
    guess: Float[Tensor, "1 1 G"] | None = None


def sensitivity(model: StateModel, question: Question, value: int, which: Members = "mean") -> Sensitivity:
    """Gradient of one value of the one asked token with respect to every value shown, and to its first guess.

        ∂y / ∂x,   y = base(x) + spread · f(encoder(x), α)

    with the path of the base, be it an anchor or a guess. 0 for what was not observed: the model doesn't read it. One pass forward and
    back, with the fused attention: memory linear in the tokens.
    """
    context = {n: t.replace(leaf(t.values)) for n, t in question.context.items()}
    ((stream, asked),) = question.queries.items()
    asked = replace(asked, guess=None if asked.guess is None else leaf(asked.guess))
    (said,) = model(context, {stream: asked}).values()
    guesses = [] if asked.guess is None else [asked.guess]
    found = gradients(chosen(said.members, which)[0, 0, value], [*(t.values for t in context.values()), *guesses])
    return Sensitivity(dict(zip(context, found[: len(context)], strict=True)), found[-1] if guesses else None)


def gradients(answer: Float[Tensor, ""], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Of a scalar for each input; 0 for one that has no part in it."""
    found = torch.autograd.grad(answer, inputs, allow_unused=True)
    return [torch.zeros_like(x) if gradient is None else gradient for x, gradient in zip(inputs, found, strict=True)]


def leaf(tensor: Tensor) -> Tensor:
    """The same values, for which gradients can be taken."""
    return tensor.detach().clone().requires_grad_()
