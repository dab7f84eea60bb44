"""ROOT files as tables, by uproot: each TTree and RNTuple is one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from statecast.particles.jets import JetError
from statecast.particles.sources.packages import package
from statecast.particles.sources.tables import Block, Table, corrupt

TREES = ("TTree", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")
BLOCKS_AT_A_TIME = 4  # as a basket is decompressed once for each reading, and often holds more than a block
BYTES_OF_A_FIELD = 200.0  # assumed for an entry of an RNTuple's field, of which uproot tells no size: 50 numbers


class RootTable:
    """The branches of a TTree, or the fields of an RNTuple, by their own names."""

    def __init__(self, path: Path, tree: Any) -> None:
        self.name = f"file {path}, tree {tree.name}"
        self.columns = _names(tree)
        self._tree = tree

    def __len__(self) -> int:
        return int(self._tree.num_entries)

    def bytes_per_entry(self, columns: Sequence[str]) -> float:
        branches = [self._tree[name] for name in columns]
        sizes = [getattr(branch, "uncompressed_bytes", BYTES_OF_A_FIELD * len(self)) for branch in branches]
        return sum(sizes) / max(len(self), 1)

    def blocks(self, columns: Sequence[str], first: int, last: int, entries: int) -> Iterator[Block]:
        for start in range(first, last, entries * BLOCKS_AT_A_TIME):
            span = self._block(columns, start, min(start + entries * BLOCKS_AT_A_TIME, last))
            for low in range(0, min(entries * BLOCKS_AT_A_TIME, last - start), entries):
                yield {name: column[low : low + entries] for name, column in span.items()}

    def _block(self, columns: Sequence[str], start: int, stop: int) -> Block:
        try:
            return {name: self._tree[name].array(entry_start=start, entry_stop=stop) for name in columns}
        except _errors() as error:
            raise corrupt(self.name, "ROOT", error) from error


@contextmanager
def open_file(path: Path, tree: str | None = None) -> Iterator[list[Table]]:
    """The tables of a ROOT file, or `tree` alone. Raises JetError if the file is corrupt, or has no tree of this name."""
    uproot = package("uproot", "ROOT files")
    try:
        file = uproot.open(path)
    except _errors() as error:
        raise corrupt(f"file {path}", "ROOT", error) from error
    with file:
        classes = {name: kind for name, kind in file.classnames(cycle=False).items() if kind in TREES}
        if tree is not None and tree not in classes:
            raise JetError(f"file {path}: has no tree {tree}. Trees: {', '.join(classes) or 'none'}. Name one of them.")
        if not classes:
            found = ", ".join(file.keys(cycle=False)) or "nothing"
            raise JetError(f"file {path}: holds no tree, expected a TTree or RNTuple of jets, found {found}.")
        yield [RootTable(path, file[name]) for name in classes if tree in (None, name)]


def _names(tree: Any) -> list[str]:
    """Branches at any depth; fields of an RNTuple at the first alone, as a collection is one of them."""
    depth = {"full_paths": False} if hasattr(tree, "branches") else {"recursive": False}
    return list(dict.fromkeys(tree.keys(**depth)))


def _errors() -> tuple[type[Exception], ...]:
    """What uproot raises for a file that is cut off or not as it should be."""
    deserialization = package("uproot.deserialization", "ROOT files").DeserializationError
    decompression = package("cramjam", "ROOT files").DecompressionError
    return (OSError, ValueError, KeyError, IndexError, NotImplementedError, deserialization, decompression)
