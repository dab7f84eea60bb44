"""Scores against closed forms."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from statecast.evaluation import crps, ensemble_scores, mean_scores, rank_counts


def test_quantiles_score_as_their_distribution_does_and_better_only_if_they_are_taken_for_draws():
    """A normal distribution's expected score of itself is 1 / sqrt pi."""
    quantiles = norm.ppf((np.arange(16) + 0.5) / 16)[:, None]
    truth = norm.ppf((np.arange(4000) + 0.5) / 4000)
    members = np.broadcast_to(quantiles, (16, len(truth)))
    own = 1 / math.sqrt(math.pi)
    assert crps(members, truth, drawn=False).mean() == pytest.approx(own, rel=0.01)
    assert crps(members, truth, drawn=True).mean() < 0.95 * own


def test_crps_of_one_member_is_its_absolute_error():
    members, truth = np.random.default_rng(0).standard_normal((2, 3, 50))
    np.testing.assert_array_equal(crps(members[None], truth, drawn=False), np.abs(members - truth))


def test_ranks_of_exchangeable_members_are_flat_and_of_narrow_ones_lie_outside():
    draws = np.random.default_rng(0).standard_normal((5, 2, 20000))
    counts = rank_counts(draws[1:], draws[0])
    assert counts.shape == (2, 5) and (counts.sum(axis=-1) == 20000).all()
    np.testing.assert_allclose(counts / 20000, 0.2, atol=0.015)
    narrow = rank_counts(0.2 * draws[1:], draws[0])
    assert (narrow[:, [0, -1]] > 1.5 * counts[:, [0, -1]]).all()
    assert rank_counts(draws[1:], np.full(draws[0].shape, np.nan)).sum() == 0


def test_there_are_the_scores_that_the_statistics_allow():
    error = np.array([4.0])
    assert ensemble_scores({"squared_error": error}, 5) == {"rmse": 2.0}
    assert list(ensemble_scores({"squared_error": error, "variance": error}, 1)) == ["rmse"]
    both = ensemble_scores({"squared_error": error, "variance": error}, 4)
    assert both["spread_skill"] == pytest.approx(math.sqrt(5 / 4))
    assert mean_scores({"accuracy": error}, 1) == {"accuracy": error}


def test_scores_of_events_have_their_closed_forms():
    """Forecasts that don't know the truth hit by chance: their equitable threat score is 0."""
    table = {"hits_rain": 0.06, "misses_rain": 0.14, "false_alarms_rain": 0.24}  # 0.3 forecast, 0.2 true
    scores = ensemble_scores({key: np.array(share) for key, share in table.items()}, 1)
    assert scores["frequency_bias_rain"] == pytest.approx(1.5)
    assert scores["csi_rain"] == pytest.approx(0.06 / 0.44)
    assert scores["ets_rain"] == pytest.approx(0.0, abs=1e-12)
