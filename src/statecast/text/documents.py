"""Documents: texts with their columns, and the words of those that have tags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int


class TextError(ValueError):
    """Files of texts that can't be read, or that lack what a recipe asks for."""


@dataclass(frozen=True)
class Documents:
    """Documents in the order of their files.

    texts    of each document
    columns  further columns by name, a value of each document, None where it has none
    starts   where the words of a document begin in its text, in letters; None for documents whose words are not given
    tags     by column, a tag of each word of each document
    files    where they come from, for messages
    """

    texts: Sequence[str]
    columns: Mapping[str, Sequence[Any]]
    starts: Sequence[Sequence[int]] | None
    tags: Mapping[str, Sequence[Sequence[str]]]
    files: str

    def __len__(self) -> int:
        return len(self.texts)

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column. Raises TextError if there is none."""
        if name not in self.columns:
            raise self._missing(name, self.columns, "column")
        return self.columns[name]

    def tags_of(self, name: str) -> Sequence[Sequence[str]]:
        """The tags of a column. Raises TextError if there is none."""
        if name not in self.tags:
            raise self._missing(name, self.tags, "column of tags")
        return self.tags[name]

    def _missing(self, name: str, known: Mapping[str, Any], what: str) -> TextError:
        listed = ", ".join(known) or "none"
        return TextError(f"{self.files}: has no {what} {name}. Columns: {listed}. Name one of them in the recipe.")

    def chosen(self, numbers: Int[np.ndarray, " K"]) -> "Documents":
        """The documents with these numbers."""
        return Documents(
            _at(self.texts, numbers),
            {name: _at(values, numbers) for name, values in self.columns.items()},
            None if self.starts is None else _at(self.starts, numbers),
            {name: _at(values, numbers) for name, values in self.tags.items()},
            self.files,
        )


def _at(values: Sequence[Any], numbers: Int[np.ndarray, " K"]) -> list[Any]:
    return [values[number] for number in numbers]
