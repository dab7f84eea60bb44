"""What answers about fields start from: the best linear estimate from the nearest visible tokens of the same place, or a first guess.

Axes: B sample, Q asked token, N visible token, K side (the nearest visible token, and the one on its other side in time), C coordinate,
V channel, S time step of a token, R point of a step, M = K × S known step, L lag in steps, W feature, G value of a first guess.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from statecast.axes import Axis, column_names, duration_features, unit_vectors
from statecast.fields.streams import SIDES
from statecast.models.anchors import Anchored, neutral
from statecast.models.attention import without_autocast
from statecast.streams import Tokens, TokenSpec

SAME_PLACE = (
    1e-11  # squared chord between tokens of one place, 20 m: float32 rounding, below any grid, at the poles too
)
DAY_H, FAR = 24.0, 1e3  # nearness in place counts more than any nearness in time
RIDGE = 1e-4  # of the variance: what a known value errs by, and what keeps equal ones apart
SHORTEST_H = 1e-3  # below it two tokens are of the same time
LONGEST_LAG = 64  # steps: longer than any window that a laptop trains on
SMALLEST_SPREAD = 0.1  # of an answer about its anchor: what lies an hour off is no more certain than the data
DECAY_H = 40.0  # of anomalies, where the data is not known


@dataclass(frozen=True)
class Neighbours:
    """For each asked token the nearest shown one and, where its place was shown on the other side in time too, the nearest there.

    index       among the shown tokens
    gap_h       hours from the shown to the asked token: negative if it is shown later
    same_place  whether it is at the same place and level; the second of the two always is, where there is one
    enclosed    whether there is a second one
    known       the steps of both that say something of the asked token: those that were observed, at its place
    """

    index: Int[Tensor, "B Q K"]
    gap_h: Float[Tensor, "B Q K"]
    same_place: Bool[Tensor, "B Q K"]
    enclosed: Bool[Tensor, "B Q"]
    known: Bool[Tensor, "B Q K S"]

    @classmethod
    def of(cls, asked: Tokens, shown: Tokens, *, causal: bool = False) -> "Neighbours":
        """The same place and level first, then time; if `causal`, none that is not earlier.

        A token at the asked place and time is passed over if it shows a step that is asked: it was shown as noise or climatology. If it
        shows others it is the nearest, and the second is the next one on the side on which most of the asked steps lie.
        """
        here, there = _places(asked), _places(shown)
        chord = torch.cdist(here, there, compute_mode="donot_use_mm_for_euclid_dist") ** 2
        hours = asked.coordinate("offset_h")[..., None] - shown.coordinate("offset_h")[..., None, :]
        shown_steps, asked_steps = shown.steps(), asked.steps()
        is_here = chord < SAME_PLACE
        if shown.present is not None:
            is_here = is_here & shown.present[..., None, :]
        if causal:
            is_here = is_here & (hours > SHORTEST_H)
        is_itself = is_here & (hours.abs() < SHORTEST_H)
        of_itself = gather(shown_steps, is_itself.int().argmax(dim=-1, keepdim=True))[..., 0, :]
        in_part = is_itself.any(dim=-1) & of_itself.any(dim=-1) & ~(of_itself & asked_steps).any(dim=-1)
        is_passed_over = is_itself & ~in_part[..., None]
        distance = FAR * chord + (hours / DAY_H).abs() - FAR * is_here + FAR**2 * is_passed_over
        if shown.present is not None:  # padding is no neighbour
            distance = distance + FAR**3 * ~shown.present[..., None, :]
        if causal:
            distance = distance + FAR**2 * (hours <= SHORTEST_H)
        nearest = distance.argmin(dim=-1, keepdim=True)
        side = torch.where(in_part[..., None], _side(asked_steps, of_itself)[..., None], hours.gather(-1, nearest))
        is_beyond = is_here & ~is_itself & (hours * side < 0)
        beyond = (distance + FAR**2 * ~is_beyond).argmin(dim=-1, keepdim=True)
        index = torch.cat([nearest, beyond], dim=-1)
        same_place = (is_here & ~is_passed_over).gather(-1, index)
        enclosed = same_place[..., 0] & is_beyond.gather(-1, beyond)[..., 0]
        counts = torch.stack([same_place[..., 0], enclosed], dim=-1)
        known = gather(shown_steps, index) & counts[..., None]
        return cls(index, hours.gather(-1, index), same_place, enclosed, known)

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

    def krige(
        self,
        values: Float[Tensor, "B N V S R"],
        correlation: Float[Tensor, "V L"],
        step_h: float,
        observed: Bool[Tensor, "B N V S"] | None = None,
    ) -> tuple[Float[Tensor, "B Q V S R"], Float[Tensor, "B Q V S"]]:
        """The best linear estimate of each asked value from all steps of both shown tokens at its point, and the deviation left about it.

            sum_m w_m x_m        and        sqrt(1 - w · c), in units of the values' standard deviation

        where the weights solve

            (C + ε) w = c        with C the correlation of the known steps with one another, c that with the asked step

        (simple kriging; Gandin 1963, "Objective analysis of meteorological fields"), for each channel and asked step. With steps of one
        time it is damped persistence, with two it goes on with the tendency, between two sides it interpolates. Steps at which nothing was
        observed don't count, nor, for a channel, those at which it was not `observed` (None: it was wherever another one was). 0 and 1, the
        climatology, where the place is not shown.
        """
        shown = gather(values.flatten(-3), self.index).unflatten(-1, values.shape[-3:])  # B Q K V S R
        known = shown.transpose(2, 3).flatten(3, 4)  # B Q V M R
        weights, with_asked = self._weights(correlation, step_h, observed)
        estimate = (weights[..., None] * known[:, :, :, None]).sum(dim=-2)
        return estimate, (1 - (weights * with_asked).sum(dim=-1)).clamp(min=0).sqrt()

    def _weights(
        self, correlation: Float[Tensor, "V L"], step_h: float, observed: Bool[Tensor, "B N V S"] | None
    ) -> tuple[Float[Tensor, "B Q V S M"], Float[Tensor, "B Q V S M"]]:
        """The weight of each known step for each asked one, and the correlation of the two; both 0 for what does not count."""
        step = torch.arange(self.known.shape[-1], device=self.gap_h.device, dtype=self.gap_h.dtype)
        at = (step - self.gap_h[..., None] / step_h).flatten(2)  # B Q M, in steps from the first asked one
        counts = self.known.flatten(2)  # B Q M, or V B Q M
        if observed is not None:
            of_channels = gather(observed.flatten(-2), self.index).unflatten(-1, observed.shape[-2:])  # B Q K V S
            counts = counts & of_channels.permute(3, 0, 1, 2, 4).flatten(3)
        among = _at_lag(correlation, at[..., None] - at[..., None, :])  # V B Q M M
        both = counts[..., None] & counts[..., None, :]
        alone = torch.eye(at.shape[-1], device=at.device, dtype=at.dtype)
        with_asked = _at_lag(correlation, at[..., None] - step) * counts[..., None]  # V B Q M S
        matrices = (
            torch.where(both, among, alone) + RIDGE * alone
        )  # never singular: `solve` would wait for a GPU to tell
        weights, _ = torch.linalg.solve_ex(matrices, with_asked)
        return weights.permute(1, 2, 0, 4, 3), with_asked.permute(1, 2, 0, 4, 3)


def _places(tokens: Tokens) -> Float[Tensor, "B N 4"]:
    """Unit vector and log pressure."""
    return torch.cat([unit_vectors(tokens.along("place")), tokens.along("pressure_hpa").log()], dim=-1)


def _side(asked: Bool[Tensor, "B Q S"], known: Bool[Tensor, "B Q S"]) -> Float[Tensor, "B Q"]:
    """1 where most of the asked steps lie after the known ones of the same token, else -1."""
    step = torch.arange(known.shape[-1], device=known.device, dtype=torch.float32)
    mean_of = lambda steps: (steps * step).sum(dim=-1) / steps.sum(dim=-1).clamp(min=1)  # noqa: E731
    return torch.where(mean_of(asked) < mean_of(known), -1.0, 1.0)


def persist(values: Float[Tensor, "*B S R"], observed: Bool[Tensor, "*B S R"]) -> Float[Tensor, "*B S R"]:
    """The values, where a step was not observed that of the nearest step of the token before it, else after it; 0 where none was.

    A tendency that is told from a step that is not there would be none.
    """
    steps = list((values * observed).unbind(dim=-2))
    known = list(observed.unbind(dim=-2))
    order = range(len(steps))
    for i, before in [*zip(order[1:], order[:-1], strict=True), *zip(order[-2::-1], order[:0:-1], strict=True)]:
        steps[i] = torch.where(known[i], steps[i], steps[before])
        known[i] = known[i] | known[before]
    return torch.stack(steps, dim=-2)


def _at_lag(correlation: Float[Tensor, "V L"], steps: Float[Tensor, " *B"]) -> Float[Tensor, "V *B"]:
    """Correlation so many steps apart, linear between whole ones; beyond the longest lag that is known it stays as it is there."""
    apart = steps.abs().clamp(max=correlation.shape[1] - 1)
    below = apart.floor().long().clamp(max=max(0, correlation.shape[1] - 2))
    above = (below + 1).clamp(max=correlation.shape[1] - 1)
    return torch.lerp(correlation[:, below], correlation[:, above], apart - below)


def gather(features: Float[Tensor, "B N W"], index: Int[Tensor, "B Q K"]) -> Float[Tensor, "B Q K W"]:
    """Features of the tokens of `index`."""
    flat = index.flatten(1)[..., None].expand(-1, -1, features.shape[-1])
    return features.gather(1, flat).unflatten(1, index.shape[1:])


@dataclass(frozen=True)
class FieldSpec(TokenSpec):
    """What a model knows of a stream of fields: also the hours between steps, the rows of a token, and whether each level has its own."""

    step_h: float = 6.0
    rows: int = 1
    levels_apart: bool = False

    def is_like(self, other: TokenSpec) -> bool:
        own = isinstance(other, FieldSpec) and (self.rows, self.levels_apart) == (other.rows, other.levels_apart)
        return own and super().is_like(other)

    @property
    def columns(self) -> int:
        return self.dimensions[2] // self.rows

    @property
    def places(self) -> int:
        return 4

    def inside(self, coords: Float[Tensor, "*B N C"]) -> Float[Tensor, "*B N R C"]:
        """The centres of the quarters of a token: the points of one of 2 × 2."""
        names = column_names(self.axes)
        spacing = coords[..., names.index("spacing_deg")]
        parts = []
        for row, column in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            moved = coords.clone()
            moved[..., names.index("latitude_deg")] += row * self.rows / 4 * spacing
            moved[..., names.index("longitude_deg")] += column * self.columns / 4 * spacing
            parts.append(moved)
        return torch.stack(parts, dim=-2)

    @property
    def lead_features(self) -> int:
        return FieldAnchor.lead_features

    def anchor_flops(self, tokens: int, width: int, *, has_visible: bool) -> int:
        if has_visible:
            return 6 * tokens * width**2
        points = self.dimensions[2]
        return 4 * tokens * (self.guess_size * width + (self.size * SIDES**2 * points if self.guess_size else 0))

    def make_anchor(self, width: int) -> nn.Module:
        return FieldAnchor(self, width)


def field_spec(
    channels: int,
    patch: tuple[int, int, int],
    step_h: float,
    token_deg: float,
    *,
    guessed: bool = False,
    levels_apart: bool = False,
) -> FieldSpec:
    """The spec of tokens of so many channels. `token_deg` is the height of a token, the size of spots that attention starts with."""
    steps, rows, columns = patch
    size = channels * steps * rows * columns
    return FieldSpec(
        size=size,
        axes=field_axes(token_deg),
        order="time",
        layout=(channels, steps, rows * columns),
        guess_size=SIDES**2 * size if guessed else 0,
        step_h=step_h,
        rows=rows,
        levels_apart=levels_apart,
    )


def field_axes(token_deg: float) -> tuple[Axis, ...]:
    """The axes of a token of fields, all of its centre."""
    return (
        Axis("place", "sphere", "degree", token_deg),
        Axis("time", "time", "h"),
        Axis("pressure_hpa", "level", "hPa"),
        Axis("spacing_deg", "scale", "degree"),
    )


class FieldAnchor(nn.Module):
    """The anchor of a stream of fields.

    Where tokens of the stream are visible: the best linear estimate from the nearest ones of the same place, before and after
    (`Neighbours.krige`), by how long the anomalies of each channel last. It starts better than persistence, climatology and linear
    interpolation, and the same holds in every task. Else, of a stream with a first guess: that guess, by a map that is learned for each
    channel from the guess at the token's points and around them to its points; at first the guess itself. Else climatology.

    of_lag  correlation of the anomalies of each channel with those so many steps before. It is data, not learned; until
            `FieldTokenizer` puts in what the training period says, as if anomalies decayed within two days
    """

    channel_axes: ClassVar[dict[str, int]] = {"of_lag": 0, "guess.weight": 1, "guess_map": 0}  # for transfer
    lead_features: ClassVar[int] = (
        duration_features(torch.zeros(1)).shape[-1] + 1
    )  # and whether the anchor is at the same place

    def __init__(self, spec: FieldSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        if spec.guess_size:
            self.guess = nn.Linear(spec.guess_size, width)
            self.guess_map = nn.Parameter(identity_map(spec))
        self.of_lag: Tensor
        decay = torch.exp(-torch.arange(LONGEST_LAG + 1) * spec.step_h / DECAY_H)
        self.register_buffer("of_lag", decay.expand(spec.dimensions[0], -1).contiguous())

    def forward(
        self, asked: Tokens, shown: Tokens | None, encoded: Float[Tensor, "B N W"] | None, *, causal: bool
    ) -> Anchored:
        if shown is not None and encoded is not None and len(shown):
            return self._from_neighbours(asked, shown, encoded, causal=causal)
        found = neutral(asked, self.lead_features)
        if asked.guess is None:
            return found
        return found._replace(base=self._mapped(asked.guess), hint=self.guess(asked.guess))

    def _from_neighbours(
        self, asked: Tokens, shown: Tokens, encoded: Float[Tensor, "B N W"], *, causal: bool
    ) -> Anchored:
        neighbours = Neighbours.of(asked, shown, causal=causal)
        values, observed = (x.unflatten(-1, self.spec.dimensions) for x in (shown.values, shown.observed))
        base, spread = neighbours.krige(persist(values, observed), self.of_lag, self.spec.step_h, observed.any(dim=-1))
        # a named bound of `clamp` is a number to torch.compile, which then traces all a second time
        spread = torch.where(spread > SMALLEST_SPREAD, spread, SMALLEST_SPREAD)
        seen = gather(observed.any(dim=-2).flatten(-2), neighbours.index).any(dim=-2)
        seen = seen.unflatten(-1, (self.spec.dimensions[0], 1, -1))
        of_values = torch.where(seen, spread[..., None], 1.0).flatten(-3)
        neighbour = neighbours.mixed(encoded)
        if causal:  # where nothing is earlier, the nearest token is not
            neighbour = neighbour * (neighbours.gap_h[..., :1] > SHORTEST_H)
        if shown.present is not None:  # a sample may show no token of the stream
            neighbour = neighbour * shown.present.any(dim=-1)[..., None, None]
        return Anchored(base.flatten(-3), of_values, neighbours.lead_features(), neighbour)

    def _mapped(self, guess: Float[Tensor, "B Q G"]) -> Float[Tensor, "B Q P"]:
        channels, steps, _ = self.spec.dimensions
        around = guess.unflatten(-1, (channels, steps, -1))
        with without_autocast(guess.device):  # what an answer starts from stays in full precision
            return torch.einsum("bqvsg,vrg->bqvsr", around, self.guess_map).flatten(-3)


def identity_map(spec: FieldSpec) -> Float[Tensor, "V R G"]:
    """The map from a step of a first guess, with what lies around it, to its own points, for each channel."""
    rows, columns = spec.rows, spec.columns
    points = torch.zeros(rows, columns, SIDES * rows, SIDES * columns)
    for row in range(rows):
        for column in range(columns):
            points[row, column, rows + row, columns + column] = 1.0
    return points.reshape(1, rows * columns, -1).repeat(spec.dimensions[0], 1, 1)
