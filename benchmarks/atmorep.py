"""AtmoRep's design, written from its paper for the benchmarks, and questions of random values to time models with. A library, not a script.

Lessig et al. 2023, "AtmoRep: A stochastic model of atmosphere dynamics using large scale representation learning", arXiv 2308.13280.
From it are: every token of the window in every layer, hidden ones as a mask token (BERT); an encoder, and a decoder that reads the
layers of the encoder from the last to the first, as a U-Net does; 16 linear tails, whose outputs are an ensemble; the statistical loss.
Ours are the blocks, the embedding of coordinates and the attention, so that both designs rest on the same kernels. Its several streams
with attention between them (Multiformer) are left out: the questions here are about one stream.

Axes: B sample, N token, Q asked token, E member, P value in a token, W width, C coordinate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from statecast.axes import column_names
from statecast.fields.anchors import FieldSpec
from statecast.fields.tokenizers.fields import solar_time_rad
from statecast.models import ModelOptions, Prediction
from statecast.models.attention import Geometry
from statecast.models.blocks import DecoderBlock, EncoderBlock
from statecast.models.embedding import CoordinateEmbedding
from statecast.models.heads import EnsembleHead, make_heads, masked_mean
from statecast.streams import Question, Tokens, TokenSpec

SMALLEST_STD = 1e-3  # of an ensemble, in normalised units: two tails may agree


class MaskTokenModel(nn.Module):
    """BERT's way: every token, hidden or shown, goes through every layer; hidden ones enter as a learned mask token."""

    def __init__(self, options: ModelOptions, spec: TokenSpec, stream: str) -> None:
        super().__init__()
        width = options.width
        self.stream, self.axes = stream, spec.axes
        self.head = EnsembleHead(options.members)
        self.coordinates = CoordinateEmbedding(width, self.axes)
        self.values = nn.Linear(2 * spec.size, width)
        self.mask = nn.Parameter(torch.zeros(width))
        self.make_blocks(options)
        self.norm = nn.RMSNorm(width)
        self.heads = make_heads(width, {stream: spec.size}, options.members)

    def make_blocks(self, options: ModelOptions) -> None:
        layers = options.encoder_layers + options.decoder_layers
        sizes = (options.width, options.heads, options.mlp_ratio, self.axes)
        self.blocks = nn.ModuleList(EncoderBlock(*sizes) for _ in range(layers))

    def run_blocks(self, tokens: Float[Tensor, "B N W"], where: Geometry) -> Float[Tensor, "B N W"]:
        for block in self.blocks:
            tokens = block(tokens, where)
        return tokens

    def attempt(self, question: Question) -> dict[str, Prediction]:
        return self.answer(question)

    def answer(self, question: Question) -> dict[str, Prediction]:
        """The tails' outputs for the asked tokens; the loss counts in plain units."""
        shown, asked = question.context[self.stream], question.queries[self.stream]
        coords = torch.cat([shown.coords, asked.coords], dim=1)
        seen = shown.observed.to(shown.values.dtype)
        embedded = self.values(torch.cat([shown.values * shown.observed, seen], dim=-1))
        hidden = self.mask.to(embedded.dtype).expand(len(embedded), len(asked), -1)
        tokens = torch.cat([embedded, hidden], dim=1) + self.coordinates(coords)
        tokens = self.run_blocks(tokens.to(coords.dtype), Geometry.of(coords, self.axes))
        decoded = self.norm(tokens[:, len(shown) :])
        members = self.heads[self.stream](decoded).unflatten(-1, (self.head.members, -1)).to(coords.dtype)
        return {self.stream: Prediction(members, torch.ones_like(members[..., 0, :1]))}

    def loss(self, question: Question) -> Float[Tensor, ""]:
        """The score that ours is trained with."""
        asked = question.queries[self.stream]
        members = self.answer(question)[self.stream].members
        return masked_mean(self.head.loss(members, asked.values), asked.observed, asked.weight)


