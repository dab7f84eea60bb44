"""Image files as arrays of numbers, and arrays as channels. Axes: T time (pages of a file), V channel, H row, W column."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from statecast.images.channels import COLOURS, WEIGHTS
from statecast.images.errors import ImageError
from statecast.messages import one_line

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
BANDS = {"R": "red", "G": "green", "B": "blue", "A": "alpha", "L": "grey", "1": "grey", "I": "grey", "F": "grey"}
BANDS |= {"I;16": "grey", "I;16B": "grey"}
COUNTS = {1: ("grey",), 2: ("grey", "alpha"), 3: COLOURS, 4: (*COLOURS, "alpha")}
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError)
"""What Pillow raises for a file that is no image, or not the whole of one."""


@dataclass(frozen=True)
class Header:
    """What an image file says of itself: numbers of pages, rows and columns, and names of its channels."""

    pages: int
    rows: int
    columns: int
    channels: tuple[str, ...]


def pillow() -> ModuleType:
    """The module `PIL.Image`. Raises ImageError, which names the extra, if it is not installed."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ImageError("image files: need Pillow, which is not installed. pip install 'statecast[images]'") from None
    return Image


def read_header(path: Path) -> Header:
    """Without the pixels. Raises ImageError as `read_pixels`."""
    image_module = pillow()
    try:
        with image_module.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # its rows are stored as columns
            rows, columns = image.size if turned else image.size[::-1]
            return Header(getattr(image, "n_frames", 1), rows, columns, _bands(image))
    except DAMAGE as error:
        raise _unreadable(path, error) from None


def read_pixels(path: Path) -> Float[np.ndarray, "T V H W"]:
    """All pages, of unsigned integers as 0 to 1. Raises ImageError for what is no image, is cut short, or has unequal pages."""
    image_module = pillow()
    from PIL import ImageOps, ImageSequence

    try:
        with image_module.open(path) as image:
            pages = [as_unit(_plain(ImageOps.exif_transpose(page))) for page in ImageSequence.Iterator(image)]
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    if len({page.shape for page in pages}) > 1:
        raise ImageError(
            f"{path}: its pages differ in size, expected the same for all. Write them to files of their own."
        )
    return np.stack(pages)


def read_mask(path: Path) -> Int[np.ndarray, "H W"]:
    """The values of a mask as they are stored. Raises ImageError as `read_pixels`, and for a mask of colours."""
    image_module = pillow()
    try:
        with image_module.open(path) as image:
            values = np.asarray(image)
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    if values.ndim != 2:
        raise ImageError(
            f"{path}: is a mask with {values.shape[-1]} channels, expected one whose values are classes or objects. Convert it."
        )
    return values.astype(np.int32)


def _bands(image: Any) -> tuple[str, ...]:
    if image.mode in ("P", "CMYK", "YCbCr"):
        return COLOURS
    return tuple(BANDS.get(band, band.lower()) for band in image.getbands())


def _plain(image: Any) -> Shaped[np.ndarray, "V H W"]:
    if image.mode in ("P", "CMYK", "YCbCr"):
        image = image.convert("RGB")
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def as_unit(values: Shaped[np.ndarray, "*A"]) -> Float[np.ndarray, "*A"]:
    """Unsigned integers of 8 and 16 bits as 0 to 1; other numbers as they are."""
    if values.dtype in (np.uint8, np.uint16):
        return values.astype(np.float32) / np.iinfo(values.dtype).max
    return values.astype(np.float32)


def converted(
    pixels: Float[np.ndarray, "T V H W"], names: Sequence[str], convert: str | None
) -> Float[np.ndarray, "T V H W"]:
    """Pixels of channels `names` as grey or red, green and blue; without opacity, which neither has."""
    if convert is None:
        return pixels
    is_colour = set(COLOURS) <= set(names)
    kept = pixels[:, [names.index(name) for name in (COLOURS if is_colour else ("grey",))]]
    if convert == "grey" and is_colour:
        return np.einsum("c,tchw->thw", WEIGHTS.astype(pixels.dtype), kept)[:, None]
    return np.repeat(kept, 3, axis=1) if convert == "rgb" and not is_colour else kept


def converted_names(names: tuple[str, ...], convert: str | None, picture: str) -> tuple[str, ...]:
    """The channels after `converted`. Raises ImageError for channels that are no colours."""
    if convert is None:
        return names
    if not (set(COLOURS) <= set(names) or "grey" in names):
        raise ImageError(
            f"{picture}: has the channels {', '.join(names)}, which can't be converted to {convert}. Leave out data.convert."
        )
    return ("grey",) if convert == "grey" else COLOURS


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(f"{path}: can't be read as an image ({one_line(error)}). Copy it again, or leave it out.")
