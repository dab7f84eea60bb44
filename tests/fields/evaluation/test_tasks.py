"""Verification of tasks: scores of each season. Axes: S start, L lead time, V channel."""

import numpy as np
import pytest

from statecast.evaluation import Verification, ensemble_scores
from statecast.fields.evaluation.labels import channel_axis, lead_time_axis
from statecast.fields.evaluation.tasks import _by_season
from statecast.fields.streams import Channel

SQUARED = np.array([1.0, 4.0, 9.0, 16.0, 25.0])


def found(name: str = "model", squared: np.ndarray = SQUARED) -> Verification:
    """A forecast of one member at one lead time whose squared error at each start is given; a start every sixty days."""
    of_starts = squared[:, None, None]
    statistics = dict.fromkeys(("squared_error", "absolute_error", "error", "crps", "acc", "variance"), of_starts)
    starts_h = 1440.0 * np.arange(len(squared))
    axes = (lead_time_axis((None,)), channel_axis((Channel("t", None),), ("K",)))
    return Verification(name, "fill", axes, statistics, starts_h, scores=ensemble_scores)


def test_the_scores_of_a_season_are_those_of_its_starts():
    """December, February and January are one season, whatever lies between them."""
    seasons = {v.task: v for v in _by_season([found()], np.array([12, 2, 7, 10, 1]))}
    assert list(seasons) == ["fill DJF", "fill JJA", "fill SON"]
    rmse = {task: v.value("rmse")[0, 0] for task, v in seasons.items()}
    assert rmse == pytest.approx({"fill DJF": np.sqrt((1 + 4 + 25) / 3), "fill JJA": 3.0, "fill SON": 4.0})
    np.testing.assert_array_equal(seasons["fill DJF"].positions, [0.0, 1440.0, 5760.0])
    assert {(r["task"], r["n"]) for r in seasons["fill DJF"].records()} == {("fill DJF", 3)}


@pytest.mark.parametrize(
    ("month", "season"), [(m, s) for s, of in zip(("DJF", "MAM", "JJA", "SON"), ((12, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)), strict=True) for m in of]
)  # fmt: skip
def test_each_month_has_its_season(month, season):
    other = 1 if season != "DJF" else 7
    tasks = {v.task: v.value("rmse")[0, 0] for v in _by_season([found(squared=SQUARED[:2])], np.array([month, other]))}
    assert tasks[f"fill {season}"] == 1.0 and len(tasks) == 2


def test_every_forecast_has_its_seasons():
    seasons = _by_season([found(), found("climatology", SQUARED * 4)], np.array([1, 1, 4, 4, 4]))
    assert [(v.forecast, v.task) for v in seasons] == [
        (name, f"fill {season}") for season in ("DJF", "MAM") for name in ("model", "climatology")
    ]


@pytest.mark.parametrize("months", [(12, 1, 2, 1, 2), (7, 7, 7, 7, 7)])
def test_a_period_of_one_season_adds_nothing(months):
    assert _by_season([found()], np.array(months)) == []
