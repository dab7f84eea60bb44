"""The family of the predictive distribution, its loss, mean and samples. Axes: B sample, N token, E member, P value in a token."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

FAIRNESS = 0.95  # Lang et al. 2024: just below 1, so that members which all agree are not a degenerate optimum

Prediction = dict[str, Float[Tensor, "B N E P"]]
"""Members of each stream's asked tokens, in the normalised units of the tokens."""


class Head(Protocol):
    """What a model asks of a family of distributions."""

    @property
    def members(self) -> int: ...

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        """The loss of each value."""
        ...


@dataclass(frozen=True)
class PointHead:
    """One value: its squared error."""

    members: int = 1

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        return (members.squeeze(-2) - truth) ** 2


@dataclass(frozen=True)
class EnsembleHead:
    """K members, trained by the almost-fair continuous ranked probability score, a proper score for any number of members."""

    members: int = 16

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        return almost_fair_crps(members, truth)


def almost_fair_crps(
    members: Float[Tensor, "*B E P"], truth: Float[Tensor, "*B P"], fairness: float = FAIRNESS
) -> Float[Tensor, "*B P"]:
    """mean_i |x_i - y|  -  (1 - (1 - α) / E) sum_ij |x_i - x_j| / (2 E (E - 1))          Lang et al. 2024, AIFS-CRPS, eq. 4

    α = 1 is the fair score, α = 0 the plain one. In the units of `truth`; 0 is perfect. Raises ValueError for one member.
    """
    if members.shape[-2] < 2:
        raise ValueError("CRPS of an ensemble needs at least 2 members, got 1. Use the point head.")
    return _AlmostFairCRPS.apply(members, truth, fairness)


class _AlmostFairCRPS(torch.autograd.Function):
    """The sum over pairs is sum_i (2 rank_i - E - 1) x_(i), so one sort gives both the score and its gradient."""

    @staticmethod
    def forward(ctx: Any, members: Tensor, truth: Tensor, fairness: float) -> Tensor:
        size = members.shape[-2]
        ordered, order = members.sort(dim=-2)
        weight = (2 * torch.arange(1, size + 1, device=members.device, dtype=members.dtype) - size - 1) / (
            size * (size - 1)
        )
        weight = (weight * (1 - (1 - fairness) / size))[:, None]
        departure = members - truth.unsqueeze(-2)
        ctx.save_for_backward(departure.sign(), order, weight)
        return departure.abs().mean(dim=-2) - (ordered * weight).sum(dim=-2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        sign, order, weight = ctx.saved_tensors
        accuracy = sign / sign.shape[-2]
        spread = torch.empty_like(accuracy).scatter_(-2, order, weight.expand_as(order))
        return (accuracy - spread) * gradient.unsqueeze(-2), -accuracy.sum(dim=-2) * gradient, None


def masked_mean(
    loss: Float[Tensor, "B N P"], observed: Bool[Tensor, "B N P"], weight: Float[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """Mean over what was observed, weighted by `weight` (the area of the cell). 0 if nothing was."""
    weights = observed * weight[..., None]
    return (loss * weights).sum() / weights.sum().clamp_min(torch.finfo(loss.dtype).tiny)


def make_heads(width: int, sizes: dict[str, int], members: int) -> nn.ModuleDict:
    """For each stream a linear map from the width to E × P values."""
    return nn.ModuleDict({name: nn.Linear(width, members * size) for name, size in sizes.items()})
