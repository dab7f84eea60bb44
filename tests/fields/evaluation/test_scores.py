"""Scores against closed forms, brute force and the package `scores`."""

import math

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm
from scores.categorical import BinaryContingencyManager
from scores.continuous import additive_bias, mae, rmse
from scores.probability import crps_for_ensemble

from statecast.fields.evaluation.scores import (
    METRICS,
    OF_EVENTS,
    area_mean,
    block_bootstrap,
    contingency,
    crps,
    rank_counts,
    score,
    statistics,
)
from statecast.fields.sources import Grid

GRID = Grid(np.linspace(-82.5, 82.5, 12), np.arange(24) * 15.0)


@pytest.fixture
def case():
    random = np.random.default_rng(0)
    truth, usual = random.standard_normal((2, 3, *GRID.shape))
    return truth + random.standard_normal((6, 3, *GRID.shape)), truth, usual


def test_the_area_mean_of_a_latitude_function_has_its_closed_form():
    """The mean of sin² φ over the sphere is 1/3; that of a constant is the constant."""
    fine = Grid(np.linspace(-89.5, 89.5, 180), np.arange(36) * 10.0)
    field = np.broadcast_to(np.sin(np.deg2rad(fine.lat))[:, None] ** 2, fine.shape)
    everywhere = np.ones(fine.shape, bool)
    assert area_mean(field, fine.cell_area, everywhere) == pytest.approx(1 / 3, rel=1e-4)
    assert area_mean(np.full(fine.shape, 7.0), fine.cell_area, everywhere) == pytest.approx(7.0)


def test_the_area_mean_leaves_out_what_was_not_observed_and_is_nan_of_nothing():
    field = np.where(GRID.lat[:, None] > 0, 1.0, np.nan) * np.ones(GRID.shape)
    assert area_mean(field, GRID.cell_area, np.isfinite(field)) == pytest.approx(1.0)
    assert np.isnan(area_mean(field, GRID.cell_area, np.zeros(GRID.shape, bool)))


def test_scores_of_one_start_equal_those_of_the_package_scores(case):
    members, truth, usual = case
    means = statistics(members, truth, usual, np.ones(GRID.shape))  # all cells alike, as over there
    mean, right = (xr.DataArray(x, dims=("v", "y", "x")) for x in (members.mean(axis=0), truth))
    for metric, theirs in (("rmse", rmse), ("mae", mae), ("bias", additive_bias)):
        np.testing.assert_allclose(score(metric, means, 6), theirs(mean, right, preserve_dims="v"))
    ensemble = xr.DataArray(members, dims=("e", "v", "y", "x"))
    for method, drawn in (("ecdf", False), ("fair", True)):
        theirs = crps_for_ensemble(ensemble, right, "e", method=method, preserve_dims="v")
        means = statistics(members, truth, usual, np.ones(GRID.shape), drawn=drawn)
        np.testing.assert_allclose(score("crps", means, 6), theirs)


def test_quantiles_score_as_their_distribution_does_and_better_only_if_they_are_taken_for_draws():
    """A normal distribution's expected score of itself is 1 / sqrt pi."""
    quantiles = norm.ppf((np.arange(16) + 0.5) / 16)[:, None]
    truth = norm.ppf((np.arange(4000) + 0.5) / 4000)
    members = np.broadcast_to(quantiles, (16, len(truth)))
    own = 1 / math.sqrt(math.pi)
    assert crps(members, truth, drawn=False).mean() == pytest.approx(own, rel=0.01)
    assert crps(members, truth, drawn=True).mean() < 0.95 * own


def test_scores_weigh_by_area(case):
    members, truth, usual = case
    means = statistics(members, truth, usual, GRID.cell_area)
    mean, weight = members.mean(axis=0), GRID.cell_area / GRID.cell_area.sum()
    np.testing.assert_allclose(score("rmse", means, 6), np.sqrt(((mean - truth) ** 2 * weight).sum(axis=(1, 2))))
    f, o = mean - usual, truth - usual
    acc = (f * o * weight).sum(axis=(1, 2)) / np.sqrt(
        (f**2 * weight).sum(axis=(1, 2)) * (o**2 * weight).sum(axis=(1, 2))
    )
    np.testing.assert_allclose(score("acc", means, 6), acc)


def test_a_perfect_forecast_has_no_error_and_an_anomaly_correlation_of_one(case):
    _, truth, usual = case
    means = statistics(truth[None], truth, usual, GRID.cell_area)
    for metric in ("rmse", "mae", "bias", "crps"):
        np.testing.assert_array_equal(score(metric, means, 1), 0)
    np.testing.assert_allclose(score("acc", means, 1), 1)
    opposite = statistics((2 * usual - truth)[None], truth, usual, GRID.cell_area)
    np.testing.assert_allclose(score("acc", opposite, 1), -1)


