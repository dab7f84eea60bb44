"""Autoregressive generation with a cache of keys and values.

Axes: B sample, N token, M visible token, L position, P value in a token, V category, W width, H head, D value inside a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statecast.models.attention import GeometricAttention, Geometry
from statecast.models.blocks import DecoderBlock, EncoderBlock
from statecast.models.drawing import Draws
from statecast.models.heads import Prediction
from statecast.models.joint import Decoded, Joint
from statecast.models.state_model import StateModel
from statecast.models.visibility import present_or_all, rank_of, ranks, visible_keys
from statecast.streams import PADDING, Tokens, Window, chosen_samples, concatenate

ROOM = 4 * PADDING  # tokens by which a cache grows

ONE_MEMBER = Draws(members=1)


@dataclass
class KeysAndValues:
    """The cached keys and values of one attention layer; None before the first token.

    They lie in room R for more tokens, which is 0: an append copies only what is new, and attention needs no further padding.
    """

    key: Float[Tensor, "B H R D"] | None = None
    value: Float[Tensor, "B H R D"] | None = None
    tokens: int = 0

    def append(self, key: Float[Tensor, "B H N D"], value: Float[Tensor, "B H N D"]) -> None:
        first, self.tokens = self.tokens, self.tokens + key.shape[2]
        self.key, self.value = (_with_room(*each, self.tokens) for each in ((self.key, key), (self.value, value)))
        self.key[:, :, first : self.tokens] = key
        self.value[:, :, first : self.tokens] = value

    def padded(self) -> tuple[Float[Tensor, "B H M D"], Float[Tensor, "B H M D"]]:
        """Keys and values, with zeros up to a multiple of `PADDING` tokens."""
        assert self.key is not None and self.value is not None
        length = -(-self.tokens // PADDING) * PADDING
        return self.key[:, :, :length], self.value[:, :, :length]

    def keep(self, samples: Int[Tensor, " K"]) -> None:
        """Go on with these samples alone."""
        if self.key is not None and self.value is not None:
            self.key, self.value = self.key[samples], self.value[samples]


def _with_room(held: Float[Tensor, "B H R D"] | None, new: Float[Tensor, "B H N D"], tokens: int) -> Tensor:
    """The held tensor, or a larger one with the same beginning, with room for so many tokens."""
    room = 0 if held is None else held.shape[2]
    if held is not None and room >= tokens:
        return held
    batch, heads, _, size = new.shape
    grown = new.new_zeros(batch, heads, -(-tokens // ROOM) * ROOM, size)
    if held is not None:
        grown[:, :, :room] = held
    return grown


@dataclass
class CausalState:
    """The visible tokens of a causal question so far, encoded. Each appended token is encoded only once.

    streams  all streams that will become visible, each with any number of tokens, even 0: the geometry depends on their axes
    parts    the visible tokens of each stream, as they were appended, and their encoded features
    """

    model: StateModel
    streams: Window
    parts: dict[str, list[tuple[Tokens, Float[Tensor, "B N W"]]]] = field(default_factory=dict)
    rank: Float[Tensor, "B M"] | None = None
    present: Bool[Tensor, "B M"] | None = None

    def __post_init__(self) -> None:
        self.partly = self.model.partly_present(self.streams)
        self.of_encoder = [KeysAndValues() for _ in self.model.encoder]
        self.of_decoder = [KeysAndValues() for _ in self.model.decoder]

    def append(self, name: str, tokens: Tokens) -> None:
        """Make tokens of one stream visible, see `extend`."""
        self.extend({name: tokens})

    def extend(self, window: Window) -> None:
        """Make tokens visible. They see what was visible before and, if they don't come later, one another, across streams."""
        if not window:
            return
        model = self.model
        coords, at = self._geometry(window)
        own_rank, own_present = ranks(window), present_or_all(window)
        self.rank = own_rank if self.rank is None else torch.cat([self.rank, own_rank], dim=1)
        self.present = own_present if self.present is None else torch.cat([self.present, own_present], dim=1)
        visible = visible_keys(self.present, own_rank, self.rank, is_encoder=True)
        is_partial = any(model.lacking(tokens) for tokens in window.values())
        embedded = torch.cat([self._embedded(name, tokens) for name, tokens in window.items()], dim=1)
        features = (embedded + model.coordinates(coords, is_partial=is_partial)).to(coords.dtype)
        for block, kept in zip(model.encoder, self.of_encoder, strict=True):
            assert isinstance(block, EncoderBlock)
            normed = block.norm(features)
            features = features + self._attend(block.attention, normed, at, kept, visible, own=normed)
            features = features + block.mlp(block.mlp_norm(features))
        encoded = model.encoder_norm(features)
        for block, kept in zip(model.decoder, self.of_decoder, strict=True):
            assert isinstance(block, DecoderBlock)
            kept.append(*block.attention.project_keys(block.context_norm(encoded), at))
        sizes = [len(tokens) for tokens in window.values()]
        for (name, tokens), own in zip(window.items(), encoded.split(sizes, dim=1), strict=True):
            self.parts.setdefault(name, []).append((tokens, own))

    def _embedded(self, name: str, tokens: Tokens) -> Float[Tensor, "B N W"]:
        """A Hugging Face encoder reads the stream again from its first token on: it has no part in our cache."""
        model = self.model
        if model.pretrained is None or name not in model.pretrained.streams:
            return model.embed(name, tokens)
        model.require_causal(is_asked=True)
        parts = [*(earlier for earlier, _ in self.parts.get(name, [])), tokens]
        whole = concatenate([replace(part, present=present_or_all({name: part}), index=None) for part in parts])
        return model.embed(name, whole)[:, -len(tokens) :]

    @property
    def visible(self) -> Window:
        """The visible tokens of each stream."""
        return {name: concatenate([tokens for tokens, _ in parts]) for name, parts in self.parts.items()}

    def keep(self, samples: Int[Tensor, " K"]) -> None:
        """Go on with these samples alone: the others are finished."""
        for kept in (*self.of_encoder, *self.of_decoder):
            kept.keep(samples)
        self.rank = None if self.rank is None else self.rank[samples]
        self.present = None if self.present is None else self.present[samples]
        for parts in self.parts.values():
            parts[:] = [(chosen_samples(tokens, samples), own[samples]) for tokens, own in parts]

    def ask(self, name: str, asked: Tokens, seed: Int[Tensor, " B"] | None = None) -> Prediction:
        """The prediction for asked tokens; each sees only the visible tokens before it.

        seed  of the one member that a flow head draws
        """
        model = self.model
        coords, at = self._geometry({name: asked})
        shown, features = None, None
        if name in model.anchors and name in self.parts:  # nothing else reads them
            parts = self.parts[name]
            shown, features = concatenate([tokens for tokens, _ in parts]), torch.cat([own for _, own in parts], dim=1)
        anchored = model.anchored(name, asked, shown, features, causal=True)
        tokens, condition = model.query(name, coords, anchored, is_partial=bool(model.lacking(asked)))
        visible = visible_keys(self.present, rank_of(asked), self.rank, is_encoder=False)
        for block, kept in zip(model.decoder, self.of_decoder, strict=True):
            assert isinstance(block, DecoderBlock)
            if visible is not None:
                normed = block.norm(tokens, condition)
                tokens = tokens + self._attend(block.attention, normed, at, kept, visible)
            tokens = tokens + block.mlp(block.mlp_norm(tokens, condition))
        decoded = Decoded(model.decoder_norm(tokens, condition), anchored)
        if model.noise is not None:
            return model.with_noise(name, *decoded, asked, seed, ONE_MEMBER)
        said = {name: model.of_tokens(name, *decoded, coords.dtype)}
        if model.flow is not None:
            joint = Joint.of(model, {name: asked}, {name: decoded}, seed, causal=True, in_training=False)
            said = said if joint is None else joint.with_members(said, ONE_MEMBER, {})
        return said[name]

    def _geometry(self, window: Window) -> tuple[Float[Tensor, "B N C"], Geometry]:
        coords = torch.cat([self.model.in_space(tokens) for tokens in window.values()], dim=1)
        lacking = frozenset().union(*(self.model.lacking(tokens) for tokens in window.values()))
        return coords, Geometry.of(coords, self.model.axes, lacking=lacking, partly=self.partly)

    def _attend(
        self,
        attention: GeometricAttention,
        normed: Float[Tensor, "B N W"],
        at: Geometry,
        kept: KeysAndValues,
        visible: Bool[Tensor, "B #N M"] | None,
        own: Float[Tensor, "B N W"] | None = None,
    ) -> Float[Tensor, "B N W"]:
        if own is not None:
            kept.append(*attention.project_keys(own, at))
        query = attention.project_queries(normed, at)
        key, value = kept.padded()
        return attention.mix(query, key, value.to(query.dtype), visible)


