"""The surprise of what is observed under a prediction, by the family of the prediction.

Axes: B sample, N asked token, E head member, P value in a token, V category.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.models import AS_LEARNED, Draws, Prediction, StateModel, log_likelihood_parts
from statecast.streams import UNKNOWN, Question, Tokens

SMALLEST_SPREAD = 1e-3  # in normalised units: head members that coincide would make any departure infinite
EXACT_VALUES = 64  # of a question to a flow head; for more the trace is estimated
PROBES = 8  # random directions of that estimate
MEASURES = {
    "ensemble": "-log of a normal density with mean and spread of the head members",
    "point": "-log of a normal density about the answer with the anchor's spread: a point head has no distribution of its own",
    "flow": "minus the value's part of the exact log-likelihood of all values asked together",
}
OF_CODES = "-log p(code)"


@dataclass(frozen=True)
class Surprise:
    """Of each asked token, in nats; NaN where nothing was observed or asked.

    of_values  -log p of each value, a density in normalised units
    of_codes   -log p of the code
    expected_of_values  its expectation, were the prediction right; 0 for a flow head, which does not know it. None is subtracted from
                        codes: measured, that hides jets whose particles are all less predictable than those of training
    estimate, spread  of each value, the mean and the standard deviation that the model says; 0 and 1 for a flow head
    """

    of_values: Float[Tensor, "*B N P"]
    of_codes: Float[Tensor, "*B N"]
    expected_of_values: Float[Tensor, "*B N P"]
    estimate: Float[Tensor, "*B N P"]
    spread: Float[Tensor, "*B N P"]


@torch.no_grad()
def question_surprise(model: StateModel, question: Question, draws: Draws = AS_LEARNED) -> dict[str, Surprise]:
    """The surprise of every asked token of a batch of questions, by stream."""
    of_flow = {}
    if model.flow is not None and any(tokens.spec.size for tokens in question.queries.values()):
        count = sum(tokens.values[0].numel() for tokens in question.queries.values())
        of_flow = log_likelihood_parts(model, question, draws, None if count <= EXACT_VALUES else PROBES)
    said = model.answer(question, Draws(members=1, steps=1)) if model.flow is not None else model.answer(question)
    return {name: _of_stream(said[name], asked, of_flow.get(name)) for name, asked in question.queries.items()}


def _of_stream(said: Prediction, asked: Tokens, of_flow: Float[Tensor, "B N P"] | None) -> Surprise:
    estimate, spread = torch.zeros_like(asked.values), torch.ones_like(asked.values)
    if of_flow is not None:
        values, expected = -of_flow, torch.zeros_like(of_flow)
    elif said.members is not None:
        estimate, spread = mean_and_spread(said)
        values, expected = value_surprise(asked.values, estimate, spread)
    else:
        values = expected = estimate
    observed = asked.observed if asked.present is None else asked.observed & asked.present[..., None]
    values = torch.where(observed, values, torch.nan)
    return Surprise(values, _code_surprise(said, asked), expected, estimate, spread)


def mean_and_spread(said: Prediction) -> tuple[Float[Tensor, "B N P"], Float[Tensor, "B N P"]]:
    """Mean and standard deviation of the head members; of a single one, the spread is that of the anchor."""
    assert said.members is not None and said.spread is not None
    mean = said.mean()
    if said.members.shape[-2] == 1:
        return mean, said.spread.expand_as(mean)
    return mean, said.members.std(dim=-2).clamp_min(SMALLEST_SPREAD)


def value_surprise(
    truth: Float[Tensor, "*B"], mean: Float[Tensor, "*B"], spread: Float[Tensor, "*B"]
) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B"]]:
    """-log p(y) of a normal distribution, and its expectation:

    ((y - m) / s)² / 2 + log s + log(2π) / 2,        1/2 + log s + log(2π) / 2
    """
    expected = 0.5 + spread.log() + math.log(2 * math.pi) / 2
    return ((truth - mean) / spread).square() / 2 + expected - 0.5, expected


def _code_surprise(said: Prediction, asked: Tokens) -> Float[Tensor, "B N"]:
    """-log p(code); NaN for no code."""
    if said.logits is None or asked.codes is None:
        return asked.coords.new_full(asked.coords.shape[:-1], torch.nan)
    log_p = said.logits.log_softmax(dim=-1)
    known = asked.codes != UNKNOWN
    if asked.present is not None:
        known = known & asked.present
    nats = -log_p.gather(-1, asked.codes.clamp(min=0)[..., None])[..., 0]
    return torch.where(known, nats, torch.nan)
