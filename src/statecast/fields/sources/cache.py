"""A local cache of what was fetched from remote stores: files of a bounded total size, the least recently used of which go first.

Any number of processes and runs may share its directory. A file appears by a rename when it is complete, and begins with a checksum of its
content: a part of one is never read, not even after a crash of the machine.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import Field

from statecast.fields.sources.errors import StoreError
from statecast.options import Options

GB = 10**9
KEPT = 0.9  # of the size, when room is made: so that it is made rarely
CHECKSUM_BYTES = 4
ABANDONED_S = 3600.0  # age of an unfinished file whose process has died
UNFINISHED = ".unfinished"
TOTAL, LOCK = "total", "lock"


class CacheOptions(Options):
    """A directory on a local disk for what is fetched from remote stores."""

    path: str = Field(
        min_length=1,
        description="directory, made if it is not there; several runs may share it; `~` is the home directory",
    )
    size_gb: float = Field(
        gt=0, le=10**6, description="10^9 bytes that it holds at most; what was not used for longest goes"
    )


@dataclass(frozen=True)
class ChunkCache:
    """Contents by name, at most `size` bytes of files in all, in the directory `path`."""

    path: Path
    size: int

    @classmethod
    def open(cls, options: CacheOptions) -> "ChunkCache":
        """The cache of these options, made if it is not there. Raises StoreError if it can't be written, or is larger than the disk."""
        path = Path(options.path).expanduser()
        cache = cls(path, round(options.size_gb * GB))
        if path.exists() and not path.is_dir():
            raise StoreError(f"data.cache.path {path}: is a file, expected a directory. Name another.")
        try:
            path.mkdir(parents=True, exist_ok=True)
            with cache._locked():
                total = cache._known_total()
                cache._tell_total(total)
            there = shutil.disk_usage(path).free + total
        except OSError as error:
            raise unwritable(path, error) from error
        if cache.size > there:
            raise StoreError(
                f"data.cache.size_gb {options.size_gb:g}: is more than the disk of {path} has room for, expected at most "
                f"{there / GB:.3g}. Choose a smaller size, or another path."
            )
        return cache

    def read(self, name: str) -> memoryview | None:
        """The content of this name; None if it is not there, or damaged."""
        file = self.path / name
        try:
            content = memoryview(file.read_bytes())
            os.utime(file)  # it was used now
        except FileNotFoundError:
            return None
        check, content = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
        return content if bytes(check) == _checksum(content) else None

    def write(self, name: str, content: bytes) -> None:
        """Keep a content, unless it is larger than the whole cache. Raises StoreError if the disk refuses it."""
        file = self.path / name
        part = file.with_name(f"{file.name}.{uuid.uuid4().hex}{UNFINISHED}")
        size = len(content) + CHECKSUM_BYTES
        if size > self.size:
            return
        try:
            file.parent.mkdir(exist_ok=True)
            with part.open("wb") as opened:
                opened.write(_checksum(content))
                opened.write(content)
            with self._locked():
                total = self._known_total() - (file.stat().st_size if file.exists() else 0)
                if total + size > self.size:
                    file.unlink(missing_ok=True)
                    total = self._make_room(round(KEPT * (self.size - size)))
                self._tell_total(total + size)
                part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise unwritable(self.path, error) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process at a time counts files, and lets them appear or go."""
        with FileLock(self.path / LOCK):
            yield

    def _known_total(self) -> int:
        """Bytes of all finished files, as told by whoever wrote last. One that died may have told a file that it did not write."""
        try:
            return int((self.path / TOTAL).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return sum(size for _, size, file in self._files() if not file.endswith(UNFINISHED))

    def _tell_total(self, total: int) -> None:
        (self.path / TOTAL).write_text(str(total), encoding="utf-8")

    def _make_room(self, most: int) -> int:
        """Remove files of dead processes, and those not used for longest until at most `most` bytes are left. Returns what is left."""
        files = sorted(self._files())
        abandoned = [f for used, _, f in files if f.endswith(UNFINISHED) and time.time() - used > ABANDONED_S]
        finished = [(size, file) for _, size, file in files if not file.endswith(UNFINISHED)]
        total = sum(size for size, _ in finished)
        for size, file in finished:
            if total <= most:
                break
            abandoned.append(file)
            total -= size
        for file in abandoned:
            Path(file).unlink(missing_ok=True)
        return total

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """When each file was last used, its size, and its path."""
        folders = [str(self.path), *(entry.path for entry in os.scandir(self.path) if entry.is_dir())]
        for folder in folders:
            for entry in os.scandir(folder):
                if entry.name in (TOTAL, LOCK) or not entry.is_file():
                    continue
                with contextlib.suppress(FileNotFoundError):  # another process has renamed it
                    about = entry.stat()
                    yield about.st_mtime, about.st_size, entry.path


def unwritable(path: Path, error: OSError) -> StoreError:
    remedy = "Free some space, or choose a smaller size_gb" if error.errno == errno.ENOSPC else "Name another"
    return StoreError(f"data.cache.path {path}: can't be written ({error.strerror}). {remedy}.")


def name_of(*parts: str) -> str:
    """A name of letters and digits that stands for these texts alone."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


def _checksum(content: bytes | memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")
