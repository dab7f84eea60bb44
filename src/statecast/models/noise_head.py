"""The noise head: members are quantiles of the model along smooth random fields, which the head learns to mix.

    y_m = Q(Φ(B z_m) | d)

where d are the decoded tokens, Q(· | d) the quantiles of the head members, as of an ensemble head, and z_m the noise, which the linear map
B mixes to a quantile level of each value. Context is encoded and decoded once, however many members there are. z_m is a set of smooth
random fields over the axes of the queries, at several scales with learned amplitudes:

    z(x) = a_s sum_f [ p_f cos(ω_f · e(x) / l_s) + q_f sin(ω_f · e(x) / l_s) ] / sqrt(F)        Rahimi & Recht 2007

with ω, p and q standard normal and e(x) the metric vectors of the axes in units of their reach, so that z is correlated as
exp(-|e(x) - e(x')|² / 2 l²). Neighbouring tokens therefore err together, and so do channels and streams.

Axes: B sample, Q asked token, M member, P value in a token, R place in a token, D metric component, S scale, N field of a scale, F wave,
Z feature of the noise, K value of a local mean, C coordinate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from statecast.axes import Axis, metric_vectors
from statecast.models.heads import DrawnHead, almost_fair_crps, masked_mean
from statecast.models.noise import normal
from statecast.streams import Tokens, TokenSpec

SCALES = (0.25, 0.5, 1.0, 2.0)  # of the smooth fields, in units of the reach of each axis: a token, a day
FIELDS = 8  # of each scale
WAVES = 64  # in the sum of a field
NEAR = 0.7  # reach of a local mean, in units of the reach of each axis
OF_WAVES = -4  # in the place of a seed: the waves are the same in every model


@dataclass(frozen=True)
class NoisyHead(DrawnHead):
    """Members told apart by noise, trained with the almost fair CRPS: with the fair one all but one may lie anywhere (Lang et al. 2024)."""

    fairness: float = 0.95

    def loss(self, members: Float[Tensor, "B N E P"], truth: Float[Tensor, "B N P"]) -> Float[Tensor, "B N P"]:
        return almost_fair_crps(members, truth, self.fairness)


class NoiseHead(nn.Module):
    """z and, for each stream with values, B; see the module."""

    def __init__(self, specs: Mapping[str, TokenSpec], axes: Sequence[Axis]) -> None:
        super().__init__()
        self.axes = tuple(axes)
        self.places = max((spec.places for spec in specs.values()), default=1)
        self.amplitude = nn.Parameter(torch.zeros(len(SCALES), FIELDS))  # logarithm
        self.mixing = nn.ModuleDict({name: mixing(spec, self.places) for name, spec in specs.items()})
        self.waves: Tensor
        self.register_buffer("waves", waves_of(self.axes), persistent=False)

    def forward(
        self, name: str, places: Float[Tensor, "B Q R C"], members: Int[Tensor, " M"], seed: Int[Tensor, " B"]
    ) -> Float[Tensor, "B Q M P"]:
        """B z: nearly a standard normal number for each value of the asked tokens of a stream, at `places` along the axes of the model."""
        return self.mixing[name](self.noise(places, members, seed))

    def noise(
        self,
        places: Float[Tensor, "B Q R C"],
        members: Int[Tensor, " M"],
        seed: Int[Tensor, " B"],
    ) -> Float[Tensor, "B Q M Z"]:
        """z of each member: a function of member, place and seed, and of nothing else.

        Members 2i and 2i + 1 have noise of opposite sign: the mean of few members is then nearly that of many.
        """
        field = torch.arange(len(SCALES) * FIELDS, device=seed.device)
        wave = torch.arange(2 * WAVES, device=seed.device)
        pair, sign = members[:, None, None] // 2, 1 - 2 * (members[:, None, None] % 2)
        amounts = sign * normal(seed[:, None, None, None], pair, field[:, None], wave)  # B M SN 2F
        amounts = amounts.unflatten(2, (len(SCALES), FIELDS)) * self.amplitude.exp()[..., None]
        angles = metric_vectors(places, self.axes) @ self.waves.mT  # B Q R F
        parts = []
        for number, scale in enumerate(SCALES):
            waves = torch.cat([(angles / scale).cos(), (angles / scale).sin()], dim=-1) / math.sqrt(WAVES)
            parts.append(torch.einsum("bqrf,bmnf->bqmrn", waves, amounts[:, :, number].to(waves)))
        found = torch.cat(parts, dim=-1)
        return found.expand(*found.shape[:3], self.places, -1).flatten(-2)


def mixing(spec: TokenSpec, places: int) -> nn.Linear:
    """B: at first the quantile level of each channel is a mixture of the fields, averaged over the places of a token."""
    fields = len(SCALES) * FIELDS
    linear = nn.Linear(places * fields, spec.size, bias=False)
    of_channels = torch.randn(spec.dimensions[0], 1, 1, fields) / (places * math.sqrt(fields))
    whole = of_channels.expand(-1, spec.dimensions[1] * spec.dimensions[2], places, -1)
    linear.weight = nn.Parameter(whole.reshape(spec.size, -1).clone())
    return linear


def waves_of(axes: Sequence[Axis]) -> Float[Tensor, "F D"]:
    """ω: standard normal numbers for each component of the metric of each axis, which depend on the name of the axis alone."""
    wave = torch.arange(WAVES)[:, None]
    parts = []
    for axis in axes:
        if axis.of_kind.metric is not None:
            component = torch.arange(axis.of_kind.dimensions)
            parts.append(normal(OF_WAVES, crc32(axis.name.encode()), component, wave))
    return torch.cat(parts, dim=-1)


def local_loss(
    members: Float[Tensor, "B Q M P"],
    asked: Tokens,
    spread: Float[Tensor, "B Q #P"],
    axes: Sequence[Axis],
    fairness: float,
) -> Float[Tensor, ""]:
    """The almost fair CRPS of means over the tokens around each one, at the same position along the order axis, in units of `spread`.

    A mean weighs each observed value as exp(-|e(x) - e(x')|² / 2 l²), for each channel and step of a token; what was not observed enters
    neither the mean of the members nor that of the truth. Members that are right at each point but err independently, or all together, have
    too small, or too large, a spread of such means: a proper score for them, unlike that of points, sees it.
    """
    observed = asked.observed if asked.present is None else asked.observed & asked.present[..., None]
    seen = observed.to(members.dtype)
    near = _nearness(asked, axes)
    of_channels = lambda values: values.unflatten(-1, asked.spec.dimensions).sum(dim=-1).flatten(-2)  # noqa: E731
    count = near @ of_channels(seen)  # B Q K
    total = torch.einsum("bqj,bjmk->bqmk", near, of_channels(members / spread.unsqueeze(-2) * seen.unsqueeze(-2)))
    truth = near @ of_channels(asked.values / spread * seen)
    known = count > 0 if asked.present is None else (count > 0) & asked.present[..., None]
    share = torch.where(known, count, 1.0)
    score = almost_fair_crps(total / share.unsqueeze(-2), truth / share, fairness)
    return masked_mean(score, known, asked.weight)


def _nearness(asked: Tokens, axes: Sequence[Axis]) -> Float[Tensor, "B Q Q"]:
    where = metric_vectors(asked.coords, axes)
    near = (-torch.cdist(where, where).square() / (2 * NEAR**2)).exp()
    order = asked.order()
    return near if order is None else near * _same(order)


def _same(order: Float[Tensor, "B Q"]) -> Bool[Tensor, "B Q Q"]:
    return order[:, :, None] == order[:, None, :]
