"""Scores of taggers against closed forms and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import norm

from statecast.evaluation.bootstrap import interval, resampled
from statecast.particles.evaluation.tagging import (
    auc,
    class_codes,
    discriminant,
    log_score,
    rejection,
    tagging_scores,
)
from statecast.particles.jets import JetError

SHIFT = 1.5


@pytest.fixture(scope="module")
def normal():
    """Scores of a background N(0, 1) and a signal N(1.5, 1)."""
    random = np.random.default_rng(0)
    is_signal = np.arange(40_000) % 2 == 0
    return random.standard_normal(40_000) + SHIFT * is_signal, is_signal


def test_auc_of_two_normals_has_its_closed_form(normal):  # Φ(shift / √2)
    assert auc(*normal) == pytest.approx(norm.cdf(SHIFT / np.sqrt(2)), abs=0.004)


def test_auc_is_that_of_scikit_learn_also_with_ties():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    score, is_signal = random.integers(5, size=300).astype(float), random.random(300) < 0.4
    assert auc(score, is_signal) == pytest.approx(roc_auc_score(is_signal, score), abs=1e-12)


@pytest.mark.parametrize("efficiency", [0.3, 0.5])
def test_rejection_of_two_normals_has_its_closed_form(normal, efficiency):
    threshold = norm.ppf(1 - efficiency) + SHIFT
    assert rejection(*normal, efficiency) == pytest.approx(1 / norm.sf(threshold), rel=0.15)


def test_rejection_without_passing_background_is_the_number_of_background_jets():
    score, is_signal = np.array([0.1, 0.2, 0.3, 0.8, 0.9]), np.array([0, 0, 0, 1, 1], bool)
    assert rejection(score, is_signal, 0.5) == 3


def test_log_score_of_equal_probabilities_is_log_of_the_number_of_classes():
    assert log_score(np.full((7, 4), 0.25), np.arange(7) % 4) == pytest.approx(np.log(4))


def test_the_interval_is_as_wide_as_the_standard_error_says():
    values = np.random.default_rng(0).standard_normal(2000)
    low, high = interval(lambda x: float(x.mean()), (values,), resampled(np.zeros(2000), 400))
    assert (high - low) / 2 == pytest.approx(1.96 / np.sqrt(2000), rel=0.15)


def test_resamplings_keep_the_number_of_jets_of_each_class():
    classes = np.array([0] * 10 + [1] * 3)
    assert all((classes[drawn] == 1).sum() == 3 for drawn in resampled(classes, 20))


def test_scores_of_a_three_class_tagger_name_signal_and_background():
    random = np.random.default_rng(0)
    labels = np.array(["QCD", "top", "W"])[random.integers(3, size=900)]
    logits = random.standard_normal((900, 3)) + 2.0 * (labels[:, None] == np.array(["QCD", "top", "W"]))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = tagging_scores({"model": probability}, labels, ("QCD", "top", "W"))
    records = [score.record() for score in scores]
    assert [record["metric"] for record in records[:2]] == ["accuracy", "log_score"]
    assert {(r.get("signal"), r.get("background")) for r in records[2:]} == {("top", "QCD"), ("W", "QCD")}
    assert all(r["low"] <= r["value"] <= r["high"] for r in records if r["metric"] != "rejection_30")
    of_top = next(r for r in records if r["metric"] == "auc" and r["signal"] == "top")
    assert 0.85 < of_top["value"] < 0.99 and of_top["n"] == np.isin(labels, ["QCD", "top"]).sum()


def test_the_discriminant_ignores_third_classes():
    probability = np.array([[0.1, 0.3, 0.6], [0.3, 0.1, 0.6]])
    assert discriminant(probability, 1, 0) == pytest.approx([0.75, 0.25])


def test_labels_must_be_known_and_all_classes_present():
    with pytest.raises(JetError, match="label b: expected one of a, c"):
        class_codes(np.array(["a", "b"]), ("a", "c"))
    with pytest.raises(JetError, match="no jet of class c"):
        class_codes(np.array(["a", "a"]), ("a", "c"))
