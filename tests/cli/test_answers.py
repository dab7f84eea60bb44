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
