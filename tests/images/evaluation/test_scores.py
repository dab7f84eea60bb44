"""Scores of pictures have the values that they have by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from statecast.images.evaluation.baselines import components, interpolated, otsu_threshold
from statecast.images.evaluation.scores import (
    Found,
    average_precision,
    box_iou,
    overlaps,
    picture_scores,
    ssim,
    without_doubles,
)


def found(edges: list, scores: list) -> Found:
    return Found(np.array(edges, float).reshape(-1, 4), np.array(scores, float), np.full(len(scores), "a"))


def test_iou_of_boxes_that_share_a_third():
    one = np.array([[0, 0, 2, 1]], float)
    assert box_iou(one, np.array([[1, 0, 3, 1]], float))[0, 0] == pytest.approx(1 / 3)
    assert box_iou(one, np.array([[2, 0, 3, 1]], float))[0, 0] == 0


def test_of_two_boxes_that_overlap_the_better_one_stays():
    kept = without_doubles(found([[0, 0, 4, 4], [0, 0, 4, 3.9], [8, 8, 9, 9]], [0.5, 0.9, 0.1]))
    assert kept.scores.tolist() == [0.9, 0.1]


def test_average_precision_by_hand():
    """Best first: hit, miss, hit, of three true boxes: (1 + 2/3) / 3."""
    truth = [np.array([[0, 0, 2, 2], [5, 5, 7, 7]], float), np.array([[1, 1, 3, 3]], float)]
    said = [found([[0, 0, 2, 2], [9, 9, 10, 10]], [0.9, 0.8]), found([[1, 1, 3, 3]], [0.7])]
    assert average_precision(said, truth, [("a", "a"), ("a",)]) == pytest.approx((1 + 2 / 3) / 3)


def test_average_precision_is_that_of_scikit_learn_where_precision_only_falls():
    truth = [np.array([[0, 0, 2, 2], [5, 5, 7, 7]], float)]
    said = [found([[0, 0, 2, 2], [5, 5, 7, 7], [9, 9, 10, 10]], [0.9, 0.8, 0.1])]
    by_library = average_precision_score([1, 1, 0], [0.9, 0.8, 0.1])
    assert average_precision(said, truth, [("a", "a")]) == pytest.approx(by_library)


def test_a_second_box_on_the_same_object_is_wrong():
    truth = [np.array([[0, 0, 2, 2]], float), np.array([[0, 0, 1, 1]], float)]
    said = [found([[0, 0, 2, 2], [0, 0, 2, 2]], [0.9, 0.8]), found([[0, 0, 1, 1]], [0.1])]
    assert average_precision(said, truth, [("a",), ("a",)]) == pytest.approx((1 + 2 / 3) / 2)


def test_dice_and_iou_by_hand():
    truth, said = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    means = {name: np.array(value) for name, value in overlaps(said, truth, [1]).items()}
    scores = picture_scores(means, 1)
    assert scores["dice"] == pytest.approx(0.5) and scores["iou"] == pytest.approx(1 / 3)


def test_psnr_of_an_error_of_a_tenth_of_the_range_is_20_db():
    means = {"squared_error_pixels": np.array(0.04), "squared_error_range": np.array(0.01)}
    scores = picture_scores(means, 1)
    assert scores["psnr_db"] == pytest.approx(20) and scores["rmse_pixels"] == pytest.approx(0.2)


def test_ssim_is_one_for_equal_pictures_and_less_for_others():
    picture = np.random.default_rng(0).uniform(size=(1, 16, 16))
    assert ssim(picture, picture, 1.0) == pytest.approx(1)
    assert ssim(picture, picture[:, ::-1], 1.0) < 0.3 and np.isnan(ssim(picture[:, :8], picture[:, :8], 1.0))


def test_otsu_separates_two_heaps():
    values = np.array([0.1, 0.12, 0.08, 0.9, 0.95])
    assert 0.12 <= otsu_threshold(values) <= 0.9


def test_linear_interpolation_fills_a_plane_exactly():
    plane = (np.arange(6.0)[:, None] + 2 * np.arange(6.0))[None, None]
    holed = plane.copy()
    holed[..., 2:4, 2:4] = np.nan
    np.testing.assert_allclose(interpolated(holed), plane)


def test_components_have_the_boxes_of_connected_pixels():
    brightness = np.zeros((8, 8))
    brightness[1:4, 2:5], brightness[6:, 6:] = 1.0, 0.5
    assert components(brightness > 0.2, brightness, "a").edges.tolist() == [[2, 1, 5, 4], [6, 6, 8, 8]]
