"""Expected significance: closed forms and limits, and a search whose best cut is known."""

import numpy as np
import pytest

from statecast.particles.evaluation.significance import (
    Cut,
    Scored,
    asimov,
    chosen_cut,
    expected_events,
    likelihood_ratio,
    search_scores,
    search_table,
    significance_of_bins,
    significance_of_cut,
)
from statecast.particles.jets import JetError


def test_a_small_signal_has_s_over_root_b():
    s, b = np.array([1e-3, 1.0, 50.0]), np.array([1.0, 1e4, 1e7])
    np.testing.assert_allclose(asimov(s, b), s / np.sqrt(b), rtol=1e-3)


def test_the_significance_of_cowan_et_al():
    assert asimov(10.0, 1.0) == pytest.approx(np.sqrt(2 * (11 * np.log(11) - 10)))
    assert asimov(10.0, 1.0) < 10.0  # s/√b would claim ten


def test_an_error_of_the_background_is_added_in_quadrature_and_vanishes_with_it():
    s, b = 1.0, 1e4
    assert asimov(s, b, 0.05) == pytest.approx(s / np.sqrt(b + (0.05 * b) ** 2), rel=1e-3)
    assert asimov(30.0, 100.0, 1e-6) == pytest.approx(asimov(30.0, 100.0), rel=1e-4)
    assert asimov(30.0, 100.0, 0.2) < asimov(30.0, 100.0, 0.1) < asimov(30.0, 100.0)


def test_there_is_no_significance_without_signal_and_no_end_to_it_without_background():
    assert asimov(0.0, 5.0) == 0 and asimov(0.0, 0.0) == 0 and asimov(1.0, 0.0) == np.inf


def test_expected_events_add_up_to_luminosity_times_cross_section_in_any_part():
    process, weight = np.array(["a", "a", "b", "b", "b"]), np.array([1.0, 3.0, 2.0, 2.0, 2.0])
    for part in (slice(None), slice(1, 4)):
        expected = expected_events(process[part], weight[part], {"a": 2.0, "b": 30.0}, 100.0)
        assert expected[process[part] == "a"].sum() == pytest.approx(200.0)
        assert expected[process[part] == "b"].sum() == pytest.approx(3000.0)
    assert expected_events(process, weight, {"a": 2.0, "b": 30.0}, 100.0)[1] == pytest.approx(150.0)
    with pytest.raises(JetError, match="process b: has no cross-section, expected one of a"):
        expected_events(process, weight, {"a": 2.0})


def test_the_score_is_the_likelihood_ratio_whatever_the_classifier_was_trained_on():
    x = np.linspace(-2, 2, 9)
    density = np.stack([np.exp(-((x - m) ** 2) / 2) for m in (1.0, 0.0, -1.0)], axis=1)
    expected = np.array([10.0, 1000.0, 100.0])
    truth = np.log(density[:, 0] / (density[:, 1] * 1000 + density[:, 2] * 100))
    for priors in (np.array([1, 1, 1]) / 3, np.array([0.7, 0.1, 0.2])):
        posterior = density * priors / (density * priors).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(likelihood_ratio(posterior, priors, expected, 0), truth, rtol=1e-9)


def gaussians(events, seed, shift=2.0):
    """Scores of equally many signal and background events, which are a shift apart."""
    random = np.random.default_rng(seed)
    is_signal = np.arange(events) % 2 == 0
    score = random.standard_normal(events) + shift * is_signal
    return score, np.where(is_signal, 100.0, 1e5) / (events / 2), is_signal


def test_the_cut_is_close_to_the_best_of_two_gaussians():
    from scipy.stats import norm

    def exact(threshold):
        return asimov(100 * norm.sf(threshold - 2), 1e5 * norm.sf(threshold))

    best = exact(np.linspace(0, 4, 401)).max()
    for seed in range(3):
        score, expected, is_signal = gaussians(200_000, seed)
        cut = chosen_cut(score, expected, is_signal)
        assert best * 0.95 < exact(cut.threshold) <= best
        found = significance_of_cut(score, expected, is_signal, cut)
        assert found == pytest.approx(exact(cut.threshold), rel=0.3)  # some twenty background events are left


def test_a_cut_keeps_enough_background_to_know_it():
    score, expected, is_signal = gaussians(2000, 0, shift=20.0)  # separated without error
    cut = chosen_cut(score, expected, is_signal)
    assert (score[~is_signal] >= cut.threshold).sum() >= 10
    counts = np.bincount(np.searchsorted(cut.edges, score[~is_signal], side="right"))
    assert counts[::-1][:3].tolist() == [10, 20, 40] and counts.sum() == 1000
    with pytest.raises(
        JetError, match="9 background and 1 signal events to choose a cut on, expected at least 10 and 1"
    ):
        chosen_cut(np.arange(10.0), np.ones(10), np.arange(10) == 9)


def test_bins_see_at_least_what_the_cut_sees_where_they_hold_it():
    score, expected, is_signal = gaussians(20_000, 0)
    cut = chosen_cut(score, expected, is_signal)
    at_an_edge = Cut(float(cut.edges[-3]), cut.edges)
    of_cut = significance_of_cut(score, expected, is_signal, at_an_edge)
    assert significance_of_bins(score, expected, is_signal, at_an_edge) >= of_cut  # Cauchy and Schwarz, for s << b


def test_without_a_background_event_beyond_the_cut_one_counts():
    score, expected = np.array([5.0, 5.0, 1.0, 1.0]), np.array([2.0, 2.0, 7.0, 3.0])
    is_signal = np.array([True, True, False, False])
    found = significance_of_cut(score, expected, is_signal, Cut(4.0, np.array([4.0])))
    assert found == pytest.approx(float(asimov(4.0, 7.0)))


def test_scores_are_of_the_test_events_and_a_useless_score_finds_less():
    def events(seed):
        score, expected, is_signal = gaussians(4000, seed)
        noise = np.random.default_rng(seed + 10).standard_normal(4000)
        process = np.where(is_signal, "S", "B")
        return Scored(process, expected, {"good": score, "noise": noise})

    found = search_scores(events(0), events(1), "S")
    values = {(score.forecast, score.metric): score for score in found}
    assert values["good", "significance_bins"].value > 2 * values["noise", "significance_bins"].value
    assert values["good", "significance_cut"].n == 4000
    for score in found:
        assert score.low <= score.value <= score.high or score.forecast == "noise"
    assert values["good", "background_rejection"].value > 1 / (1 - values["good", "signal_efficiency"].value)
    table = search_table(found)
    assert len(table) == 3 and f"{values['good', 'significance_bins'].value:.2f}" in table[1]
    with pytest.raises(JetError, match=r"signal X: is no process\. Processes: B, S"):
        search_scores(events(0), events(1), "X")
