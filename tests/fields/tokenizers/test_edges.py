"""The filter of answers. Axes: K head, T time, V channel, H row, W column, F feature."""

import numpy as np
import pytest

from statecast.fields.tokenizers.edges import AROUND, FEATURES, EdgeFilter, Moments, fitted

AREA = np.ones((8, 12))
OWN = len(AROUND)  # the feature that is the answer itself


def smooth(seed: int, steps: int = 2, channels: int = 2) -> np.ndarray:
    random = np.random.default_rng(seed)
    row, column = np.meshgrid(np.arange(8), np.arange(12), indexing="ij")
    phases = random.uniform(0, 2 * np.pi, (3, steps, channels, 1, 1))
    return np.cos(2 * np.pi * column / 12 + phases[0]) + np.sin(np.pi * row / 8 + phases[1]) + np.cos(phases[2])


def with_edges(truth: np.ndarray, seed: int) -> np.ndarray:
    """The truth with an error of its own in each token of 2 × 2 points."""
    random = np.random.default_rng([seed, 1])
    return truth + 0.5 * random.standard_normal((*truth.shape[:2], 4, 6)).repeat(2, axis=-2).repeat(2, axis=-1)


def moments(seeds: range, *, by_step: bool = False, better: bool = True) -> Moments:
    total = None
    for seed in seeds:
        truth = smooth(seed)
        answered = with_edges(truth, seed) if better else truth
        one = Moments.of(answered, np.full_like(truth, np.nan), truth, AREA, by_step=by_step, periodic=True)
        total = one if total is None else total + one
    assert total is not None
    return total


def test_a_filter_takes_the_edges_off_answers_that_it_was_not_fitted_to():
    edges = fitted(moments(range(12)), moments(range(12, 16)))
    assert edges is not None and edges.weights.shape == (1, 2, FEATURES)
    truth = smooth(99)
    answered = with_edges(truth, 99)
    heads = answered + np.array([-1.0, 0.0, 1.0])[:, None, None, None, None]
    corrected = edges.corrected(heads, periodic=True)
    before, after = (np.square(fields.mean(axis=0) - truth).mean() for fields in (heads, corrected))
    assert after < 0.7 * before
    np.testing.assert_allclose(corrected - corrected[1], heads - heads[1], atol=1e-6)  # members get the same correction


def test_where_it_does_not_help_there_is_no_filter():
    assert fitted(moments(range(4)), moments(range(4, 8), better=False)) is None


def test_each_lead_step_has_weights_of_its_own():
    edges = fitted(moments(range(12), by_step=True), moments(range(12, 16), by_step=True))
    assert edges is not None and edges.weights.shape == (2, 2, FEATURES)
    assert not np.allclose(edges.weights[0], edges.weights[1])


def test_a_neighbour_that_was_neither_answered_nor_visible_adds_nothing():
    weights = np.ones((1, 1, FEATURES))
    weights[..., OWN] = 0
    answered = np.full((1, 1, 3, 4), np.nan)
    answered[..., 1, 1] = 2.0
    correction = EdgeFilter(weights).correction(answered, np.full_like(answered, np.nan), periodic=False)
    assert (correction == 0).all()
    shown = np.full_like(answered, np.nan)
    shown[..., 1, 2] = 5.0
    assert EdgeFilter(weights).correction(answered, shown, periodic=False)[0, 0, 1, 1] == pytest.approx(3.0)


@pytest.mark.parametrize("periodic", [True, False])
def test_columns_go_round_the_globe_alone(periodic):
    weights = np.zeros((1, 1, FEATURES))
    weights[..., AROUND.index((0, -1))] = 1.0  # the western neighbour
    answered = np.arange(12.0).reshape(1, 1, 1, 12)
    correction = EdgeFilter(weights).correction(answered, periodic=periodic)
    assert correction[0, 0, 0, 0] == (11.0 if periodic else 0.0) and (correction[..., 1:] == -1).all()


def test_it_is_stored_and_one_of_other_channels_is_refused(tmp_path):
    path = tmp_path / "air.edges.npy"
    assert EdgeFilter.load(path, 2) is None
    weights = np.random.default_rng(0).standard_normal((3, 2, FEATURES)).astype(np.float32)
    EdgeFilter(weights).save(path)
    loaded = EdgeFilter.load(path, 2)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.weights, weights)
    with pytest.raises(ValueError, match=r"air.edges.npy holds no filter of 3 channels"):
        EdgeFilter.load(path, 3)
