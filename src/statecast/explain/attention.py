"""How much each shown token counts in the attention of one query, without a matrix of all pairs.

Axes: H head, N query token, M shown token, L layer, D value inside a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from statecast.axes import metric_vectors
from statecast.models import StateModel
from statecast.models.attention import GeometricAttention, Geometry
from statecast.streams import Question

CHUNK = 256  # queries at a time


@dataclass(frozen=True)
class Layer:
    """One attention of the model with what went into it, for one sample (B = 1)."""

    attention: GeometricAttention
    queries: Float[Tensor, "1 N W"]
    at: Geometry
    context: Float[Tensor, "1 M W"]
    where: Geometry
    visible: Bool[Tensor, "1 #N M"] | None = None

    def probabilities(self, rows: Int[Tensor, " R"] | slice) -> Float[Tensor, "H R M"]:
        """Rows of softmax(query · key), of each head; each sums to 1.

        The logits are those of `models.attention`, up to a term that is the same for all keys of a row.
        """
        query, key, _ = self.attention.project(self.queries, self.at, self.context, self.where)
        return self._softmax(query[0, :, rows], key[0], rows)

    def carry_back(self, weights: Float[Tensor, " N"], chunk: int = CHUNK) -> Float[Tensor, " M"]:
        """weights @ A, with A the probabilities' mean over heads: H × `chunk` × M of it at a time."""
        query, key, _ = self.attention.project(self.queries, self.at, self.context, self.where)
        carried = weights.new_zeros(key.shape[2])
        for first in range(0, len(weights), chunk):
            rows = slice(first, first + chunk)
            carried += weights[rows] @ self._softmax(query[0, :, rows], key[0], rows).mean(dim=0)
        return carried

    def _softmax(
        self, query: Float[Tensor, "H R D"], key: Float[Tensor, "H M D"], rows: Int[Tensor, " R"] | slice
    ) -> Float[Tensor, "H R M"]:
        """0 for keys that a query doesn't see, and for a query that sees nothing."""
        logits = query @ key.transpose(-1, -2)
        if self.visible is None:
            return torch.softmax(logits, dim=-1)
        visible = self.visible[0].expand(self.queries.shape[1], -1)[rows]
        return torch.softmax(logits.masked_fill(~visible, -torch.inf), dim=-1).nan_to_num()


@dataclass(frozen=True)
class Trace:
    """Every attention that an answer to one token went through."""

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]


@torch.no_grad()
def trace(model: StateModel, question: Question) -> Trace:
    """Put a question (B = 1) about one token, and keep what goes into each attention: memory linear in the tokens.

    Raises ValueError if it asks more than one token.
    """
    if sum(tokens.values.shape[-2] for tokens in question.queries.values()) != 1:
        raise ValueError("the question asks several tokens, expected one. Ask them one by one.")
    kept: list[Layer] = []
    modules = [block.attention for block in (*model.encoder, *model.decoder)]
    hooks = [module.register_forward_pre_hook(lambda m, inputs: _keep(kept, m, inputs)) for module in modules]
    try:
        model.answer(question)
    finally:
        for hook in hooks:
            hook.remove()
    return Trace(tuple(kept[: len(model.encoder)]), tuple(kept[len(model.encoder) :]))


def _keep(kept: list[Layer], module: nn.Module, inputs: tuple) -> None:
    assert isinstance(module, GeometricAttention)
    kept.append(Layer(module, *inputs))


@torch.no_grad()
def decoder_rows(trace: Trace) -> Float[Tensor, "L H M"]:
    """What each layer and head of the decoder takes from each shown token, for the asked one; sums to 1 over M."""
    return torch.stack([layer.probabilities(slice(None))[:, 0] for layer in trace.decoder])


@torch.no_grad()
def encoder_rows(trace: Trace, token: int) -> Float[Tensor, "L H M"]:
    """What each layer and head of the encoder takes from each shown token, for one of them; sums to 1 over M."""
    return torch.stack([layer.probabilities(slice(token, token + 1))[:, 0] for layer in trace.encoder])


@torch.no_grad()
def rollout(trace: Trace, chunk: int = CHUNK) -> Float[Tensor, " M"]:
    """Attention roll-out: how much of each shown token reaches the asked one, if every layer mixed by attention alone; sums to 1.

        r A'_L ... A'_2 A'_1,   A'_l = A_l / 2 + I / 2          Abnar & Zuidema 2020, "Quantifying attention flow in transformers"

    with A_l the mean over heads of the encoder's layer l, and r the asked token's row of the decoder; later layers of a decoder mix
    their row with the earlier ones' by halves, as A' does. The paper's model is an encoder: that the row starts in a decoder is ours, and
    so is that the anchor, which reaches the answer beside attention, is left out. Row times matrix, from the last layer to the first, so
    that no matrix of all pairs is held: H × `chunk` × M values at a time.
    """
    rows = decoder_rows(trace).mean(dim=1)
    row = rows[0]
    for later in rows[1:]:
        row = (row + later) / 2
    return carry_through(trace.encoder, row, chunk)


def carry_through(layers: Sequence[Layer], row: Float[Tensor, " M"], chunk: int) -> Float[Tensor, " M"]:
    """A row of weights through A / 2 + I / 2 of each layer, the last one first."""
    for layer in reversed(layers):
        row = (row + layer.carry_back(row, chunk)) / 2
    return row


def nearest_shown(model: StateModel, question: Question) -> int:
    """The visible token, among those of all streams, that lies nearest to the asked one: of its own stream, if that is visible.

    By the metric of attention (`axes.metric_vectors`). The asked token itself, where it is shown corrupted, is passed over.
    """
    ((stream, asked),) = question.queries.items()
    sizes = {name: tokens.values.shape[-2] for name, tokens in question.context.items()}
    among = [stream] if sizes.get(stream) else list(sizes)
    before = list(accumulate(sizes.values(), initial=0))
    first = before[list(sizes).index(among[0])]
    here = metric_vectors(model.in_space(asked)[0], model.axes)
    there = torch.cat([metric_vectors(model.in_space(question.context[name])[0], model.axes) for name in among])
    distance = (there - here).square().sum(dim=-1)
    numbers = question.context[stream].index if among == [stream] else None
    if numbers is not None and asked.index is not None:
        is_itself = numbers[0] == asked.index[0, 0]
        distance = torch.where(is_itself, torch.inf, distance)
    return first + int(distance.argmin())
