"""The verification loop in domains without a grid: what it collects, how certain scores are, and the records it leaves."""

import json

import numpy as np
import pytest
import xarray as xr

from statecast.evaluation import LabelAxis, Scored, Verification, ensemble_scores, verify_cases, write_scores
from statecast.evaluation.verification import block_bootstrap, weighted_mean

CLASSES = LabelAxis("class", {"class": ("top", "quark"), "stream": ("label", "label")})


def jets(count: int = 40):
    """A tagger that is right about every fourth top and every second quark, and one that is always right; cases are jets."""

    def score(jet: int):
        right = np.array([jet % 4 == 0, jet % 2 == 0], dtype=float)
        yield Scored("tag", "model", (CLASSES,), {"accuracy": right})
        yield Scored("tag", "oracle", (CLASSES,), {"accuracy": np.ones(2)})

    return range(count), score


def test_a_domain_without_a_grid_leaves_records_with_its_own_labels(tmp_path):
    verifications = verify_cases(*jets())
    write_scores(verifications, tmp_path)
    records = json.loads((tmp_path / "scores.json").read_text())
    assert [(v.task, v.forecast) for v in verifications] == [("tag", "model"), ("tag", "oracle")]
    expected = {
        "forecast": "model",
        "task": "tag",
        "class": "top",
        "stream": "label",
        "metric": "accuracy",
        "value": 0.25,
        "n": 40,
    }
    assert expected.items() <= records[0].items() and records[0].keys() == expected.keys() | {"low", "high"}
    assert [r["value"] for r in records] == [0.25, 0.5, 1.0, 1.0]
    assert records[0]["low"] < 0.25 < records[0]["high"] and records[2]["low"] == records[2]["high"] == 1.0
    with xr.open_datatree(tmp_path / "scores.nc") as tree:
        assert tree["tag/model"]["accuracy"].sel({"class": "quark"}) == 0.5


def test_independent_cases_have_the_interval_of_the_mean():
    """1.96 σ / sqrt n, to the noise of the bootstrap."""
    values = np.random.default_rng(0).standard_normal(900)
    cases = verify_cases(values.tolist(), lambda value: [Scored("t", "model", (), {"error": np.array(value)})])
    low, high = cases[0].interval("error")
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 30, rel=0.1)
    assert cases[0].value("error") == pytest.approx(values.mean())


def test_cases_that_repeat_one_another_are_less_certain_where_their_decorrelation_is_known():
    """Each value comes nine times: nine times fewer cases, an interval three times as wide."""
    values = np.repeat(np.random.default_rng(0).standard_normal(100), 9).tolist()

    def width(decorrelation: float) -> float:
        (verification,) = verify_cases(
            values, lambda v: [Scored("t", "model", (), {"error": np.array(v)})], decorrelation=decorrelation
        )
        low, high = verification.interval("error")
        return float(high - low)

    assert width(9.0) == pytest.approx(3 * width(0.0), rel=0.25)


def test_progress_is_told_the_share_that_is_done():
    shares = []
    verify_cases(*jets(4), progress=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_ranks_are_summed_and_members_kept():
    ranks = np.array([0.0, 1.0, 0.0])
    score = lambda case: [Scored("t", "model", (), {"squared_error": np.array(4.0)}, 2, ranks)]  # noqa: E731
    (verification,) = verify_cases(range(5), score, scores=ensemble_scores)
    assert verification.members == 2 and verification.ranks.tolist() == [0.0, 5.0, 0.0]
    assert verification.value("rmse") == 2.0


def test_a_forecast_that_is_missing_from_some_cases_counts_those_that_it_has():
    def score(case: int):
        yield Scored("t", "model", (), {"error": np.array(1.0)})
        if case % 2:
            yield Scored("t", "rare", (), {"error": np.array(float(case))})

    rare = verify_cases(range(6), score)[1]
    assert rare.positions.tolist() == [1.0, 3.0, 5.0] and rare.value("error") == 3.0
    assert rare.records()[0]["n"] == 3


def test_no_cases_give_no_verifications():
    assert verify_cases([], jets()[1]) == []


def test_a_part_of_the_cases_has_the_scores_of_its_own():
    model = verify_cases(*jets())[0]
    part = model.of_cases(model.positions % 4 == 0)
    assert part.value("accuracy").tolist() == [1.0, 1.0] and part.records()[0]["n"] == 10


def test_labels_that_clash_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"axis class: label 'metric' is a key that every record has .* Take another"):
        LabelAxis("class", {"metric": ("a",)})
    with pytest.raises(ValueError, match="axis class: labels have different lengths"):
        LabelAxis("class", {"one": ("a",), "other": ("a", "b")})
    with pytest.raises(
        ValueError, match=r"accuracy of model: has the shape \(3, 1\), expected \(3, 2\) \(case, class\)"
    ):
        Verification("model", "tag", (CLASSES,), {"accuracy": np.ones((3, 1))}, np.arange(3.0))
    with pytest.raises(ValueError, match=r"don't increase.* Order the cases"):
        Verification("model", "tag", (), {"accuracy": np.ones(2)}, np.array([1.0, 0.0]), decorrelation=1.0)


def test_an_unknown_metric_is_refused_with_those_that_there_are():
    with pytest.raises(KeyError, match=r"metric rsme: is none of model\. Metrics: accuracy"):
        verify_cases(*jets())[0].value("rsme")


def test_means_leave_out_cases_without_a_value():
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(weighted_mean(np.array([[1, 1], [0, 2]]), values), [[2.0, np.nan], [3.0, np.nan]])


def test_the_bootstrap_draws_whole_blocks_and_is_deterministic():
    draws = block_bootstrap(10, 3, 50, np.random.default_rng(0))
    assert draws.shape == (50, 10)
    np.testing.assert_array_equal(np.diff(draws[:, :9].reshape(50, 3, 3), axis=-1) % 10, 1)  # circular
    np.testing.assert_array_equal(draws, block_bootstrap(10, 3, 50, np.random.default_rng(0)))
    assert (block_bootstrap(1, 40, 5, np.random.default_rng(0)) == 0).all()
