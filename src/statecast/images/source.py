"""Samples of images: one split of a record with the codecs of its streams. Axes: T time, V channel, H row, W column."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.domain import Split
from statecast.images.box_codec import BoxCodec
from statecast.images.channels import select_channels
from statecast.images.codec import MaskCodec, PixelCodec
from statecast.images.errors import ImageError
from statecast.images.recipe import ImageRecipe
from statecast.images.record import ImageRecord, Tile, read_record
from statecast.images.sources.files import Mask
from statecast.images.sources.tables import Boxes
from statecast.images.streams import BoxStream, LabelStream, MaskStream, PixelStream
from statecast.labels import LabelCodec, LabelError
from statecast.numbered import NumberedCases, require_apart
from statecast.streams import StreamOptions, Tokens, Window
from statecast.trained import ModelError

FITTED = 500  # samples that statistics are computed from, at most

Codecs = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A tile of a picture, with what is known of it. The edges of `boxes` are counted from its upper left corner."""

    name: str
    pixels: Float[np.ndarray, "T V H W"]
    channels: tuple[str, ...]
    labels: Mapping[str, Any]
    mask: Mask | None
    boxes: Boxes | None

    def mirrored(self) -> "Sample":
        """The sample mirrored left to right."""
        mask = None if self.mask is None else self.mask[:, ::-1]
        boxes = self.boxes
        if boxes is not None:
            left, top, right, bottom = boxes.edges.T
            width = self.pixels.shape[-1]
            boxes = Boxes(np.stack([width - right, top, width - left, bottom], axis=1), boxes.classes)
        return replace(self, pixels=self.pixels[..., ::-1], mask=mask, boxes=boxes)

    def moved(self, rows: int, columns: int) -> "Sample":
        """What lies so many rows further down and columns further right; beyond an edge its pixels are repeated."""
        height, width = self.pixels.shape[-2:]
        row = np.clip(np.arange(height) + rows, 0, height - 1)[:, None]
        column = np.clip(np.arange(width) + columns, 0, width - 1)
        mask = None if self.mask is None else self.mask[row, column]
        boxes = None if self.boxes is None else within(self.boxes, Tile(0, rows, columns), (height, width))
        return replace(self, pixels=self.pixels[..., row, column], mask=mask, boxes=boxes)


@dataclass(frozen=True)
class ImageSource:
    """One split, from which samples are drawn: in training from random places of the pictures, else from their tiles.

    is_training  places are random, and pictures are mirrored if `is_flipped`, and moved by up to `shift` pixels, at random
    """

    record: ImageRecord
    codecs: Codecs
    is_training: bool = False
    is_flipped: bool = False
    shift: int = 0

    def draw(self, sample: np.random.Generator) -> Window:
        """The tokens of a tile, of each picture with the same probability in training."""
        record = self.record
        tile = record.somewhere(sample) if self.is_training else record.tiles[int(sample.integers(len(record)))]
        found = self.sample(tile)
        if self.is_training and self.is_flipped and sample.uniform() < 0.5:
            found = found.mirrored()
        if self.is_training and self.shift:
            found = found.moved(*sample.integers(-self.shift, self.shift, size=2, endpoint=True).tolist())
        return self.tokens(found)

    def describe(self, sample: np.random.Generator) -> str:
        record = self.record
        tile = record.somewhere(sample) if self.is_training else record.tiles[int(sample.integers(len(record)))]
        number = record.first + tile.picture
        return f"picture {number} ({record.pictures[tile.picture].name}), from row {tile.row} and column {tile.column}"

    def cases(self) -> NumberedCases:
        return NumberedCases(self)

    def window(self, number: int) -> Window:
        """The tokens of one tile, by stream."""
        return self.tokens(self.sample(self.record.tiles[number]))

    def sample(self, tile: Tile) -> Sample:
        record, picture = self.record, self.record.pictures[tile.picture]
        needs_mask = any(isinstance(codec, MaskCodec) for codec in self.codecs.values())
        mask = record.mask(tile) if needs_mask else None
        boxes = None if picture.boxes is None else within(picture.boxes, tile, record.size)
        return Sample(picture.name, record.pixels(tile), picture.channels, picture.labels, mask, boxes)

    def tokens(self, sample: Sample) -> Window:
        return {name: _tokens(codec, sample) for name, codec in self.codecs.items()}


