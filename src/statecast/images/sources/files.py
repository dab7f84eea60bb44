"""Pictures by number, from folders, stacks and samples. Axes: T time, V channel, H row, W column."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from statecast.documents import is_file
from statecast.images.errors import ImageError
from statecast.images.recipe import ImageData
from statecast.images.sources.decode import (
    ENDINGS,
    Header,
    converted,
    converted_names,
    read_header,
    read_mask,
    read_pixels,
)
from statecast.images.sources.packages import SAMPLES
from statecast.images.sources.stacks import STACKS, Stack, read_stack
from statecast.images.sources.tables import Boxes, read_boxes, read_labels

SHUFFLED_BY = 20_000  # the seed of the order of shuffled pictures, which every run shares
FOLDER = "folder"
"""The label that is the name of the folder of a picture."""

Pixels = Float[np.ndarray, "T V H W"]
Mask = Int[np.ndarray, "H W"]


@dataclass(frozen=True)
class Picture:
    """One picture, or one piece of a film, that is read when it is asked for.

    name    path in its folder, or number in its stack
    shape   of its pixels: T, V, H, W
    labels  by name, None where it has none
    mask    reads the value of each pixel; None: there is no mask
    boxes   of its objects; None: it is not known which it has
    """

    name: str
    shape: tuple[int, int, int, int]
    channels: tuple[str, ...]
    read: Callable[[], Pixels]
    labels: Mapping[str, Any] = field(default_factory=dict)
    mask: Callable[[], Mask] | None = None
    boxes: Boxes | None = None


def open_pictures(data: ImageData, files: Sequence[str], *, needs_same_channels: bool = True) -> list[Picture]:
    """The pictures of all files in the order of their numbers. Of image files only the headers are read.

    Raises ImageError for files without pictures, pictures of different channels, or films shorter than a sample.
    """
    pictures = [picture for file in files for picture in _of_file(file, data)]
    if needs_same_channels:
        _require_same_channels(pictures)
    if data.labels is not None:
        columns = read_labels(data.labels, [picture.name for picture in pictures])
        for number, picture in enumerate(pictures):
            pictures[number] = _with(picture, labels={**picture.labels, **{n: v[number] for n, v in columns.items()}})
    if data.boxes is not None:
        boxes = read_boxes(data.boxes, [picture.name for picture in pictures])
        pictures = [_with(picture, boxes=each) for picture, each in zip(pictures, boxes, strict=True)]
    if data.shuffle:
        order = np.random.default_rng(SHUFFLED_BY).permutation(len(pictures))
        pictures = [pictures[number] for number in order]
    return pictures


def _with(picture: Picture, **changes: Any) -> Picture:
    return Picture(**{**vars(picture), **changes})


def _of_file(file: str, data: ImageData) -> Iterator[Picture]:
    path = Path(file)
    if file in SAMPLES:
        yield from _of_stack(SAMPLES[file](), data, file)
    elif path.is_dir():
        yield from _of_folder(path, data)
    elif path.suffix.lower() in STACKS and is_file(path):
        yield from _of_stack(read_stack(path, data.axes), data, file)
    elif path.suffix.lower() in ENDINGS and is_file(path):
        yield from _of_images(path.parent, [path], data)
    else:
        raise ImageError(
            f"files {file}: is no folder, no file that ends in {', '.join((*ENDINGS, *STACKS))}, and no sample ({', '.join(SAMPLES)}). "
            "Check the path."
        )


def image_files(folder: Path, masks: str) -> list[Path]:
    """The image files in a folder and those below it, but the masks. Raises ImageError if there is none."""
    found = [path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()]
    kept = sorted(path for path in found if path.relative_to(folder).parts[0] != masks)
    if not kept:
        raise ImageError(
            f"files {folder}: holds no picture, expected files that end in {', '.join(ENDINGS)}. Check the path."
        )
    return kept


def _of_folder(folder: Path, data: ImageData) -> Iterator[Picture]:
    paths = image_files(folder, data.masks)
    if not data.films:
        yield from _of_images(folder, paths, data)
        return
    films: dict[Path, list[Path]] = {}
    for path in paths:
        films.setdefault(path.parent, []).append(path)
    for parent, frames in films.items():
        name = str(parent.relative_to(folder))
        for first in _pieces(len(frames), data.frames, name):
            yield _of_frames(name, parent, frames[first : first + data.frames], data)


def _of_frames(name: str, folder: Path, frames: Sequence[Path], data: ImageData) -> Picture:
    header = read_header(frames[0])
    channels = converted_names(header.channels, data.convert, str(frames[0]))
    shape = (len(frames), len(channels), header.rows, header.columns)
    read = partial(_read_frames, tuple(frames), header.channels, data.convert)
    return Picture(f"{name}/{frames[0].name}", shape, channels, read, {FOLDER: folder.name})


def _of_images(folder: Path, paths: Sequence[Path], data: ImageData) -> Iterator[Picture]:
    masks = {_stem(path, folder / data.masks): path for path in (folder / data.masks).rglob("*") if path.is_file()}
    for path in paths:
        header = read_header(path)
        name = path.relative_to(folder).as_posix()
        label = path.parent.name if path.parent != folder else None
        mask = masks.get(_stem(path, folder))
        for first in _pieces(header.pages, data.frames, str(path)):
            channels = converted_names(header.channels, data.convert, str(path))
            shape = (data.frames, len(channels), header.rows, header.columns)
            read = partial(_read_pages, path, header, first, data.frames, data.convert)
            mask_of = None if mask is None else partial(_read_mask, mask, shape[2:])
            yield Picture(name, shape, channels, read, {FOLDER: label}, mask_of)


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _of_stack(stack: Stack, data: ImageData, file: str) -> Iterator[Picture]:
    channels = converted_names(stack.channels, data.convert, file)
    for number, pixels in enumerate(stack.pixels):
        labels = {name: values[number] for name, values in stack.columns.items()}
        mask = None if stack.masks is None else partial(_as_read, stack.masks[number].astype(np.int32))
        for first in _pieces(len(pixels), data.frames, f"{file}, picture {number}"):
            piece = converted(pixels[first : first + data.frames], stack.channels, data.convert)
            yield Picture(f"{number}", piece.shape, channels, partial(_as_read, piece), labels, mask)


def _pieces(frames: int, needed: int, name: str) -> range:
    """First frames of the pieces of a film. Raises ImageError for one that is too short."""
    if frames < needed:
        raise ImageError(f"{name}: has {frames} frames, expected at least {needed}. Set data.frames, or leave it out.")
    return range(0, frames - needed + 1, needed)


def _read_pages(path: Path, header: Header, first: int, frames: int, convert: str | None) -> Pixels:
    return converted(read_pixels(path)[first : first + frames], header.channels, convert)


def _read_frames(paths: Sequence[Path], channels: tuple[str, ...], convert: str | None) -> Pixels:
    pages = [read_pixels(path)[:1] for path in paths]
    for path, page in zip(paths, pages, strict=True):
        if page.shape != pages[0].shape:
            raise ImageError(
                f"{path}: is {_size(page.shape)}, expected {_size(pages[0].shape)} as {paths[0].name} of the same film. Leave it out."
            )
    return converted(np.concatenate(pages), channels, convert)


def _read_mask(path: Path, size: tuple[int, ...]) -> Mask:
    values = read_mask(path)
    if values.shape != size:
        raise ImageError(f"{path}: is {_size(values.shape)}, expected {_size(size)} as its picture. Mend it.")
    return values


def _size(shape: Sequence[int]) -> str:
    """Rows and columns, and the number of channels where there is one."""
    channels = f" with {shape[-3]} channels" if len(shape) > 2 else ""
    return f"{shape[-2]} × {shape[-1]} pixels{channels}"


def _as_read(values: np.ndarray) -> np.ndarray:
    return values


def _require_same_channels(pictures: Sequence[Picture]) -> None:
    first = pictures[0]
    for picture in pictures:
        if picture.channels != first.channels:
            raise ImageError(
                f"{picture.name}: has the channels {', '.join(picture.channels)}, expected {', '.join(first.channels)} as {first.name}. "
                "Set data.convert to grey or rgb."
            )
