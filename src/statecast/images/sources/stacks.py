"""Stacks of pictures in one file, NumPy or NetCDF. Axes: S sample (a picture or a film), T time, V channel, H row, W column."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from statecast.images.errors import ImageError
from statecast.images.sources.decode import COUNTS, as_unit
from statecast.messages import one_line

STACKS = (".npy", ".npz", ".nc")
GUESSED = {2: "HW", 3: "SHW", 4: "SHWC", 5: "STHWC"}
DIMENSIONS = {
    "S": ("sample", "image", "picture", "case", "number"),
    "T": ("time", "frame", "valid_time"),
    "H": ("y", "lat", "latitude", "row", "rows", "height"),
    "W": ("x", "lon", "longitude", "column", "columns", "width"),
}
"""Names of the dimensions of a NetCDF file that say what they are."""


@dataclass(frozen=True)
class Stack:
    """`columns`: labels, by name, one for each sample."""

    pixels: Float[np.ndarray, "S T V H W"]
    channels: tuple[str, ...]
    columns: Mapping[str, Any]
    masks: Shaped[np.ndarray, "S H W"] | None = None


def read_stack(path: Path, axes: str | None) -> Stack:
    """The pictures of a file. Raises ImageError in one line for what is no stack of pictures."""
    if path.suffix == ".nc":
        return _of_netcdf(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"images": loaded} if path.suffix == ".npy" else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ImageError(f"{path}: can't be read as a NumPy file ({one_line(error)}). Copy it again.") from None
    if "images" not in arrays:
        raise ImageError(f"{path}: holds {', '.join(arrays)}, expected an array `images`. Save it by this name.")
    pixels = as_stack(arrays.pop("images"), axes, str(path))
    masks = arrays.pop("masks", None)
    if masks is not None and masks.shape != (len(pixels), *pixels.shape[3:]):
        raise ImageError(
            f"{path}: masks have the shape {masks.shape}, expected {(len(pixels), *pixels.shape[3:])} as the pictures. Save them so."
        )
    columns = {name: values.tolist() for name, values in arrays.items() if values.shape == (len(pixels),)}
    return Stack(pixels, channel_names(pixels.shape[2], str(path)), columns, masks)


def as_stack(values: Shaped[np.ndarray, "*A"], axes: str | None, name: str) -> Float[np.ndarray, "S T V H W"]:
    """An array whose axes are given by letters, with all five. Raises ImageError if they don't fit."""
    letters = axes or GUESSED.get(values.ndim, "")
    is_sound = len(letters) == values.ndim and len(set(letters)) == len(letters) and {"H", "W"} <= set(letters)
    if not is_sound or values.dtype.kind not in "biuf":
        raise ImageError(
            f"{name}: has an array of the shape {values.shape} and type {values.dtype}, expected numbers on the axes "
            f"{letters or 'SHW, SHWC or STHWC'}. Say by data.axes what they are, a letter each: S, T, H, W, C."
        )
    order = [letter for letter in "STCHW" if letter in letters]
    values = values.transpose([letters.index(letter) for letter in order])
    missing = tuple(place for place, letter in enumerate("STCHW") if letter not in letters)
    return as_unit(np.expand_dims(values, missing))


def channel_names(count: int, name: str) -> tuple[str, ...]:
    """The names of so many channels. Raises ImageError for more than are colours."""
    if count in COUNTS:
        return COUNTS[count]
    return tuple(f"channel_{place}" for place in range(count))


def _of_netcdf(path: Path) -> Stack:
    import xarray as xr

    try:
        with xr.open_dataset(path) as dataset:
            letters = {name: _letter(str(name)) for name in dataset.dims}
            channels = {
                str(name): array.load()
                for name, array in dataset.data_vars.items()
                if {"H", "W"} <= {letters[dim] for dim in array.dims} <= {"S", "T", "H", "W"}
            }
            columns = {str(n): a.values.tolist() for n, a in dataset.data_vars.items() if _is_column(a.dims, letters)}
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: can't be read as a NetCDF file ({one_line(error)}). Copy it again.") from None
    if not channels:
        known = "; ".join(f"{letter}: {', '.join(names)}" for letter, names in DIMENSIONS.items())
        raise ImageError(f"{path}: has no variable on rows and columns, expected dimensions of these names: {known}.")
    first = next(iter(channels.values()))
    different = [name for name, array in channels.items() if array.dims != first.dims or array.shape != first.shape]
    if different:
        raise ImageError(
            f"{path}: {different[0]} lies on other dimensions than {next(iter(channels))}. Write them to two files."
        )
    axes = "".join(letters[dim] for dim in first.dims)
    stacked = [as_stack(array.values, axes, str(path)) for array in channels.values()]
    return Stack(np.concatenate(stacked, axis=2), tuple(channels), columns)


def _letter(dimension: str) -> str:
    return next((letter for letter, names in DIMENSIONS.items() if dimension.lower() in names), "?")


def _is_column(dims: tuple[Any, ...], letters: Mapping[Any, str]) -> bool:
    return len(dims) == 1 and letters[dims[0]] == "S"
