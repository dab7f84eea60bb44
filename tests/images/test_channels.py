"""Channels are made of colours and back."""

import numpy as np
import pytest

from statecast.images.channels import COLOURS, MADE, as_colours, select_channels
from statecast.images.errors import ImageError


def pixels(*colour: float) -> np.ndarray:
    return np.array(colour, np.float32)[None, :, None, None]


def test_grey_has_no_colour_difference_and_its_own_brightness():
    made = select_channels(pixels(0.4, 0.4, 0.4), COLOURS, MADE, "a")
    np.testing.assert_allclose(made.ravel(), [0.4, 0, 0], atol=1e-7)


def test_pure_blue_has_the_brightness_and_the_largest_difference_of_bt_601():
    made = select_channels(pixels(0, 0, 1), COLOURS, MADE, "a")
    np.testing.assert_allclose(made.ravel()[:2], [0.114, 0.5], atol=1e-7)


def test_colours_come_back():
    picture = np.random.default_rng(0).uniform(size=(2, 3, 4, 5)).astype(np.float32)
    made = select_channels(picture, COLOURS, MADE, "a")
    np.testing.assert_allclose(as_colours(made, MADE), picture, atol=1e-6)


def test_a_channel_that_is_not_there_is_refused_by_name():
    with pytest.raises(ImageError, match=r"a.png: has no channel red. Channels: grey. Set data.convert: rgb."):
        select_channels(pixels(0.1)[:, :1], ("grey",), ("red",), "a.png")
