"""A whole grid from answers about overlapping neighbourhoods, blended without seams.

Axes: H row, W column of the grid; I, J those of a tile; B any leading axes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from statecast.fields.sources import Grid
from statecast.fields.tokenizers import Place


@dataclass(frozen=True)
class Tile:
    """A neighbourhood and its weight at each of its points; over all tiles the weights sum to 1 at every point of the grid."""

    rows: slice
    columns: np.ndarray
    weight: Float[np.ndarray, "I J"]

    def place(self, start: int, steps: int) -> Place:
        """Its window of `steps` time steps from step `start`."""
        return Place(start, steps, self.rows, self.columns)


def tiles(grid: Grid, extent: tuple[int, int] | None) -> list[Tile]:
    """Tiles of `extent` (rows, columns) that overlap by half or more and cover the grid; one tile if the extent is None or the whole grid.

    They need not begin where tokens of another tile begin: errors at the borders of tokens are then blended too.
    """
    extent = grid.shape if extent is None else extent
    rows, columns = extent
    first_columns = _firsts(grid.shape[1], columns, is_periodic=grid.is_periodic)
    places = []
    for row in _firsts(grid.shape[0], rows, is_periodic=False):
        for column in first_columns:
            of_tile = (column + np.arange(columns)) % grid.shape[1]
            places.append(Place(0, 0, slice(row, row + rows), of_tile))
    return weighted(places, grid.shape)


def weighted(places: Sequence[Place], shape: tuple[int, int]) -> list[Tile]:
    """Windows of one size on a grid of `shape`, with weights that sum to 1 at every point."""
    return normalised(ramped(places, shape), shape)


def ramped(places: Sequence[Place], shape: tuple[int, int]) -> list[Tile]:
    """Windows of one size on a grid of `shape`, with weights that don't sum to 1 yet.

    Along each axis the weight in a tile of n points is sin²(π (i + 1/2) / n): nearly 0 at the borders, with the sum 1 over tiles that lie
    n / 2 apart (a Hann window, as in overlap-add synthesis, Allen & Rabiner 1977). 1 along an axis that the window spans.
    """
    extent = (places[0].rows.stop - places[0].rows.start, len(places[0].columns))
    ramps = [np.ones(n) if n == total else hann(n) for n, total in zip(extent, shape, strict=True)]
    return [Tile(place.rows, place.columns, ramps[0][:, None] * ramps[1]) for place in places]


def normalised(placed: Sequence[Tile], shape: tuple[int, int]) -> list[Tile]:
    """The same tiles, their weights divided by the sum over all tiles."""
    total = np.zeros(shape)
    for tile in placed:
        total[tile.rows, tile.columns] += tile.weight
    return [replace(tile, weight=tile.weight / total[tile.rows, tile.columns]) for tile in placed]


def hann(points: int) -> Float[np.ndarray, " I"]:
    """sin²(π (i + 1/2) / n)."""
    return np.sin(np.pi * (np.arange(points) + 0.5) / points) ** 2


def _firsts(total: int, size: int, *, is_periodic: bool) -> list[int]:
    """First points of tiles, half a tile apart or less; tiles wrap around a periodic axis, and stay within the ends of another."""
    if size == total:
        return [0]
    step = max(1, size // 2)
    if is_periodic:
        return list(range(0, total, step))
    return [*range(0, total - size, step), total - size]


def blend(
    parts: Iterable[tuple[Tile, Float[np.ndarray, "*B I J"]]], shape: tuple[int, int]
) -> Float[np.ndarray, "*B H W"]:
    """The weighted mean of the fields of tiles; NaN where all tiles that cover a point are NaN."""
    total: np.ndarray | None = None
    known = np.zeros(shape)
    for tile, fields in parts:
        if tile.weight.shape == shape and (tile.weight == 1).all():  # a single tile is returned to the bit
            return fields
        if total is None:
            total = np.zeros((*fields.shape[:-2], *shape))
        is_known = np.isfinite(fields)
        share = tile.weight
        if not is_known.all():
            fields, share = np.where(is_known, fields, 0.0), tile.weight * is_known
            known = np.broadcast_to(known, total.shape).copy() if known.ndim == 2 else known
        weighted_fields = tile.weight * fields
        for here, there in _runs(tile.columns):  # slices: several times as fast as single columns
            total[..., tile.rows, there] += weighted_fields[..., here]
            known[..., tile.rows, there] += share[..., here]
    assert total is not None
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0).astype(np.float32)


def _runs(columns: np.ndarray) -> list[tuple[slice, slice]]:
    """Columns that follow one another, as slices of a tile and of the grid: two of a tile that crosses the end of the grid."""
    ends = [0, *(np.flatnonzero(np.diff(columns) != 1) + 1).tolist(), len(columns)]
    return [(slice(a, b), slice(int(columns[a]), int(columns[a]) + b - a)) for a, b in pairwise(ends)]
