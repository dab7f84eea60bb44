"""Baselines."""

import numpy as np
import pytest

from statecast.evaluation import ensemble_scores
from statecast.fields.evaluation.baselines import ClimatologicalEnsemble, interpolate_shown, persistence
from statecast.fields.evaluation.scores import statistics


def test_persistence_forecast_of_a_constant_field_has_zero_error():
    truth = np.full((4, 2, 6, 8), 3.5)
    means = statistics(persistence(truth[0], 4), truth, np.zeros_like(truth), np.ones((6, 8)))
    np.testing.assert_array_equal(ensemble_scores(means, 1)["rmse"], 0)


def test_the_climatological_ensemble_draws_from_the_right_month_and_hour(training):
    ensemble = ClimatologicalEnsemble(training)
    for month, hour in ((2, 0.0), (2, 18.0), (1, 6.0)):
        steps = np.flatnonzero((training.month == month) & (training.hour_utc == hour))
        candidates = training.read(slice(None))[steps]
        for member in ensemble.at(month, hour):
            assert any(np.array_equal(member, state, equal_nan=True) for state in candidates)


def test_the_climatological_ensemble_has_as_many_members_at_every_time(training):
    ensemble = ClimatologicalEnsemble(training)
    sizes = {len(ensemble.at(month, hour)) for month in (1, 2, 7) for hour in (0.0, 6.0, 12.0, 18.0)}
    assert sizes == {ensemble.members} == {2}  # two days in January
    window = ensemble.for_times(training.month[:6], training.hour_utc[:6])
    assert window.shape == (2, 6, 3, 12, 24)
    np.testing.assert_array_equal(window[:, 3], ensemble.at(training.month[3], training.hour_utc[3]))


def test_a_month_that_training_never_saw_takes_all_months(training):
    """Evenly over the whole period: of two members the first and the last day."""
    steps = np.flatnonzero(training.hour_utc == 6.0)
    assert set(training.month[steps]) == {1, 2}
    members = ClimatologicalEnsemble(training).at(7, 6.0)
    np.testing.assert_array_equal(members, training.read(slice(None))[steps[[0, -1]]])


def linear_in_space_and_time(steps=4, rows=6, columns=16) -> np.ndarray:
    """Linear but for a crest and a trough a quarter of the circle from the seam, so that the date line is no break."""
    t, h, w = np.meshgrid(np.arange(steps), np.arange(rows), np.arange(columns), indexing="ij")
    tent = np.abs((w + columns // 4) % columns - columns // 2)
    return np.stack([2.0 * t + 0.5 * h + tent, 3.0 - t + 0.1 * h], axis=1)


def test_interpolation_reproduces_a_linear_field_exactly_also_across_the_date_line():
    field = linear_in_space_and_time()
    shown = np.ones((4, 6, 16), bool)
    shown[:, :, [0, 15]] = False  # both sides of the seam, at all times and in all rows
    hidden = np.where(shown[:, None], field, 99.0)
    np.testing.assert_allclose(interpolate_shown(hidden, shown, periodic=True), field, atol=2e-4)
    regional = interpolate_shown(hidden, shown, periodic=False)
    assert np.abs(regional - field).max() > 0.5  # without the neighbours beyond the seam it can't


def test_shown_points_stay_as_they_are_to_the_bit():
    field = np.random.default_rng(0).standard_normal((4, 2, 6, 16))
    shown = np.random.default_rng(1).uniform(size=(4, 6, 16)) > 0.5
    filled = interpolate_shown(field, shown, periodic=True)
    mask = np.broadcast_to(shown[:, None], field.shape)
    np.testing.assert_array_equal(filled[mask], field[mask])
    assert np.isfinite(filled).all()


def test_outside_the_shown_points_the_nearest_counts():
    field = linear_in_space_and_time()
    shown = np.ones((4, 6, 16), bool)
    shown[3] = False
    np.testing.assert_allclose(interpolate_shown(field, shown, periodic=True)[3], field[2])


@pytest.mark.parametrize("count", [1, 2, 96])
def test_points_of_one_time_interpolate_in_space_and_a_few_points_give_the_nearest(count):
    field = linear_in_space_and_time()
    shown = np.zeros((4, 6, 16), bool)
    shown[1].reshape(-1)[:count] = True
    filled = interpolate_shown(field, shown, periodic=False)
    assert np.isfinite(filled).all()
    if count == 1:
        np.testing.assert_allclose(filled[:, 0], field[1, 0, 0, 0])
    if count == 96:
        np.testing.assert_allclose(filled, np.broadcast_to(field[1], field.shape), atol=2e-4)


def test_where_nothing_at_all_is_shown_interpolation_is_climatology():
    anomalies = np.ones((2, 1, 3, 4), np.float32)
    assert not interpolate_shown(anomalies, np.zeros((2, 3, 4), bool), periodic=False).any()
