"""What an answer starts from. A domain may know better than 0: the best estimate from nearby visible tokens, or a first guess.

Axes: B sample, Q asked token, N visible token, P value in a token, W width, F feature.
"""

from typing import ClassVar, NamedTuple, Protocol

from jaxtyping import Float
from torch import Tensor

from statecast.streams import Tokens


class Anchored(NamedTuple):
    """What an anchor gives for the asked tokens of a stream; an answer is base + spread · f.

    base       what the answer starts from, in normalised units
    spread     how far the answer is expected to depart from it, the unit that losses count in
    lead       features of how far off the anchor is, which enter the norms of the decoder
    neighbour  encoded features of the visible tokens that the anchor rests on; None if it rests on none
    hint       what else the query is given, in the width of the model; None for nothing
    """

    base: Float[Tensor, "B Q P"]
    spread: Float[Tensor, "B Q #P"]
    lead: Float[Tensor, "B Q F"]
    neighbour: Float[Tensor, "B Q W"] | None = None
    hint: Float[Tensor, "B Q W"] | None = None


class Anchor(Protocol):
    """An `nn.Module` that a `TokenSpec` makes for its stream. All anchors of a model have the same number of `lead_features`.

    causal        only visible tokens that come before an asked one on the order axis may count
    channel_axes  by the name of a weight or buffer that holds something of each channel, the axis along which the channels lie
    """

    lead_features: ClassVar[int]
    channel_axes: ClassVar[dict[str, int]]

    def __call__(
        self, asked: Tokens, shown: Tokens | None, encoded: Float[Tensor, "B N W"] | None, *, causal: bool
    ) -> Anchored: ...


def neutral(asked: Tokens, lead_features: int) -> Anchored:
    """The default: 0, in units of 1."""
    shape = asked.coords.shape[:-1]
    zeros = asked.values.new_zeros
    return Anchored(zeros((*shape, 1)), asked.values.new_ones((*shape, 1)), zeros((*shape, lead_features)))
