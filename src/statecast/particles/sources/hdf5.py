"""HDF5 files as tables, by h5py: arrays at the root of the file, and tables that pandas wrote (without PyTables)."""

import io
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from statecast.particles.jets import JetError
from statecast.particles.sources.packages import package
from statecast.particles.sources.tables import Block, Table, corrupt


class ArraysTable:
    """The arrays of equal length at the root of an HDF5 file."""

    def __init__(self, path: Path, arrays: dict[str, Any]) -> None:
        self.name = f"file {path}"
        self.columns = list(arrays)
        self._arrays = arrays

    def __len__(self) -> int:
        return min((len(array) for array in self._arrays.values()), default=0)

    def shape(self, column: str) -> tuple[int, ...]:
        """Of a column, its first axis included."""
        return tuple(self._arrays[column].shape)

    def bytes_per_entry(self, columns: Sequence[str]) -> float:
        arrays = [self._arrays[name] for name in columns]
        return float(sum(array.dtype.itemsize * np.prod(array.shape[1:]) for array in arrays))

    def blocks(self, columns: Sequence[str], first: int, last: int, entries: int) -> Iterator[Block]:
        for start in range(first, last, entries):
            span = slice(start, min(start + entries, last))
            yield _read(self.name, lambda span=span: {name: self._arrays[name][span] for name in columns})


class PandasTable:
    """The columns of a frame that pandas wrote in its format `table`: one array of rows, whose fields are blocks of columns."""

    def __init__(self, path: Path, group: str, rows: Any) -> None:
        self.name = f"file {path}, table {group}"
        self._rows = rows
        self._places: dict[str, tuple[str, int]] = {}
        for field in rows.dtype.names or ():
            for number, column in enumerate(_column_names(rows.attrs, field)):
                self._places[column] = (field, number)
        self.columns = list(self._places)

    def __len__(self) -> int:
        return len(self._rows)

    def bytes_per_entry(self, columns: Sequence[str]) -> float:
        return float(self._rows.dtype.itemsize)  # rows are read whole

    def blocks(self, columns: Sequence[str], first: int, last: int, entries: int) -> Iterator[Block]:
        for start in range(first, last, entries):
            span = slice(start, min(start + entries, last))
            rows = _read(self.name, lambda span=span: self._rows[span])
            yield {name: _column(rows, *self._places[name]) for name in columns}


@contextmanager
def open_file(path: Path, tree: str | None = None) -> Iterator[list[Table]]:
    """The tables of an HDF5 file, or that of the group `tree` alone. Raises JetError if the file is corrupt or has no such group."""
    h5py = package("h5py", "HDF5 files")
    if find_spec("hdf5plugin"):
        package("hdf5plugin", "HDF5 files")  # registers further compressions, such as blosc
    try:
        file = h5py.File(path, "r")
    except (OSError, ValueError) as error:
        raise corrupt(f"file {path}", "HDF5", error) from error
    with file:
        frames = {name: group["table"] for name, group in _groups(file, h5py) if _is_frame(group, h5py)}
        if tree is not None and tree not in frames:
            raise JetError(f"file {path}: has no table {tree}. Tables: {', '.join(frames) or 'none'}.")
        chosen = [name for name in frames if tree in (None, name)]
        tables: list[Table] = [PandasTable(path, name, frames[name]) for name in chosen]
        arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim}
        yield tables or [ArraysTable(path, arrays)]


def _groups(file: Any, h5py: Any) -> list[tuple[str, Any]]:
    return [(name, item) for name, item in file.items() if isinstance(item, h5py.Group)]


def _is_frame(group: Any, h5py: Any) -> bool:
    table = group.get("table")
    return isinstance(table, h5py.Dataset) and table.dtype.names is not None


def _column_names(attributes: Any, field: str) -> list[str]:
    """Names of the columns in a block of a frame. pandas keeps them as a pickled list of texts; nothing else is unpickled."""
    stored = attributes.get(f"{field}_kind")
    if stored is None or field == "index":
        return []
    text = stored.encode("latin1") if isinstance(stored, str) else bytes(stored)
    try:
        names = _TextsOnly(io.BytesIO(text), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
        raise JetError(f"table with the block {field}: the names of its columns can't be read ({error}).") from error
    return [str(name) for name in names]


class _TextsOnly(pickle.Unpickler):
    """Reads lists of texts and numbers, and runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}, expected texts alone")


def _column(rows: np.ndarray, field: str, number: int) -> np.ndarray:
    block = rows[field]
    return block if block.ndim == 1 else block[:, number]


def _read(name: str, read: Any) -> Any:
    try:
        return read()
    except OSError as error:
        if "filter" in str(error) and find_spec("hdf5plugin") is None:
            raise JetError(
                f"{name}: is compressed in a way that h5py does not know. pip install hdf5plugin, or repack the file with gzip."
            ) from error
        raise corrupt(name, "HDF5", error) from error
