"""A store behind a URL: a request that fails is made again, after growing pauses; a server that stays silent is told in one line."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, WrapperStore

from statecast.fields.sources.errors import StoreError, UnreachableError
from statecast.fields.sources.fill_values import METADATA

LONGEST_TRY_S = 30.0
PASSING = (408, 425, 429)  # answers below 500 that ask to come again
TELLING = ("etag", "md5", "digest", "modified", "mtime", "updated", "created", "generation", "size")
"""Parts of the keys by which file systems tell a file from an earlier one of the same name."""
CHUNK = re.compile(r"(?P<variable>.+?)/(?:c/)?(?P<chunk>\d+(?:[./]\d+)*)")


@dataclass(frozen=True)
class Patience:
    """How often a request is made, and the pause after the first failure, which doubles after each further one.

    The defaults wait a minute in all for a chunk, and 4 s for metadata: a mistyped address is told soon.
    """

    tries: int = 8
    tries_of_metadata: int = 4
    first_pause_s: float = 0.5
    rest_s: float = 30.0  # after the last try, during which no other is made

    def tries_of(self, key: str) -> int:
        return self.tries_of_metadata if is_metadata(key) else self.tries


PATIENCE = Patience()


def is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in METADATA


Answer = TypeVar("Answer")


class PatientStore(WrapperStore[FsspecStore]):
    """A remote store whose failing requests are repeated.

    A chunk that can't be fetched raises UnreachableError with its variable and number; then, for a while, every other does without a try,
    so that whoever looks for the first missing one is told at once. Metadata that can't be fetched raise what the file system raised.
    """

    def __init__(self, store: FsspecStore, url: str, patience: Patience | None = None) -> None:
        super().__init__(store)
        self.url, self._patience = url, patience or PATIENCE
        self._silent_until, self._reason = 0.0, ""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        return await self._tried(key, lambda: self._store.get(key, prototype, byte_range))

    async def exists(self, key: str) -> bool:
        return await self._tried(key, lambda: self._store.exists(key))

    async def about(self, key: str) -> str:
        """What the server says of a file that is there, by which it differs from an earlier one of the same name."""
        path, files = f"{self._store.path.rstrip('/')}/{key}", self._store.fs

        async def ask() -> dict[str, Any]:
            files.invalidate_cache(path)  # of what the file system was told before
            try:
                return dict(await files._info(path))
            except FileNotFoundError as error:  # what HTTP's file system makes of any failure
                raise ConnectionError(f"{key} was there just now") from error

        told = (await self._tried(key, ask)).items()
        return repr(sorted((name, str(value)) for name, value in told if any(t in name.lower() for t in TELLING)))

    async def _tried(self, key: str, request: Callable[[], Awaitable[Answer]]) -> Answer:
        if time.monotonic() < self._silent_until:
            raise self._unreachable(key)
        last = self._patience.tries_of(key) - 1
        for number in range(last):
            try:
                return await asyncio.wait_for(request(), LONGEST_TRY_S)
            except Exception as error:
                if not may_pass(error):
                    raise
            await asyncio.sleep(self._patience.first_pause_s * 2**number)
        try:
            return await asyncio.wait_for(request(), LONGEST_TRY_S)
        except Exception as error:
            if is_metadata(key) or not may_pass(error):
                raise
            self._silent_until = time.monotonic() + self._patience.rest_s
            self._reason = f"{last + 1} tries, {' '.join(str(error).split())[:60] or type(error).__name__}"
            raise self._unreachable(key) from error

    def _unreachable(self, key: str) -> UnreachableError:
        found = CHUNK.fullmatch(key)
        what = f"variable '{found['variable']}': chunk {found['chunk'].replace('/', '.')}" if found else f"'{key}'"
        return UnreachableError(f"{what} can't be fetched from {self.url[:80]} ({self._reason}). Try again later.")


def may_pass(error: Exception) -> bool:
    """Whether a failing request may succeed later: the server or the way to it failed, not what was asked for."""
    status = error.status if hasattr(error, "status") else getattr(error, "code", None)
    if isinstance(status, int):
        return status in PASSING or status >= 500
    if isinstance(error, StoreError | PermissionError | FileNotFoundError | ValueError | TypeError | ImportError):
        return False
    return "Credential" not in type(error).__name__
