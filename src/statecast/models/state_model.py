"""The model: an encoder over the shown tokens, a decoder that answers the asked ones, each on its own.

Axes: B sample, N shown token, Q asked token, P value in a token, C coordinate, E member, W width.
"""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Literal, Self

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from statecast.models.attention import GEOMETRY_SIZE, Geometry
from statecast.models.blocks import Block
from statecast.models.embedding import CoordinateEmbedding, duration_features, unit_vectors
from statecast.models.heads import FAIRNESS, EnsembleHead, Head, PointHead, Prediction, make_heads, masked_mean
from statecast.streams import Question, Tokens, Window

DEFAULT_REACH_DEG = 15.0  # where the size of a token is not known: `trained.build` sets it from the data
SAME_PLACE = (
    1e-11  # squared chord between tokens of one place, 20 m: float32 rounding, below any grid, at the poles too
)


class TokenSpec(BaseModel):
    """What a model knows of a stream: the layout of its tokens, never the names of what is in them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(ge=1)
    patch: tuple[int, int, int]
    step_h: float = Field(gt=0)

    @property
    def size(self) -> int:
        """P, values in a token."""
        return self.channels * self.patch[0] * self.patch[1] * self.patch[2]


class ModelOptions(BaseModel):
    """Sizes of the model and the family of its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(128, ge=16, description="size of a token inside the model")
    encoder_layers: int = Field(3, ge=1, description="blocks over the shown tokens")
    decoder_layers: int = Field(1, ge=1, description="blocks in which asked tokens attend to the shown ones")
    heads: int = Field(4, ge=1, description="attention heads; width / heads must exceed 8")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden size of the perceptrons over the width")
    head: Literal["ensemble", "point"] = Field("ensemble", description="family of the answer")
    members: int = Field(16, ge=2, description="members of the ensemble head")
    fairness: float = Field(
        FAIRNESS,
        ge=0,
        le=1,
        description="of the ensemble's CRPS: 0 makes members quantiles, 0.95 is almost fair (AIFS-CRPS), 1 is fair",
    )
    reach_deg: float | None = Field(
        None, gt=0, description="distance that attention starts with, in degrees; none: the size of a token"
    )

    @model_validator(mode="after")
    def _heads_hold_the_geometry(self) -> Self:
        if self.width % self.heads or self.width // self.heads <= GEOMETRY_SIZE:
            raise ValueError(
                f"width {self.width} with {self.heads} heads: expected a multiple of the heads, "
                f"with more than {GEOMETRY_SIZE} a head. Choose another width, or other heads."
            )
        return self

    def make_head(self) -> Head:
        return EnsembleHead(self.members, self.fairness) if self.head == "ensemble" else PointHead()


