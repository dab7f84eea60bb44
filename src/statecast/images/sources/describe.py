"""What is in a folder or a stack of pictures. Registered with the core as what describes the data of images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from statecast.images.sources.decode import ENDINGS
from statecast.images.sources.packages import SAMPLES

if TYPE_CHECKING:  # what looks at other data does not wait for torch
    from statecast.images.sources.files import Picture

LOOKED_AT = 100  # pictures whose values are read, spread evenly
MOST_LISTED = 12  # sizes or classes that are named


@dataclass(frozen=True)
class Description:
    """Lines, each with its name; rich prints them, `str` returns plain text."""

    lines: tuple[tuple[str, str], ...]

    def __rich__(self) -> Text:
        return Text(str(self))

    def __str__(self) -> str:
        return "\n".join(f"{name:<9} {line}" for name, line in self.lines)


def recognises(data: str) -> bool:
    """Whether `data` is a sample, an image file, a NumPy file, or a folder with image files in it or right below it."""
    path = Path(data)
    if data in SAMPLES or path.suffix.lower() in (*ENDINGS, ".npy", ".npz"):
        return True
    if not path.is_dir() or path.suffix == ".zarr":
        return False
    return any(each.suffix.lower() in ENDINGS for pattern in ("*", "*/*") for each in path.glob(pattern))


def describe(data: str) -> Description:
    """Numbers, sizes, channels, values, labels and masks of pictures. Raises ImageError for what can't be read."""
    from statecast.images.recipe import ImageData
    from statecast.images.sources.files import open_pictures

    options = ImageData(domain="images", files=(data,), train=(0, 0), validate=None)
    pictures = open_pictures(options, (data,), needs_same_channels=False)
    sizes = Counter(f"{picture.shape[2]} × {picture.shape[3]}" for picture in pictures)
    channels = Counter(", ".join(picture.channels) for picture in pictures)
    lines = [
        ("pictures", f"{len(pictures)} in {data}"),
        ("size", f"{_counted(sizes)} rows × columns" + (": set data.crop" if len(sizes) > 1 else "")),
        ("channels", _counted(channels) + ("; set data.convert" if len(channels) > 1 else "")),
        ("values", _values(pictures)),
        ("labels", _labels(pictures)),
        ("masks", _masks(pictures)),
    ]
    return Description(tuple(lines))


def _counted(counts: Counter[str]) -> str:
    """The names, with their numbers where there are several."""
    if len(counts) == 1:
        return next(iter(counts))
    listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common(MOST_LISTED))
    return listed + (f", and {len(counts) - MOST_LISTED} more" if len(counts) > MOST_LISTED else "")


def _values(pictures: "Sequence[Picture]") -> str:
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), LOOKED_AT)).astype(int))
    read = [pictures[number].read() for number in chosen]
    lowest, highest = min(np.nanmin(each) for each in read), max(np.nanmax(each) for each in read)
    missing = sum(int(np.isnan(each).sum()) for each in read)
    return f"{lowest:.4g} to {highest:.4g} in {len(read)} pictures" + (f", {missing} missing" if missing else "")


def _labels(pictures: "Sequence[Picture]") -> str:
    from statecast.images.sources.files import FOLDER

    parts = []
    for name in pictures[0].labels:
        counts = Counter(str(picture.labels[name]) for picture in pictures if picture.labels[name] is not None)
        if counts:
            kept = "folders" if name == FOLDER else name
            parts.append(f"{kept}: {_counted(counts) if len(counts) > 1 else f'{next(iter(counts))} only'}")
    return "; ".join(parts) or "none by folder; a table may be given as data.labels"


def _masks(pictures: "Sequence[Picture]") -> str:
    count = sum(picture.mask is not None for picture in pictures)
    return f"of {count} pictures" if count else "none in a folder masks"
