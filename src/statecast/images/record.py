"""The pictures of one split, kept in memory as far as there is room. Axes: T time, V channel, H row, W column."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from statecast.images.errors import ImageError
from statecast.images.recipe import ImageData
from statecast.images.sources.files import Mask, Picture, Pixels, open_pictures

IN_MEMORY_GIB = 4.0  # pictures beyond that are read from their files whenever they are drawn
Range = tuple[int, int | None]
"""First and last picture, inclusive; None: up to the end."""


@dataclass(frozen=True)
class Tile:
    """One sample of a split: so many rows and columns of a picture from `row` and `column` on."""

    picture: int
    row: int = 0
    column: int = 0


@dataclass(frozen=True)
class ImageRecord:
    """Pictures of one split, whose first has the number `first`, and the tiles that they are cut into.

    size  rows and columns of a sample
    """

    files: Sequence[str]
    first: int
    pictures: Sequence[Picture]
    size: tuple[int, int]
    tiles: Sequence[Tile]
    kept: dict[int, Pixels] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def places(self) -> Int[np.ndarray, " S"]:
        """The number of the picture of each sample."""
        return self.first + np.array([tile.picture for tile in self.tiles], int)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.pictures[0].channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows and columns of a sample."""
        return (self.pictures[0].shape[0], *self.size)

    def pixels(self, tile: Tile) -> Float[np.ndarray, "T V H W"]:
        return self.whole(tile.picture)[..., self.rows(tile), self.columns(tile)]

    def mask(self, tile: Tile) -> Mask | None:
        read = self.pictures[tile.picture].mask
        return None if read is None else read()[self.rows(tile), self.columns(tile)]

    def rows(self, tile: Tile) -> slice:
        return slice(tile.row, tile.row + self.size[0])

    def columns(self, tile: Tile) -> slice:
        return slice(tile.column, tile.column + self.size[1])

    def whole(self, picture: int) -> Pixels:
        """All pixels of a picture. Raises ImageError if its file can't be read."""
        found = self.kept.get(picture)
        return self.pictures[picture].read() if found is None else found

    def keep(self) -> None:
        """Read pictures into memory, as many as there is room for. Raises ImageError for a file that can't be read."""
        held = 0.0
        for number, picture in enumerate(self.pictures):
            held += 4 * np.prod(picture.shape) / 2**30
            if held > IN_MEMORY_GIB:
                return
            self.kept[number] = picture.read()

    def somewhere(self, sample: np.random.Generator) -> Tile:
        """A sample at a random place of a random picture."""
        number = int(sample.integers(len(self.pictures)))
        row, column = (
            int(sample.integers(whole - part + 1))
            for whole, part in zip(self.pictures[number].shape[2:], self.size, strict=True)
        )
        return Tile(number, row, column)


def read_record(data: ImageData, files: Sequence[str], chosen: Range) -> ImageRecord:
    """A range of the pictures of files. Raises ImageError for pictures that are missing, unreadable, or of different sizes."""
    pictures = open_pictures(data, files)
    first, last = chosen[0], len(pictures) - 1 if chosen[1] is None else chosen[1]
    if first >= len(pictures) or last >= len(pictures):
        raise ImageError(
            f"files {', '.join(files)}: have {len(pictures)} pictures, expected {first} to {last}, counted from 0. "
            "Name a range that is there by data.train and data.validate."
        )
    pictures = pictures[first : last + 1]
    size = data.crop or (pictures[0].shape[2], pictures[0].shape[3])
    record = ImageRecord(files, first, pictures, size, _tiles(pictures, size, is_cropped=data.crop is not None))
    record.keep()
    return record


def _tiles(pictures: Sequence[Picture], size: tuple[int, int], *, is_cropped: bool) -> list[Tile]:
    """All tiles of all pictures in their order; what is left at the right and the lower edge belongs to none."""
    tiles = []
    for number, picture in enumerate(pictures):
        rows, columns = picture.shape[2:]
        if is_cropped and (rows < size[0] or columns < size[1]):
            raise ImageError(
                f"{picture.name}: has {rows} × {columns} pixels, fewer than data.crop {list(size)}. Lower it, or leave the picture out."
            )
        if not is_cropped and (rows, columns) != size:
            raise ImageError(
                f"{picture.name}: has {rows} × {columns} pixels, expected {size[0]} × {size[1]} as {pictures[0].name}. "
                "Set data.crop to rows and columns that all have."
            )
        tops, lefts = range(0, rows - size[0] + 1, size[0]), range(0, columns - size[1] + 1, size[1])
        tiles += [Tile(number, row, column) for row in tops for column in lefts]
    return tiles
