"""Tables of labels and of boxes. Axes: O object."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.images.errors import ImageError
from statecast.messages import one_line

IMAGE = ("image", "image_path", "file", "filename")
EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Boxes:
    """The objects of one picture. `edges`: left, upper, right and lower edge in pixels; `classes`: of each."""

    edges: Float[np.ndarray, "O 4"]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.edges)


ONE_CLASS = "object"
"""The class of objects whose table has no column `label`."""


def read_labels(path: str, names: Sequence[str]) -> dict[str, list[Any]]:
    """The columns of a table for the pictures of these names, None where it has none. Raises ImageError if it names none of them."""
    table, key = _read(path)
    rows = {_key(str(image)): row for row, image in enumerate(table[key])}
    found = [_find(rows, name) for name in names]
    _require_some(path, found, names)
    columns = {}
    for column in table.columns:
        if column != key:
            values = [None if row is None else table[column].iloc[row] for row in found]
            columns[str(column)] = [None if _is_missing(value) else value for value in values]
    return columns


def read_boxes(path: str, names: Sequence[str]) -> list[Boxes | None]:
    """The objects of the pictures of these names: None where the table does not name the picture; a row without edges says: no object.

    Raises ImageError if it names none of the pictures, lacks a column, or has a box without area.
    """
    table, key = _read(path)
    if missing := [edge for edge in EDGES if edge not in table.columns]:
        raise ImageError(
            f"{path}: has no column {missing[0]}. Columns: {', '.join(map(str, table.columns))}. Expected {', '.join(EDGES)}."
        )
    edges = table[list(EDGES)].to_numpy(np.float64)
    is_empty = np.isnan(edges).all(axis=1)
    flat = ~is_empty & ~((edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1]))
    if flat.any():
        row = int(flat.argmax())
        raise ImageError(
            f"{path}: row {row + 2}: the box {edges[row].tolist()} has no area, expected xmin < xmax and ymin < ymax."
        )
    classes = table["label"].astype(str).to_numpy() if "label" in table.columns else np.full(len(table), ONE_CLASS)
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(table[key]):
        rows.setdefault(_key(str(image)), []).append(row)
    found = [_find(rows, name) for name in names]
    _require_some(path, found, names)
    boxes: list[Boxes | None] = []
    for of_picture in found:
        chosen = None if of_picture is None else [row for row in of_picture if not is_empty[row]]
        boxes.append(None if chosen is None else Boxes(edges[chosen], tuple(map(str, classes[chosen]))))
    return boxes


def _read(path: str) -> tuple[Any, str]:
    """The table and the name of the column of its pictures."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # the parser's errors are ValueErrors
        raise ImageError(
            f"{path}: can't be read as a CSV table ({one_line(error)}). Check the path and the file."
        ) from None
    key = next((name for name in IMAGE if name in table.columns), None)
    if key is None:
        raise ImageError(
            f"{path}: has no column {IMAGE[0]} with the names of the pictures. Columns: {', '.join(map(str, table.columns))}."
        )
    return table, key


def _key(name: str) -> str:
    """A path as tables write it: with or without its ending."""
    return str(PurePosixPath(name.replace("\\", "/")).with_suffix(""))


def _find(rows: dict[str, Any], name: str) -> Any:
    """The row of a picture by its path in the folder, or by its file name."""
    whole = _key(name)
    return rows.get(whole, rows.get(PurePosixPath(whole).name))


def _require_some(path: str, found: Sequence[Any], names: Sequence[str]) -> None:
    if all(row is None for row in found):
        raise ImageError(
            f"{path}: names none of the {len(names)} pictures, such as {names[0]}. Check its column of names."
        )


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN differs from itself
