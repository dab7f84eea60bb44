"""Frames cut into space-time patches and joined again without loss.

Axes: T time, V channel, H row, W column; N token = (group, time, row, column) of the patch grid; P value inside a token = (channel, time,
row, column).
"""

import numpy as np
from jaxtyping import Shaped

Patch = tuple[int, int, int]
"""Time steps, rows and columns of a token."""


def split_patches(fields: Shaped[np.ndarray, "T V H W"], patch: Patch, groups: int = 1) -> Shaped[np.ndarray, "N P"]:
    """Cut into tokens; with `groups` > 1, the channels are divided among that many tokens at each place.

    Raises ValueError if the patch does not divide the field or the groups do not divide the channels.
    """
    check_patch(fields.shape, patch, groups)
    t, h, w = patch
    steps, channels, rows, columns = fields.shape
    cut = fields.reshape(steps // t, t, groups, channels // groups, rows // h, h, columns // w, w)
    return cut.transpose(2, 0, 4, 6, 3, 1, 5, 7).reshape(-1, channels // groups * t * h * w)


def join_patches(
    tokens: Shaped[np.ndarray, "N P"], patch: Patch, shape: tuple[int, int, int, int], groups: int = 1
) -> Shaped[np.ndarray, "T V H W"]:
    """The inverse of `split_patches`: fields of `shape` (T, V, H, W). Raises ValueError under the same conditions."""
    check_patch(shape, patch, groups)
    t, h, w = patch
    steps, channels, rows, columns = shape
    cut = tokens.reshape(groups, steps // t, rows // h, columns // w, channels // groups, t, h, w)
    return cut.transpose(1, 5, 0, 4, 2, 6, 3, 7).reshape(shape)


def check_patch(shape: tuple[int, ...], patch: Patch, groups: int = 1) -> None:
    """Raises ValueError unless `patch` divides a field of `shape` (T, V, H, W) and `groups` its channels."""
    steps, channels, rows, columns = shape
    for axis, length, size in zip(("time steps", "rows", "columns"), (steps, rows, columns), patch, strict=True):
        if length % size:
            divisors = ", ".join(str(d) for d in range(1, length + 1) if length % d == 0)
            raise ValueError(
                f"patch {list(patch)}: {size} does not divide the {length} {axis} of the window. "
                f"Choose one of {divisors}, or another window."
            )
    if channels % groups:
        raise ValueError(
            f"{groups} tokens per place cannot share {channels} channels evenly, expected a multiple of {groups}. "
            "Give each variable every level."
        )
