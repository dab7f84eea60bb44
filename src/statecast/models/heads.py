"""Families of predictive distributions, with their losses, means and samples.

Axes: B sample, N token, E head member, P value in a token, V category.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from statecast.streams import UNKNOWN

LARGEST_COUNTED = 64  # up to this many members, counting in bytes is faster than sorting
CACHED_VALUES = 2**20  # values scored at once on a CPU: the intermediate tensors stay in the cache
FAIRNESS = 0.0  # of the score in training; head members are not random draws: see docs/decisions/0005


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for the asked tokens of a stream, in the normalised units of the tokens.

    members  head members for the values; None if the stream has only codes or the question does not ask for values
    spread   expected size of each value's departure from its anchor, and the unit of losses; 1 if the anchor is climatology or a first
             guess
    logits   for the categories of a token; for the visible tokens, if the question is which of them belongs at a place; or for a token
             having been replaced (V = 1)
    residual of the velocity of a flow head, in training (`models.flow`); None for other heads
    is_drawn the members are drawn at random, each for all tokens together; otherwise they stand for quantiles of each value
    """

    members: Float[Tensor, "B N E P"] | None = None
    spread: Float[Tensor, "B N #P"] | None = None
    logits: Float[Tensor, "B N V"] | None = None
    residual: Float[Tensor, "B N P"] | None = None
    is_drawn: bool = False

    def mean(self) -> Float[Tensor, "B N P"]:
        """The mean of the head members."""
        assert self.members is not None
        return self.members.mean(dim=-2)


class Head(Protocol):
    """A family of distributions; its loss scales with the unit of the values to the power of `degree`."""

    degree: ClassVar[int]

    @property
    def members(self) -> int: ...

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        """The loss of each value."""
        ...

    def sample(self, members: Float[Tensor, "B N E P"], generator: torch.Generator) -> Float[Tensor, "B N P"]:
        """One value drawn for each, independently of the others."""
        ...


@dataclass(frozen=True)
class PointHead:
    """A single value; the loss is its squared error."""

    members: int = 1
    degree: ClassVar[int] = 2

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        return (members.squeeze(-2) - truth) ** 2

    def sample(self, members: Float[Tensor, "B N E P"], generator: torch.Generator) -> Float[Tensor, "B N P"]:
        """The value itself: there is no distribution to draw from."""
        return members.squeeze(-2)


@dataclass(frozen=True)
class EnsembleHead:
    """K head members, each with its own linear map, trained with the continuous ranked probability score.

    The expected loss is smallest when a fraction F of the truth lies below the member of rank i, with α the fairness:

        F = 1/2 + (2 i - 1 - K) (1 - (1 - α) / K) / (2 (K - 1))

    α = 0: (i - 1/2) / K, a reliable ensemble. α = 1: (i - 1) / (K - 1), with the outermost members at the quantiles 0 and 1, wherever
    these lie: the fair score is meant for members that are drawn at random, not for head members. Bröcker 2012 derives the case α = 0.
    """

    members: int = 16
    fairness: float = FAIRNESS
    degree: ClassVar[int] = 1

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        return almost_fair_crps(members, truth, self.fairness)

    def sample(self, members: Float[Tensor, "B N E P"], generator: torch.Generator) -> Float[Tensor, "B N P"]:
        """The quantile u, with u uniform, interpolated linearly between members: member i is the quantile (i - 1/2) / E."""
        size = members.shape[-2]
        uniform = _uniform(members[..., :1, :], generator)
        at = (uniform * size - 0.5).clamp(0, size - 1)
        below = at.floor().long().clamp(max=size - 2)
        ordered = members.sort(dim=-2).values
        low, high = ordered.gather(-2, below), ordered.gather(-2, below + 1)
        return torch.lerp(low, high, at - below).squeeze(-2)


@dataclass(frozen=True)
class DrawnHead:
    """Members that a flow head draws (`models.flow`), scored with the fair CRPS. Training fits the velocity of the flow instead."""

    members: int = 16
    degree: ClassVar[int] = 1

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        return almost_fair_crps(members, truth, fairness=1.0)

    def sample(self, members: Float[Tensor, "B N E P"], generator: torch.Generator) -> Float[Tensor, "B N P"]:
        """One of the members, the same for all values: they belong together."""
        return members[..., int(torch.randint(members.shape[-2], (), generator=generator, device=generator.device)), :]


