"""A tiny corpus of two kinds of sentences."""

import csv
from pathlib import Path

import numpy as np

TEXT = {"text": {"vocabulary": 280, "tokens": 24}}
WORDS = {"sea": ("wave", "tide", "salt", "reef"), "sky": ("cloud", "star", "wind", "rain")}
MASKED = {"kind": "masked", "slabs": 1, "hidden": [0.15, 0.15], "later_slabs": 0}


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of two short sentences, and the kind of words that both have."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        kind = ("sea", "sky")[random.integers(2)]
        first, second = random.choice(WORDS[kind], 2, replace=False)
        rows.append((f"The {first} is near. A {second} was far.", kind))
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "kind"), *rows])
    return str(path)
