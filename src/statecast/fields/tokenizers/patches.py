"""Patches of fields with a margin around them: what `statecast.patches` cuts, and its surroundings.

Axes: T time, V channel, H row, W column of the field; N token = (group, time, row, column) of the patch grid; P value
inside a token = (channel, time, row, column); G the same inside a token with a margin of the same size on each side.
"""

import numpy as np
from jaxtyping import Int, Shaped

from statecast.fields.streams import SIDES
from statecast.patches import Patch, check_patch


def split_with_margin(
    fields: Shaped[np.ndarray, "T V H W"], patch: Patch, groups: int = 1, *, periodic: bool
) -> Shaped[np.ndarray, "N G"]:
    """As `split_patches`, but with a margin of the token's own rows and columns on each side, so SIDES times its extent.

    Beyond the borders of the field, the nearest point is used, or the opposite side of a `periodic` field.
    """
    check_patch(fields.shape, patch, groups)
    t, h, w = patch
    steps, channels, rows, columns = fields.shape
    wide = np.pad(fields, ((0, 0), (0, 0), (0, 0), (w, w)), mode="wrap" if periodic else "edge")
    wide = np.pad(wide, ((0, 0), (0, 0), (h, h), (0, 0)), mode="edge")
    cut = np.lib.stride_tricks.sliding_window_view(wide, (SIDES * h, SIDES * w), axis=(2, 3))[:, :, ::h, ::w]
    cut = cut.reshape(steps // t, t, groups, channels // groups, rows // h, columns // w, SIDES * h, SIDES * w)
    return cut.transpose(2, 0, 4, 5, 3, 1, 6, 7).reshape(-1, channels // groups * t * SIDES**2 * h * w)


def margin_index(
    shape: tuple[int, int, int, int], patch: Patch, groups: int, token: int, *, periodic: bool
) -> Int[np.ndarray, " G"]:
    """Positions, in a flattened field of `shape`, of the values that `split_with_margin` gives to a token."""
    t, h, w = patch
    steps, channels, rows, columns = shape
    in_group = channels // groups
    group, time, row, column = np.unravel_index(token, (groups, steps // t, rows // h, columns // w))
    around_rows = np.pad(np.arange(rows), h, mode="edge")[row * h :][: SIDES * h]
    around_columns = np.pad(np.arange(columns), w, mode="wrap" if periodic else "edge")[column * w :][: SIDES * w]
    axes = np.ix_(
        np.arange(group * in_group, (group + 1) * in_group),
        np.arange(time * t, (time + 1) * t),
        around_rows,
        around_columns,
    )
    return np.ravel_multi_index((axes[1], axes[0], *axes[2:]), shape).reshape(-1)
