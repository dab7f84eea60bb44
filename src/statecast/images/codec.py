"""Pixels and masks <-> tokens, each with its exact inverse.

Axes: T time, V channel, H row, W column; N token, P value in a token = (channel, time, row, column), C coordinate, K class.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from statecast.axes import Axis
from statecast.images.anchor import SMALLEST_ERROR, ImageSpec, SmoothAnchor
from statecast.images.errors import ImageError
from statecast.images.streams import MaskStream, PixelStream
from statecast.patches import join_patches, split_patches
from statecast.streams import Tokens, TokenSpec

Shape = tuple[int, int, int]
"""Frames, rows and columns of a sample."""

SMALLEST_STD = 1e-6  # of a channel: one that never changes is divided by it to 0
MOST_CLASSES = 256  # of a mask: more are numbers of objects


def token_axes(shape: Shape, patch: Shape) -> tuple[Axis, ...]:
    """The place of a token's centre in pixels and, of films, the number of its frame."""
    place = Axis("place", "plane", "pixel", (patch[1] + patch[2]) / 2)
    return (place,) if shape[0] == 1 else (place, Axis("frame", "index", spacing=patch[0]))


def token_coords(shape: Shape, patch: Shape) -> Float[Tensor, "N C"]:
    """Column, row and, of films, frame of each token's centre, in the order of `split_patches`."""
    frames, rows, columns = ((np.arange(whole // part) + 0.5) * part for whole, part in zip(shape, patch, strict=True))
    frame, y, x = (axis.reshape(-1) for axis in np.meshgrid(frames - 0.5, rows, columns, indexing="ij"))
    coords = np.stack([x, y] if shape[0] == 1 else [x, y, frame], axis=-1)
    return torch.from_numpy(coords.astype(np.float32))


@dataclass(frozen=True)
class PixelCodec:
    """Channels of pixels, standardised by the mean and standard deviation of each over the training split.

    error  of the smooth surface through the pixels of half of the patches, in units of the standard deviation, see `SmoothAnchor`
    """

    stream: PixelStream
    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    error: tuple[float, ...]

    @classmethod
    def fit(cls, stream: PixelStream, shape: Shape, samples: Sequence[Float[np.ndarray, "T V H W"]]) -> "PixelCodec":
        """From some samples of the training split."""
        values = np.stack([np.moveaxis(sample, 1, 0).reshape(len(stream.channels), -1) for sample in samples], axis=1)
        flat = values.reshape(len(values), -1).astype(np.float64)
        mean, std = np.nanmean(flat, axis=1), np.maximum(np.nanstd(flat, axis=1), SMALLEST_STD)
        plain = cls(stream, shape, tuple(mean.tolist()), tuple(std.tolist()), (1.0,) * len(mean))
        return cls(stream, shape, plain.mean, plain.std, plain.surface_error(samples))

    @property
    def patch(self) -> Shape:
        return (self.stream.frames, *self.stream.patch)

    @property
    def spec(self) -> ImageSpec:
        t, h, w = self.patch
        channels = len(self.stream.channels)
        lattice = tuple(whole // part for whole, part in zip(self.shape, self.patch, strict=True))
        return ImageSpec(
            size=channels * t * h * w,
            axes=token_axes(self.shape, self.patch),
            order=None if self.shape[0] == 1 else "frame",
            layout=(channels, t, h * w),
            patch=self.patch,
            lattice=(lattice[0], lattice[1], lattice[2]),
        )

    @property
    def channels(self) -> tuple[str, ...]:
        return self.stream.channels

    @property
    def categories(self) -> tuple[str, ...]:
        return ()

    def tokens(self, pixels: Float[np.ndarray, "T V H W"]) -> Tokens:
        """The tokens of a sample's channels; NaN is not observed. Raises ImageError for another size than that of training."""
        require_shape(pixels.shape, self.shape)
        scaled = (pixels - self._each(self.mean)) / self._each(self.std)
        values = torch.from_numpy(split_patches(scaled.astype(np.float32), self.patch))
        observed = torch.isfinite(values)
        coords = token_coords(self.shape, self.patch)
        return Tokens(torch.where(observed, values, 0.0), coords, observed, self.spec).numbered()

    def pixels(self, values: Float[np.ndarray, "N P"]) -> Float[np.ndarray, "T V H W"]:
        """The inverse of `tokens`, in the units of the pictures."""
        frames, rows, columns = self.shape
        joined = join_patches(values, self.patch, (frames, len(self.mean), rows, columns))
        return joined * self._each(self.std) + self._each(self.mean)

    def _each(self, of_channels: Sequence[float]) -> Float[np.ndarray, "V 1 1"]:
        return np.array(of_channels, np.float32)[:, None, None]

    def surface_error(self, samples: Sequence[Float[np.ndarray, "T V H W"]]) -> tuple[float, ...]:
        """Root mean square error of the smooth surface through half of the patches, for each channel."""
        anchor = SmoothAnchor(self.spec, 1)
        squares, counts = np.zeros(len(self.mean)), np.zeros(len(self.mean))
        chance = np.random.default_rng(0)
        for sample in samples:
            tokens = self.tokens(sample)
            hidden = torch.from_numpy(chance.permutation(len(tokens)) < len(tokens) / 2)
            shown = tokens[~hidden].each(lambda part: part[None], lambda part: part[None])
            filled = anchor.surface(shown)[0].detach()
            wrong = ((filled - tokens.values) ** 2)[hidden].unflatten(-1, (len(self.mean), -1))
            known = tokens.observed[hidden].unflatten(-1, (len(self.mean), -1))
            squares += (wrong * known).sum((0, 2)).numpy()
            counts += known.sum((0, 2)).numpy()
        error = np.sqrt(squares / np.maximum(counts, 1))
        return tuple(np.clip(error, SMALLEST_ERROR, 1.0).tolist())

    def save(self, directory: Path, name: str) -> None:
        facts = asdict(self)
        del facts["stream"]
        write_facts(directory, name, facts)

    @classmethod
    def load(cls, stream: PixelStream, directory: Path, name: str) -> "PixelCodec":
        facts = read_facts(directory, name)
        return cls(stream, shape_of(facts), *(tuple(facts[key]) for key in ("mean", "std", "error")))

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Set the error of the surface."""
        assert isinstance(anchor, SmoothAnchor)
        anchor.error.copy_(torch.tensor(self.error))


@dataclass(frozen=True)
class MaskCodec:
    """Masks as one channel for each class, 1 where a pixel is of it; of two classes the second alone.

    values  of the mask that stand for the classes, in order; 0 and 1 for a mask of objects
    """

    stream: MaskStream
    shape: Shape
    values: tuple[int, ...]

    @classmethod
    def fit(cls, stream: MaskStream, shape: Shape, masks: Iterable[Int[np.ndarray, "H W"]]) -> "MaskCodec":
        """From the masks of the training split. Raises ImageError for masks of a single value, or of too many."""
        found = sorted({int(value) for mask in masks for value in np.unique(mask)})
        if stream.mask == "objects":
            found = sorted({int(value != 0) for value in found})
        if not 2 <= len(found) <= MOST_CLASSES:
            what = f"the single value {found[0]}" if len(found) == 1 else f"{len(found)} values" if found else "no mask"
            remedy = (
                "Set mask: objects." if len(found) > MOST_CLASSES else "Add masks, or choose a longer training split."
            )
            raise ImageError(f"masks: the training split has {what}, expected 2 to {MOST_CLASSES} classes. {remedy}")
        return cls(stream, shape, tuple(found))

    @property
    def patch(self) -> Shape:
        return (1, *self.stream.patch)

    @property
    def channels(self) -> tuple[str, ...]:
        """One for each class; of two classes that of the second."""
        return tuple(f"is_{value}" for value in (self.values[1:] if len(self.values) == 2 else self.values))

    @property
    def spec(self) -> TokenSpec:
        h, w = self.stream.patch
        channels = len(self.channels)
        axes = token_axes(self.shape, self.patch)
        return TokenSpec(size=channels * h * w, axes=axes, layout=(channels, 1, h * w))

    @property
    def categories(self) -> tuple[str, ...]:
        return ()

    def tokens(self, mask: Int[np.ndarray, "H W"] | None) -> Tokens:
        """The tokens of a sample; without a mask nothing is observed. Raises ImageError for a value that training had not."""
        classes = np.zeros(self.shape[1:], int) if mask is None else self.classes(mask)
        require_shape((1, 1, *classes.shape), self.shape)
        each = np.arange(len(self.values))[:, None, None] == classes
        channels = each[-len(self.channels) :].astype(np.float32)
        values = torch.from_numpy(split_patches(channels[None], self.patch))
        observed = torch.full_like(values, mask is not None, dtype=torch.bool)
        return Tokens(values * observed, token_coords(self.shape, self.patch), observed, self.spec).numbered()

    def classes(self, mask: Int[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
        """The number of the class of each pixel."""
        mask = (mask != 0).astype(int) if self.stream.mask == "objects" else mask
        if unknown := sorted(set(np.unique(mask).tolist()) - set(self.values)):
            raise ImageError(
                f"masks: have the value {unknown[0]}, which those of training have not ({', '.join(map(str, self.values))}). Mend the mask."
            )
        return np.searchsorted(self.values, mask)

    def shares(self, values: Float[np.ndarray, "N P"]) -> Float[np.ndarray, "K H W"]:
        """The value of each class at each pixel, such as its probability."""
        joined = join_patches(values, self.patch, (1, len(self.channels), *self.shape[1:]))[0]
        return np.concatenate([1 - joined, joined]) if len(self.values) == 2 else joined

    def mask(self, values: Float[np.ndarray, "N P"]) -> Int[np.ndarray, "H W"]:
        """The most probable value of each pixel; of true tokens the mask itself."""
        return np.array(self.values)[self.shares(values).argmax(axis=0)]

    def save(self, directory: Path, name: str) -> None:
        write_facts(directory, name, {"shape": self.shape, "values": self.values})

    @classmethod
    def load(cls, stream: MaskStream, directory: Path, name: str) -> "MaskCodec":
        facts = read_facts(directory, name)
        return cls(stream, shape_of(facts), tuple(facts["values"]))

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: a mask has no anchor."""


def require_shape(shape: tuple[int, ...], expected: Shape) -> None:
    """Raises ImageError for pixels (T V H W) of another size."""
    if (shape[0], *shape[2:]) != expected:
        got = f"{shape[0]} frames of {shape[2]} × {shape[3]} pixels"
        raise ImageError(
            f"a sample has {got}, the model learned {expected[0]} of {expected[1]} × {expected[2]}. Set data.crop and data.frames."
        )


def write_facts(directory: Path, name: str, facts: dict[str, Any]) -> None:
    (directory / f"{name}.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_facts(directory: Path, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    return facts


def shape_of(facts: dict[str, Any]) -> Shape:
    frames, rows, columns = facts["shape"]
    return frames, rows, columns
