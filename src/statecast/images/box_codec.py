"""Boxes around objects <-> tokens of cells, with their exact inverse. Axes: N token (a cell), C coordinate, O object."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from statecast.images.codec import Shape, read_facts, shape_of, token_axes, token_coords, write_facts
from statecast.images.errors import ImageError
from statecast.images.sources.tables import Boxes
from statecast.images.streams import BoxStream
from statecast.streams import UNKNOWN, Tokens, TokenSpec

SMALLEST_STD = 0.05  # of what is said of boxes: all of one size would be divided by 0
NO_OBJECT = "none"
"""The category of a cell without an object."""


@dataclass(frozen=True)
class BoxCodec:
    """Boxes as tokens of cells: the class of the object whose centre lies in the cell, and where its edges lie.

        (x - x_cell) / w_cell,  (y - y_cell) / h_cell,  log w,  log h          standardised over the objects of training

    A cell holds one object: of several the largest.

    classes  names of the classes of objects
    """

    stream: BoxStream
    shape: Shape
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def fit(cls, stream: BoxStream, shape: Shape, boxes: Iterable[Boxes | None]) -> "BoxCodec":
        """From the objects of the training split. Raises ImageError if there is none."""
        known = [each for each in boxes if each is not None and len(each)]
        if not known:
            raise ImageError("boxes: the training split has no object, expected some. Check data.boxes and data.train.")
        classes = tuple(sorted({name for each in known for name in each.classes}))
        plain = cls(stream, shape, classes, (0.0,) * 4, (1.0,) * 4)
        values = np.concatenate([plain._values(each.edges)[1] for each in known])
        mean, std = values.mean(axis=0), np.maximum(values.std(axis=0), SMALLEST_STD)
        return cls(stream, shape, classes, tuple(mean.tolist()), tuple(std.tolist()))

    @property
    def patch(self) -> Shape:
        return (1, *self.stream.cell)

    @property
    def channels(self) -> tuple[str, ...]:
        return ("x", "y", "log_width", "log_height")

    @property
    def categories(self) -> tuple[str, ...]:
        return (NO_OBJECT, *self.classes)

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(size=4, vocabulary=len(self.categories), axes=token_axes(self.shape, self.patch))

    def _values(self, edges: Float[np.ndarray, "O 4"]) -> tuple[Int[np.ndarray, " O"], Float[np.ndarray, "O 4"]]:
        """The cell of each box, and what it says of it."""
        left, top, right, bottom = edges.T
        place = np.stack([(left + right) / 2, (top + bottom) / 2], axis=1) / self.stream.cell[::-1]
        columns, rows = self.shape[2] // self.stream.cell[1], self.shape[1] // self.stream.cell[0]
        cell = np.clip(np.floor(place).astype(int), 0, [columns - 1, rows - 1])
        sizes = np.log(np.stack([right - left, bottom - top], axis=1))
        values = (np.concatenate([place - cell - 0.5, sizes], axis=1) - self.mean) / self.std
        return cell[:, 1] * columns + cell[:, 0], values

    def tokens(self, boxes: Boxes | None) -> Tokens:
        """The tokens of a sample; None: it is not known which objects it has. Raises ImageError for a class that training had not."""
        coords = token_coords(self.shape, self.patch)
        values, codes = np.zeros((len(coords), 4), np.float32), np.zeros(len(coords), np.int64)
        if boxes is None:
            codes[:] = UNKNOWN
        elif len(boxes):
            if unknown := sorted(set(boxes.classes) - set(self.classes)):
                raise ImageError(
                    f"boxes: have the class {unknown[0]}, the model learned {', '.join(self.classes)}. Use one of them."
                )
            area = (boxes.edges[:, 2] - boxes.edges[:, 0]) * (boxes.edges[:, 3] - boxes.edges[:, 1])
            order = np.argsort(area, kind="stable")  # the largest last, so that it stays
            cells, found = self._values(boxes.edges[order])
            values[cells] = found
            codes[cells] = [1 + self.classes.index(boxes.classes[number]) for number in order]
        observed = torch.from_numpy(codes > 0)[:, None].expand(-1, 4)
        return Tokens(torch.from_numpy(values), coords, observed, self.spec, codes=torch.from_numpy(codes)).numbered()

    def edges(self, values: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
        """Left, upper, right and lower edge of each cell's box: the inverse of `tokens` where it has an object."""
        x, y, log_width, log_height = (values * self.std + self.mean).T
        at = token_coords(self.shape, self.patch).numpy()
        x, y = x * self.stream.cell[1] + at[:, 0], y * self.stream.cell[0] + at[:, 1]
        half = np.exp(np.stack([log_width, log_height], axis=1)) / 2
        centre = np.stack([x, y], axis=1)
        return np.concatenate([centre - half, centre + half], axis=1)

    def save(self, directory: Path, name: str) -> None:
        facts = asdict(self)
        del facts["stream"]
        write_facts(directory, name, facts)

    @classmethod
    def load(cls, stream: BoxStream, directory: Path, name: str) -> "BoxCodec":
        facts = read_facts(directory, name)
        return cls(stream, shape_of(facts), *(tuple(facts[key]) for key in ("classes", "mean", "std")))

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: boxes have no anchor."""
