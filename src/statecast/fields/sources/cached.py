"""A remote store whose chunks are kept in a local cache, under names that a change of the store alters."""

import asyncio
import hashlib
from pathlib import PurePosixPath

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import WrapperStore

from statecast.fields.sources.cache import ChunkCache, name_of
from statecast.fields.sources.fill_values import METADATA
from statecast.fields.sources.remote import PatientStore, is_metadata


class CachedStore(WrapperStore[PatientStore]):
    """A store whose chunks, and ranges of them, are fetched once and then read from a cache.

    A chunk is known by the URL of the store, its key, and the identity of its array: a digest of the metadata above it and of what the
    server says of those files (ETag, time of modification, generation, size). Metadata are read from the server at each opening, so a store
    that was written again is not mixed with what was kept of the one before. Chunks overwritten in place, below metadata that stay as
    they are, are not noticed.
    """

    def __init__(self, store: PatientStore, cache: ChunkCache) -> None:
        super().__init__(store)
        self._cache = cache
        self._told: dict[str, str] = {}  # digests of metadata by key
        self._absent: set[str] = set()  # while this process lasts: a chunk may be written later

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if is_metadata(key):
            return await self._metadata(key, prototype, byte_range)
        name = f"{name_of(self._store.url)}/{name_of(self._identity(key), key, repr(byte_range))}"
        if name in self._absent:
            return None
        kept = await asyncio.to_thread(self._cache.read, name)
        if kept is not None:
            return prototype.buffer.from_bytes(kept)
        buffer = await self._store.get(key, prototype, byte_range)
        if buffer is None:
            self._absent.add(name)
        else:
            await asyncio.to_thread(self._cache.write, name, buffer.to_bytes())
        return buffer

    async def _metadata(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        buffer = await self._store.get(key, prototype, byte_range)
        if buffer is not None:
            about = await self._store.about(key)
            self._told[key] = hashlib.sha256(buffer.to_bytes() + about.encode()).hexdigest()
        return buffer

    def _identity(self, key: str) -> str:
        """Of the array that a chunk belongs to: of all metadata in the folders above it."""
        folders = PurePosixPath(key).parents
        above = (str(folder / name) for folder in folders for name in METADATA)
        return "".join(self._told.get(known, "") for known in above)