def almost_fair_crps(
    members: Float[Tensor, "*B E P"], truth: Float[Tensor, "*B P"], fairness: float
) -> Float[Tensor, "*B P"]:
    """mean_i |x_i - y|  -  (1 - (1 - α) / E) sum_ij |x_i - x_j| / (2 E (E - 1))          Lang et al. 2024, AIFS-CRPS, eq. 4

    α = 1 is the fair score, α = 0 the plain score. In the units of `truth`; 0 is perfect. Raises ValueError for a single member.
    """
    size, values = members.shape[-2:]
    if size < 2:
        raise ValueError("CRPS of an ensemble needs at least 2 members, got 1. Use the point head.")
    return _AlmostFairCRPS.apply(members.reshape(-1, size, values), truth.reshape(-1, values), fairness).view_as(truth)


class _AlmostFairCRPS(torch.autograd.Function):
    """The score from its gradient: it is homogeneous of degree 1 in x - y, so it equals sum_i (x_i - y) ∂score/∂x_i."""

    @staticmethod
    def forward(ctx: Any, members: Tensor, truth: Tensor, fairness: float) -> Tensor:
        size = members.shape[-2]
        weight = (1 - (1 - fairness) / size) / (size * (size - 1))
        score, gradient = torch.empty_like(truth), torch.empty_like(members)
        chunk = max(1, CACHED_VALUES // members.shape[1:].numel()) if members.is_cpu else max(1, len(members))
        parts = (tensor.split(chunk) for tensor in (members, truth, score, gradient))
        for some, their_truth, their_score, their_gradient in zip(*parts, strict=True):
            departure = some - their_truth.unsqueeze(-2)
            torch.sign(departure, out=their_gradient).div_(size).sub_(_lead(some), alpha=weight)
            torch.sum(departure.mul_(their_gradient), dim=-2, out=their_score)
        ctx.save_for_backward(gradient)
        return score

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (gradient,) = ctx.saved_tensors
        of_truth = -gradient.sum(dim=-2) * upstream if ctx.needs_input_grad[1] else None
        return gradient * upstream.unsqueeze(-2), of_truth, None


def _lead(members: Float[Tensor, "N E P"]) -> Float[Tensor, "N E P"]:
    """For each member, the number of members below it minus the number above it: the derivative of sum_ij |x_i - x_j| / 2. Ties are broken.

    The comparison is pairwise, in bytes: about three times as fast as sorting 16 members.
    """
    size = members.shape[-2]
    if size > LARGEST_COUNTED:
        lead = torch.arange(1 - size, size, 2, device=members.device, dtype=members.dtype)[:, None].expand(
            members.shape
        )
        return torch.empty_like(members).scatter_(-2, members.argsort(dim=-2), lead)
    later = torch.arange(size - 1, -1, -1, device=members.device, dtype=torch.int8)
    wins = (
        later[:, None].expand(members.shape).contiguous()
    )  # each member starts with a win over all later ones; a greater later member reverses it below
    for apart in range(1, size):
        won = (members[:, apart:] > members[:, :-apart]).view(torch.int8)
        wins[:, apart:] += won
        wins[:, :-apart] -= won
    return wins.to(members.dtype).mul_(2).sub_(size - 1)


def _uniform(like: Float[Tensor, "*B"], generator: torch.Generator) -> Float[Tensor, "*B"]:
    """Drawn where the generator is, so that one of the CPU gives the same numbers for a model on any device."""
    drawn = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return drawn.to(like.device)


def masked_mean(
    loss: Float[Tensor, "B N P"], observed: Bool[Tensor, "B N P"], weight: Float[Tensor, "B N"] | None = None
) -> Float[Tensor, ""]:
    """Mean over samples of the mean over the observed values of each sample, weighted by `weight`; 0 for a sample with none.

    All samples count equally, so the mean over a batch does not depend on how the batch is divided among processes.
    """
    weights = observed.to(loss.dtype) if weight is None else observed * weight[..., None]
    total_weight = weights.sum((1, 2)).clamp_min(torch.finfo(loss.dtype).tiny)
    of_samples = (loss * weights).sum((1, 2)) / total_weight
    return of_samples.mean()


@dataclass(frozen=True)
class CategoricalHead:
    """A probability for each category: p = softmax(logits)."""

    def loss(self, logits: Float[Tensor, "B N V"], codes: Int[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Cross-entropy -log p(code), the logarithmic score in nats; 0 where the code is `UNKNOWN`."""
        flat = cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none", ignore_index=UNKNOWN)
        return flat.view(codes.shape)

    def sample(
        self,
        logits: Float[Tensor, "*B V"],
        generator: torch.Generator,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> Int[Tensor, "*B"]:
        """Categories drawn from softmax(logits / temperature), restricted to the `top_k` most probable categories if given.

        One uniform number for each draw, by the inverse of the cumulative distribution: `torch.multinomial` draws one for each category.
        A temperature of 0 selects the most probable category. Raises ValueError for a negative temperature or a `top_k` below 1.
        """
        if temperature < 0:
            raise ValueError(f"temperature is {temperature:g}, expected 0 or more.")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}, expected at least 1.")
        if temperature == 0:
            return logits.argmax(dim=-1)
        logits = logits / temperature
        if top_k is not None and top_k < logits.shape[-1]:
            best = logits.topk(top_k, dim=-1)  # of equal ones no more than that
            logits = torch.full_like(logits, -torch.inf).scatter(-1, best.indices, best.values)
        cumulative = logits.flatten(0, -2).softmax(dim=-1).double().cumsum(dim=-1)
        total = cumulative[:, -1:]
        drawn = _uniform(total, generator) * total
        drawn = drawn.minimum(total.nextafter(torch.zeros_like(total)))  # rounding may lift it to the total
        return torch.searchsorted(cumulative, drawn, right=True).view(logits.shape[:-1])


def replaced_loss(logits: Float[Tensor, "B N 1"], codes: Int[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Binary cross-entropy for whether tokens were replaced (code 1) or not (code 0)."""
    return binary_cross_entropy_with_logits(logits[..., 0], codes.clamp(min=0).to(logits.dtype), reduction="none")


def quantiles(heads: Float[Tensor, "*#A K P"], normal: Float[Tensor, "*A P"]) -> Float[Tensor, "*A P"]:
    """The quantile Φ(g) of the head members of each value, with g = `normal`.

    Head members are the quantiles (i - 1/2) / K of each value by itself. The quantile is linear in g between the sorted head members, which
    lie at Φ^-1((i - 1/2) / K), and is extrapolated linearly beyond the outermost two: a normal distribution keeps its tails.
    """
    size = heads.shape[-2]
    if size == 1:
        return heads.squeeze(-2).expand(normal.shape)
    at = torch.from_numpy(ndtri((np.arange(size) + 0.5) / size)).to(normal)
    lower = (torch.bucketize(normal, at) - 1).clamp(0, size - 2)
    of_members = ascending(heads).expand(*normal.shape[:-1], -1, -1)
    below = of_members.gather(-2, lower.unsqueeze(-2)).squeeze(-2)
    above = of_members.gather(-2, lower.unsqueeze(-2) + 1).squeeze(-2)
    share = (normal - at[lower]) / (at[lower + 1] - at[lower])
    return (below + share * (above - below)).to(heads.dtype)


def ascending(heads: Float[Tensor, "*A K P"]) -> Float[Tensor, "*A K P"]:
    """The head members of each value in ascending order. On a CPU NumPy sorts about eight times as fast as torch."""
    if heads.is_cpu and not heads.requires_grad:
        return torch.from_numpy(np.sort(heads.numpy(), axis=-2))
    return heads.sort(dim=-2).values


def make_heads(width: int, sizes: dict[str, int], members: int) -> nn.ModuleDict:
    """For each stream, a linear map from the width to E × P values."""
    return nn.ModuleDict({name: nn.Linear(width, members * size) for name, size in sizes.items()})
