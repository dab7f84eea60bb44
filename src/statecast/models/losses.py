"""The loss of a model's answers. Axes: B sample, Q asked token, P value in a token, V category."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.models.heads import Prediction, masked_mean, replaced_loss
from statecast.models.noise_head import NoisyHead, local_loss
from statecast.models.state_model import StateModel
from statecast.streams import UNKNOWN, Asks, Question, Tokens


def question_losses(
    model: StateModel, predictions: Mapping[str, Prediction], question: Question
) -> dict[str, Float[Tensor, ""]]:
    """For each asked stream, the mean loss over its observed values, weighted by `Tokens.weight`.

    The loss of values is in units of `Prediction.spread`, so that short lead times weigh as much as long ones; that of codes is in nats. A
    stream with both has the sum of both losses. Of a flow head it is the mean square of the residual: `predictions` are those of
    `model.attempt`.
    """
    return {
        name: _stream_loss(model, predictions[name], asked, question.asks) for name, asked in question.queries.items()
    }


def _stream_loss(model: StateModel, said: Prediction, asked: Tokens, asks: Asks) -> Float[Tensor, ""]:
    parts = []
    if said.residual is not None:
        parts.append(masked_mean(said.residual.square(), asked.observed, asked.weight))
    elif said.members is not None and said.spread is not None:
        loss = model.head.loss(said.members, asked.values) / said.spread**model.head.degree
        parts.append(masked_mean(loss, asked.observed, asked.weight))
        if isinstance(model.head, NoisyHead) and model.options.noise_local:
            local = local_loss(said.members, asked, said.spread, asked.spec.axes, model.head.fairness)
            parts[0] = parts[0] + model.options.noise_local * local
    if said.logits is not None:
        assert asked.codes is not None
        of_codes = replaced_loss if asks == "replaced" else model.categorical.loss
        known = asked.codes != UNKNOWN
        if asked.present is not None:
            known = known & asked.present
        parts.append(masked_mean(of_codes(said.logits, asked.codes)[..., None], known[..., None], asked.weight))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def question_loss(model: StateModel, predictions: Mapping[str, Prediction], question: Question) -> Float[Tensor, ""]:
    """Mean over streams of `question_losses`."""
    return torch.stack(list(question_losses(model, predictions, question).values())).mean()
