"""Paired differences of two forecasts: what both find hard alike cancels."""

import numpy as np
import pytest

from statecast.evaluation import LabelAxis, Verification, ensemble_scores
from statecast.evaluation.differences import Difference

CASES = 200


def of_errors(name: str, squared: np.ndarray, decorrelation: float = 0.0) -> Verification:
    axes = (LabelAxis("place", {"place": ("here",)}),)
    statistics = {"squared_error": squared[:, None], "absolute_error": np.sqrt(squared)[:, None]}
    positions = np.arange(float(len(squared)))
    return Verification(name, "forecast", axes, statistics, positions, decorrelation, scores=ensemble_scores)


def test_the_interval_of_a_difference_has_the_width_of_the_central_limit_theorem_for_pairs():
    """2 x 1.96 s / sqrt(n) for the mean of n differences of standard deviation s, however large the scores vary."""
    random = np.random.default_rng(0)
    hard, apart = 10 + 5 * random.random(CASES), 0.1 * random.standard_normal(CASES)
    first, second = of_errors("a", hard**2), of_errors("b", (hard + 0.05 + apart) ** 2)
    (low,), (high,) = Difference.of(first, second).interval("mae")
    assert high - low == pytest.approx(2 * 1.96 * apart.std() / np.sqrt(CASES), rel=0.12)
    assert high < 0 and (first.interval("mae")[1] > second.interval("mae")[0]).all()  # unpaired, they overlap


def test_a_forecast_does_not_differ_from_itself_and_chance_is_rarely_called_a_difference():
    squared = np.random.default_rng(1).random(CASES)
    same = Difference.of(of_errors("a", squared), of_errors("b", squared))
    assert {r["value"] for r in same.records()} == {r["low"] for r in same.records()} == {0.0}
    called = 0
    for seed in range(60):
        first, second = np.random.default_rng(seed).random((2, 60))
        (low,), (high,) = Difference.of(of_errors("a", first), of_errors("b", second)).interval("rmse")
        called += bool(low > 0 or high < 0)
    assert called <= 9  # 5 % of 60 are 3; more than 9 have a probability of 0.2 %


def test_a_case_that_one_of_them_lacks_is_no_pair():
    first, second = np.full(CASES, 4.0), np.full(CASES, 1.0)
    first[3], second[7] = np.nan, 100.0
    first[7] = np.nan
    difference = Difference.of(of_errors("a", first), of_errors("b", second))
    record = next(r for r in difference.records() if r["metric"] == "rmse_difference")
    assert (record["value"], record["n"], record["forecast"]) == (1.0, CASES - 2, "a")


def test_other_cases_are_no_pairs_and_a_few_blocks_no_test():
    with pytest.raises(ValueError, match="of different cases"):
        Difference.of(of_errors("a", np.ones(5)), of_errors("b", np.ones(6)))
    assert not Difference.of(*(of_errors(n, np.ones(20), 5.0) for n in "ab")).can_be_tested
    assert Difference.of(*(of_errors(n, np.ones(25), 5.0) for n in "ab")).can_be_tested
