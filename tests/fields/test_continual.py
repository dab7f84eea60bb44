"""Going on with data that were appended: what is learned from, what is replayed, what is told."""

import json

import numpy as np
import pytest
import xarray as xr

import statecast
from statecast.config import RecipeError, read_recipe
from statecast.fields.continual import update
from statecast.fields.source import learned_from
from statecast.fields.sources import StoreError, open_fields
from statecast.splits import open_training

SINCE = "2000-02-06"


@pytest.fixture(scope="module")
def updated(runs, tmp_path_factory):
    """The run of an update with the usual options."""
    out = tmp_path_factory.mktemp("updated") / "run"
    update(runs.forecast, runs.store, SINCE, out, progress=False)
    return out


@pytest.mark.parametrize(
    ("model", "task", "steps", "gain"), [("pretrained", "masked 50%", 150, 0.7), ("forecast", "forecast", 60, 0.8)]
)
def test_a_model_goes_on_and_tells_its_skill_before_and_after(runs, scores_of, tmp_path, model, task, steps, gain):
    """The base has learned for a few steps, so what it goes on with helps it on the old period too."""
    run, longer = getattr(runs, model), [f"training.steps={steps}", "training.learning_rate=3.5e-3"]
    result = update(run, runs.store, SINCE, tmp_path / "run", overrides=longer, progress=False)
    base = statecast.load(run)
    np.testing.assert_array_equal(
        result.trained.codecs["fields"].climatology.mean, base.codecs["fields"].climatology.mean
    )
    data = result.trained.recipe.data
    for period, days in {"old": base.recipe.data.validate_on, "new": data.validate_on}.items():
        told = scores_of(json.loads((tmp_path / "run" / "update" / period / "scores.json").read_text()))
        asked = (runs.store, days, tmp_path / period)
        for name, evaluated in {"before": base, "model": result.trained}.items():
            found = statecast.evaluate(evaluated, *asked, every_h=24.0, overwrite=True, progress=False, report=False)
            alone = scores_of(r for v in found.verifications for r in v.records())
            assert told[name] == alone["model"] and told["climatology"] == alone["climatology"]
        errors = [key for key in told["model"] if key[:2] == (task, "rmse")]
        assert len(errors) >= 3  # channels
        assert all(told["model"][key] < gain * told["before"][key] for key in errors), told


def test_the_end_of_the_new_data_is_held_out(updated):
    data = statecast.load(updated).recipe.as_dict()["data"]
    assert data["train"][0] == "2000-02-06T00:00:00" and data["replay"] == ["2000-01-01", "2000-01-31"]
    days = np.diff(np.array([*data["train"], *data["validate"]], dtype="datetime64[h]")).astype(float) / 24
    assert days[2] / days.sum() == pytest.approx(0.2, abs=0.02)
    assert "2000-02-24" in data["validate"][1]


def test_a_second_update_replays_all_that_the_model_has_learned_from(runs, tmp_path):
    periods = ["data.train=[2000-02-06, 2000-02-12]", "data.validate=[2000-02-13, 2000-02-15]"]
    update(runs.forecast, runs.store, SINCE, tmp_path / "one", overrides=periods, progress=False)
    update(tmp_path / "one", runs.store, "2000-02-16", tmp_path / "two", progress=False)
    recipe = statecast.load(tmp_path / "two").recipe
    assert recipe.as_dict()["data"]["replay"] == [["2000-01-01", "2000-01-31"], ["2000-02-06", "2000-02-12"]]
    learned = learned_from(open_fields(runs.store), recipe).indexes["time"]
    assert learned[0] == np.datetime64("2000-01-01") and (learned < "2000-02-13").sum() == 38 * 4
    assert not ((learned >= "2000-02-13") & (learned < "2000-02-16")).any()  # what was held out stays so
    with pytest.raises(StoreError, match="overlaps the training period 2000-01-01 to 2000-01-31"):
        statecast.evaluate(
            tmp_path / "two", runs.store, ("2000-01-20", "2000-01-30"), tmp_path / "s", progress=False, report=False
        )


