"""Chunks of a local Zarr array, read and decoded one after another, straight into the window that is asked for.

zarr-python starts tasks and threads for each chunk, which takes longer than to decode one of the size that windows need. What this
module does not know (another codec, order or type) is left to zarr-python.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from google_crc32c import value as crc32c
from numcodecs import blosc, gzip, zstd
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, Endian, GzipCodec, ShardingCodec, ZstdCodec
from zarr.codecs.sharding import ShardingCodecIndexLocation
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata

from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.fill_values import BLOSC_HEADER, KnownFills

ABSENT = 2**64 - 1  # offset of a chunk that a shard lacks
ENTRY_BYTES, CHECKSUM_BYTES = 16, 4  # of a chunk, and of all, in the index of a shard
MOST_INDEXES = 4096  # of shards that are kept: 16 bytes a chunk
MANY_BYTES = (
    2**26
)  # of a part that is read on all cores, as statistics do; windows are not: several processes read them
Number = tuple[int, ...]
"""Of a chunk or a shard, along each dimension of the array."""
Decode = Callable[[Any], Any]
DECODERS: Mapping[type, Decode] = {
    BloscCodec: blosc.decompress,
    ZstdCodec: zstd.decompress,
    GzipCodec: gzip.GZip().decode,
}


class Place(NamedTuple):
    """Where a chunk lies: an open file, offset and length in bytes."""

    file: int
    offset: int
    length: int


class Span(NamedTuple):
    """A chunk along one dimension: its number, what of it is asked for, and where that lies in what is asked for."""

    number: int
    inside: slice
    outside: slice


@dataclass(frozen=True)
class LocalChunks:
    """The chunks of an array of float32, each a file or a part of a shard.

    folder   of the array
    key      name of the file of a chunk or shard, by its number along each dimension
    chunk    shape of a chunk, `shard` that of a file, in chunks; none: a chunk is a file
    decode   from the bytes of a chunk to its values
    fill     of a chunk that is not there; None: it is not known what that means
    """

    folder: Path
    key: Callable[[tuple[int, ...]], str]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    decode: Callable[[Any], Any]
    is_blosc: bool
    fill: float | None
    indexes: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, array: zarr.AsyncArray[Any]) -> "LocalChunks | None":
        """None for an array that zarr-python has to read."""
        store, metadata = array.store_path.store, array.metadata
        decoder = _decoder(metadata)
        if not isinstance(store, KnownFills) or decoder is None or array.dtype != np.dtype("<f4"):
            return None
        if (folder := store.local_root) is None:
            return None
        shard = None if array.shards is None else tuple(np.floor_divide(array.shards, array.chunks).tolist())
        fill = metadata.fill_value if store.knows_fill(array.path) else None
        return cls(folder / array.path, metadata.encode_chunk_key, array.chunks, shard, *decoder, fill)

    def read_into(self, out: np.ndarray, where: Sequence[slice]) -> None:
        """Fill `out` with a part of the array. Raises StoreError, or what the codec raises, for a chunk that can't be read."""
        along = [list(_spans(part, size)) for part, size in zip(where, self.chunk, strict=True)]
        with _Files(self) as files:
            found = [(files.find(tuple(span.number for span in spans)), spans) for spans in product(*along)]

            def fill(one: tuple[Place | None, tuple[Span, ...]]) -> None:
                place, spans = one
                values = self._values(place)[tuple(span.inside for span in spans)]
                out[tuple(span.outside for span in spans)] = values

            if out.nbytes < MANY_BYTES:
                for one in found:
                    fill(one)
                return
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(fill, found))

    def _values(self, place: Place | None) -> np.ndarray:
        if place is None and self.fill is None:
            raise StoreError("a chunk is not in the store.")
        if place is None:
            return np.broadcast_to(np.float32(self.fill), self.chunk)
        content = os.pread(place.file, place.length, place.offset)
        if self.is_blosc:
            _require_whole(content)
        return np.frombuffer(self.decode(content), "<f4").reshape(self.chunk)


