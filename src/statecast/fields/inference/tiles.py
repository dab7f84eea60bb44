"""A whole grid from answers about overlapping neighbourhoods, blended without seams.

Axes: H row, W column of the grid; I, J those of a tile; B any leading axes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from statecast.fields.sources import Grid
from statecast.fields.tokenizers import Place


@dataclass(frozen=True)
class Tile:
    """A neighbourhood and how much it counts at each of its points; over all tiles these weights sum to 1 at every point of the grid."""

    rows: slice
    columns: np.ndarray
    weight: Float[np.ndarray, "I J"]

    def place(self, start: int, steps: int) -> Place:
        """Its window of `steps` time steps from step `start`."""
        return Place(start, steps, self.rows, self.columns)


def tiles(grid: Grid, extent: tuple[int, int] | None) -> list[Tile]:
    """Tiles of `extent` (rows, columns) that overlap by half or more and cover the grid; one tile if the extent is None or the whole grid.

    They need not begin where tokens do in another tile: what the borders of tokens leave in an answer is blended too.
    """
    extent = grid.shape if extent is None else extent
    firsts = [
        _firsts(total, size, is_periodic=is_periodic)
        for total, size, is_periodic in zip(grid.shape, extent, (False, grid.is_periodic), strict=True)
    ]
    return weighted(
        [
            Place(0, 0, slice(row, row + extent[0]), (column + np.arange(extent[1])) % grid.shape[1])
            for row in firsts[0]
            for column in firsts[1]
        ],
        grid.shape,
    )


def weighted(places: Sequence[Place], shape: tuple[int, int]) -> list[Tile]:
    """Windows of one size on a grid of `shape`, with what each counts at its points.

    Along each axis a tile of n points counts sin²(π (i + 1/2) / n): next to nothing at its borders, and 1 in sum over tiles that lie n / 2
    apart (a Hann window, as in overlap-add synthesis, Allen & Rabiner 1977). What is left is divided by the sum over all tiles.
    """
    extent = (places[0].rows.stop - places[0].rows.start, len(places[0].columns))
    ramps = [np.ones(n) if n == total else _hann(n) for n, total in zip(extent, shape, strict=True)]
    weight = ramps[0][:, None] * ramps[1]
    total = np.zeros(shape)
    for place in places:
        total[place.rows, place.columns] += weight
    return [Tile(p.rows, p.columns, weight / total[p.rows, p.columns]) for p in places]


def _hann(points: int) -> Float[np.ndarray, " I"]:
    return np.sin(np.pi * (np.arange(points) + 0.5) / points) ** 2


def _firsts(total: int, size: int, *, is_periodic: bool) -> list[int]:
    """First points of tiles, half a tile apart or less; tiles go round a periodic axis, and end at the ends of another."""
    if size == total:
        return [0]
    step = max(1, size // 2)
    if is_periodic:
        return list(range(0, total, step))
    return [*range(0, total - size, step), total - size]


def blend(
    parts: Iterable[tuple[Tile, Float[np.ndarray, "*B I J"]]], shape: tuple[int, int]
) -> Float[np.ndarray, "*B H W"]:
    """The weighted mean of what tiles say; NaN where all that cover a point say so."""
    total: np.ndarray | None = None
    for tile, fields in parts:
        if tile.weight.shape == shape and (tile.weight == 1).all():  # one tile: to the bit what it says
            return fields
        if total is None:
            total, known = np.zeros((*fields.shape[:-2], *shape)), np.zeros((*fields.shape[:-2], *shape))
        total[..., tile.rows, tile.columns] += tile.weight * np.nan_to_num(fields)
        known[..., tile.rows, tile.columns] += tile.weight * np.isfinite(fields)
    assert total is not None
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0).astype(np.float32)
