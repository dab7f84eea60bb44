"""Commands that ask a trained model."""

import json

import xarray as xr
import yaml

from statecast.fields.sources import open_fields


def test_what_a_store_lacks_is_filled(runs, tmp_path, statecast):
    period = ["--period", "2000-02-10", "2000-02-11"]
    (tmp_path / "fill.yaml").write_text(yaml.safe_dump({"task": {"kind": "fill"}, "training": runs.tuning["training"]}))
    assert statecast("finetune", "fill.yaml", "training.steps=2", "--from", runs.pretrained, "--out", "run")[0] == 0
    whole = open_fields(runs.store).load().drop_vars("nothing").sel(time=slice(*period[1:]))
    gaps = whole.copy(deep=True)
    gaps["t"][2, :, 2:4, 4:8] = float("nan")
    gaps.to_netcdf(tmp_path / "gaps.nc")
    code, message = statecast("complete", "run", "--data", "gaps.nc", *period, "--members", "2", "--out", "whole.nc")
    assert code == 0, message
    with xr.open_dataset(tmp_path / "whole.nc") as found:
        assert found.sizes["number"] == 2
        assert bool((found.t == whole.t).where(gaps.t.notnull(), other=True).all())
        in_gap = lambda fields: float(((fields - whole.t).where(gaps.t.isnull()) ** 2).mean() ** 0.5)  # noqa: E731
        assert 0 < in_gap(found.t) < 0.25 * in_gap(open_fields(runs.store).t.mean("time"))


def test_a_fine_tuned_model_is_held_against_the_one_that_it_goes_on_from(runs, tmp_path, statecast):
    command = ["evaluate", runs.forecast, "--data", runs.store, "--period", *runs.held_out, "--every-h", "200"]
    assert statecast(*command, "--against", runs.pretrained, "--out", "scores", "--quiet")[0] == 0
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {"model", "before"} <= {r["forecast"] for r in records}


def test_several_members_of_a_deterministic_model_are_refused(runs, tmp_path, statecast):
    model = {key: value for key, value in runs.recipe["model"].items() if key != "members"} | {"head": "point"}
    recipe = runs.recipe | {"task": runs.tuning["task"], "model": model, "training": runs.tuning["training"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert statecast("pretrain", "recipe.yaml", "training.steps=2", "--out", "run")[0] == 0
    asked = ["--data", runs.store, "--init", "2000-02-20T00", "--steps", "2", "--members", "4", "--out", "f.nc"]
    code, message = statecast("predict", "run", *asked)
    assert code == 2 and message.startswith("statecast: ") and "members" in message and message.count("\n") == 1
    assert not (tmp_path / "f.nc").exists()


def test_answers_may_be_averaged_over_token_lattices(runs, tmp_path, statecast, monkeypatch):
    asked = [
        "predict",
        runs.forecast,
        "--data",
        runs.store,
        "--init",
        "2000-02-20T00",
        "--steps",
        "2",
        "--members",
        "2",
    ]
    for lattices in ("1", "4"):
        assert statecast(*asked, "--lattices", lattices, "--out", f"{lattices}.nc") == (0, "")
    plain, averaged = (xr.load_dataset(tmp_path / f"{lattices}.nc").t for lattices in ("1", "4"))
    assert 0 < float(abs(averaged - plain).max()) < float(plain.std())
    for lattices in ("0", "3"):
        code, message = statecast(*asked, "--lattices", lattices, "--out", "none.nc")
        assert code == 2 and f"lattices is {lattices}, expected 1, 2 or 4." in message and message.count("\n") == 1
    scored = ["evaluate", runs.forecast, "--data", runs.store, "--period", *runs.held_out, "--every-h", "200"]
    for lattices in ("1", "2"):
        out = ["--out", f"scores-{lattices}", "--no-report", "--quiet"]
        assert statecast(*scored, "--lattices", lattices, *out)[0] == 0
    files = [(tmp_path / f"scores-{lattices}" / "scores.json").read_text() for lattices in ("1", "2")]
    rows = [
        [r["value"] for r in json.loads(text) if (r["forecast"], r["metric"]) == ("model", "rmse")] for text in files
    ]
    assert rows[0] != rows[1] and all(0.5 < b / a < 1.5 for a, b in zip(*rows, strict=True))
    monkeypatch.setattr("statecast.verbs.domain_name", lambda run: "particles")
    code, message = statecast(*scored, "--lattices", "2", "--out", "none")
    assert code == 2 and "every_h: evaluating a model of particles has no such option. Leave it out." in message
    assert not (tmp_path / "none").exists() and not (tmp_path / "none.nc").exists()


def test_members_are_scored_as_they_are_written(runs, tmp_path, statecast):
    asked = ["evaluate", runs.forecast, "--data", runs.store, "--period", *runs.held_out, "--every-h", "200"]
    code, message = statecast(*asked, "--members", "3", "--out", "scores", "--quiet")
    assert code == 0, message
    tasks = {record["task"] for record in json.loads((tmp_path / "scores" / "scores.json").read_text())}
    assert {"forecast", "members", "members area means", "members differences"} <= tasks
    code, message = statecast(*["evaluate", runs.pretrained, *asked[2:]], "--members", "3", "--out", "none")
    assert code == 2 and "expected forecast" in message and not (tmp_path / "none").exists()
