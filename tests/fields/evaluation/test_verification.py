"""Verification of forecasts: what is compared, how sure it is, and the records it leaves."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from statecast.evaluation import Verification, ensemble_scores, write_scores
from statecast.fields.evaluation import verify_forecast
from statecast.fields.evaluation.labels import channel_axis, lead_time_axis
from statecast.fields.evaluation.verification import DECORRELATION_H, DISTRIBUTION, every
from statecast.fields.evaluation.verify import verify
from statecast.fields.inference import forecast
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.sources import Record
from statecast.fields.streams import Channel, Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.trained import ModelError, TrainedModel, build

KEYS = {"forecast", "task", "variable", "level_hpa", "lead_time_h", "metric", "value", "low", "high", "n"}


@pytest.fixture
def verifications(make_trained, training, held_out):
    return verify_forecast({"model": make_trained(kind="forecast", history=1, leads=2)}, held_out, training=training)


def test_a_model_is_verified_beside_its_baselines_with_gaps_in_the_data(verifications, tmp_path):
    write_scores(verifications, tmp_path)
    text = (tmp_path / "scores.json").read_text()
    records = json.loads(text)
    assert "NaN" not in text and all(set(record) == KEYS for record in records)
    found = {r["forecast"]: {q["metric"] for q in records if q["forecast"] == r["forecast"]} for r in records}
    assert set(found) == {"model", "persistence", "climatology", "climatology_distribution"}
    assert {"rmse", "crps", "spread", "spread_skill"} <= found["model"] & found["climatology_distribution"]
    assert "spread" not in found["persistence"] and "acc" not in found["climatology"]
    assert {r["lead_time_h"] for r in records} == {6.0, 12.0, 18.0, 24.0}
    assert {(r["variable"], r["level_hpa"]) for r in records} == {("t", 500.0), ("t", 850.0), ("msl", None)}
    with xr.open_datatree(tmp_path / "scores.nc") as tree:
        assert tree["forecast/model"]["rank_histogram"].dims == ("lead_time", "channel", "rank")


def test_intervals_contain_their_values_and_are_the_same_each_time(verifications):
    for verification in verifications:
        for metric in verification.metrics:
            value, (low, high) = verification.value(metric), verification.interval(metric)
            known = np.isfinite(value)
            assert (low[known] <= value[known] + 1e-9).all() and (value[known] <= high[known] + 1e-9).all()
            np.testing.assert_array_equal(low, verification.interval(metric)[0])


def test_persistence_of_noise_errs_by_sqrt_two_and_climatology_by_one(verifications):
    """The weather of the store is white noise of 10 K around a constant."""
    rmse = {v.forecast: v.value("rmse")[:, 0].mean() for v in verifications}
    assert rmse["climatology"] == pytest.approx(10, rel=0.15)
    assert rmse["persistence"] == pytest.approx(10 * np.sqrt(2), rel=0.15)


def test_without_the_training_record_the_distribution_is_left_out(make_trained, held_out):
    told = []
    trained = make_trained(kind="forecast", history=1, leads=1)
    found = verify_forecast({"model": trained}, held_out, every_h=24, progress=told.append)
    assert [v.forecast for v in found] == ["model", "persistence", "climatology"]
    assert told[-1] == 1.0 and len(told) == len(found[0].positions) and (np.diff(found[0].positions) >= 24).all()


def test_a_place_that_training_never_saw_does_not_spoil_the_scores(make_trained, held_out):
    trained = make_trained(kind="forecast", history=1, leads=1)
    trained.codecs["air"].climatology.mean[:, :, 0, 3, 4] = np.nan
    model = verify_forecast({"model": trained}, held_out)[0]
    assert np.isfinite(model.value("rmse")).all() and np.isfinite(model.value("acc")).all()


def scored(values) -> Verification:
    """A forecast of one member at one lead time whose squared error at each start is given."""
    squared = np.array(values, dtype=float)[:, None, None]
    statistics = dict.fromkeys(("squared_error", "absolute_error", "error", "crps", "acc", "variance"), squared)
    starts = 24.0 * np.arange(len(values))
    axes = (lead_time_axis((6.0,)), channel_axis((Channel("t", None),), ("K",)))
    return Verification("model", "forecast", axes, statistics, starts, DECORRELATION_H, scores=ensemble_scores)


def width(squared) -> float:
    low, high = (x[0, 0] for x in scored(squared).interval("rmse"))
    return high - low


def test_the_interval_of_independent_starts_has_the_width_of_the_central_limit_theorem():
    """2 x 1.96 s / (2 m sqrt n) for the root of a mean m² of n independent values of standard deviation s."""
    squared = np.random.default_rng(0).normal(size=400) ** 2
    expected = 2 * 1.96 * squared.std() / (2 * np.sqrt(squared.mean()) * np.sqrt(400))
    assert width(squared) == pytest.approx(expected, rel=0.12)


def test_starts_of_the_same_weather_count_as_fewer():
    """Five days alike, in blocks of five days that begin anywhere: <(5 - o)² + o²> / 5 = 3.4 times the variance of independent days."""
    spells = np.random.default_rng(0).normal(size=80) ** 2
    alike = np.repeat(spells, 5)
    apart = np.random.default_rng(1).permutation(alike)
    assert width(alike) == pytest.approx(np.sqrt(3.4) * width(apart), rel=0.15)


def test_starts_without_observations_count_neither_in_a_value_nor_in_its_interval():
    gaps = scored([4.0, np.nan, 4.0, np.nan, 4.0, 4.0])
    assert gaps.value("rmse")[0, 0] == 2.0
    assert [x[0, 0] for x in gaps.interval("rmse")] == [2.0, 2.0]


def test_what_was_never_observed_leaves_no_record():
    assert scored([np.nan, np.nan]).records() == []
    assert {r["n"] for r in scored([1.0, 2.0]).records()} == {2}


def test_starts_are_at_least_as_far_apart_as_asked(held_out):
    starts = every(held_out, np.arange(12), 15.0)
    np.testing.assert_array_equal(held_out.hours[starts] - held_out.hours[0], [0, 18, 36, 54])
    assert len(every(held_out, np.arange(12), 0.0)) == 12


def test_models_that_answer_another_question_are_refused(make_trained, held_out):
    first = make_trained(kind="forecast", history=1, leads=2)
    other_stream = make_trained(
        stream=Stream(variables=("t",), levels=(500,), patch=(2, 6, 6)), kind="forecast", history=1, leads=2
    )
    for other, message in (
        (make_trained(kind="masked"), "trained for the task 'masked', expected forecast"),
        (make_trained(kind="forecast", history=2, leads=2), "model other: forecasts 2 slabs from 2"),
        (other_stream, "model other: has no stream air like"),
    ):
        with pytest.raises(ModelError, match=message):
            verify_forecast({"first": first, "other": other}, held_out)


def test_the_model_is_scored_by_its_own_answer(make_trained, held_out):
    """With zero heads and little damping it is persistence of the last observed value, or climatology where that is missing."""
    trained = make_trained(kind="forecast", history=1, leads=1)
    for parameter in trained.model.heads.parameters():
        torch.nn.init.zeros_(parameter)
    correlation = trained.model.anchors["air"].of_lag
    correlation.copy_(0.98 ** torch.arange(correlation.shape[1]))
    model, persistence = (v.value("rmse") for v in verify_forecast({"model": trained}, held_out)[:2])
    np.testing.assert_allclose(model, persistence, rtol=0.08)  # anomalies persist here, values there


def test_every_stream_of_a_model_is_verified_by_answers_that_saw_all_of_them(make_trained, training, held_out):
    streams = {
        "air": Stream(variables=("t",), levels=(500, 850), patch=(2, 6, 6)),
        "sea": Stream(variables=("msl",), patch=(1, 6, 6)),
    }
    records = {n: Record.open(held_out.dataset, stream) for n, stream in streams.items()}
    learned = {n: Record.open(training.dataset, stream) for n, stream in streams.items()}
    tokenizers = {n: FieldTokenizer.fit(stream, learned[n]) for n, stream in streams.items()}
    one = make_trained(kind="forecast", history=1, leads=1)
    both = TrainedModel(build(one.model.options, tokenizers, 0), tokenizers, one.recipe)
    found = verify_forecast({"model": both}, records, training=learned)
    assert {v.task for v in found} == {"forecast air", "forecast sea"}
    assert {v.forecast for v in found if v.task == "forecast sea"} == {
        v.forecast for v in found if v.task == "forecast air"
    }
    sea = next(v for v in found if v.task == "forecast sea" and v.forecast == "model")
    assert sea.labels("channel") == ("msl",) and sea.labels("lead_time_h") == (6.0, 12.0)
    without_air = {"air": Record.open(held_out.dataset * np.nan, streams["air"]), "sea": records["sea"]}
    blind = next(
        v for v in verify_forecast({"model": both}, without_air) if v.task == "forecast sea" and v.forecast == "model"
    )
    assert not np.allclose(blind.value("rmse"), sea.value("rmse"))


# Members as they are written


@pytest.fixture
def of_members(make_trained, training, held_out):
    trained = make_trained(kind="forecast", history=1, leads=2)
    found = verify_forecast({"model": trained}, held_out, training=training, every_h=48.0, members=4)
    return trained, {(v.task, v.forecast): v for v in found if v.task.startswith("members")}


def test_members_are_scored_at_points_over_areas_and_by_their_differences(of_members):
    _, found = of_members
    tasks = ("members", "members area means", "members differences")
    assert set(found) == {(task, name) for task in tasks for name in ("model", DISTRIBUTION)}
    for (task, name), verification in found.items():
        assert {"rmse", "crps", "spread", "spread_skill"} <= set(verification.metrics)
        assert ({"energy_score", "variogram_score", "short_power"} <= set(verification.metrics)) == (task == "members")
        assert name == DISTRIBUTION or verification.members == 4
        assert verification.ranks.sum(axis=-1).min() > 0


def test_the_area_means_of_white_noise_vary_less_than_its_points_and_differences_more(of_members):
    _, found = of_members
    spread = {task: found[task, DISTRIBUTION].value("spread")[:, 0].mean() for task, _ in found}
    assert spread["members area means"] < 0.9 * spread["members"]
    assert spread["members differences"] == pytest.approx(np.sqrt(2) * spread["members"], rel=0.15)


def test_what_is_written_is_what_is_scored(of_members, held_out):
    trained, found = of_members
    verification = found["members", "model"]
    alone = verification.of_cases(np.arange(len(verification.positions)) == 0)
    times = held_out.dataset.indexes["time"]
    first = int(np.flatnonzero(held_out.hours == verification.positions[0])[0])
    history = trained.recipe.task.history * slab_depth(trained)
    init = str(times[first + history - 1])
    steps = len(verification.labels("lead_time_h"))
    written = forecast(trained, held_out.dataset, init, steps, members=4)
    truth = held_out.dataset.msl.isel(time=slice(first + history, first + history + steps)).values
    error = written.msl.isel(init_time=0).mean("number").values - truth
    weight = np.where(np.isfinite(error), held_out.grid.cell_area, 0.0)
    rmse = np.sqrt((np.nan_to_num(error) ** 2 * weight).sum((-1, -2)) / weight.sum((-1, -2)))
    np.testing.assert_allclose(alone.value("rmse")[:, -1], rmse, rtol=1e-4)


def test_members_of_what_is_no_forecast_are_refused(make_trained, held_out):
    with pytest.raises(ModelError, match="task is masked, expected forecast"):
        verify({"model": make_trained(kind="masked")}, {"air": held_out}, None, every_h=48.0, members=4, progress=False)
