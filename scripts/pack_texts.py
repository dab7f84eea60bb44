"""Pack the docstrings of SciPy into the samples of texts that ship with statecast.

    python scripts/pack_texts.py src/statecast/text/samples

`docs.jsonl.gz` holds paragraphs of prose, each with its subject: the subpackage that it comes from. `names.jsonl.gz` holds sentences as
words with tags: what a docstring puts in backticks is a name of the code (B-NAME, I-NAME), and the backticks are removed. Paragraphs that
occur twice are kept once. Those of one function stay together, and functions are in random order: ranges of numbers are functions.
"""

import gzip
import inspect
import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SUBJECTS = (
    "fft",
    "integrate",
    "interpolate",
    "linalg",
    "ndimage",
    "optimize",
    "signal",
    "sparse",
    "spatial",
    "special",
    "stats",
)
SHORTEST, LONGEST = 60, 700  # letters of a paragraph
SEED = 0
NOT_PROSE = re.compile(r"Array API Standard|>>>|^\.\. |^\s*[-=~^]{3,}|\\frac|\\sum|::\s*$|\|", re.MULTILINE)
LEFT_OUT = ("References", "Examples", "See Also")
ROLE = re.compile(r":[a-z:]+:(?=`)")
WORD = re.compile(r"`{1,2}([^`\n]+)`{1,2}|[A-Za-z0-9]+(?:['\-.][A-Za-z0-9]+)*|[^\sA-Za-z0-9`]")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


def docstrings() -> Iterator[tuple[str, str, str]]:
    """Subject, name and text of the docstring of each public object and of its public methods, each text once."""
    seen: set[str] = set()
    for subject in SUBJECTS:
        module = import_module(f"scipy.{subject}")
        for name in sorted(dir(module)):
            found = getattr(module, name)
            if name.startswith("_") or inspect.ismodule(found):
                continue
            for full, each in ((name, found), *_methods(name, found)):
                text = inspect.getdoc(each)
                if text and text not in seen:
                    seen.add(text)
                    yield subject, f"{subject}.{full}", text


def _methods(name: str, found: Any) -> list[tuple[str, Any]]:
    if not inspect.isclass(found):
        return []
    return [
        (f"{name}.{key}", value)
        for key, value in sorted(vars(found).items())
        if not key.startswith("_") and callable(value)
    ]


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of prose of a docstring, also those that describe a parameter."""
    section = ""
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        if len(lines) > 1 and set(lines[1].strip()) == {"-"}:
            section, lines = lines[0].strip(), lines[2:]
        if section in LEFT_OUT:
            continue
        for part in _parts(lines):
            prose = " ".join(part.split())
            if not NOT_PROSE.search(part) and SHORTEST <= len(prose) <= LONGEST and prose[-1] in ".:":
                yield prose


def _parts(lines: list[str]) -> Iterator[str]:
    """A block as it is, or each indented description in a list of parameters."""
    own: list[str] = []
    for line in lines:
        is_name = re.match(r"^[\w*, ]+ : ", line) is not None
        if is_name and own:
            yield "\n".join(own)
        own = [] if is_name else [*own, line]
    if own:
        yield "\n".join(own)


def tagged(sentence: str) -> dict[str, list[str]]:
    """The words of a sentence, and whether each belongs to a name of the code."""
    words, tags = [], []
    for match in WORD.finditer(sentence):
        parts = match[1].split() if match[1] else [match[0]]
        words += parts
        of_name = ["B-NAME", *["I-NAME"] * len(parts)][: len(parts)]  # spaces alone are no name
        tags += of_name if match[1] else ["O"]
    return {"words": words, "tags": tags}


def main(folder: Path) -> None:
    found = list(docstrings())
    order = np.random.default_rng(SEED).permutation(len(found))
    documents, sentences = [], []
    seen: set[str] = set()
    for number in order:
        subject, name, text = found[number]
        for prose in paragraphs(ROLE.sub("", text)):
            if prose in seen:
                continue
            seen.add(prose)
            documents.append({"text": prose.replace("`", ""), "subject": subject, "name": name})
            if "`" in prose:
                sentences += [tagged(each) for each in SENTENCE_END.split(prose) if "`" in each]
    for file, rows in (("docs.jsonl.gz", documents), ("names.jsonl.gz", sentences)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / file).write_bytes(gzip.compress(lines.encode(), mtime=0))
        print(f"{file}: {len(rows)} rows, {len(lines)} letters, {(folder / file).stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
