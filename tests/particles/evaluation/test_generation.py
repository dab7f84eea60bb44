"""Distances of generated jets to true ones, against closed forms."""

import numpy as np
import pytest

from statecast.particles.evaluation.generation import (
    auc_error,
    classifier_auc,
    frechet_distance,
    frechet_physics_distance,
    joint_scores,
    kernel_physics_distance,
    squared_discrepancy,
    wasserstein_scores,
)


def draw(count: int, shift: float = 0.0, features: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, features)) + shift


def test_wasserstein_distance_of_a_shift_is_the_shift():
    mass = draw(5000)[:, 0]
    (score,) = wasserstein_scores({"mass_gev": mass}, {"model": {"mass_gev": mass + 0.7}})
    assert score.value == pytest.approx(0.7)
    assert score.low < 0.7 < score.high and score.high - score.low < 0.2
    assert score.record()["observable"] == "mass_gev"


def test_frechet_distance_of_two_normals_has_its_closed_form():
    mean = np.array([1.0, 0.0, 0.0])
    other = 2 * draw(200_000, seed=1) + mean
    # |μ|² + Σ (1 + 4 - 2·2)
    assert frechet_distance(draw(200_000), other) == pytest.approx(1 + 3, rel=0.02)


def test_frechet_distance_takes_a_feature_that_follows_from_another():
    one, other = (np.column_stack([features, features[:, 0]]) for features in (draw(500), draw(500, shift=1.0, seed=1)))
    assert frechet_distance(one, other) == pytest.approx(4, rel=0.2)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_frechet_physics_distance_removes_the_bias_of_few_jets():
    one, other = draw(3000), draw(3000, seed=1)
    limit, error = frechet_physics_distance(one, other, smallest=300, largest=3000, batches=10)
    raw = frechet_distance(one[:300], other[:300]) / 16  # features are divided by some 4 standard deviations
    assert 0 <= limit < raw / 2 and error < raw


def test_kernel_distance_is_zero_in_the_mean_for_equal_distributions_and_grows_with_the_shift():
    equal, error = kernel_physics_distance(draw(4000), draw(4000, seed=1), batch_size=1000)
    apart, _ = kernel_physics_distance(draw(4000), draw(4000, shift=0.5, seed=1), batch_size=1000)
    assert abs(equal) < 4 * error and apart > 10 * error


def test_the_discrepancy_is_that_of_all_pairs():
    one, other = draw(5), draw(4, seed=2)
    kernel = lambda x, y: (x @ y / 3 + 1) ** 4  # noqa: E731
    within = np.mean([kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(one) if i != j])
    within += np.mean([kernel(x, y) for i, x in enumerate(other) for j, y in enumerate(other) if i != j])
    between = np.mean([kernel(x, y) for x in one for y in other])
    assert squared_discrepancy(one, other) == pytest.approx(within - 2 * between)


def test_a_classifier_tells_apart_what_differs_and_nothing_else():
    assert classifier_auc(draw(800), draw(800, seed=1)) == pytest.approx(0.5, abs=0.06)
    assert classifier_auc(draw(800), draw(800, shift=1.0, seed=1)) > 0.8


def test_an_interval_holds_its_distance_also_for_like_samples():
    truth = draw(3000)[:, 0]
    (score,) = wasserstein_scores({"mass_gev": truth}, {"truth": {"mass_gev": draw(1000, seed=1)[:, 0]}})
    assert 0 <= score.low <= score.value < score.high


def test_all_observables_together_tell_shifted_from_like_samples():
    names = ("a", "b", "c")

    def sample(shift: float, seed: int) -> dict[str, np.ndarray]:
        return dict(zip(names, draw(1500, shift, seed=seed).T, strict=True))

    scores = joint_scores(sample(0, 0), {"like": sample(0, 1), "shifted": sample(1, 2)}, names)
    values = {(score.forecast, score.metric): score for score in scores}
    assert len(values) == 6
    for metric in ("fpd", "kpd", "classifier_auc"):
        assert values["shifted", metric].low > values["like", metric].high
    assert values["like", "classifier_auc"].value == pytest.approx(0.5, abs=0.05)
    assert values["like", "fpd"].value < 0.02 < values["shifted", "fpd"].value


def test_the_error_of_an_auc_is_that_of_many_samples():
    random = np.random.default_rng(0)
    drawn = [(random.standard_normal(80)[:, None] + 1.0 > random.standard_normal(120)).mean() for _ in range(2000)]
    assert auc_error(float(np.mean(drawn)), 80, 120) == pytest.approx(np.std(drawn), rel=0.1)