def test_the_old_validation_period_is_not_scored_once_it_is_learned_from(runs, tmp_path):
    result = update(runs.forecast, runs.store, "2000-02-01", tmp_path / "run", progress=False)
    assert list(result.verifications) == ["new"] and not (tmp_path / "run" / "update" / "old").exists()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_windows_are_replayed_as_often_as_is_asked_and_never_cross_from_old_to_new(runs, share):
    period = {"train": ["2000-02-06", "2000-02-20"], "replay": ["2000-01-01", "2000-01-31"], "replayed": share}
    recipe = read_recipe(runs.recipe | {"data": {"store": runs.store, **period}})
    source = open_training(recipe, {})
    times = source.streams["fields"].record.dataset.indexes["time"]
    starts = np.array([source.place(np.random.default_rng([0, 0, i])).start for i in range(2000)])
    is_old = times[starts] < np.datetime64("2000-02-01")
    assert is_old.mean() == pytest.approx(share, abs=0.04)
    ends = times[starts + 3]
    assert ((ends < np.datetime64("2000-02-01")) == is_old).all() and not (
        (times >= "2000-02-01") & (times < "2000-02-06")
    ).any()


def test_without_a_replay_the_training_period_is_all(runs):
    recipe = read_recipe(runs.recipe)
    assert learned_from(open_fields(runs.store), recipe).sizes["time"] == 31 * 4


def test_a_calendar_of_equal_months_has_its_own_days(runs, tmp_path):
    dataset = open_fields(runs.store).load().drop_vars("nothing")
    days = xr.date_range("2000-01-01", periods=dataset.sizes["time"], freq="6h", calendar="360_day", use_cftime=True)
    dataset.assign_coords(time=days).to_zarr(tmp_path / "equal.zarr", zarr_format=3, consolidated=False)
    store = str(tmp_path / "equal.zarr")
    recipe = runs.recipe | {"data": {"store": store, "train": ["2000-01-01", "2000-01-30"]}}
    base = statecast.pretrain(recipe, tmp_path / "base", progress=False)
    update(base, store, "2000-02-01", tmp_path / "run", progress=False)
    assert statecast.load(tmp_path / "run").recipe.data.validate_on[1] == "2000-02-25T18:00:00"


def test_what_was_replayed_can_not_be_evaluated_on(runs, updated, tmp_path):
    with pytest.raises(StoreError, match="overlaps the training period 2000-01-01 to 2000-01-31"):
        statecast.evaluate(
            updated, runs.store, ("2000-01-20", "2000-01-30"), tmp_path / "s", progress=False, report=False
        )


def test_what_was_learned_from_is_not_new(runs, tmp_path):
    with pytest.raises(
        RecipeError, match=r"--since 2000-01-20: the model has learned from the record up to 2000-01-31"
    ):
        update(runs.forecast, runs.store, "2000-01-20", tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_what_is_no_share_of_the_windows_is_refused(runs, tmp_path, share):
    with pytest.raises(RecipeError, match=f"--replay {share:g}: expected a share of the windows"):
        update(runs.forecast, runs.store, SINCE, tmp_path / "run", replay=share, progress=False)


@pytest.mark.parametrize("since", ["soon", "2000-02-31", ""])
def test_what_is_no_date_is_refused(runs, tmp_path, since):
    with pytest.raises(RecipeError, match=f"--since {since}: expected a date such as 2001-01-01"):
        update(runs.forecast, runs.store, since, tmp_path / "run", progress=False)


def test_a_date_after_the_record_is_refused(runs, tmp_path):
    with pytest.raises(
        StoreError, match=r"--since 2001-01-01: nothing of the record lies after it, which ends at 2000"
    ):
        update(runs.forecast, runs.store, "2001-01-01", tmp_path / "run", progress=False)


def test_without_a_replay_the_new_data_alone_are_learned_from_and_the_old_still_count_as_seen(runs, tmp_path):
    update(runs.forecast, runs.store, SINCE, tmp_path / "run", replay=0, progress=False)
    recipe = statecast.load(tmp_path / "run").recipe
    assert learned_from(open_fields(runs.store), recipe).indexes["time"][0] == np.datetime64(SINCE)
    with pytest.raises(StoreError, match="overlaps the training period 2000-01-01 to 2000-01-31"):
        statecast.evaluate(
            tmp_path / "run", runs.store, ("2000-01-20", "2000-01-30"), tmp_path / "s", progress=False, report=False
        )


def test_too_little_that_is_new_is_refused(runs, tmp_path):
    with pytest.raises(StoreError, match="too few to learn from"):
        update(runs.forecast, runs.store, "2000-02-24T18", tmp_path / "run", progress=False)
