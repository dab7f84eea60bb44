"""The model: an encoder over the shown tokens, a decoder that answers the asked ones, each on its own.

Axes: B sample, N shown token, Q asked token, P value in a token, C coordinate, E member, W width.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any, Literal, Self

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from statecast.fields.sources.anomalies import LONGEST_LAG
from statecast.models.anchors import Neighbours, gather, persist
from statecast.models.attention import GEOMETRY_SIZE, Geometry, without_autocast
from statecast.models.blocks import DecoderBlock, EncoderBlock, ModulatedNorm
from statecast.models.embedding import CoordinateEmbedding, duration_features
from statecast.models.heads import FAIRNESS, EnsembleHead, Head, PointHead, Prediction, make_heads, masked_mean
from statecast.streams import SIDES, Question, Tokens, Window

SMALLEST_SPREAD = 0.1  # of an answer about its anchor: what lies an hour off is no more certain than the data
DECAY_H = 40.0  # of anomalies, where the data is not known
LEAD_FEATURES = duration_features(torch.zeros(1)).shape[-1] + 1  # and whether an anchor is at the same place
LEAD_SIZE = 32  # of what the norms of the decoder are told of the way to the anchor
DEFAULT_REACH_DEG = 15.0  # where the size of a token is not known: `trained.build` sets it from the data


class TokenSpec(BaseModel):
    """What a model knows of a stream: the layout of its tokens, never the names of what is in them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: int = Field(ge=1)
    patch: tuple[int, int, int]
    step_h: float = Field(gt=0)
    guessed: bool = False

    @property
    def size(self) -> int:
        """P, values in a token."""
        return self.channels * self.patch[0] * self.points

    @property
    def layout(self) -> tuple[int, int, int]:
        """Channels, time steps and points that the P values are made of."""
        return self.channels, self.patch[0], self.points

    @property
    def points(self) -> int:
        """Of a step of a token."""
        return self.patch[1] * self.patch[2]

    @property
    def guess_size(self) -> int:
        """G, values of a first guess."""
        return SIDES**2 * self.size


