"""A tiny corpus of two kinds of sentences, and tiny models of it, trained once a session."""

from pathlib import Path
from typing import NamedTuple

import pytest
from tiny_texts import MASKED, TEXT, WORDS, sentences, write_csv

import statecast as sc

MODEL = {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 4}
TRAINING = {"steps": 2, "batch_size": 8, "footprint": False, "validate_every": 2, "validation_samples": 8}


class Corpus(NamedTuple):
    folder: Path
    table: str
    conll: str

    def recipe(self, task: dict, streams: dict | None = None, **training) -> dict:
        return {
            "data": {"domain": "text", "files": self.table, "train": [0, 59], "validate": [60, 79]},
            "streams": TEXT | (streams or {}),
            "task": task,
            "model": MODEL,
            "training": TRAINING | training,
        }


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    rows = sentences(80)
    table = write_csv(folder / "texts.csv", rows)
    lines = ["-DOCSTART- -X- O", ""]
    for text, kind in rows:
        for word in text.split():
            tag = f"B-{kind.upper()}" if word in WORDS[kind] else "O"
            lines.append(f"{word} NN {tag}")
        lines.append("")
    conll = folder / "texts.conll"
    conll.write_text("\n".join(lines), encoding="utf-8")
    return Corpus(folder, table, str(conll))


class Models(NamedTuple):
    masked: Path
    classes: Path
    tags: Path
    following: Path
    replaced: Path


@pytest.fixture(scope="session")
def models(corpus) -> Models:
    runs = Models(*(corpus.folder / name for name in Models._fields))
    sc.pretrain(corpus.recipe(MASKED), runs.masked, progress=False)
    label = {"label": {"label": "kind"}}
    tuned = {
        runs.classes: {"streams": TEXT | label, "task": {"kind": "translate", "to": ["label"]}},
        runs.tags: {
            "data": {"files": corpus.conll},
            "streams": TEXT | {"entities": {"tags": "tag"}},
            "task": {"kind": "translate", "to": ["entities"]},
        },
        runs.following: {
            "streams": TEXT | label,
            "task": {"kind": "next", "ask": ["text"], "conditions": ["label"]},
        },
        runs.replaced: {"task": {"kind": "detect", "proposals": str(runs.masked)}},
    }
    for out, recipe in tuned.items():
        sc.finetune(recipe | {"training": TRAINING}, runs.masked, out, progress=False)
    return runs
