"""Windows read straight from the Zarr array of a variable: what xarray would return, without what xarray does for each of them.

xarray indexes levels one by one, and variables one after another. Here all chunks of a window, of all variables, are asked for together,
and written into one array; those on a local disk are read without zarr-python.

Axes: T time, V channel, H row, W column.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Float, Int
from xarray.backends.zarr import ZarrArrayWrapper
from xarray.core.indexing import CopyOnWriteArray, LazilyIndexedArray, MemoryCachedArray
from zarr.core.sync import sync

from statecast.fields.sources.local_chunks import LocalChunks

AXES = ("time", "level", "lat", "lon")
Positions = Mapping[str, Int[np.ndarray, " N"]]


@dataclass(frozen=True)
class Stored:
    """Where the points of a record lie in the Zarr array of a variable.

    dims       of the array, in its order
    positions  in the array, of each point of the record along each dimension
    local      its chunks, if they lie on a local disk and can be read without zarr-python
    """

    array: zarr.AsyncArray[Any]
    dims: tuple[str, ...]
    positions: Positions
    local: LocalChunks | None

    @classmethod
    def of(cls, variable: xr.Variable) -> "Stored | None":
        """None for a variable that is more than a selection from a Zarr array of float32, such as one that is packed, or in memory."""
        data = variable._data
        while isinstance(data, MemoryCachedArray | CopyOnWriteArray):
            data = data.array
        if not isinstance(data, LazilyIndexedArray) or not isinstance(data.array, ZarrArrayWrapper):
            return None
        array = data.array._array.async_array
        dims = tuple(map(str, variable.dims))
        if array.dtype != np.float32 or len(dims) != array.ndim:  # an axis was dropped, such as a member of an ensemble
            return None
        selected = zip(dims, array.shape, data.key.tuple, strict=True)
        positions = {dim: np.arange(size)[key] for dim, size, key in selected}
        return cls(array, dims, positions, LocalChunks.of(array))

    def requests(self, out: Float[np.ndarray, "T V H W"], positions: Positions) -> list[Coroutine[Any, Any, None]]:
        """What has yet to be waited for until `out` holds the values at these positions; nothing for an array on a local disk."""
        axes = [axis for axis in AXES if axis in self.dims]
        field = out if "level" in axes else out[:, 0]
        target = field.transpose([axes.index(dim) for dim in self.dims])
        along = [pieces(positions[dim], size) for dim, size in zip(self.dims, self.array.chunks, strict=True)]
        waiting = []
        for part in product(*along):
            place = target[tuple(piece.out for piece in part)]
            if self.local is None:
                waiting.append(self._fetch(place, part))
            else:
                _read(self.local, place, part)
        return waiting

    async def _fetch(self, place: np.ndarray, part: Sequence["Piece"]) -> None:
        block = await self.array.getitem(tuple(piece.stored for piece in part))
        place[...] = _taken(np.asarray(block), part)


def _read(chunks: LocalChunks, place: np.ndarray, part: Sequence["Piece"]) -> None:
    """Without a copy, unless single positions are taken."""
    where = [piece.stored for piece in part]
    if all(isinstance(piece.taken, slice) for piece in part):
        chunks.read_into(_taken(place, part), where)  # reversed twice is as it was
        return
    block = np.empty([piece.stop - piece.start for piece in where], np.float32)
    chunks.read_into(block, where)
    place[...] = _taken(block, part)


def _taken(block: np.ndarray, part: Sequence["Piece"]) -> np.ndarray:
    for axis, piece in enumerate(part):
        block = block[(slice(None),) * axis + (piece.taken,)]
    return block


@dataclass(frozen=True)
class Piece:
    """Positions along one dimension that are read together.

    stored  the part of the array, which spans them
    taken   those of it that are asked for, in their order
    out     their places among all that are asked for
    """

    stored: slice
    taken: slice | Int[np.ndarray, " N"]
    out: slice


def pieces(positions: Int[np.ndarray, " N"], chunk: int) -> list[Piece]:
    """Positions in pieces, split where the next one lies further away than a chunk: a piece spans no chunk that isn't needed."""
    far = np.flatnonzero(np.abs(np.diff(positions)) > chunk) + 1
    return [_piece(positions[first:last], first) for first, last in pairwise([0, *far.tolist(), len(positions)])]


def _piece(positions: Int[np.ndarray, " N"], first: int) -> Piece:
    low, high = int(positions.min()), int(positions.max()) + 1
    steps = np.diff(positions)
    taken: slice | np.ndarray = positions - low
    if (steps == 1).all():
        taken = slice(None)
    elif (steps == -1).all():
        taken = slice(None, None, -1)
    return Piece(slice(low, high), taken, slice(first, first + len(positions)))


def read_together(requests: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for all requests, which are under way at the same time. Raises what the first of them raises."""

    async def all_of_them() -> None:
        await asyncio.gather(*requests)

    sync(all_of_them())
