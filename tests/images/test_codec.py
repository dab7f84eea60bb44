"""Pixels, masks and boxes become tokens and come back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from statecast.images.anchor import fill
from statecast.images.box_codec import BoxCodec
from statecast.images.codec import MaskCodec, PixelCodec
from statecast.images.errors import ImageError
from statecast.images.sources.tables import Boxes
from statecast.images.streams import BoxStream, MaskStream, PixelStream
from statecast.streams import UNKNOWN

SHAPE = (2, 6, 8)


@pytest.fixture(scope="module")
def codec() -> PixelCodec:
    film = np.random.default_rng(0).uniform(size=(2, 2, 6, 8)).astype(np.float32)
    return PixelCodec.fit(PixelStream(channels=("grey", "alpha"), patch=(3, 4)), SHAPE, [film])


def film(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(2, 2, 6, 8)).astype(np.float32)


def test_pixels_round_trip(codec):
    tokens = codec.tokens(film(1))
    assert tokens.values.shape == (8, 24) and tokens.coords.shape == (8, 3)
    np.testing.assert_allclose(codec.pixels(tokens.values.numpy()), film(1), atol=1e-6)


def test_a_token_lies_at_the_centre_of_its_patch_and_in_its_frame(codec):
    tokens = codec.tokens(film(1))
    marked = codec.pixels(np.eye(8, 24, dtype=np.float32)[5:6].repeat(8, 0) * (np.arange(8) == 5)[:, None])
    changed = np.argwhere(marked != codec.pixels(np.zeros((8, 24), np.float32)))
    frame, _, row, column = changed[0]
    x, y, at = tokens.coords[5].tolist()
    assert at == frame and abs(y - (row + 0.5)) <= 1.5 and abs(x - (column + 0.5)) <= 2


def test_pixels_that_are_missing_are_not_observed(codec):
    picture = film(1)
    picture[0, 0, 0, 0] = np.nan
    tokens = codec.tokens(picture)
    assert (~tokens.observed).sum() == 1 and torch.isfinite(tokens.values).all()


def test_another_size_is_refused(codec):
    with pytest.raises(ImageError, match=r"2 frames of 6 × 4 pixels, the model learned 2 of 6 × 8. Set data.crop"):
        codec.tokens(film(1)[..., :4])


def test_a_codec_is_saved_and_loaded(codec, tmp_path):
    codec.save(tmp_path, "pixels")
    assert PixelCodec.load(codec.stream, tmp_path, "pixels") == codec


def test_the_anchor_keeps_what_is_visible_and_fills_the_rest_between_its_neighbours(codec):
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (2, 2, 6, 8))
    tokens = codec.tokens(ramp)
    spec = codec.spec
    anchor = spec.make_anchor(4)
    codec.calibrate(anchor)
    batch = tokens.each(lambda part: part[None], lambda part: part[None])
    whole = anchor(batch, batch, None, causal=False)
    torch.testing.assert_close(whole.base, batch.values)
    shown = batch[torch.tensor([0, 2, 4, 6])]  # the left half
    base = anchor(batch, shown, None, causal=False).base[0, 1]
    assert base.std() < 0.3 * tokens.values.std() and base.mean() > tokens.values[0].mean()
    assert anchor(batch, None, None, causal=False).base.abs().max() == 0


def test_a_surface_between_two_known_edges_is_nearly_a_plane():
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    known = torch.zeros(1, 1, 16, 16)
    known[..., [0, -1]] = 1
    assert (fill(ramp * known, known) - ramp).abs().max() < 0.15


@pytest.mark.parametrize(("kind", "values", "channels"), [("objects", (0, 1), 1), ("classes", (0, 3, 7), 3)])
def test_masks_round_trip(kind, values, channels):
    mask = np.random.default_rng(0).choice([0, 3, 7], size=(6, 8))
    codec = MaskCodec.fit(MaskStream(mask=kind, patch=(3, 4)), (1, 6, 8), [mask])
    assert codec.values == values and len(codec.channels) == channels
    expected = (mask != 0).astype(int) if kind == "objects" else mask
    np.testing.assert_array_equal(codec.mask(codec.tokens(mask).values.numpy()), expected)
    assert not codec.tokens(None).observed.any()


def test_a_mask_with_a_value_that_training_had_not_is_refused():
    codec = MaskCodec.fit(MaskStream(mask="classes", patch=(3, 4)), (1, 6, 8), [np.arange(48).reshape(6, 8) % 2])
    with pytest.raises(ImageError, match="have the value 5, which those of training have not"):
        codec.tokens(np.full((6, 8), 5))


def test_masks_of_one_value_are_refused():
    with pytest.raises(ImageError, match="the single value 0, expected 2 to 256 classes"):
        MaskCodec.fit(MaskStream(mask="objects", patch=(3, 4)), (1, 6, 8), [np.zeros((6, 8), int)])


def test_boxes_round_trip_and_the_largest_of_a_cell_stays():
    edges = np.array([[0, 0, 3, 2], [4, 2, 8, 6], [5, 3, 7, 5]], float)
    boxes = Boxes(edges, ("nut", "bolt", "nut"))
    codec = BoxCodec.fit(BoxStream(cell=(3, 4)), (1, 6, 8), [boxes])
    tokens = codec.tokens(boxes)
    assert tokens.codes.tolist() == [2, 0, 0, 1]  # none, bolt, nut
    np.testing.assert_allclose(codec.edges(tokens.values.numpy())[[0, 3]], edges[:2], atol=1e-5)
    assert (codec.tokens(None).codes == UNKNOWN).all() and (
        codec.tokens(replace(boxes, edges=edges[:0], classes=())).codes == 0
    ).all()


def test_the_anchor_of_noisy_pixels_learns_to_average_over_its_neighbours():
    codec = PixelCodec.fit(PixelStream(channels=("grey",), patch=(4, 4)), (1, 12, 12), [np.zeros((1, 1, 12, 12))])
    anchor = codec.spec.make_anchor(4)
    optimiser = torch.optim.Adam([anchor.filter], 3e-3)
    chance = torch.Generator().manual_seed(0)
    blank = codec.tokens(np.zeros((1, 1, 12, 12))).each(lambda part: part[None], lambda part: part[None])
    errors = []
    for _ in range(150):
        noisy = blank.replace(torch.randn(blank.values.shape, generator=chance))
        error = anchor(blank, noisy, None, causal=False).base.square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[0] == pytest.approx(1, abs=0.3) and np.mean(errors[-20:]) < 0.1  # the mean of 25 has an error of 0.04