class AtmoRep(MaskTokenModel):
    """The encoder carries all tokens; layer i of the decoder attends to what layer L - i of the encoder made of them."""

    def make_blocks(self, options: ModelOptions) -> None:
        sizes = (options.width, options.heads, options.mlp_ratio, self.axes)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes) for _ in range(options.encoder_layers))
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, 0) for _ in range(options.decoder_layers))

    def run_blocks(self, tokens: Float[Tensor, "B N W"], where: Geometry) -> Float[Tensor, "B N W"]:
        encoded = []
        for block in self.encoder:
            tokens = block(tokens, where)
            encoded.append(tokens)
        for number, block in enumerate(self.decoder):
            tokens = block(tokens, where, None, encoded[-1 - number % len(encoded)], where)
        return tokens

    def loss(self, question: Question) -> Float[Tensor, ""]:
        asked = question.queries[self.stream]
        members = self.answer(question)[self.stream].members
        return masked_mean(statistical_loss(members, asked.values), asked.observed, asked.weight)


def statistical_loss(members: Float[Tensor, "*B E P"], truth: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
    """The distance of the ensemble's normal density at the truth from its largest value, its spread, and the members' squared errors:

        (1 - exp(-(y - m)² / 2 s²))²  +  sqrt(s)  +  mean_i (x_i - y)²          with m and s the members' mean and deviation

    The first two are the paper's statistical loss, the last its squared error over the ensemble.
    """
    mean, std = members.mean(dim=-2), members.std(dim=-2).clamp(min=SMALLEST_STD)
    density = torch.exp(-((truth - mean) / std).square() / 2)
    return (1 - density).square() + std.sqrt() + (members - truth.unsqueeze(-2)).square().mean(dim=-2)


@dataclass(frozen=True)
class Layout:
    """A window of a regular patch grid round the globe.

    grid     time steps, rows and columns of tokens
    hidden   share of the tokens
    asked    share of the hidden ones that is asked
    levels   pressures in hPa; each has tokens of its own
    """

    grid: tuple[int, int, int]
    samples: int
    hidden: float = 0.8
    asked: float = 1.0
    levels: tuple[float, ...] = (700.0,)


def random_question(spec: FieldSpec, layout: Layout, streams: Sequence[str]) -> Question:
    """The same layout with other random values for each stream."""
    generator = torch.Generator().manual_seed(0)
    context, queries = {}, {}
    for name in streams:
        of_levels = [window_coordinates(layout.grid, spec, pressure) for pressure in layout.levels]
        coords = torch.cat(of_levels, dim=1).expand(layout.samples, -1, -1)
        area = torch.cos(torch.deg2rad(coords[..., 0]))
        shape = (layout.samples, coords.shape[1], spec.size)
        values, observed = torch.randn(shape, generator=generator), torch.ones(shape, dtype=torch.bool)
        tokens = Tokens(values, coords, observed, spec, weight=area)
        order = torch.randperm(len(tokens), generator=generator)
        hidden = round(layout.hidden * len(order))
        context[name] = tokens[order[hidden:]]
        queries[name] = tokens[order[: round(layout.asked * hidden)]]
    return Question(context, queries)


def window_coordinates(grid: tuple[int, int, int], spec: FieldSpec, pressure_hpa: float) -> Float[Tensor, "1 N C"]:
    """Of a regular patch grid round the globe at one level."""
    times, rows, columns = grid
    offset, lat, lon = torch.meshgrid(
        torch.arange(times) * 12.0, torch.linspace(-80, 80, rows), torch.linspace(0, 330, columns), indexing="ij"
    )
    of_axes = {
        "latitude_deg": lat,
        "longitude_deg": lon,
        "offset_h": offset,
        "hour_utc": offset % 24,
        "solar_time_rad": solar_time_rad(offset % 24, lon),
        "year_fraction": 0 * lat + 0.3,
        "pressure_hpa": 0 * lat + pressure_hpa,
        "spacing_deg": 0 * lat + 7.5,
    }
    names = column_names(spec.axes)
    return torch.stack([of_axes[name] for name in names], dim=-1).reshape(1, -1, len(names))
