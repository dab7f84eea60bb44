"""What a benchmark asks: questions with choices, prompts with references, or texts, from a local file."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from statecast.messages import quoted
from statecast.text.sources.files import decoded, read_rows

LETTERS = "ABCDEFGHIJ"
COLUMNS_OF_MMLU = 6  # question, four choices, answer; the files of the authors have no header
OF_LM_EVAL = re.compile(r"\s*\(([A-J])\)\s*")
ANSWER_OF_LM_EVAL = re.compile(r"answer is \(?([A-J])\)?")


class BenchmarkError(ValueError):
    """A file that holds no benchmark, or a model that can't be asked."""


@dataclass(frozen=True)
class Choice:
    """A question with choices. `answer` is the position of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int
    subject: str = ""


@dataclass(frozen=True)
class Pair:
    """A text and what it is compared with. `prompt` is what a model goes on from; None: `prediction` is given."""

    references: tuple[str, ...]
    prompt: str | None = None
    prediction: str = ""


@dataclass(frozen=True)
class Benchmark:
    """What a file asks: of one kind only, the others are empty."""

    choices: Sequence[Choice] = ()
    pairs: Sequence[Pair] = ()
    texts: Sequence[str] = ()


def read_benchmark(file: str | Path) -> Benchmark:
    """What a CSV, JSONL, Parquet or YAML file asks, by its columns.

    question, choices or A B C D, answer   questions with choices, as of MMLU (Hendrycks et al. 2021): `answer` is a letter or a position
    prompt, reference                      a model goes on from the prompt; `reference` is a text or several
    prediction, reference                  texts that are given
    text                                   perplexity

    A CSV file of six columns without a header is one of MMLU's own; a YAML file is one of lm-eval with questions as examples. Raises
    BenchmarkError, or TextError for a file that can't be read, in one line.
    """
    path = Path(file)
    rows = _rows(path)
    if not rows:
        raise BenchmarkError(f"{path}: is empty, expected a question a row.")
    columns = set(rows[0])
    named = [(row, f"{path}: row {number}") for number, row in enumerate(rows, start=1)]
    if "question" in columns:
        return Benchmark(choices=[_choice(row, where) for row, where in named])
    if "reference" in columns:
        return Benchmark(pairs=[_pair(row, where) for row, where in named])
    if "text" in columns:
        return Benchmark(texts=[_text(row, where) for row, where in named])
    raise BenchmarkError(
        f"{path}: has the columns {', '.join(sorted(columns)[:8])}, expected question, choices and answer; prompt or prediction, and "
        "reference; or text."
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix in (".yaml", ".yml"):
        return _of_lm_eval(path)
    if path.suffix == ".csv" and path.is_file() and (table := _without_header(path)):
        return table
    return list(read_rows(str(path)))


def _without_header(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of MMLU; none of another one."""
    rows = list(csv.reader(io.StringIO(decoded(path), newline="")))
    if not rows or any(len(row) != COLUMNS_OF_MMLU or row[-1] not in LETTERS or not row[-1] for row in rows):
        return []
    subject = re.sub(r"_(dev|test|val)$", "", path.stem).replace("_", " ")
    return [{"question": row[0], "choices": row[1:-1], "answer": row[-1], "subject": subject} for row in rows]


def _of_lm_eval(path: Path) -> list[dict[str, Any]]:
    """The examples of a task of lm-eval, whose question holds the choices as (A), (B) and so on."""
    try:
        task = yaml.safe_load(decoded(path))
        samples = task["fewshot_config"]["samples"]
        subject = str(task["dataset_name"]).replace("_", " ")
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise BenchmarkError(
            f"{path}: is no task of lm-eval with questions as its examples ({quoted(str(error))})."
        ) from None
    rows = []
    for number, sample in enumerate(samples, start=1):
        question, *parts = OF_LM_EVAL.split(str(sample["question"]))
        answer = ANSWER_OF_LM_EVAL.findall(str(sample["target"]))
        if len(parts) < 4 or not answer or parts[::2] != list(LETTERS[: len(parts) // 2]):
            raise BenchmarkError(
                f"{path}: example {number} has no choices (A), (B) and so on, or no answer among them."
            )
        rows.append({"question": question, "choices": parts[1::2], "answer": answer[-1], "subject": subject})
    return rows


def _choice(row: Mapping[str, Any], where: str) -> Choice:
    choices = row.get("choices")
    if choices is None:
        choices = [row[letter] for letter in LETTERS if row.get(letter) is not None]
    if not isinstance(choices, list | tuple) or not 2 <= len(choices) <= len(LETTERS):
        raise BenchmarkError(
            f"{where} has no choices, expected a list of 2 to {len(LETTERS)}, or columns A, B and so on."
        )
    answer = str(row.get("answer", "")).strip()
    position = (
        LETTERS.find(answer) if len(answer) == 1 and answer.isalpha() else int(answer) if answer.isdecimal() else -1
    )
    if not 0 <= position < len(choices):
        raise BenchmarkError(
            f"{where} has the answer {quoted(answer)}, expected a letter A to {LETTERS[len(choices) - 1]}, or 0 to {len(choices) - 1}."
        )
    return Choice(str(row["question"] or ""), tuple(map(str, choices)), position, str(row.get("subject") or ""))


def _pair(row: Mapping[str, Any], where: str) -> Pair:
    given = row["reference"]
    references = tuple(map(str, given)) if isinstance(given, list | tuple) else (str(given or ""),)
    if not any(reference.strip() for reference in references):
        raise BenchmarkError(f"{where} has no reference, expected a text.")
    if row.get("prediction") is not None:
        return Pair(references, None, str(row["prediction"]))
    if row.get("prompt") is None:
        raise BenchmarkError(f"{where} has neither a prompt nor a prediction, expected one of them.")
    return Pair(references, str(row["prompt"]))


def _text(row: Mapping[str, Any], where: str) -> str:
    if not str(row["text"] or "").strip():
        raise BenchmarkError(f"{where} holds no text. Remove it.")
    return str(row["text"])