class ModelOptions(BaseModel):
    """Sizes of the model and the family of its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(96, ge=16, description="size of a token inside the model")
    encoder_layers: int = Field(2, ge=1, description="blocks over the shown tokens")
    decoder_layers: int = Field(2, ge=1, description="blocks in which asked tokens attend to the shown ones")
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


class Correlation(nn.Module):
    """How long the anomalies of a stream's channels last: their correlation with those so many steps before. It is data, not learned.

    Until `trained.build` puts in what the training period tells, as if they decayed within two days.
    """

    def __init__(self, spec: TokenSpec) -> None:
        super().__init__()
        self.of_lag: Tensor
        decay = torch.exp(-torch.arange(LONGEST_LAG + 1) * spec.step_h / DECAY_H)
        self.register_buffer("of_lag", decay.expand(spec.channels, -1).contiguous())


class StateModel(nn.Module):
    """p(y | x, α): `model(context, queries)` gives a `Prediction` of each asked stream.

    An answer is a departure from its anchor: what the nearest shown values of the same stream and place, before and after, let expect,

        y = anchor(x_before, x_after) + spread · f(encoder(context), α)        (`anchors.Neighbours.krige`; 0 if neither is shown)

    the best linear estimate by how long the anomalies of each channel last: it starts better than persistence, climatology and linear
    interpolation, and the same holds in every task. A stream with a first guess starts from that instead, by a map that is learned for each
    channel from the guess at the token's points and around them to its points: at first the guess itself.
    How far off the anchors are in time scales and shifts an asked token where it enters a layer of the decoder (`blocks.ModulatedNorm`).
    The decoder reads the coordinates of the queries and their first guess, never their values, and asked tokens don't see one another:
    the answer to one doesn't depend on what else is asked.
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
        reach_deg = options.reach_deg or DEFAULT_REACH_DEG
        sizes = (width, options.heads, options.mlp_ratio, reach_deg)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes) for _ in range(options.encoder_layers))
        self.encoder_norm = nn.RMSNorm(width)
        self.anchor = nn.Linear(width, width)
        self.lead = nn.Sequential(nn.Linear(LEAD_FEATURES, LEAD_SIZE), nn.GELU())
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, LEAD_SIZE) for _ in range(options.decoder_layers))
        self.decoder_norm = ModulatedNorm(width, LEAD_SIZE)
        self.heads = make_heads(width, {name: spec.size for name, spec in specs.items()}, self.head.members)
        guessed = {name: spec for name, spec in specs.items() if spec.guessed}
        self.guesses = nn.ModuleDict({name: nn.Linear(spec.guess_size, width) for name, spec in guessed.items()})
        self.guess_map = nn.ParameterDict({name: nn.Parameter(itself(spec)) for name, spec in guessed.items()})
        self.correlation = nn.ModuleDict({name: Correlation(spec) for name, spec in specs.items()})

    def _run(self, block: nn.Module, *inputs: Any) -> Tensor:
        if self.recomputes and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def forward(self, context: Window, queries: Window) -> dict[str, Prediction]:
        """What is said of the asked tokens of each stream. Raises KeyError for a stream that the model does not know."""
        if unknown := sorted({*context, *queries} - set(self.specs)):
            raise KeyError(f"the model has no stream {unknown[0]}. Streams: {', '.join(self.specs)}.")
        encoded, where = self.encode(context)
        sizes = {name: len(tokens) for name, tokens in context.items()}
        firsts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
        answers = {}
        for name, tokens in queries.items():
            span = slice(firsts[name], firsts[name] + sizes[name]) if name in sizes else None
            answers[name] = self._answer(name, tokens, context.get(name), span, encoded, where)
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
        self, name: str, asked: Tokens, shown: Tokens | None, span: slice | None, encoded: Tensor, where: Geometry
    ) -> Prediction:
        coords = asked.coords
        tokens, at = self.coordinates(coords) + self.asked[name], Geometry.of(coords)
        base, spread = torch.zeros_like(coords[..., :1]), torch.ones_like(coords[..., :1])
        lead = coords.new_zeros((*coords.shape[:-1], LEAD_FEATURES))
        if shown is not None and len(shown):
            layout = self.specs[name].layout
            neighbours = Neighbours.of(replace(asked, layout=layout), replace(shown, layout=layout))
            tokens = tokens + self.anchor(neighbours.mixed(encoded[:, span]))
            lead = neighbours.lead_features()
            base, spread = self._anchor(name, shown, neighbours)
        elif asked.guess is not None:
            tokens = tokens + self.guesses[name](asked.guess)
            base = self._mapped_guess(name, asked.guess)
        tokens = tokens.to(coords.dtype)  # what blocks add to stays in full precision
        condition = self.lead(lead)
        for block in self.decoder:
            tokens = self._run(block, tokens, at, condition, encoded, where)
        departures = self.heads[name](self.decoder_norm(tokens, condition)).unflatten(-1, (self.head.members, -1))
        members = torch.addcmul(base.unsqueeze(-2), spread.unsqueeze(-2), departures.to(coords.dtype))
        return Prediction(members, spread)

    def correlation_of(self, name: str) -> Float[Tensor, "V L"]:
        """How long the anomalies of a stream's channels last: a buffer, to be written in place."""
        correlation = self.correlation[name]
        assert isinstance(correlation, Correlation)
        return correlation.of_lag

    def _anchor(
        self, name: str, shown: Tokens, neighbours: Neighbours
    ) -> tuple[Float[Tensor, "B Q P"], Float[Tensor, "B Q P"]]:
        """What shown tokens let expect, and how far an answer is expected to depart from it; climatology and 1 where none was observed."""
        spec = self.specs[name]
        values, observed = (x.unflatten(-1, spec.layout) for x in (shown.values, shown.observed))
        base, spread = neighbours.krige(persist(values, observed), self.correlation_of(name), spec.step_h)
        # a named bound of `clamp` is a number to torch.compile, which then traces all a second time
        spread = torch.where(spread > SMALLEST_SPREAD, spread, SMALLEST_SPREAD)
        seen = (
            gather(observed.any(dim=-2).flatten(-2), neighbours.index).any(dim=-2).unflatten(-1, (spec.channels, 1, -1))
        )
        return base.flatten(-3), torch.where(seen, spread[..., None], 1.0).flatten(-3)

    def _mapped_guess(self, name: str, guess: Float[Tensor, "B Q G"]) -> Float[Tensor, "B Q P"]:
        spec = self.specs[name]
        around = guess.unflatten(-1, (spec.channels, spec.patch[0], -1))
        with without_autocast(guess.device):  # what an answer starts from stays in full precision
            return torch.einsum("bqvsg,vrg->bqvsr", around, self.guess_map[name]).flatten(-3)


def itself(spec: TokenSpec) -> Float[Tensor, "V R G"]:
    """The map from a step of a first guess, with what lies around it, to its own points, for each channel."""
    rows, columns = spec.patch[1:]
    points = torch.zeros(rows, columns, SIDES * rows, SIDES * columns)
    for row in range(rows):
        for column in range(columns):
            points[row, column, rows + row, columns + column] = 1.0
    return points.reshape(1, rows * columns, -1).repeat(spec.channels, 1, 1)


def question_losses(
    model: StateModel, predictions: Mapping[str, Prediction], question: Question
) -> dict[str, Float[Tensor, ""]]:
    """For each asked stream the mean loss over its observed values, weighted by the area of their cells (cosine of latitude).

    In units of `Prediction.spread`, so that hours ahead weigh as much as days.
    """
    losses = {}
    for name, tokens in question.queries.items():
        area = torch.cos(torch.deg2rad(tokens.coords[..., 0]))
        members, spread = predictions[name]
        loss = model.head.loss(members, tokens.values) / spread**model.head.degree
        losses[name] = masked_mean(loss, tokens.observed, area)
    return losses


def question_loss(model: StateModel, predictions: Mapping[str, Prediction], question: Question) -> Float[Tensor, ""]:
    """Mean over streams of `question_losses`."""
    return torch.stack(list(question_losses(model, predictions, question).values())).mean()
