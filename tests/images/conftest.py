"""Small pictures: a folder sorted into two classes, with masks and boxes, and the recipe of a tiny model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIDE = 16


def draw(number: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """A bright square on a dark ground with a red or a blue tint; its mask, and its edges (left, upper, right, lower)."""
    random = np.random.default_rng(number)
    left, top = (int(each) for each in random.integers(1, SIDE - 7, 2))
    picture = random.integers(0, 40, (SIDE, SIDE, 3)).astype(np.uint8)
    picture[..., 0 if number % 2 else 2] += 60
    picture[top : top + 6, left : left + 6] += 120
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top : top + 6, left : left + 6] = 1 + number
    return picture, mask, [left, top, left + 6, top + 6]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Sixteen pictures in `red` and `blue`, their masks, and `boxes.csv` beside the folder."""
    root = tmp_path_factory.mktemp("pictures") / "squares"
    rows = ["image,xmin,ymin,xmax,ymax,label"]
    for number in range(16):
        picture, mask, edges = draw(number)
        name = f"{'red' if number % 2 else 'blue'}/{number:02d}.png"
        for path, values in ((root / name, picture), (root / "masks" / name, mask)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
        rows.append(",".join([name, *map(str, edges), "square"]))
    (root.parent / "boxes.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def recipe(folder) -> dict[str, Any]:
    """Masked pixels; every stream may be added."""
    return {
        "data": {
            "domain": "images",
            "files": str(folder),
            "shuffle": True,
            "train": [0, 11],
            "validate": [12, 15],
            "boxes": str(folder.parent / "boxes.csv"),
        },
        "streams": {"pixels": {"channels": ["red", "green", "blue"], "patch": [4, 4]}},
        "task": {"kind": "masked", "slabs": 1, "noise": 0.0, "climatology": 0.0},
        "model": {"width": 32, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "members": 2},
        "training": {"steps": 4, "batch_size": 4, "footprint": False, "validation_samples": 4, "validate_every": 4},
    }
