"""Files of documents: CSV, JSONL and Parquet tables, folders of texts, CoNLL files."""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from statecast.text.documents import Documents, TextError
from statecast.text.samples import SAMPLES, sample_path

TEXT_COLUMN = "text"
WORDS = "words"  # the column of a table that holds the words of each document as a list
ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".conll": "conll",
    ".iob": "conll",
    ".bio": "conll",
    ".txt": "folder",
}
"""The format of a file by its ending; a single .txt file is one document."""
DOCUMENT_START = "-DOCSTART-"

Rows = list[dict[str, Any]]


def read_documents(files: Sequence[str], text: str = TEXT_COLUMN, form: str | None = None) -> Documents:
    """The documents of files, in their order; an empty text stays, as its number counts.

    csv      a header, then a document a row; a file that ends in .tsv is separated by tabs
    jsonl    an object a line; the file may be compressed by gzip, as any but Parquet
    parquet  a table
    folder   .txt files, a document each; the column `label` is the name of its subfolder
    conll    a word a line with its columns, an empty line after each sentence, which is a document; `tag` is the last column

    A column `words` of lists, in place of the text, holds the words of documents with tags; other columns of lists hold tags. `text` is the
    name of the column of the text, `form` the format, by the ending if None. Raises TextError in one line.
    """
    rows: Rows = []
    for name in files:
        rows += read_rows(name, form)
    said = ", ".join(files)
    if not rows:
        raise TextError(f"{said}: holds no document. Name another file.")
    return documents_of(rows, text, said)


def read_rows(name: str, form: str | None = None) -> Rows:
    """The rows of a table, or of another file of documents; `form` is its format, by its ending if None. Raises TextError in one line."""
    path = sample_path(name) if name in SAMPLES else Path(name)
    return _rows(path, form or _format(path), name)


def _format(path: Path) -> str:
    if path.is_dir():
        return "folder"
    ending = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    found = ENDINGS.get(ending)
    if found is None:
        raise TextError(
            f"{path}: the ending {ending or '(none)'} is none of {', '.join(ENDINGS)}. Rename the file, or set data.format."
        )
    return found


def _rows(path: Path, form: str, name: str) -> Rows:
    if not path.exists():
        raise TextError(f"{name}: there is no such file or folder. Name one that exists, or sample:docs.")
    reader = {"csv": _of_csv, "jsonl": _of_jsonl, "parquet": _of_parquet, "folder": _of_folder, "conll": _of_conll}
    return reader[form](path)


def decoded(path: Path) -> str:
    """The text of a file. Raises TextError where it is not UTF-8."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TextError(
            f"{path}: line {line} is not UTF-8 (byte {error.start}). Convert the file, for example by iconv -f latin1 -t utf-8."
        ) from None


def _of_csv(path: Path) -> Rows:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(decoded(path), newline=""), delimiter=separator, restval=None)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise TextError(f"{path}: line {reader.line_num} is no row of a table ({error}). Quote its text.") from None
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise TextError(
                f"{path}: row {number} has more values than the header has columns ({len(row) - 1}). Quote its text."
            )
    return [{key: value or None for key, value in row.items()} for row in rows]


def _of_jsonl(path: Path) -> Rows:
    rows = []
    for number, line in enumerate(decoded(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TextError(f"{path}: line {number} is not JSON ({error.msg}). Write an object a line.") from None
        if not isinstance(row, dict):
            raise TextError(f"{path}: line {number} holds {type(row).__name__}, expected an object with a text.")
        rows.append(row)
    return rows


def _of_parquet(path: Path) -> Rows:
    try:
        from pyarrow.parquet import read_table
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Parquet files of texts need pyarrow. pip install 'statecast[text]'") from None
    return list(read_table(path).to_pylist())


def table_columns(path: Path) -> list[str]:
    """The names of the columns of a CSV or Parquet file, without reading it."""
    if path.suffix.lower() == ".parquet":
        from pyarrow.parquet import read_schema

        return list(read_schema(path).names)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","), [])


def _of_folder(path: Path) -> Rows:
    if path.is_file():
        return [{TEXT_COLUMN: decoded(path)}]
    rows: Rows = []
    for file in sorted(path.rglob("*.txt")):
        inside = file.relative_to(path).parts
        rows.append({TEXT_COLUMN: decoded(file), "label": inside[0] if len(inside) > 1 else None, "file": str(file)})
    return rows


def _of_conll(path: Path) -> Rows:
    rows: Rows = []
    sentence: list[list[str]] = []
    for number, line in enumerate([*decoded(path).splitlines(), ""], start=1):
        cells = line.split()
        if cells and cells[0] == DOCUMENT_START:
            continue
        if not cells:
            if sentence:
                rows.append(_of_sentence(sentence))
            sentence = []
            continue
        if len(cells) < 2 or (sentence and len(cells) != len(sentence[0])):
            raise TextError(
                f"{path}: line {number} has {len(cells)} columns, expected a word and its tags, as many on each line of a sentence."
            )
        sentence.append(cells)
    return rows


def _of_sentence(lines: Sequence[Sequence[str]]) -> dict[str, Any]:
    columns = list(zip(*lines, strict=True))
    row: dict[str, Any] = {WORDS: list(columns[0]), "tag": list(columns[-1])}
    return row | {str(place): list(column) for place, column in enumerate(columns) if place}


def documents_of(rows: Rows, text: str, files: str) -> Documents:
    """The documents of rows, which hold a text, or words and their tags. Raises TextError if both are missing."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    has_words = text not in names and WORDS in names
    if not has_words and text not in names:
        raise TextError(
            f"{files}: has no column {text}. Columns: {', '.join(names)}. Name the one of the text by streams.text.text."
        )
    starts, texts = None, [str(row.get(text) or "") for row in rows]
    if has_words:
        texts = [" ".join(map(str, row.get(WORDS) or ())) for row in rows]
        starts = [_starts(row.get(WORDS) or ()) for row in rows]
    tags, columns = {}, {}
    for name in names:
        values = [row.get(name) for row in rows]
        if name in (text, WORDS):
            continue
        if any(isinstance(value, list) for value in values):
            tags[name] = _tags(values, starts, name, files)
        else:
            columns[name] = values
    return Documents(texts, columns, starts, tags, files)


def _starts(words: Iterable[Any]) -> list[int]:
    """Where each word begins when they are joined by spaces."""
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(str(word)) + 1
    return starts


def _tags(values: Sequence[Any], starts: Sequence[Sequence[int]] | None, name: str, files: str) -> list[list[str]]:
    if starts is None:
        raise TextError(
            f"{files}: column {name} holds lists, but there is no column words that they belong to. Add it."
        )
    found = []
    for number, (value, words) in enumerate(zip(values, starts, strict=True)):
        tags = [str(tag) for tag in value or ()]
        if len(tags) != len(words):
            raise TextError(
                f"{files}: document {number} has {len(words)} words and {len(tags)} values in column {name}, expected as many."
            )
        found.append(tags)
    return found


def frequencies_of(values: Sequence[Any]) -> Mapping[str, int]:
    """How often each value occurs, the most frequent first."""
    counts: dict[str, int] = {}
    for value in values:
        if value is not None:
            counts[str(value)] = counts.get(str(value), 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
