"""Anchors: what an answer starts from. A domain may supply a better anchor than 0: the best estimate from nearby visible tokens, or a
first guess.

Axes: B sample, Q asked token, N visible token, P value in a token, W width, F feature.
"""

from typing import ClassVar, NamedTuple, Protocol

from jaxtyping import Float
from torch import Tensor

from statecast.streams import Tokens


class Anchored(NamedTuple):
    """The anchor of the asked tokens of a stream; an answer is base + spread · f.

    base       starting point of the answer, in normalised units
    spread     expected size of the answer's departure from the base, and the unit of losses
    lead       features that describe the distance to the anchor; they enter the norms of the decoder
    neighbour  encoded features of the visible tokens that the anchor is computed from; None if there are none
    hint       vector added to the query; None if there is none
    """

    base: Float[Tensor, "B Q P"]
    spread: Float[Tensor, "B Q #P"]
    lead: Float[Tensor, "B Q F"]
    neighbour: Float[Tensor, "B Q W"] | None = None
    hint: Float[Tensor, "B Q W"] | None = None


class Anchor(Protocol):
    """An `nn.Module` that a `TokenSpec` makes for its stream. All anchors of a model have the same number of `lead_features`.

    causal        only visible tokens that come before the asked token on the order axis may be used
    channel_axes  for each weight or buffer with one entry per channel, by name: the axis along which the channels lie
    """

    lead_features: ClassVar[int]
    channel_axes: ClassVar[dict[str, int]]

    def __call__(
        self, asked: Tokens, shown: Tokens | None, encoded: Float[Tensor, "B N W"] | None, *, causal: bool
    ) -> Anchored: ...


def neutral(asked: Tokens, lead_features: int) -> Anchored:
    """The default anchor: 0, in units of 1."""
    shape = asked.coords.shape[:-1]
    zeros = asked.values.new_zeros
    return Anchored(zeros((*shape, 1)), asked.values.new_ones((*shape, 1)), zeros((*shape, lead_features)))
