"""What is in files of documents. Registered with the core, which knows no domain, as what describes the data of texts."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from statecast.text.documents import Documents, TextError
from statecast.text.samples import SAMPLES
from statecast.text.sources.files import ENDINGS, TEXT_COLUMN, WORDS, frequencies_of, read_documents, table_columns

LISTED = 12  # values of a column that are named
SHOWN = 120  # letters of a document
CLASSES = 50  # a column with more different values holds no classes
TEXT_NAMES = (TEXT_COLUMN, "sentence", "review", "content", "body", "abstract", WORDS)
"""Columns that hold the text, where it is not said which one does."""


@dataclass(frozen=True)
class Description:
    """The contents of files of documents; rich prints them, `str` returns the same as plain text."""

    lines: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, str], ...]

    def __rich__(self) -> Group:
        table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("column", "has a value", "values"):
            table.add_column(name)
        for row in self.rows:
            table.add_row(*row)
        texts = [Text(f"{name:<10} {line}") for name, line in self.lines]
        return Group(*([table] if self.rows else []), *texts)

    def __str__(self) -> str:
        console = Console(width=160, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def recognises(data: str) -> bool:
    """Whether `data` is a sample of texts, a CoNLL or JSONL file, a folder of .txt files, or a table with a column of texts."""
    if data in SAMPLES:
        return True
    path = Path(data)
    if path.is_dir():
        return next(path.rglob("*.txt"), None) is not None
    ending = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if ENDINGS.get(ending) in ("csv", "parquet"):
        return path.is_file() and _has_text(path)
    return ending in ENDINGS


def _has_text(path: Path) -> bool:
    try:
        return bool(set(table_columns(path)) & set(TEXT_NAMES))
    except (TextError, OSError, csv.Error, ModuleNotFoundError, ValueError):
        return False


def describe(data: str) -> Description:
    """Documents, words and letters of files (see `read_documents`), and the values of their columns. Raises TextError."""
    documents = _read(data)
    letters = np.array([len(text) for text in documents.texts])
    words = np.array([len(text.split()) for text in documents.texts])
    empty = int((words == 0).sum())
    twice = len(documents) - len(set(documents.texts))
    lines = [
        ("documents", f"{len(documents)}, of which {empty} are empty and {twice} repeat another one"),
        ("words", _numbers(words)),
        ("letters", _numbers(letters)),
        ("first", _shortened(documents.texts[0])),
    ]
    rows = [_row(name, values) for name, values in documents.columns.items()]
    for name, of_documents in documents.tags.items():
        tags = [tag for tags in of_documents for tag in tags]
        rows.append((name, f"{len(tags)} words", _listed(frequencies_of(tags))))
    return Description(tuple(lines), tuple(rows))


def _read(data: str) -> Documents:
    """The documents, with the first of the usual columns as their text. Raises TextError if there is none of them."""
    try:
        return read_documents([data])
    except TextError as error:
        for name in TEXT_NAMES[1:-1]:
            try:
                return read_documents([data], name)
            except TextError:
                continue
        raise error


def _numbers(values: np.ndarray) -> str:
    return f"{values.min()} to {values.max()} in a document, {values.mean():.1f} in the mean, {values.sum()} in all"


def _row(name: str, values: Sequence[object]) -> tuple[str, str, str]:
    known = [value for value in values if value is not None]
    return name, f"{len(known)} of {len(values)}", _listed(frequencies_of(known))


def _listed(counts: Mapping[str, int]) -> str:
    if len(counts) > CLASSES:
        return f"{len(counts)} different ones, such as {_shortened(next(iter(counts)))}"
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:LISTED])
    return shown + (f", and {len(counts) - LISTED} more" if len(counts) > LISTED else "")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"