class StateModel(nn.Module):
    """p(y | x, α): `model(context, queries)` gives members for each asked token.

    An answer is a departure from its anchor: the nearest shown value of the same stream and place, damped by the time between,

        y = exp(-r_channel |Δt|) · anchor + f(encoder(context), α)        (anchor 0, the climatology, if the place is not shown)

    with r learned for each channel: it starts better than persistence and climatology, and the same holds in every task.
    The decoder reads the coordinates of the queries, never their values, and asked tokens don't see one another: the answer to one
    doesn't depend on what else is asked.
    """

    def __init__(self, options: ModelOptions, specs: Mapping[str, TokenSpec]) -> None:
        super().__init__()
        self.options, self.specs = options, dict(specs)
        self.recomputes = False  # what is inside the blocks, on the way back, instead of keeping it
        self.head = options.make_head()
        width = options.width
        self.coordinates = CoordinateEmbedding(width)
        self.values = nn.ModuleDict({name: nn.Linear(2 * spec.size, width) for name, spec in specs.items()})
        self.asked = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in specs})
        self.encoder = nn.ModuleList(self._block(crosses=False) for _ in range(options.encoder_layers))
        self.encoder_norm = nn.RMSNorm(width)
        self.anchor = nn.Linear(width, width)
        self.lead = nn.Linear(duration_features(torch.zeros(1)).shape[-1] + 1, width)
        self.decoder = nn.ModuleList(self._block(crosses=True) for _ in range(options.decoder_layers))
        self.decoder_norm = nn.RMSNorm(width)
        self.heads = make_heads(width, {name: spec.size for name, spec in specs.items()}, self.head.members)
        self.log_damping = nn.ParameterDict(
            {name: nn.Parameter(torch.full((spec.channels,), -3.7)) for name, spec in specs.items()}
        )

    def _block(self, *, crosses: bool) -> Block:
        options = self.options
        reach_deg = options.reach_deg or DEFAULT_REACH_DEG
        return Block(options.width, options.heads, options.mlp_ratio, reach_deg, crosses=crosses)

    def _run(self, block: nn.Module, *inputs: Any) -> Tensor:
        if self.recomputes and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def forward(self, context: Window, queries: Window) -> Prediction:
        """Members of the asked tokens, in normalised units. Raises KeyError for a stream that the model does not know."""
        if unknown := sorted({*context, *queries} - set(self.specs)):
            raise KeyError(f"the model has no stream {unknown[0]}. Streams: {', '.join(self.specs)}.")
        encoded, where = self.encode(context)
        sizes = {name: len(tokens) for name, tokens in context.items()}
        firsts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
        answers = {}
        for name, tokens in queries.items():
            span = slice(firsts[name], firsts[name] + sizes[name]) if name in sizes else None
            answers[name] = self._answer(name, tokens.coords, context.get(name), span, encoded, where)
        return answers

    def encode(self, context: Window) -> tuple[Float[Tensor, "B N W"], Geometry]:
        """The shown tokens of all streams, after the encoder, and where they are."""
        coords = torch.cat([tokens.coords for tokens in context.values()], dim=1)
        embedded = [
            self.values[name](torch.cat([t.values * t.observed, t.observed.to(t.values.dtype)], dim=-1))
            for name, t in context.items()
        ]
        encoded = (torch.cat(embedded, dim=1) + self.coordinates(coords)).to(coords.dtype)  # autocast or not
        where = Geometry.of(coords)
        for block in self.encoder:
            encoded = self._run(block, encoded, where)
        return self.encoder_norm(encoded), where

    def _answer(
        self, name: str, coords: Tensor, shown: Tokens | None, span: slice | None, encoded: Tensor, where: Geometry
    ) -> Float[Tensor, "B Q E P"]:
        tokens, at = self.coordinates(coords) + self.asked[name], Geometry.of(coords)
        base: Tensor | float = 0.0
        if shown is not None and len(shown):
            index, same_place, gap_h = nearest_shown(coords, shown.coords)
            near = encoded[:, span].gather(1, index[..., None].expand(-1, -1, encoded.shape[-1]))
            lead = torch.cat([duration_features(gap_h), same_place[..., None].to(coords.dtype)], dim=-1)
            tokens = tokens + self.anchor(near) + self.lead(lead)
            base = self._damped_anchor(name, shown, index, same_place, gap_h).unsqueeze(-2)
        tokens = tokens.to(coords.dtype)  # what blocks add to stays in full precision
        for block in self.decoder:
            tokens = self._run(block, tokens, at, encoded, where)
        departures = self.heads[name](self.decoder_norm(tokens)).unflatten(-1, (self.head.members, -1))
        return base + departures.to(coords.dtype)

    def _damped_anchor(
        self, name: str, shown: Tokens, index: Tensor, same_place: Tensor, gap_h: Tensor
    ) -> Float[Tensor, "B Q P"]:
        """The nearest step of the nearest shown token of the same place, damped by the time to each step of the asked token."""
        spec = self.specs[name]
        depth = spec.patch[0]
        values = (shown.values * shown.observed).gather(1, index[..., None].expand(-1, -1, spec.size))
        values = values.unflatten(-1, (spec.channels, depth, -1))
        is_past = (gap_h > 0)[..., None, None, None]
        nearest_step = torch.where(is_past, values[..., -1:, :], values[..., :1, :])
        step = torch.arange(depth, device=values.device, dtype=values.dtype) * spec.step_h
        from_past, from_future = gap_h[..., None] - step[-1] + step, -gap_h[..., None] - step
        hours = torch.where(gap_h[..., None] > 0, from_past, from_future).abs()
        damping = torch.exp(-hours[..., None, :] * self.log_damping[name].exp()[:, None])
        return (nearest_step * damping[..., None] * same_place[..., None, None, None]).flatten(-3)


def nearest_shown(
    asked: Float[Tensor, "B Q C"], shown: Float[Tensor, "B N C"]
) -> tuple[Int[Tensor, "B Q"], Float[Tensor, "B Q"], Float[Tensor, "B Q"]]:
    """For each asked token the shown token of the same stream that is nearest: the same place and level first, then time.

    A token at the asked place and time is passed over: it was shown as noise or climatology. Returns its index, whether it is at the
    same place and level, and the hours from it to the asked token.
    """
    day_h, far = 24.0, 1e3
    place = (
        torch.cat([unit_vectors(asked), asked[..., 5:6].log()], dim=-1),
        torch.cat([unit_vectors(shown), shown[..., 5:6].log()], dim=-1),
    )
    chord = torch.cdist(*place, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    hours = asked[..., 2, None] - shown[..., None, :, 2]
    is_here = chord < SAME_PLACE
    is_itself = is_here & (hours.abs() < 1e-3)
    distance = far * chord + (hours / day_h).abs() - far * is_here + far**2 * is_itself
    index = distance.argmin(dim=-1)
    same_place = (is_here & ~is_itself).gather(-1, index[..., None]).squeeze(-1)
    return index, same_place, hours.gather(-1, index[..., None]).squeeze(-1)


def question_losses(head: Head, prediction: Prediction, question: Question) -> dict[str, Float[Tensor, ""]]:
    """For each asked stream the mean loss over its observed values, weighted by the area of their cells (cosine of latitude)."""
    losses = {}
    for name, tokens in question.queries.items():
        area = torch.cos(torch.deg2rad(tokens.coords[..., 0]))
        losses[name] = masked_mean(head.loss(prediction[name], tokens.values), tokens.observed, area)
    return losses


def question_loss(model: StateModel, prediction: Prediction, question: Question) -> Float[Tensor, ""]:
    """Mean over streams of `question_losses`."""
    return torch.stack(list(question_losses(model.head, prediction, question).values())).mean()