class _Files:
    """The files of some chunks, each opened once."""

    def __init__(self, chunks: LocalChunks) -> None:
        self._chunks, self._stack = chunks, ExitStack()
        self._open: dict[Number, int | None] = {}

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def find(self, number: Number) -> Place | None:
        """Where a chunk lies; None if it is not in the store. The disk is told that it will be read, so that it fetches several at once."""
        shard = self._chunks.shard
        of_file = number if shard is None else tuple(n // size for n, size in zip(number, shard, strict=True))
        if of_file not in self._open:
            self._open[of_file] = self._opened(of_file)
        file = self._open[of_file]
        if file is None:
            return None
        if shard is None:
            offset, length = 0, os.fstat(file).st_size
        else:
            inside = tuple(n % size for n, size in zip(number, shard, strict=True))
            offset, length = self._index(of_file, file)[inside].tolist()
        if offset == ABSENT:
            return None
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file, offset, length, os.POSIX_FADV_WILLNEED)
        return Place(file, offset, length)

    def _opened(self, number: Number) -> int | None:
        try:
            file = os.open(self._chunks.folder / self._chunks.key(number), os.O_RDONLY)
        except FileNotFoundError:
            return None
        self._stack.callback(os.close, file)
        return file

    def _index(self, number: Number, file: int) -> np.ndarray:
        """Offset and length of each chunk of a shard."""
        shard, kept = self._chunks.shard, self._chunks.indexes
        assert shard is not None
        if number not in kept:
            size = ENTRY_BYTES * math.prod(shard) + CHECKSUM_BYTES
            content = os.pread(file, size, os.fstat(file).st_size - size)
            if crc32c(content[:-CHECKSUM_BYTES]) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
                raise StoreError("the index of a shard is damaged.")
            if len(kept) >= MOST_INDEXES:
                kept.pop(next(iter(kept)))
            kept[number] = np.frombuffer(content[:-CHECKSUM_BYTES], "<u8").reshape(*shard, 2)
        return kept[number]


def _spans(part: slice, size: int) -> Iterator[Span]:
    """The chunks of this size along a dimension that hold a part of it."""
    for number in range(part.start // size, (part.stop - 1) // size + 1):
        first, last = max(part.start, number * size), min(part.stop, (number + 1) * size)
        inside = slice(first - number * size, last - number * size)
        yield Span(number, inside, slice(first - part.start, last - part.start))


def _require_whole(content: bytes) -> None:
    """Blosc reads what lies behind a chunk that is cut off."""
    if len(content) < BLOSC_HEADER or len(content) < int.from_bytes(content[12:16], "little"):
        raise StoreError("a chunk is cut off.")


def _decoder(metadata: ArrayV2Metadata | ArrayV3Metadata) -> tuple[Decode, bool] | None:
    """How chunks become bytes of float32 in C order, and whether they are Blosc's; None for codecs that are not known here."""
    if isinstance(metadata, ArrayV2Metadata):
        if metadata.filters or metadata.order != "C":
            return None
        compressor = metadata.compressor
        return (_as_it_is, False) if compressor is None else (compressor.decode, compressor.codec_id == "blosc")
    codecs = metadata.codecs
    if isinstance(codecs[0], ShardingCodec):
        sharding = codecs[0]
        kinds = [type(codec) for codec in sharding.index_codecs]
        if (
            kinds != [BytesCodec, Crc32cCodec]
            or sharding.index_location != ShardingCodecIndexLocation.end
            or codecs[1:]
        ):
            return None
        codecs = sharding.codecs
    if not isinstance(codecs[0], BytesCodec) or codecs[0].endian != Endian.little or len(codecs) > 2:
        return None
    if len(codecs) == 1:
        return _as_it_is, False
    decode = DECODERS.get(type(codecs[1]))
    return None if decode is None else (decode, isinstance(codecs[1], BloscCodec))


def _as_it_is(content: bytes) -> bytes:
    return content
