"""Where tokens lie in a sequence or an image, counted in tokens, for an encoder that reads whole ones.

Axes: B sample, N token, L cell of the lattice, G cell without a token, P value in a token, H feature.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from statecast.axes import Axis
from statecast.streams import UNKNOWN, Tokens, TokenSpec, concatenate

CLOSE = 1e-3  # of a spacing: coordinates are rounded to 32 bits


class LatticeError(ValueError):
    """Tokens that lie outside a sequence or an image."""


@dataclass(frozen=True)
class Lattice:
    """Where the tokens of a batch lie in a sequence (one row) or an image, counted in tokens.

    row, column  of each token, from 0
    present      False for padding
    """

    row: Int[Tensor, "B N"]
    column: Int[Tensor, "B N"]
    present: Bool[Tensor, "B N"]
    rows: int
    columns: int

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    @property
    def cell(self) -> Int[Tensor, "B N"]:
        """Number of each token's cell, row by row; one more than the last for padding."""
        return torch.where(self.present, self.row * self.columns + self.column, self.cells)

    def scatter(self, values: Tensor, fill: float) -> Tensor:
        """Values of the tokens [B N *] in their cells [B L *], with `fill` elsewhere."""
        index = self.cell if values.dim() == 2 else self.cell[..., None].expand(values.shape)
        spread = values.new_full((len(values), self.cells + 1, *values.shape[2:]), fill)
        return spread.scatter(1, index, values)[:, :-1]

    def gather(self, features: Float[Tensor, "B L H"]) -> Float[Tensor, "B N H"]:
        """Features of the cells for each token; those of padding are of any cell."""
        index = self.cell.clamp(max=self.cells - 1)
        return features.gather(1, index[..., None].expand(-1, -1, features.shape[-1]))

    def free(self) -> Bool[Tensor, "B L"]:
        """The cells without a token, up to the last row and column in which the sample has one."""
        is_taken = self.scatter(self.present.long(), 0) > 0
        cell = torch.arange(self.cells, device=self.row.device)
        row, column = cell // self.columns, cell % self.columns
        last_row, last_column = (
            part.masked_fill(~self.present, -1).amax(dim=1, keepdim=True) for part in (self.row, self.column)
        )
        return ~is_taken & (row <= last_row) & (column <= last_column)

    @classmethod
    def of(cls, tokens: Tokens, axis: Axis) -> "Lattice":
        """Along an axis of one coordinate or of two: x, which is the column, and y. Tokens without a place lie side by side in their order.

        Where only sizes are known, they lie in a sequence, or in an image that is nearly square. Raises LatticeError for a place below 0.
        """
        place = tokens.along(axis.name)
        present = torch.ones_like(place[..., 0], dtype=torch.bool) if tokens.present is None else tokens.present
        if tells_only_sizes(place) or bool(place[present].isnan().any()):
            columns = len(tokens) // _rows(len(tokens)) if place.shape[-1] == 2 else max(1, len(tokens))
            number = present.long().cumsum(dim=1) - 1
            return cls(number // columns, number % columns, present, -(-len(tokens) // columns) or 1, columns)
        number = torch.floor(place / axis.spacing + CLOSE).long()
        if bool((number[present] < 0).any()):
            raise LatticeError(
                f"axis {axis.name}: a token has a coordinate below 0, expected places that count from 0."
            )
        row = number[..., 1] if number.shape[-1] == 2 else torch.zeros_like(number[..., 0])
        rows, columns = (int(part.masked_fill(~present, 0).amax()) + 1 for part in (row, number[..., 0]))
        return cls(row, number[..., 0], present, rows, columns)


def with_free_cells(tokens: Tokens, axis: Axis, lattice: Lattice) -> Tokens:
    """The tokens and, behind them, one for each free cell of the lattice, of which nothing but its place along `axis` is known."""
    free = lattice.free()
    count = 0 if tells_only_sizes(free) else int(free.sum(dim=1).amax())
    if count == 0:
        return tokens
    cells = free.int().argsort(dim=1, descending=True, stable=True)[:, :count]
    hidden = _unknown(tokens, free.gather(1, cells))
    place = torch.stack([cells % lattice.columns, cells // lattice.columns], dim=-1)[..., : len(axis.columns)]
    within = torch.frac(
        tokens.along(axis.name)[:, :1] / axis.spacing
    )  # a token lies at the corner or in the middle of its cell
    hidden.along(axis.name).copy_((place + within) * axis.spacing)
    known = replace(tokens, present=lattice.present, weight=None, about=None)
    without = [other.name for other in tokens.spec.axes if other.name != axis.name]
    return replace(concatenate([known, hidden]), partial=tuple(dict.fromkeys((*tokens.partial, *without))))


def _unknown(tokens: Tokens, present: Bool[Tensor, "B G"]) -> Tokens:
    """Tokens of which nothing is known, not even their places."""
    values = tokens.values.new_zeros((*present.shape, tokens.values.shape[-1]))
    return Tokens(
        values,
        tokens.coords.new_full((*present.shape, tokens.coords.shape[-1]), torch.nan),
        torch.zeros_like(values, dtype=torch.bool),
        tokens.spec,
        codes=None if tokens.codes is None else torch.full_like(present, UNKNOWN, dtype=tokens.codes.dtype),
        present=present,
        index=None if tokens.index is None else torch.full_like(present, UNKNOWN, dtype=tokens.index.dtype),
    )


def lattice_axis(spec: TokenSpec, kind: str) -> Axis | None:
    """The one axis of a kind; None if there is none, or several."""
    axes = [axis for axis in spec.axes if axis.kind == kind]
    return axes[0] if len(axes) == 1 else None


def tells_only_sizes(tensor: Tensor) -> bool:
    """Whether a tensor has no values: on the device `meta`, and where costs are counted."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def _rows(cells: int) -> int:
    """The largest divisor that is at most the square root."""
    return next((rows for rows in range(math.isqrt(cells), 1, -1) if cells % rows == 0), 1)


def is_square(points: int) -> bool:
    return math.isqrt(points) ** 2 == points
