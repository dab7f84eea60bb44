"""The model: an encoder of the visible tokens and a decoder that answers each asked token independently.

Axes: B sample, N visible token, Q asked token, P value in a token, V category, C coordinate, E head member, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from statecast.axes import Axis, in_space, united
from statecast.models.anchors import Anchored, neutral
from statecast.models.attention import Geometry
from statecast.models.blocks import DecoderBlock, EncoderBlock, ModulatedNorm
from statecast.models.drawing import AS_LEARNED, Draws, DrawsError
from statecast.models.embedding import CoordinateEmbedding
from statecast.models.flow import IN_TRAINING
from statecast.models.heads import (
    CategoricalHead,
    Prediction,
    make_heads,
    quantiles,
)
from statecast.models.hugging_face import EncoderError, encoder_files
from statecast.models.joint import Decoded, Joint
from statecast.models.noise import hashed
from statecast.models.options import ModelOptions
from statecast.models.pretrained import PretrainedEncoder
from statecast.models.visibility import present_or_none, rank_of, ranks, visible_keys
from statecast.streams import UNKNOWN, Asks, Question, Tokens, TokenSpec, Window, unobserved

LEAD_SIZE = 32  # size of the embedded distance to the anchor, the condition of the decoder's norms


@dataclass(frozen=True)
class Encoded:
    """The visible tokens of all streams after the encoder.

    where    positions of the tokens
    spans    slice of the tokens of each stream
    present  False for padding; None if there is none
    rank     position along the order axis, -inf for tokens without one; None unless the question is causal
    """

    tokens: Float[Tensor, "B N W"]
    where: Geometry
    spans: Mapping[str, slice]
    present: Bool[Tensor, "B N"] | None = None
    rank: Float[Tensor, "B N"] | None = None


class StateModel(nn.Module):
    """p(y | x, α): `model.answer(question)` returns a `Prediction` for each asked stream.

    An answer for values is a departure from its anchor,

        y = base + spread · f(encoder(context), α)        (`anchors.Anchored`; 0 and 1 for a stream without one)

    and an answer for codes is a probability of each category. The distance to the anchor scales and shifts an asked token at the input of
    each layer of the decoder (`blocks.ModulatedNorm`). The decoder reads the coordinates of the queries and their first guess, but never
    their values. Asked tokens do not attend to one another: an answer does not depend on what else is asked. In a causal question, the same
    weights answer all positions of a sequence at once, with a mask that lets each token see only what comes before it.

    Which visible token belongs at an asked place, and whether a token was replaced, is answered by the inner product of the decoded query
    and the encoded token, d · h / sqrt(W), which needs no further weights.
    """

    def __init__(
        self, options: ModelOptions, specs: Mapping[str, TokenSpec], axes: tuple[Axis, ...] | None = None
    ) -> None:
        """`axes`: those of the model that fine-tuning starts from, if any.

        Raises ValueError if heads are too small for the axes, EncoderError for a Hugging Face encoder that can't be had.
        """
        super().__init__()
        self.options, self.specs = options, dict(specs)
        self.axes = _with_reach(united([axes or (), *(spec.axes for spec in specs.values())]), options.reach_deg)
        if not self.axes:
            raise ValueError("no stream has an axis, expected at least one: tokens without axes are indistinguishable.")
        self.recomputes = False  # activations inside blocks are recomputed in the backward pass instead of kept
        self.head, self.categorical = options.make_head(), CategoricalHead()
        self.lead_features = max((spec.lead_features for spec in specs.values()), default=0)
        width, lead_size = options.width, LEAD_SIZE if self.lead_features else 0
        valued = {name: spec.size for name, spec in specs.items() if spec.size}
        coded = {name: spec.vocabulary for name, spec in specs.items() if spec.vocabulary}
        self.coordinates = CoordinateEmbedding(width, self.axes)
        self.pretrained = None if options.has_own_encoder else make_pretrained(options, specs)
        read = () if self.pretrained is None else self.pretrained.streams
        self.values = nn.ModuleDict({n: nn.Linear(2 * size, width) for n, size in valued.items() if n not in read})
        self.codes = nn.ModuleDict({n: nn.Embedding(size + 1, width) for n, size in coded.items() if n not in read})
        self.asked = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in specs})
        sizes = (width, options.heads, options.mlp_ratio, self.axes)
        self.encoder = nn.ModuleList(EncoderBlock(*sizes) for _ in range(options.encoder_layers))
        self.encoder_norm = nn.RMSNorm(width)
        if self.lead_features:
            self.anchor = nn.Linear(width, width)
            self.lead = nn.Sequential(nn.Linear(self.lead_features, LEAD_SIZE), nn.GELU())
        self.decoder = nn.ModuleList(DecoderBlock(*sizes, lead_size) for _ in range(options.decoder_layers))
        self.decoder_norm = ModulatedNorm(width, lead_size)
        is_flow = options.head == "flow"
        self.heads = make_heads(width, {} if is_flow else valued, self.head.members)
        self.code_heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in coded.items()})
        anchors = {name: spec.make_anchor(width) for name, spec in specs.items()}
        self.anchors = nn.ModuleDict({name: anchor for name, anchor in anchors.items() if anchor is not None})
        self.flow = options.make_flow(valued, self.axes) if is_flow else None
        self.noise = options.make_noise(specs, self.axes) if options.head == "noise" else None

    @property
    def draws_states(self) -> bool:
        """Whether members are drawn, each for all that is asked together; otherwise they stand for quantiles of each value."""
        return self.flow is not None or self.noise is not None

    def forward(
        self,
        context: Window,
        queries: Window,
        asks: Asks = "tokens",
        causal: bool = False,
        seed: Int[Tensor, " B"] | None = None,
        draws: Draws | None = AS_LEARNED,
    ) -> dict[str, Prediction]:
        """The prediction for the asked tokens of each stream. Raises KeyError if the model has no such stream.

        seed, draws  of the members of a head that draws them; None for `draws`, in training: the residual of the velocity of a flow head in
                     their place, `noise_members` members of a noise head
        """
        self._require_streams(context, queries)
        encoded = self.encode(context, causal=causal)
        if asks != "tokens" or not self.draws_states:
            return {name: self._answer(name, queries[name], context, encoded, asks) for name in queries}
        decoded = {name: self.decode(name, queries[name], context, encoded, asks) for name in queries}
        if self.noise is not None:
            return {name: self.with_noise(name, *decoded[name], queries[name], seed, draws) for name in queries}
        said = {name: self.of_tokens(name, *decoded[name], queries[name].coords.dtype) for name in queries}
        joint = Joint.of(self, queries, decoded, seed, causal=causal, in_training=draws is None)
        if joint is None:  # only codes are asked
            return said
        if draws is None:
            return joint.with_residuals(said)
        return joint.with_members(said, draws, self.blank(context, queries, draws, causal=causal))

    def blank(self, context: Window, queries: Window, draws: Draws, *, causal: bool) -> dict[str, Decoded]:
        """The asked tokens as they are decoded without the conditions of the draws; none without guidance.

        Raises DrawsError for a condition that is not visible.
        """
        if not draws.is_guided:
            return {}
        if unknown := [name for name in draws.conditions if name not in context]:
            raise DrawsError(
                f"condition {unknown[0]}: the question does not show it. Visible streams: {', '.join(context)}."
            )
        hidden = {name: unobserved(tokens) if name in draws.conditions else tokens for name, tokens in context.items()}
        encoded = self.encode(hidden, causal=causal)
        return {name: self.decode(name, queries[name], hidden, encoded, "tokens") for name in queries}

    def answer(self, question: Question, draws: Draws = AS_LEARNED) -> dict[str, Prediction]:
        """`forward` for a question; `draws` says how a flow head draws its members."""
        return self(question.context, question.queries, question.asks, question.causal, question.seed, draws)

    def attempt(self, question: Question) -> dict[str, Prediction]:
        """What `question_losses` scores: the answer or, of a flow head, the residual of its velocity."""
        return self(question.context, question.queries, question.asks, question.causal, question.seed, None)

    @property
    def blocks(self) -> list[nn.Module]:
        """All blocks, in the order in which they run."""
        first = [] if self.pretrained is None else self.pretrained.blocks
        return [*first, *self.encoder, *self.decoder]

    def completed(self, context: Window) -> Window:
        """The visible tokens and, where a pre-trained encoder reads them, those that it sees as hidden."""
        return context if self.pretrained is None else self.pretrained.completed(context)

    def _require_streams(self, *windows: Window) -> None:
        unknown = sorted({name for window in windows for name in window} - set(self.specs))
        if unknown:
            raise KeyError(f"the model has no stream {unknown[0]}. Streams: {', '.join(self.specs)}.")

    def encode(self, context: Window, *, causal: bool = False, blocks: int | None = None) -> Encoded:
        """The encoded visible tokens of all streams, and their positions. Raises ValueError if nothing is visible.

        `blocks`: number of blocks to run, without the final norm; None: all blocks and the final norm.
        """
        if not context:
            raise ValueError("the question has no visible stream, expected at least one.")
        self.require_causal(is_asked=causal)
        context = self.completed(context)
        lacking = frozenset().union(*(self.lacking(tokens) for tokens in context.values()))
        partly = self.partly_present(context)
        coords = torch.cat([self.in_space(tokens) for tokens in context.values()], dim=1)
        embedded = torch.cat([self.embed(name, tokens) for name, tokens in context.items()], dim=1)
        tokens = (embedded + self.coordinates(coords, is_partial=bool(lacking))).to(coords.dtype)  # also under autocast
        where = Geometry.of(coords, self.axes, lacking=lacking, partly=partly)
        present, rank = present_or_none(context), ranks(context) if causal else None
        visible = visible_keys(present, rank, rank, is_encoder=True)
        for block in list(self.encoder)[:blocks]:
            tokens = self._run(block, tokens, where, visible)
        if blocks is None:
            tokens = self.encoder_norm(tokens)
        return Encoded(tokens, where, _spans(context), present, rank)

    def embed(self, name: str, tokens: Tokens) -> Float[Tensor, "B N W"]:
        """Embedding of the content of the tokens of a stream, without their positions unless a pre-trained encoder reads them."""
        if self.pretrained is not None and name in self.pretrained.streams:
            return self._run(self.pretrained, tokens)
        parts = []
        if name in self.values:
            seen = tokens.observed.to(tokens.values.dtype)
            parts.append(self.values[name](torch.cat([tokens.values * tokens.observed, seen], dim=-1)))
        if name in self.codes:
            assert tokens.codes is not None
            vocabulary = self.specs[name].vocabulary
            parts.append(self.codes[name](torch.where(tokens.codes == UNKNOWN, vocabulary, tokens.codes)))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def in_space(self, tokens: Tokens) -> Float[Tensor, "B N C"]:
        """Coordinates along the axes of the model, NaN along absent axes."""
        return in_space(tokens.coords, tokens.spec.axes, self.axes)

    def _answer(self, name: str, asked: Tokens, context: Window, encoded: Encoded, asks: Asks) -> Prediction:
        decoded, anchored = self.decode(name, asked, context, encoded, asks)
        if asks == "tokens":
            return self.of_tokens(name, decoded, anchored, asked.coords.dtype)
        return self._of_match(name, decoded, asked, encoded, asks)

    def decode(self, name: str, asked: Tokens, context: Window, encoded: Encoded, asks: Asks) -> Decoded:
        """The asked tokens of a stream as the decoder leaves them, and their anchor."""
        lacking, is_causal = self.lacking(asked), encoded.rank is not None
        coords = self.in_space(asked)
        at = Geometry.of(coords, self.axes, lacking=lacking, partly=encoded.where.partly)
        if asks == "tokens":
            features = encoded.tokens[:, encoded.spans[name]] if name in encoded.spans else None
            anchored = self.anchored(name, asked, context.get(name), features, causal=is_causal)
        else:
            anchored = neutral(asked, self.lead_features)
        tokens, condition = self.query(name, coords, anchored, is_partial=bool(lacking))
        rank = rank_of(asked) if is_causal else None
        visible = visible_keys(encoded.present, rank, encoded.rank, is_encoder=False)
        for block in self.decoder:
            tokens = self._run(block, tokens, at, condition, encoded.tokens, encoded.where, visible)
        return Decoded(self.decoder_norm(tokens, condition), anchored)

    def anchored(
        self, name: str, asked: Tokens, shown: Tokens | None, features: Float[Tensor, "B N W"] | None, *, causal: bool
    ) -> Anchored:
        """The anchor of the asked tokens of a stream; `features` are the encoded features of its visible tokens."""
        if name not in self.anchors:
            return neutral(asked, self.lead_features)
        return self.anchors[name](asked, shown, features, causal=causal)

    def query(
        self, name: str, coords: Float[Tensor, "B Q C"], anchored: Anchored, *, is_partial: bool
    ) -> tuple[Float[Tensor, "B Q W"], Float[Tensor, "B Q F"] | None]:
        """The asked tokens at the input of the decoder, and the condition of its norms."""
        tokens = self.coordinates(coords, is_partial=is_partial) + self.asked[name]
        if anchored.neighbour is not None:
            tokens = tokens + self.anchor(anchored.neighbour)
        if anchored.hint is not None:
            tokens = tokens + anchored.hint
        condition = self.lead(anchored.lead) if self.lead_features else None
        return tokens.to(coords.dtype), condition  # the residual stream stays in full precision

    def of_tokens(
        self, name: str, decoded: Float[Tensor, "B Q W"], anchored: Anchored, dtype: torch.dtype
    ) -> Prediction:
        """The prediction of the content of asked tokens, from the output of the decoder."""
        logits = self.code_heads[name](decoded).to(dtype) if name in self.code_heads else None
        if name not in self.heads:
            return Prediction(logits=logits)
        departures = self.heads[name](decoded).unflatten(-1, (self.head.members, -1))
        members = torch.addcmul(anchored.base.unsqueeze(-2), anchored.spread.unsqueeze(-2), departures.to(dtype))
        return Prediction(members, anchored.spread, logits)

    def with_noise(
        self,
        name: str,
        decoded: Float[Tensor, "B Q W"],
        anchored: Anchored,
        asked: Tokens,
        seed: Int[Tensor, " B"] | None,
        draws: Draws | None,
    ) -> Prediction:
        """The prediction of a noise head, whose members are told apart by noise."""
        said = self.of_tokens(name, decoded, anchored, asked.coords.dtype)
        if said.members is None:
            return said
        assert self.noise is not None
        if draws is None:  # one of each pair: independent, as the score wants
            key, number = IN_TRAINING, 2 * torch.arange(self.options.noise_members)
        else:
            key, number = draws.seed, torch.arange(draws.members or self.head.members) + draws.first
        seed = torch.arange(len(decoded), device=decoded.device) if seed is None else seed
        places = in_space(asked.spec.inside(asked.coords), asked.spec.axes, self.axes)
        levels = self.noise(name, places, number.to(decoded.device), hashed(key, seed))
        return replace(said, members=quantiles(said.members.unsqueeze(-3), levels), is_drawn=True)

    def _of_match(
        self, name: str, decoded: Float[Tensor, "B Q W"], asked: Tokens, encoded: Encoded, asks: Asks
    ) -> Prediction:
        """Logits of each visible token of the stream belonging to the query, or of the token `about` having been replaced."""
        span = encoded.spans[name]
        theirs = encoded.tokens[:, span]
        scale = decoded.shape[-1] ** -0.5
        if asks == "replaced":
            assert asked.about is not None
            own = theirs.gather(1, asked.about[..., None].expand(-1, -1, theirs.shape[-1]))
            return Prediction(logits=-scale * (decoded * own).sum(dim=-1, keepdim=True))
        fit = scale * decoded @ theirs.mT
        if encoded.present is not None:
            fit = fit.masked_fill(~encoded.present[:, None, span], -torch.inf)
        return Prediction(logits=fit)

    def _run(self, block: nn.Module, *inputs: Any) -> Tensor:
        if self.recomputes and self.training:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def require_causal(self, *, is_asked: bool) -> None:
        """Raises EncoderError if each token is asked given those before it, and a Hugging Face encoder sees those after it."""
        if is_asked and self.pretrained is not None and not self.pretrained.is_causal:
            raise EncoderError(
                f"encoder {self.options.encoder}: sees what comes later, and the task asks each token by those before. Choose an encoder "
                "that reads forward, such as a GPT-2, or another task."
            )

    def lacking(self, tokens: Tokens) -> frozenset[str]:
        """The axes of the model along which at least some of the tokens lack a coordinate."""
        own = {axis.name for axis in tokens.spec.axes}
        hidden = set(tokens.partial)
        return frozenset(
            axis.name for axis in self.axes if axis.name not in own or hidden.intersection((axis.name, *axis.columns))
        )

    def partly_present(self, context: Window) -> tuple[tuple[str, ...], ...]:
        """The axes that some visible tokens have and others lack, grouped by the streams that lack them."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for axis in self.axes:
            if axis.of_kind.metric is None:
                continue
            have = tuple(_extent(tokens, axis.name) for tokens in context.values())
            if set(have) in ({"all"}, {"none"}):
                continue
            groups.setdefault((axis.name,) if "some" in have else have, []).append(axis.name)
        return tuple(tuple(group) for group in groups.values())


def make_pretrained(options: ModelOptions, specs: Mapping[str, TokenSpec]) -> PretrainedEncoder:
    """The Hugging Face encoder that the options name, with random weights. Raises EncoderError, see `models.pretrained`."""
    return PretrainedEncoder(encoder_files(options.encoder), specs, options.encoder_streams, options.width)


def _with_reach(axes: tuple[Axis, ...], reach_deg: float | None) -> tuple[Axis, ...]:
    if reach_deg is None:
        return axes
    return tuple(replace(axis, spacing=reach_deg) if axis.kind == "sphere" else axis for axis in axes)


def _extent(tokens: Tokens, axis: str) -> str:
    """Whether `all`, `some` or `none` of the tokens have an axis, also if they lack coordinates of it that attention does not measure."""
    if axis not in {own.name for own in tokens.spec.axes}:
        return "none"
    return "some" if axis in tokens.partial else "all"


def _spans(context: Window) -> dict[str, slice]:
    sizes = [len(tokens) for tokens in context.values()]
    firsts = accumulate(sizes, initial=0)
    return {name: slice(first, first + size) for name, size, first in zip(context, sizes, firsts, strict=False)}
