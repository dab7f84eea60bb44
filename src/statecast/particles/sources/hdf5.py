"""HDF5 files as tables, by h5py: arrays at the root of the file, and tables that pandas wrote (without PyTables)."""

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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
            with _reading(self.name):
                block = {name: self._arrays[name][span] for name in columns}
            yield block


class FrameTable:
    """The columns of a frame that pandas wrote: blocks of columns of one type, in its format `table` or `fixed`."""

    def __init__(self, path: Path, group: str, frame: Any) -> None:
        self.name = f"file {path}, table {group}"
        self._blocks = _blocks_of_rows(frame["table"]) if "table" in frame else _blocks_of_arrays(frame)
        self._places = {
            column: (name, place) for name, (_, columns) in self._blocks.items() for place, column in enumerate(columns)
        }
        self.columns = list(self._places)
        self._length = len(frame["table" if "table" in frame else "axis1"])

    def __len__(self) -> int:
        return self._length

    def bytes_per_entry(self, columns: Sequence[str]) -> float:
        return 8.0 * len(self.columns)  # blocks are read whole

    def blocks(self, columns: Sequence[str], first: int, last: int, entries: int) -> Iterator[Block]:
        needed = {self._places[name][0] for name in columns}
        for start in range(first, last, entries):
            span = slice(start, min(start + entries, last))
            with _reading(self.name):
                read = {name: self._blocks[name][0](span) for name in needed}
            yield {name: _column(read[self._places[name][0]], self._places[name][1]) for name in columns}


ReadSpan = Callable[[slice], np.ndarray]


def _blocks_of_rows(rows: Any) -> dict[str, tuple[ReadSpan, list[str]]]:
    """How to read each block of the format `table`, an array of rows whose fields are the blocks, and the block's columns."""
    fields = rows.dtype.names
    return {field: (partial(_read_field, rows, field), _column_names(rows.attrs, field)) for field in fields}


def _read_field(rows: Any, field: str, span: slice) -> np.ndarray:
    return np.asarray(rows[field, span])


def _blocks_of_arrays(frame: Any) -> dict[str, tuple[ReadSpan, list[str]]]:
    """The same of the format `fixed`, which has an array for the names and one for the values of each block."""
    blocks: dict[str, tuple[ReadSpan, list[str]]] = {}
    for name in frame:
        if name.endswith("_items") and frame[name].dtype.kind == "S":
            values = frame[f"{name.removesuffix('_items')}_values"]
            blocks[name] = (values.__getitem__, [text.decode() for text in frame[name][()]])
    return blocks


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
        frames = {name: group for name, group in file.items() if isinstance(group, h5py.Group) and _is_frame(group)}
        if tree is not None and tree not in frames:
            raise JetError(f"file {path}: has no table {tree}. Tables: {', '.join(frames) or 'none'}.")
        chosen = [name for name in frames if tree in (None, name)]
        tables: list[Table] = [FrameTable(path, name, frames[name]) for name in chosen]
        arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim}
        yield tables or [ArraysTable(path, arrays)]


def _is_frame(group: Any) -> bool:
    return "block0_items" in group or ("table" in group and bool(group["table"].dtype.names))


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


def _column(block: np.ndarray, place: int) -> np.ndarray:
    return block if block.ndim == 1 else block[:, place]


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turns h5py's errors into ours."""
    try:
        yield
    except OSError as error:
        if find_spec("hdf5plugin") is None and any(word in str(error) for word in ("filter", "plugin")):
            raise JetError(
                f"{name}: is compressed in a way that h5py does not know. pip install hdf5plugin, or repack the file with gzip."
            ) from error
        raise corrupt(name, "HDF5", error) from error
