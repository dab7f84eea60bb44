"""Scores against closed forms, brute force and the package `scores`."""

import numpy as np
import pytest
import xarray as xr
from scores.categorical import BinaryContingencyManager
from scores.continuous import additive_bias, mae, rmse
from scores.probability import crps_for_ensemble

from statecast.evaluation import ensemble_scores, rank_counts
from statecast.evaluation.scores import event_scores
from statecast.fields.evaluation.scores import area_mean, contingency, statistics
from statecast.fields.sources import Grid

GRID = Grid(np.linspace(-82.5, 82.5, 12), np.arange(24) * 15.0)


@pytest.fixture
def case():
    random = np.random.default_rng(0)
    truth, climatology = random.standard_normal((2, 3, *GRID.shape))
    return truth + random.standard_normal((6, 3, *GRID.shape)), truth, climatology


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
    members, truth, climatology = case
    means = statistics(members, truth, climatology, np.ones(GRID.shape))  # all cells alike, as over there
    mean, right = (xr.DataArray(x, dims=("v", "y", "x")) for x in (members.mean(axis=0), truth))
    for metric, theirs in (("rmse", rmse), ("mae", mae), ("bias", additive_bias)):
        np.testing.assert_allclose(ensemble_scores(means, 6)[metric], theirs(mean, right, preserve_dims="v"))
    ensemble = xr.DataArray(members, dims=("e", "v", "y", "x"))
    for method, drawn in (("ecdf", False), ("fair", True)):
        theirs = crps_for_ensemble(ensemble, right, "e", method=method, preserve_dims="v")
        means = statistics(members, truth, climatology, np.ones(GRID.shape), drawn=drawn)
        np.testing.assert_allclose(ensemble_scores(means, 6)["crps"], theirs)


def test_scores_weigh_by_area(case):
    members, truth, climatology = case
    means = statistics(members, truth, climatology, GRID.cell_area)
    mean, weight = members.mean(axis=0), GRID.cell_area / GRID.cell_area.sum()
    np.testing.assert_allclose(
        ensemble_scores(means, 6)["rmse"], np.sqrt(((mean - truth) ** 2 * weight).sum(axis=(1, 2)))
    )
    f, o = mean - climatology, truth - climatology
    acc = (f * o * weight).sum(axis=(1, 2)) / np.sqrt(
        (f**2 * weight).sum(axis=(1, 2)) * (o**2 * weight).sum(axis=(1, 2))
    )
    np.testing.assert_allclose(ensemble_scores(means, 6)["acc"], acc)


def test_a_perfect_forecast_has_no_error_and_an_anomaly_correlation_of_one(case):
    _, truth, climatology = case
    means = statistics(truth[None], truth, climatology, GRID.cell_area)
    for metric in ("rmse", "mae", "bias", "crps"):
        np.testing.assert_array_equal(ensemble_scores(means, 1)[metric], 0)
    np.testing.assert_allclose(ensemble_scores(means, 1)["acc"], 1)
    opposite = statistics((2 * climatology - truth)[None], truth, climatology, GRID.cell_area)
    np.testing.assert_allclose(ensemble_scores(opposite, 1)["acc"], -1)


def test_climatology_has_no_anomaly_correlation(case):
    _, truth, climatology = case
    assert np.isnan(ensemble_scores(statistics(climatology[None], truth, climatology, GRID.cell_area), 1)["acc"]).all()


def test_what_was_not_observed_is_not_scored(case):
    members, truth, climatology = case
    gaps = np.random.default_rng(1).uniform(size=truth.shape) < 0.3
    one = statistics(members, np.where(gaps, np.nan, truth), climatology, GRID.cell_area)
    other = statistics(members + 99 * gaps, np.where(gaps, np.nan, truth), climatology, GRID.cell_area)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
        assert np.isfinite(one[name]).all()


def test_spread_equals_skill_for_a_reliable_ensemble_of_any_size():
    """Without the factor (E + 1) / E of Fortin et al. 2014 the ratio for 2 members would be 0.82."""
    random = np.random.default_rng(0)
    for size in (2, 5, 20):
        draws = random.standard_normal((size + 1, 200, 200))
        means = statistics(draws[1:], draws[0], np.zeros((200, 200)), np.ones((200, 200)))
        assert ensemble_scores(means, size)["spread_skill"] == pytest.approx(1.0, abs=0.02)
        narrow = statistics(0.5 * draws[1:], draws[0], np.zeros((200, 200)), np.ones((200, 200)))
        assert ensemble_scores(narrow, size)["spread_skill"] < 0.75


def test_ranks_are_counted_over_the_points_of_a_field(case):
    members, truth, _ = case
    counts = rank_counts(members, truth, axis=(-1, -2))
    assert counts.shape == (3, 7) and (counts.sum(axis=-1) == GRID.shape[0] * GRID.shape[1]).all()


def test_an_ensemble_of_fields_has_all_scores(case):
    scores = ensemble_scores(statistics(*case, GRID.cell_area), 6)
    assert list(scores) == ["rmse", "mae", "bias", "acc", "crps", "spread", "spread_skill"]
    assert all(np.isfinite(score).all() for score in scores.values())


def test_scores_of_events_are_those_of_the_package_scores(case):
    members, truth, _ = case
    even = np.full(GRID.shape, 1 / (GRID.shape[0] * GRID.shape[1]))
    threshold = np.array([0.3, 0.8, 5.0])
    scores = event_scores(contingency(members, truth, threshold, even, "q90"))
    events = ((members > threshold[:, None, None]).mean(axis=0) >= 0.5, truth > threshold[:, None, None])
    for v in range(2):
        table = BinaryContingencyManager(*(xr.DataArray(e[v].astype(float)) for e in events)).transform()
        assert scores["frequency_bias_q90"][v] == pytest.approx(float(table.frequency_bias()))
        assert scores["csi_q90"][v] == pytest.approx(float(table.critical_success_index()))
        assert scores["ets_q90"][v] == pytest.approx(float(table.equitable_threat_score()))
    assert np.isnan(scores["ets_q90"][2])  # never above five spreads


def test_what_was_not_observed_is_no_event(case):
    members, truth, _ = case
    half = np.where(np.arange(24) < 12, truth, np.nan)
    seen = contingency(members[..., :12], truth[..., :12], np.full(3, 0.5), GRID.cell_area[:, :12], "x")
    for key, share in contingency(members, half, np.full(3, 0.5), GRID.cell_area, "x").items():
        np.testing.assert_allclose(share, seen[key])