def test_climatology_has_no_anomaly_correlation(case):
    _, truth, usual = case
    assert np.isnan(score("acc", statistics(usual[None], truth, usual, GRID.cell_area), 1)).all()


def test_crps_of_one_member_is_its_absolute_error(case):
    members, truth, _ = case
    np.testing.assert_array_equal(crps(members[:1], truth, drawn=False), np.abs(members[0] - truth))


def test_what_was_not_observed_is_not_scored(case):
    members, truth, usual = case
    gaps = np.random.default_rng(1).uniform(size=truth.shape) < 0.3
    one = statistics(members, np.where(gaps, np.nan, truth), usual, GRID.cell_area)
    other = statistics(members + 99 * gaps, np.where(gaps, np.nan, truth), usual, GRID.cell_area)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
        assert np.isfinite(one[name]).all()


def test_spread_equals_skill_for_a_reliable_ensemble_of_any_size():
    """Without the factor (E + 1) / E of Fortin et al. 2014 the ratio for 2 members would be 0.82."""
    random = np.random.default_rng(0)
    for size in (2, 5, 20):
        draws = random.standard_normal((size + 1, 200, 200))
        means = statistics(draws[1:], draws[0], np.zeros((200, 200)), np.ones((200, 200)))
        assert score("spread_skill", means, size) == pytest.approx(1.0, abs=0.02)
        narrow = statistics(0.5 * draws[1:], draws[0], np.zeros((200, 200)), np.ones((200, 200)))
        assert score("spread_skill", narrow, size) < 0.75


def test_ranks_of_exchangeable_members_are_flat_and_of_narrow_ones_lie_outside():
    draws = np.random.default_rng(0).standard_normal((5, 2, 100, 200))
    counts = rank_counts(draws[1:], draws[0])
    assert counts.shape == (2, 5) and (counts.sum(axis=-1) == 20000).all()
    np.testing.assert_allclose(counts / 20000, 0.2, atol=0.015)
    narrow = rank_counts(0.2 * draws[1:], draws[0])
    assert (narrow[:, [0, -1]] > 1.5 * counts[:, [0, -1]]).all()
    assert rank_counts(draws[1:], np.full(draws[0].shape, np.nan)).sum() == 0


def test_an_unknown_metric_is_refused(case):
    means = statistics(*case, GRID.cell_area)
    assert all(np.isfinite(score(metric, means, 6)).all() for metric in METRICS)
    with pytest.raises(KeyError, match="rsme"):
        score("rsme", means, 6)


def test_the_bootstrap_draws_whole_blocks_and_is_deterministic():
    draws = block_bootstrap(10, 3, 50, np.random.default_rng(0))
    assert draws.shape == (50, 10)
    np.testing.assert_array_equal(np.diff(draws[:, :9].reshape(50, 3, 3), axis=-1) % 10, 1)  # circular
    np.testing.assert_array_equal(draws, block_bootstrap(10, 3, 50, np.random.default_rng(0)))
    assert (block_bootstrap(1, 40, 5, np.random.default_rng(0)) == 0).all()


def test_scores_of_events_are_those_of_the_package_scores(case):
    members, truth, _ = case
    even = np.full(GRID.shape, 1 / (GRID.shape[0] * GRID.shape[1]))
    threshold = np.array([0.3, 0.8, 5.0])
    shares = contingency(members, truth, threshold, even, "q90")
    events = ((members > threshold[:, None, None]).mean(axis=0) >= 0.5, truth > threshold[:, None, None])
    for v in range(2):
        table = BinaryContingencyManager(*(xr.DataArray(e[v].astype(float)) for e in events)).transform()
        found = {kind: score(f"{kind}_q90", {k: s[v] for k, s in shares.items()}, 6) for kind in OF_EVENTS}
        assert found["frequency_bias"] == pytest.approx(float(table.frequency_bias()))
        assert found["csi"] == pytest.approx(float(table.critical_success_index()))
        assert found["ets"] == pytest.approx(float(table.equitable_threat_score()))
    assert np.isnan(score("ets_q90", {k: s[2] for k, s in shares.items()}, 6))  # never above five spreads


def test_what_was_not_observed_is_no_event(case):
    members, truth, _ = case
    half = np.where(np.arange(24) < 12, truth, np.nan)
    seen = contingency(members[..., :12], truth[..., :12], np.full(3, 0.5), GRID.cell_area[:, :12], "x")
    for key, share in contingency(members, half, np.full(3, 0.5), GRID.cell_area, "x").items():
        np.testing.assert_allclose(share, seen[key])
