"""Streams and tokens, the vocabulary of every other module.

A *stream* is one named kind of measurement and defines how it is divided into tokens. A `TokenSpec` holds everything that a model may know
about a stream. `Tokens` is a batch of one stream, and the only data type passed between the parts. A `Question` holds the visible tokens
and the tokens asked for.

Axes: B sample, N token, P value inside a token, C coordinate, G value of a first guess.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from statecast.axes import Axis, column_names, columns_of
from statecast.options import Options

PADDING = 16  # tokens: a multiple of the width of vector units
UNKNOWN = -1
"""The code of a token whose category was not observed."""


class StreamOptions(Options):
    """Options of a stream in a recipe. A domain adds its own."""


def key_of_kind(options: Any, kinds: Mapping[str, type[StreamOptions]], otherwise: str) -> str:
    """The first of `kinds` whose key is among the options of a stream, or whose type they have; else `otherwise`."""
    for key, kind in kinds.items():
        if key in options if isinstance(options, Mapping) else isinstance(options, kind):
            return key
    return otherwise


@dataclass(frozen=True)
class TokenSpec:
    """What a model knows about a stream: the shape of its tokens and its axes, but never the names of its variables.

    size        P, number of continuous values in a token; 0 for a stream of codes
    vocabulary  number of categories of a token's code; 0 for a stream without codes
    axes        of the coordinates
    order       name of the axis along which tokens are ordered, if any; the first column of this axis orders them
    layout      numbers of channels, steps along the order axis, and points that make up the P values, in this order; None: P channels
    guess_size  G, number of values of a first guess; 0 without a first guess
    ragged      samples differ in their number of tokens, and are padded when stacked
    """

    size: int = 0
    vocabulary: int = 0
    axes: tuple[Axis, ...] = ()
    order: str | None = None
    layout: tuple[int, int, int] | None = None
    guess_size: int = 0
    ragged: bool = False

    @property
    def dimensions(self) -> tuple[int, int, int]:
        """Numbers of channels, steps and points of a token; without a layout, each value is a channel of its own."""
        return self.layout or (self.size, 1, 1)

    def __post_init__(self) -> None:
        if self.size < 1 and self.vocabulary < 1:
            raise ValueError("a token has neither values nor a vocabulary of codes, expected at least one of them.")
        if self.order is not None:
            columns_of(self.axes, self.order)

    @property
    def order_column(self) -> str | None:
        """The coordinate that orders the tokens."""
        return None if self.order is None else column_names(self.axes)[columns_of(self.axes, self.order)][0]

    def is_like(self, other: "TokenSpec") -> bool:
        """True if tokens differ from those of another spec in their channels and categories, and by further axes, at most."""
        own, theirs = ([axis.name for axis in spec.axes] for spec in (self, other))
        return own[: len(theirs)] == theirs and self.dimensions[1:] == other.dimensions[1:]

    @property
    def places(self) -> int:
        """R, number of places in a token at which noise is taken, see `inside`."""
        return 1

    def inside(self, coords: Float[Tensor, "*B N C"]) -> Float[Tensor, "*B N R C"]:
        """The coordinates of these places: by default those of the token."""
        return coords[..., None, :]

    @property
    def lead_features(self) -> int:
        """Number of features that describe the distance to the anchor; 0 for a stream without an anchor."""
        return 0

    def anchor_flops(self, tokens: int, width: int, *, has_visible: bool) -> int:
        """Operations of the anchor for `tokens` asked tokens, forward and backward; `has_visible`: the stream has visible tokens."""
        return 0

    def make_anchor(self, width: int) -> nn.Module | None:
        """The starting point of the answers, a `models.anchors.Anchor`, for a model of this width; None: 0, in units of 1."""
        return None


TRAILING = ("values", "coords", "observed", "guess")
FLAT = ("codes", "present", "weight", "index", "about")


@dataclass(frozen=True)
class Tokens:
    """A batch of tokens of one stream.

    values    normalised, dimensionless; 0 where nothing was observed
    coords    in the units of the axes of `spec`; NaN along an axis that is absent or hidden
    observed  False where the source has no value: never visible, never scored
    spec      shape of the tokens and their axes
    codes     category of each token, `UNKNOWN` where it was not observed; None for a stream without codes
    present   False for padding of a ragged sample: it attends to nothing, is attended to by nothing, and is not scored; None: no padding
    weight    of a token in losses and scores, such as the area of its cell; None: 1
    index     position of each token in its window; None before the tokens are numbered
    about     for an asked token: the visible token that the question is about, by its position among the visible tokens of its stream
    guess     first guess that an answer starts from: values of other streams at the token and around it
    partial   names of the axes along which some tokens have no coordinate, and of single coordinates that some tokens lack
    """

    values: Float[Tensor, "*B N P"]
    coords: Float[Tensor, "*B N C"]
    observed: Bool[Tensor, "*B N P"]
    spec: TokenSpec
    codes: Int[Tensor, "*B N"] | None = None
    present: Bool[Tensor, "*B N"] | None = None
    weight: Float[Tensor, "*B N"] | None = None
    index: Int[Tensor, "*B N"] | None = None
    about: Int[Tensor, "*B N"] | None = None
    guess: Float[Tensor, "*B N G"] | None = None
    partial: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.values.shape[-2]

    def __getitem__(self, index: Tensor | slice) -> "Tokens":
        """The tokens at `index` (along N), of one sample or of every sample of a batch."""
        return self.each(lambda part: part[..., index, :], lambda part: part[..., index])

    def numbered(self) -> "Tokens":
        """The same tokens of one sample, numbered from 0 unless they are already numbered."""
        return self if self.index is not None else replace(self, index=torch.arange(len(self)))

    def coordinate(self, column: str) -> Float[Tensor, "*B N"]:
        """One column of the coordinates. Raises ValueError if there is no such column."""
        return self.coords[..., column_names(self.spec.axes).index(column)]

    def along(self, axis: str) -> Float[Tensor, "*B N K"]:
        """The columns of one axis. Raises KeyError if the tokens have no such axis."""
        return self.coords[..., columns_of(self.spec.axes, axis)]

    def order(self) -> Float[Tensor, "*B N"] | None:
        """The coordinate along the order axis; None for a stream without one."""
        column = self.spec.order_column
        return None if column is None else self.coordinate(column)

    def replace(self, values: Tensor) -> "Tokens":
        """The same tokens with other values."""
        return replace(self, values=values)

    def without(self, axes: Sequence[str]) -> "Tokens":
        """The same tokens with their coordinates along these axes hidden."""
        coords = self.coords.clone()
        for axis in axes:
            coords[..., columns_of(self.spec.axes, axis)] = torch.nan
        return replace(self, coords=coords, partial=tuple(dict.fromkeys((*self.partial, *axes))))

    def is_known(self) -> Bool[Tensor, "*B N"]:
        """True for tokens in which anything was observed."""
        known = self.observed.any(dim=-1)
        if self.codes is not None:
            known = known | (self.codes != UNKNOWN)
        return known

    def steps(self) -> Bool[Tensor, "*B N S"]:
        """True for the steps of each token at which something was observed."""
        return self.observed.unflatten(-1, self.spec.dimensions).any(dim=-1).any(dim=-2)

    def only(self, steps: Bool[Tensor, "N S"]) -> "Tokens":
        """The same tokens of one sample, with only these of their steps observed."""
        observed = self.observed.unflatten(-1, self.spec.dimensions) & steps[:, None, :, None]
        observed = observed.flatten(-3)
        return replace(self, values=self.values * observed, observed=observed)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Tokens":
        """`non_blocking`: from pinned memory to a GPU, while it computes."""
        move = partial(Tensor.to, device=device, non_blocking=non_blocking)
        return self.each(move, move)

    def pin_memory(self) -> "Tokens":
        """The same tokens in pinned memory."""
        return self.each(Tensor.pin_memory, Tensor.pin_memory)

    def each(self, change: Callable[[Tensor], Tensor], change_flat: Callable[[Tensor], Tensor]) -> "Tokens":
        """Change every part: `change` applies to parts with a further axis after N, `change_flat` to those without one."""
        changed: dict[str, Any] = {}
        for name in (*TRAILING, *FLAT):
            part = getattr(self, name)
            if part is not None:
                changed[name] = change(part) if name in TRAILING else change_flat(part)
        return replace(self, **changed)


Window = dict[str, Tokens]
"""Everything that a task may show or ask for: the tokens of each stream, by its name."""

Asks = Literal["tokens", "places", "replaced"]


@dataclass(frozen=True)
class Question:
    """The visible tokens (`context`) and the tokens asked for (`queries`, whose `values` and `codes` are the truth, which no model reads).

    asks    tokens: values and codes of the asked tokens; places: which visible token belongs at the asked place (`codes` of a query is
            its position among the visible tokens of its stream); replaced: whether the visible token `about` was replaced (`codes` 1)
    causal  a visible token sees only tokens before it, or at its own position, along the order axis; an asked token only those before it
    seed    of the noise of each sample, for a head that draws; None: the number of the sample in its batch
    """

    context: Window
    queries: Window
    asks: Asks = "tokens"
    causal: bool = False
    seed: Int[Tensor, "*B"] | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Question":
        """`non_blocking`: from pinned memory to a GPU, while it computes."""
        moved = self.each(lambda tokens: tokens.to(device, non_blocking=non_blocking))
        return moved if self.seed is None else replace(moved, seed=self.seed.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Question":
        """The same question in pinned memory, as a DataLoader asks for it."""
        pinned = self.each(Tokens.pin_memory)
        return pinned if self.seed is None else replace(pinned, seed=self.seed.pin_memory())

    def each(self, change: Callable[[Tokens], Tokens]) -> "Question":
        """The same question with changed tokens."""
        context = {name: change(tokens) for name, tokens in self.context.items()}
        queries = {name: change(tokens) for name, tokens in self.queries.items()}
        return replace(self, context=context, queries=queries)


def stack(windows: Sequence[Window]) -> Window:
    """Samples stacked along a new first axis B; samples of a ragged stream are padded, see `_stack_tokens`."""
    return {name: _stack_tokens([window[name] for window in windows]) for name in windows[0]}


def stack_questions(questions: Sequence[Question]) -> Question:
    """Questions of the same kind, stacked along a new first axis B."""
    first = questions[0]
    seeds = [q.seed for q in questions if q.seed is not None]
    return replace(
        first,
        context=stack([q.context for q in questions]),
        queries=stack([q.queries for q in questions]),
        seed=torch.stack(seeds) if seeds else None,
    )


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """The tokens of several parts, concatenated along N."""
    return _joined(parts, lambda tensors: torch.cat(tensors, dim=-2), lambda tensors: torch.cat(tensors, dim=-1))


def chosen_samples(tokens: Tokens, samples: Int[Tensor, " K"]) -> Tokens:
    """The tokens of some samples of a batch."""
    return tokens.each(lambda part: part[samples], lambda part: part[samples])


def padded(tokens: Tokens, length: int) -> Tokens:
    """The tokens of one sample, padded to `length`."""
    missing = length - len(tokens)
    present = torch.ones(len(tokens), dtype=torch.bool) if tokens.present is None else tokens.present
    grown = replace(tokens, present=present).each(
        lambda part: torch.cat([part, part.new_zeros((missing, part.shape[-1]))]),
        lambda part: torch.cat([part, part.new_zeros(missing)]),
    )
    grown.coords[len(tokens) :] = 1.0  # which every kind of axis takes: the logarithm of 0 would reach gradients
    if grown.codes is not None:
        grown.codes[len(tokens) :] = UNKNOWN
    return grown


def _stack_tokens(samples: Sequence[Tokens]) -> Tokens:
    """Samples of a ragged stream are padded to a multiple of `PADDING`, even a single sample.

    The answer to a sample is therefore the same to the bit alone and in any batch: sums over tokens are taken in the same order. Raises
    ValueError if samples of a stream that is not ragged differ in length.
    """
    lengths = {len(sample) for sample in samples}
    if samples[0].spec.ragged:
        length = max(1, -(-max(lengths) // PADDING)) * PADDING
        samples = [padded(sample, length) for sample in samples]
    elif len(lengths) > 1:
        raise ValueError(
            f"samples have {sorted(lengths)} tokens, expected the same number. Declare the stream ragged in its TokenSpec."
        )
    return _joined(samples, torch.stack, torch.stack)


Join = Callable[[list[Tensor]], Tensor]


def _joined(parts: Sequence[Tokens], join: Join, join_flat: Join) -> Tokens:
    joined: dict[str, Any] = {}
    for name in (*TRAILING, *FLAT):
        tensors = [getattr(part, name) for part in parts]
        known = [tensor for tensor in tensors if tensor is not None]
        if len(known) == len(parts):
            joined[name] = (join if name in TRAILING else join_flat)(known)
        else:
            assert not known, f"{name} is missing in some of the parts"
    partial = tuple(dict.fromkeys(axis for part in parts for axis in part.partial))
    return Tokens(**joined, spec=parts[0].spec, partial=partial)


def blank_tokens(spec: TokenSpec, count: int, samples: int = 1) -> Tokens:
    """Tokens that hold nothing, of which only the sizes count."""
    shape = (samples, count, spec.size)
    coords = torch.ones((samples, count, len(column_names(spec.axes))))
    codes = torch.zeros((samples, count), dtype=torch.int64) if spec.vocabulary else None
    guess = torch.zeros((samples, count, spec.guess_size)) if spec.guess_size else None
    return Tokens(torch.zeros(shape), coords, torch.ones(shape, dtype=torch.bool), spec, codes=codes, guess=guess)


def token_counts(window: Mapping[str, Tokens]) -> dict[str, int]:
    """The number of tokens of each stream."""
    return {name: len(tokens) for name, tokens in window.items()}


def unobserved(tokens: Tokens) -> Tokens:
    """The same tokens with nothing observed."""
    codes = None if tokens.codes is None else torch.full_like(tokens.codes, UNKNOWN)
    return replace(
        tokens, values=torch.zeros_like(tokens.values), observed=torch.zeros_like(tokens.observed), codes=codes
    )
