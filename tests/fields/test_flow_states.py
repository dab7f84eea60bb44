"""A flow or noise head on fields: members that are drawn as states, written by `predict` and `complete`, and scored as draws."""

import json

import numpy as np
import pytest

import statecast as sc
from statecast.config import RecipeError
from statecast.fields.inference import members as sampled

QUICK = {"steps": 2, "batch_size": 2, "validation_samples": 2, "footprint": False, "loggers": []}


@pytest.fixture(scope="module", params=["flow", "noise"])
def forecasting(request, runs, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "forecast"
    sc.finetune(runs.tuning | {"model": {"head": request.param}, "training": QUICK}, runs.forecast, out, progress=False)
    return out


@pytest.fixture
def no_quantiles(monkeypatch):
    """What is drawn needs no smooth field of quantiles."""

    def refuse(*arguments, **options):
        raise AssertionError("quantiles were drawn")

    monkeypatch.setattr(sampled, "smooth_normal", refuse)


def test_a_forecast_is_rolled_out_from_each_member_s_own_state(forecasting, runs, no_quantiles):
    drawn = sc.predict(forecasting, runs.store, "2000-02-12T18", 4, members=3)
    assert dict(drawn.sizes) | {"number": 3, "lead_time": 4} == dict(drawn.sizes)
    assert np.isfinite(drawn.t).all() and float(drawn.t.std("number").min()) > 0
    again = sc.predict(forecasting, runs.store, "2000-02-12T18", 4, members=5)
    np.testing.assert_allclose(again.t.isel(number=slice(3)), drawn.t, rtol=1e-4)
    assert not np.allclose(drawn.t.isel(lead_time=0), drawn.t.isel(lead_time=2))


def test_evaluation_scores_the_drawn_members(forecasting, runs, tmp_path):
    options = {"every_h": 120, "members": 3, "report": False, "progress": False}
    sc.evaluate(forecasting, runs.store, runs.held_out, tmp_path / "out", **options)
    records = json.loads((tmp_path / "out" / "scores.json").read_text())
    found = {(r["task"], r["metric"]) for r in records if r["forecast"] == "model"}
    assert {("forecast", "crps"), ("members", "energy_score"), ("members area means", "spread_skill")} <= found


def test_gaps_are_filled_with_drawn_states(runs, tmp_path, no_quantiles):
    tuning = {"task": {"kind": "masked", "slabs": 2}, "model": {"head": "flow"}, "training": QUICK}
    trained = sc.finetune(tuning, runs.pretrained, tmp_path / "masked", progress=False)
    store = sc.open_fields(runs.store).sel(time=slice("2000-02-10", "2000-02-11")).load()
    store["t"][2:4] = np.nan
    filled = sc.complete(trained, store, ("2000-02-10", "2000-02-11"), members=2, progress=False)
    assert np.isfinite(filled.t).all() and float(filled.t[:, 2:4].std("number").min()) > 0
    assert float(filled.t[:, :2].std("number").max()) == 0


def test_a_roll_out_in_training_is_refused_in_one_line(runs, tmp_path):
    tuning = {"task": {"kind": "forecast", "history": 1, "leads": 1, "rollout": 2}, "model": {"head": "flow"}}
    with pytest.raises(
        RecipeError, match=r"task.rollout is 2, but a flow head learns from one answer at a time"
    ) as refused:
        sc.finetune(tuning | {"training": QUICK}, runs.forecast, tmp_path / "run", progress=False)
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())