@torch.no_grad()
def generate(
    model: StateModel,
    condition: Window,
    name: str,
    places: Tokens,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    stop: int | None = None,
    is_cached: bool = True,
) -> Tokens:
    """Draw the tokens of a stream one by one, each given the condition and the tokens drawn before it.

    condition  tokens that are visible from the start: streams without an order axis, or the beginning of the stream `name`
    places     coordinates of the tokens to draw, in order, for B samples; their content is not read
    stop       code that ends a sample: later tokens are padding (`present` False)
    is_cached  False: all visible tokens are encoded again at each step, for comparison

    Codes are drawn by `CategoricalHead.sample`, values from the head's quantiles by `EnsembleHead.sample`. Returns the drawn tokens.
    """
    state = _started(model, condition, name, places)
    drawn: list[Tokens] = []
    running = torch.ones(len(places.coords), dtype=torch.bool, device=places.coords.device)
    for position in range(len(places)):
        asked = places[position : position + 1]
        if not is_cached:
            state = _started(model, condition, name, places)
            for token in drawn:
                state.append(name, token)
        seed = None
        if model.draws_states:
            seed = draw_seeds(len(asked.coords), generator).to(asked.coords.device)
        token = draw_token(model, state.ask(name, asked, seed), asked, generator, temperature=temperature, top_k=top_k)
        token = replace(token, present=running[:, None])
        state.append(name, token)
        drawn.append(token)
        if stop is not None and token.codes is not None:
            running = running & (token.codes[:, 0] != stop)
            if not running.any():
                break
    return concatenate(drawn)


def draw_seeds(samples: int, generator: torch.Generator) -> Int[Tensor, " B"]:
    """A seed of the noise of each sample."""
    return torch.randint(2**62, (samples,), generator=generator, device=generator.device)


def draw_token(
    model: StateModel,
    said: Prediction,
    asked: Tokens,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Tokens:
    """The asked tokens, with content drawn from their prediction."""
    drawn = replace(asked, observed=torch.ones_like(asked.observed), weight=None)
    if said.members is not None:
        drawn = replace(drawn, values=model.head.sample(said.members, generator))
    if said.logits is not None:
        codes = model.categorical.sample(said.logits, generator, temperature=temperature, top_k=top_k)
        drawn = replace(drawn, codes=codes)
    return drawn


def _started(model: StateModel, condition: Window, name: str, places: Tokens) -> CausalState:
    streams: Mapping[str, Tokens] = {**condition, name: condition.get(name, places[:0])}
    state = CausalState(model, dict(streams))
    state.extend(condition)
    return state
