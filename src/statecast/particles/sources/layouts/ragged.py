"""Arrays of lists as flat columns, and particles that belong to jets by index. Axes: E event, J jet, L link, N particle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from statecast.particles.jets import JetError
from statecast.particles.sources.packages import package


@dataclass(frozen=True)
class Ragged:
    """A column of lists: the values of all lists in a row, and the length of each list."""

    values: Shaped[np.ndarray, " N"]
    counts: Int[np.ndarray, " E"]

    @property
    def starts(self) -> Int[np.ndarray, " E"]:
        """The first value of each list."""
        return np.concatenate([[0], np.cumsum(self.counts)])[:-1].astype(np.int64)

    @property
    def owner(self) -> Int[np.ndarray, " N"]:
        """The list of each value."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def ragged(column: Any) -> Ragged:
    """A column of lists of numbers. A missing list is empty, a missing number NaN."""
    awkward = package("awkward", "columns of lists")
    lists = awkward.fill_none(column, [], axis=0) if column.layout.is_option else column
    counts = np.asarray(awkward.to_numpy(awkward.num(lists, axis=1)), np.int64)
    return Ragged(numbers(awkward.flatten(lists, axis=1)), counts)


def numbers(column: Any) -> Shaped[np.ndarray, " N"]:
    """A column of numbers; a missing one is NaN."""
    if isinstance(column, np.ndarray):
        return column
    awkward = package("awkward", "columns of lists")
    array = awkward.to_numpy(column, allow_missing=True)
    if not isinstance(array, np.ma.MaskedArray):
        return np.asarray(array)
    return np.where(array.mask, np.nan, array.data) if np.any(array.mask) else array.data


def together(block: Mapping[str, Any], names: Sequence[str], source: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The flat columns of lists that belong together, and the common lengths. Raises JetError if lengths differ."""
    columns = {name: ragged(block[name]) for name in names}
    first = next(iter(columns))
    for name, column in columns.items():
        differing = np.flatnonzero(column.counts != columns[first].counts)
        if len(differing):
            at = differing[0]
            raise JetError(
                f"{source}: {name} has {column.counts[at]} values where {first} has {columns[first].counts[at]} (entry {at} of a block), "
                "expected one for each particle. Write the file anew."
            )
    return {name: column.values for name, column in columns.items()}, columns[first].counts


def linked(
    jet: Int[np.ndarray, " L"], row: Int[np.ndarray, " L"], usable: Bool[np.ndarray, " L"], jets: int
) -> tuple[Int[np.ndarray, " J_plus_1"], Int[np.ndarray, " N"]]:
    """Offsets of the jets, and the row of the particle table of each of their particles, from the usable links of jets to rows."""
    jet, row = jet[usable], row[usable]
    order = np.argsort(jet, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(jet, minlength=jets))])
    return offsets, row[order]


def outside(index: Int[np.ndarray, " L"], size: Int[np.ndarray, " L"]) -> Bool[np.ndarray, " L"]:
    """Whether an index is out of the range of its list."""
    return (index < 0) | (index >= size)