def _tokens(codec: Any, sample: Sample) -> Tokens:
    if isinstance(codec, PixelCodec):
        return codec.tokens(select_channels(sample.pixels, sample.channels, codec.channels, sample.name))
    if isinstance(codec, MaskCodec):
        return codec.tokens(sample.mask)
    if isinstance(codec, BoxCodec):
        return codec.tokens(sample.boxes)
    return codec.tokens(sample.labels.get(codec.stream.label))


def within(boxes: Boxes, tile: Tile, size: tuple[int, int]) -> Boxes:
    """The objects whose centre lies in a tile, cut off at its edges and counted from its corner."""
    corner = np.array([tile.column, tile.row, tile.column, tile.row])
    edges = boxes.edges - corner
    middle = (edges[:, :2] + edges[:, 2:]) / 2
    inside = ((middle >= 0) & (middle < size[::-1])).all(axis=1)
    kept = np.clip(edges[inside], 0, [size[1], size[0]] * 2)
    return Boxes(kept, tuple(name for name, is_kept in zip(boxes.classes, inside, strict=True) if is_kept))


def open_source(recipe: ImageRecipe, split: Split, known: Codecs) -> ImageSource | None:
    """One split of a recipe; None where it has no validation. A stream in `known` keeps its codec.

    Statistics come from the training split. Raises RecipeError, ImageError or LabelError in one line.
    """
    data = recipe.data
    chosen = data.train if split == "train" else data.validate_on
    if chosen is None:
        return None
    require_apart(data)
    files = data.files if split == "train" else data.held_out_files
    record = read_record(data, files, (0, None) if chosen == "all" else chosen)
    _require_labels(recipe, record)
    source = ImageSource(record, {}, split == "train", data.flip, data.shift)
    codecs = {name: _codec(name, stream, source, known) for name, stream in recipe.streams.items()}
    return replace(source, codecs=codecs)


def _require_labels(recipe: ImageRecipe, record: ImageRecord) -> None:
    columns = record.pictures[0].labels
    for label in recipe.labels:
        if label not in columns:
            raise ImageError(
                f"label {label}: the pictures have none of this name ({', '.join(columns) or 'no labels'}). Name the table that has it by "
                "data.labels, or sort the pictures into folders and set label: folder."
            )


def _codec(name: str, stream: StreamOptions, source: ImageSource, known: Codecs) -> Any:
    """The codec of a stream: that in `known`, or one with the statistics of the record. Raises ModelError for one of another form."""
    before, shape = known.get(name), source.record.shape
    if before is not None:
        if before.stream != stream or getattr(before, "shape", shape) != shape:
            was = f"{before.stream} of samples of {getattr(before, 'shape', shape)}"
            raise ModelError(
                f"stream {name}: the model knows it as {was}, this is {stream} of samples of {shape}. Set data.crop, or give the stream "
                "another name to add it."
            )
        return before
    if isinstance(stream, LabelStream):
        labels = [picture.labels.get(stream.label) for picture in source.record.pictures]
        try:
            return LabelCodec.fit(stream, labels, is_class=stream.target == "class")
        except LabelError as error:
            raise LabelError(f"stream {name}: {error}") from None
    tiles = _spread(source.record)
    if isinstance(stream, PixelStream):
        return _pixel_codec(stream, source.record, tiles)
    if isinstance(stream, MaskStream):
        pictures = source.record.pictures
        return MaskCodec.fit(stream, shape, [picture.mask() for picture in pictures if picture.mask is not None])
    assert isinstance(stream, BoxStream)
    return BoxCodec.fit(stream, shape, [source.sample(tile).boxes for tile in source.record.tiles])


def _spread(record: ImageRecord) -> list[Tile]:
    """Some tiles, spread evenly."""
    chosen = np.linspace(0, len(record.tiles) - 1, min(len(record.tiles), FITTED))
    return [record.tiles[int(number)] for number in np.unique(chosen.round())]


def _pixel_codec(stream: PixelStream, record: ImageRecord, tiles: list[Tile]) -> PixelCodec:
    samples = []
    for tile in tiles:
        picture = record.pictures[tile.picture]
        samples.append(select_channels(record.pixels(tile), picture.channels, stream.channels, picture.name))
    try:
        return PixelCodec.fit(stream, record.shape, samples)
    except ImageError:
        raise
    except ValueError as error:  # a patch that does not divide the sample
        raise ImageError(f"streams: {error}") from None
