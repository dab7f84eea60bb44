"""Channels of pixels that are made of others, and back: brightness and colour differences of red, green and blue.

Axes: T time, V channel, H row, W column.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from statecast.images.errors import ImageError

COLOURS = ("red", "green", "blue")
MADE = ("brightness", "blue_difference", "red_difference")
WEIGHTS = np.array([0.299, 0.587, 0.114])  # of the colours in brightness, ITU-R BT.601
BLUE_SCALE, RED_SCALE = 1.772, 1.402  # 2 (1 - weight): a difference lies within half of the range of a colour
TO_MADE = np.stack([WEIGHTS, (np.array([0, 0, 1]) - WEIGHTS) / BLUE_SCALE, (np.array([1, 0, 0]) - WEIGHTS) / RED_SCALE])
TO_COLOURS = np.linalg.inv(TO_MADE)


def select_channels(
    pixels: Float[np.ndarray, "T V H W"], names: Sequence[str], wanted: Sequence[str], picture: str
) -> Float[np.ndarray, "T V H W"]:
    """The channels that are wanted, by name.

    brightness Y = 0.299 R + 0.587 G + 0.114 B;  blue_difference (B - Y) / 1.772;  red_difference (R - Y) / 1.402        ITU-R BT.601

    Raises ImageError, which names the `picture`, for a channel that it has not and that can't be made of those that it has.
    """
    can_make = set(COLOURS) <= set(names)
    if can_make and set(wanted) & set(MADE):
        colours = pixels[:, [names.index(colour) for colour in COLOURS]]
        made = np.einsum("mc,tchw->tmhw", TO_MADE.astype(pixels.dtype), colours)
        pixels, names = np.concatenate([pixels, made], axis=1), (*names, *MADE)
    if missing := [name for name in wanted if name not in names]:
        known = [*names, *(MADE if can_make and not set(names) & set(MADE) else ())]
        remedy = "Set data.convert: rgb." if missing[0] in (*COLOURS, *MADE) else "Name one of these."
        raise ImageError(f"{picture}: has no channel {missing[0]}. Channels: {', '.join(known)}. {remedy}")
    return pixels[:, [names.index(name) for name in wanted]]


def as_colours(channels: Float[np.ndarray, "T V H W"], names: Sequence[str]) -> Float[np.ndarray, "T V H W"]:
    """Red, green and blue from brightness and both differences, the inverse of what `select_channels` makes."""
    ordered = channels[:, [names.index(name) for name in MADE]]
    return np.einsum("cm,tmhw->tchw", TO_COLOURS.astype(channels.dtype), ordered)
