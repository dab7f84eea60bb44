"""What an answer starts from: the shown tokens of the same stream and place before and after it.

Axes: B sample, Q asked token, N shown token, K side (the nearest shown token, and the one on its other side in time), C coordinate,
V channel, S time step of a token, R point of a step, W feature.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statecast.models.embedding import duration_features, unit_vectors

SAME_PLACE = (
    1e-11  # squared chord between tokens of one place, 20 m: float32 rounding, below any grid, at the poles too
)
DAY_H, FAR = 24.0, 1e3  # nearness in place counts more than any nearness in time
SHORTEST_H = 1e-3  # below it two tokens are of the same time


@dataclass(frozen=True)
class Neighbours:
    """For each asked token the nearest shown one and, where its place was shown on the other side in time too, the nearest there.

    index       among the shown tokens
    gap_h       hours from the shown to the asked token: negative if it is shown later
    same_place  whether it is at the same place and level; the second of the two always is, where there is one
    enclosed    whether there is a second one
    """

    index: Int[Tensor, "B Q K"]
    gap_h: Float[Tensor, "B Q K"]
    same_place: Bool[Tensor, "B Q K"]
    enclosed: Bool[Tensor, "B Q"]

    @classmethod
    def of(cls, asked: Float[Tensor, "B Q C"], shown: Float[Tensor, "B N C"]) -> "Neighbours":
        """The same place and level first, then time.

        A token at the asked place and time is passed over: it was shown as noise or climatology.
        """
        place = (
            torch.cat([unit_vectors(asked), asked[..., 5:6].log()], dim=-1),
            torch.cat([unit_vectors(shown), shown[..., 5:6].log()], dim=-1),
        )
        chord = torch.cdist(*place, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        hours = asked[..., 2, None] - shown[..., None, :, 2]
        is_here = chord < SAME_PLACE
        is_itself = is_here & (hours.abs() < SHORTEST_H)
        distance = FAR * chord + (hours / DAY_H).abs() - FAR * is_here + FAR**2 * is_itself
        nearest = distance.argmin(dim=-1, keepdim=True)
        is_beyond = is_here & ~is_itself & (hours * hours.gather(-1, nearest) < 0)
        beyond = (distance + FAR**2 * ~is_beyond).argmin(dim=-1, keepdim=True)
        index = torch.cat([nearest, beyond], dim=-1)
        same_place = (is_here & ~is_itself).gather(-1, index)
        enclosed = same_place[..., 0] & is_beyond.gather(-1, beyond)[..., 0]
        return cls(index, hours.gather(-1, index), same_place, enclosed)

    def weights(self) -> Float[Tensor, "B Q K"]:
        """How much each side counts: linear in time between the two, all for the nearest where there is no second."""
        near, beyond = self.gap_h.abs().unbind(dim=-1)
        share = torch.where(self.enclosed, near / (near + beyond).clamp(min=SHORTEST_H), torch.zeros_like(near))
        return torch.stack([1 - share, share], dim=-1)

    def mixed(self, features: Float[Tensor, "B N W"]) -> Float[Tensor, "B Q W"]:
        """Features of the shown tokens at both sides, by their weights."""
        return (self.weights()[..., None] * gather(features, self.index)).sum(dim=-2)

    def lead_features(self) -> Float[Tensor, "B Q W"]:
        """How far in time both sides are and whether they are at the same place, by their weights."""
        features = torch.cat([duration_features(self.gap_h), self.same_place[..., None].to(self.gap_h.dtype)], dim=-1)
        return (self.weights()[..., None] * features).sum(dim=-2)

    def spans(self, rate: Float[Tensor, " V"], depth: int, step_h: float) -> Float[Tensor, "B Q K V S"]:
        """From each step of an asked token to the nearest shown step at each side, in units of the time of decay."""
        step = torch.arange(depth, device=rate.device, dtype=self.gap_h.dtype) * step_h
        from_past, from_future = self.gap_h[..., None] - step[-1] + step, -self.gap_h[..., None] - step
        hours = torch.where(self.gap_h[..., None] > 0, from_past, from_future).abs()  # B Q K S
        return hours[..., None, :] * rate[:, None]

    def damped(
        self, values: Float[Tensor, "B N V S R"], rate: Float[Tensor, " V"], step_h: float
    ) -> Float[Tensor, "B Q V S R"]:
        """The mean of an Ornstein-Uhlenbeck process at each step of an asked token, given the nearest shown step at each side.

        With x the shown values, t and u the hours to them and r the rate of damping,

            x_0 sinh(r u) / sinh(r (t + u)) + x_1 sinh(r t) / sinh(r (t + u))        between two,  exp(-r t) x_0  beside one

        the mean of the process's bridge (Corlay 2013, "Properties of the Ornstein-Uhlenbeck bridge"): linear interpolation for
        r → 0, persistence that decays beside one. 0, the climatology, where the place is not shown.
        """
        shown = gather(values.flatten(-3), self.index).unflatten(-1, values.shape[-3:])
        is_past = (self.gap_h > 0)[..., None, None, None]
        nearest_step = torch.where(is_past, shown[..., -1:, :], shown[..., :1, :])  # B Q K V 1 R
        weights = bridge_weights(self.spans(rate, values.shape[-2], step_h), self.enclosed[..., None, None])
        weights = weights * self.same_place[..., None, None]
        return (weights[..., None] * nearest_step).sum(dim=2)

    def spread(self, rate: Float[Tensor, " V"], depth: int, step_h: float) -> Float[Tensor, "B Q V S"]:
        """The standard deviation of the same process about that mean, in units of its own:

            sqrt((1 - exp(-2 r t)) (1 - exp(-2 r u)) / (1 - exp(-2 r (t + u))))        between two,  sqrt(1 - exp(-2 r t))  beside one

        and 1 where the place is not shown.
        """
        spans = self.spans(rate, depth, step_h)
        near, beyond = (-torch.expm1(-2 * spans)).unbind(dim=2)
        both = near * beyond / (-torch.expm1(-2 * spans.sum(dim=2))).clamp(min=1e-9)
        variance = torch.where(self.enclosed[..., None, None], both, near)
        return torch.where(self.same_place[:, :, 0, None, None], variance.sqrt(), torch.ones_like(variance))


def bridge_weights(spans: Float[Tensor, "B Q K V S"], enclosed: Bool[Tensor, "B Q 1 1"]) -> Float[Tensor, "B Q K V S"]:
    """Weights of both sides, of the spans of time to them in units of the time of decay; the second's is 0 where there is one only.

    sinh(u) / sinh(t + u) = exp(-t) (1 - exp(-2 u)) / (1 - exp(-2 (t + u)))
    """
    has_both = enclosed[:, :, None]
    safe = torch.where(
        has_both, spans, torch.ones_like(spans)
    )  # beside one the sum may be 0, and its gradient no number
    between = torch.expm1(-2 * safe.flip(2)) / torch.expm1(-2 * (safe + safe.flip(2)))
    is_second = torch.arange(2, device=spans.device)[:, None, None] > 0
    alone = torch.where(is_second, 0.0, 1.0)
    return torch.exp(-spans) * torch.where(has_both, between, alone)


def gather(features: Float[Tensor, "B N W"], index: Int[Tensor, "B Q K"]) -> Float[Tensor, "B Q K W"]:
    """Features of the tokens of `index`."""
    flat = index.flatten(1)[..., None].expand(-1, -1, features.shape[-1])
    return features.gather(1, flat).unflatten(1, index.shape[1:])
