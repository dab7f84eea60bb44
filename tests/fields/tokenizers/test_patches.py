"""Patches: cut and joined to the bit."""

import numpy as np
import pytest

from statecast.fields.tokenizers import join_patches, split_patches
from statecast.fields.tokenizers.patches import margin_index, split_with_margin

SHAPE = (4, 6, 6, 8)  # T V H W


def fields(dtype=np.float32) -> np.ndarray:
    random = np.random.default_rng(0)
    values = random.standard_normal(SHAPE).astype(dtype)
    values[random.uniform(size=SHAPE) < 0.2] = np.nan
    values[0, 0, 0, 0], values[0, 0, 0, 1] = -0.0, np.float32(1e-45)
    return values


@pytest.mark.parametrize("patch", [(1, 1, 1), (2, 3, 4), (4, 6, 8), (1, 6, 2)])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_patches_round_trip_to_the_bit(patch, groups, dtype):
    original = fields(dtype)
    tokens = split_patches(original, patch, groups)
    assert tokens.shape == (original.size * groups // (6 * np.prod(patch)), 6 // groups * np.prod(patch))
    joined = join_patches(tokens, patch, SHAPE, groups)
    assert joined.dtype == dtype and joined.tobytes() == original.tobytes()


def test_masks_round_trip_as_well():
    mask = np.isfinite(fields())
    np.testing.assert_array_equal(join_patches(split_patches(mask, (2, 3, 4)), (2, 3, 4), SHAPE), mask)


def test_a_token_is_one_patch_of_all_channels_in_the_order_of_time_row_column():
    original = fields()
    tokens = split_patches(original, (2, 3, 4)).reshape(2, 2, 2, -1)
    np.testing.assert_array_equal(tokens[1, 0, 1], original[2:4, :, 0:3, 4:8].transpose(1, 0, 2, 3).reshape(-1))


def test_groups_come_first_among_tokens_and_hold_neighbouring_channels():
    original = fields()
    tokens = split_patches(original, (2, 3, 4), groups=3).reshape(3, 2, 2, 2, -1)
    np.testing.assert_array_equal(tokens[2, 1, 0, 1], original[2:4, 4:6, 0:3, 4:8].transpose(1, 0, 2, 3).reshape(-1))


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ((3, 3, 4), "3 does not divide the 4 time steps of the window. Choose one of 1, 2, 4,"),
        ((2, 4, 4), "4 does not divide the 6 rows of the window. Choose one of 1, 2, 3, 6,"),
        ((2, 3, 16), "16 does not divide the 8 columns"),
    ],
)
def test_a_patch_that_does_not_divide_the_field_is_refused(patch, message):
    with pytest.raises(ValueError, match=message):
        split_patches(fields(), patch)
    with pytest.raises(ValueError, match=message):
        join_patches(np.zeros((1, 1)), patch, SHAPE)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="4 tokens per place cannot share 6 channels evenly"):
        split_patches(fields(), (1, 1, 1), groups=4)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_margin_holds_what_lies_around_a_token(periodic, groups):
    fields = np.random.default_rng(0).standard_normal((4, 3, 6, 8)).astype(np.float32)
    t, h, w = patch = (2, 3, 2)
    tokens = split_with_margin(fields, patch, groups, periodic=periodic)
    inside = tokens.reshape(len(tokens), -1, 3 * h, 3 * w)[..., h : 2 * h, w : 2 * w]
    np.testing.assert_array_equal(inside.reshape(len(tokens), -1), split_patches(fields, patch, groups))
    at = iter(tokens.reshape(len(tokens), 3 // groups, t, 3 * h, 3 * w))
    for group, step, row, column in np.ndindex(groups, 4 // t, 6 // h, 8 // w):
        rows = np.clip(np.arange(row * h - h, row * h + 2 * h), 0, 5)
        columns = np.arange(column * w - w, column * w + 2 * w)
        columns = columns % 8 if periodic else np.clip(columns, 0, 7)
        channels = np.arange(3).reshape(groups, -1)[group]
        expected = fields[step * t : (step + 1) * t][:, channels][:, :, rows][..., columns]
        np.testing.assert_array_equal(next(at), expected.swapaxes(0, 1))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_where_the_values_of_a_margin_lie_is_told_token_by_token(groups, periodic):
    shape, patch = (4, 6, 6, 8), (2, 3, 2)
    index = np.arange(np.prod(shape))
    tokens = split_with_margin(index.reshape(shape), patch, groups, periodic=periodic)
    for number, token in enumerate(tokens):
        found = margin_index(shape, patch, groups, number, periodic=periodic)
        np.testing.assert_array_equal(index[found], token)
