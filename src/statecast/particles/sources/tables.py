"""Files as tables: columns by name, with one item for each entry (a jet or an event), read in blocks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from statecast.particles.jets import JetError

Block = Mapping[str, Any]
"""Columns of consecutive entries: awkward arrays, or NumPy arrays of files that hold regular ones."""

MAGIC = {b"root": "ROOT", b"PAR1": "Parquet", b"\x89HDF": "HDF5"}
SUFFIXES = {
    ".root": "ROOT",
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".hdf": "HDF5",
}


class Table(Protocol):
    """The columns of a file, or of one tree of it. `name` is that of the file and tree, for messages."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> Sequence[str]: ...

    def __len__(self) -> int:
        """Number of entries."""
        ...

    def bytes_per_entry(self, columns: Sequence[str]) -> float:
        """Estimated size of an entry in memory."""
        ...

    def blocks(self, columns: Sequence[str], first: int, last: int, entries: int) -> Iterator[Block]:
        """The entries from `first` to before `last` in order, at most `entries` at a time; raises JetError for a corrupt file."""
        ...


def kind_of_file(path: Path) -> str | None:
    """`ROOT`, `Parquet` or `HDF5` by the first bytes of the file; by its suffix if it does not exist; None for another kind."""
    if path.is_file():
        with path.open("rb") as file:
            return MAGIC.get(file.read(4))
    return SUFFIXES.get(path.suffix.lower())


@contextmanager
def open_tables(path: Path, tree: str | None = None) -> Iterator[list[Table]]:
    """The tables of a file, open within the context; one, `tree`, if a name is given.

    Raises JetError if the file does not exist, is of another kind, is corrupt, or has no such tree.
    """
    if not path.is_file():
        raise JetError(f"file {path}: does not exist. Give a Parquet, ROOT or HDF5 file of jets.")
    kind = kind_of_file(path)
    if kind is None:
        size = path.stat().st_size
        raise JetError(
            f"file {path}: is no Parquet, ROOT or HDF5 file ({size} bytes; its first bytes are of none of them). "
            "Download it again, or convert it to one of these."
        )
    with import_module(f"statecast.particles.sources.{kind.lower()}").open_file(path, tree) as tables:
        yield tables


def corrupt(name: str, kind: str, error: Exception) -> JetError:
    """The error for a file that its library can't read."""
    reason = str(error).strip().split("\n")[0][:200]
    return JetError(
        f"{name}: cannot be read as a {kind} file ({reason}). It may be cut off or corrupt: download it again."
    )
