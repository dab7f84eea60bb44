"""Commands that train a model, and those that tell what a training costs and what it was shown."""

import json
import shutil
import sys

import numpy as np
import pytest
import yaml

from statecast import cli, pretrain
from statecast.fields.sources import open_fields
from statecast.inspection import look_at_samples
from statecast.training.logs import read_metrics


def test_an_update_tells_both_periods_and_how_many_weights_may_change(runs, tmp_path, statecast):
    command = ["update", runs.forecast, "--data", runs.store, "--since", "2000-02-06", "--quiet"]
    code, message = statecast(*command, "--replay", "0", "--out", "run", "training.steps=2")
    assert code == 0 and "weights are trainable" in message
    assert {path.name for path in (tmp_path / "run" / "update").iterdir()} == {"old", "new"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--since", "soon"], "--since soon: expected a date such as 2001-01-01 ('soon' is no date"),
        (["--since", "2000-02-06", "--replay", "1"], "--replay 1: expected a share of the windows"),
        (["--since", "2000-02-06", "--store", "relief=x"], "a store is given for the unknown stream relief."),
    ],
)
def test_a_mistake_in_an_update_names_its_option(runs, tmp_path, statecast, option, message):
    code, written = statecast("update", runs.forecast, "--data", runs.store, *option, "--out", "run")
    assert code == 2 and written.startswith(f"statecast: {message}") and written.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_fine_tuning_on_a_store_in_other_units_is_refused(runs, tmp_path, statecast):
    metres = open_fields(runs.store).load().drop_vars("nothing")
    metres["t"] = metres.t.assign_attrs(units="m")
    metres.to_netcdf(tmp_path / "metres.nc")
    (tmp_path / "tuning.yaml").write_text(yaml.safe_dump(runs.tuning))
    code, message = statecast(
        "finetune", "tuning.yaml", "data.store=metres.nc", "--from", runs.pretrained, "--out", "run"
    )
    assert code == 2 and message.count("\n") == 1
    assert message.startswith("statecast: stream fields: variable 't@500' is in 'm' in the store")
    assert not list(tmp_path.glob("run*"))


def test_a_run_that_exists_is_refused_before_anything_is_read(tmp_path, statecast):
    (tmp_path / "run").mkdir()
    code, written = statecast("pretrain", "quickstart", "--out", "run")
    assert code == 2 and "already exists" in written


def test_the_samples_of_a_step_are_those_that_the_run_drew(runs, tmp_path, statecast):
    """Answered with the weights of that step they have the loss that the run logged."""
    training = runs.recipe["training"] | {"checkpoint_every": 1, "keep_checkpoints": 4}
    pretrain(runs.recipe | {"training": training}, tmp_path / "run", progress=False)
    (logged,) = [row for row in read_metrics(tmp_path / "run") if "loss" in row]
    assert logged["step"] == 3
    facts = look_at_samples(tmp_path / "run", 3)
    assert [f.sample for f in facts] == [6, 7] and {f.stream for f in facts} == {"fields"}
    assert np.mean([f.loss for f in facts]) == pytest.approx(logged["loss"], rel=1e-5)
    assert all(f.shown + f.asked >= 2 * 4 * 8 and f.observed == 1 and f.lowest < f.highest for f in facts)
    assert statecast("samples", runs.pretrained, "--step", "1")[0] == 0
    code, message = statecast("samples", runs.pretrained, "--step", "99")
    assert code == 2 and message == "statecast: step 99: the run has steps 0 to 3. Name one of them.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe, or --params and --tokens, or --device-hours."),
        (["nano", "--params", "1e9"], "give a recipe, or --params and --tokens, not both."),
        (
            ["--params", "1e9", "--tokens", "1e9", "--device", "abacus"],
            "device abacus: is not in the table. Known devices:",
        ),
        (["--params", "1e9", "--tokens", "1e9", "--region", "XX"], "region XX: expected WORLD or an ISO code"),
        (["--params", "1e9", "--tokens", "-1"], "tokens -1: expected a positive number."),
        (["--params", "1e9", "--tokens", "1", "--utilisation", "1.5"], "utilisation 1.5: expected 0 to 1."),
        (["--params", "1e9", "--tokens", "1", "--devices", "0"], "devices 0: expected 1 to"),
        (["--params", "1e9", "--tokens", "1", "--pue", "0.5"], "pue 0.5: expected 1 to 10."),
    ],
)
def test_a_cost_of_what_cannot_be_is_refused(statecast, arguments, message):
    code, error = statecast("cost", *arguments)
    assert code == 2 and error.startswith(f"statecast: {message}") and error.count("\n") == 1


def test_a_cost_is_told_in_tables_and_as_json(monkeypatch, capsys):
    arguments = ["--params", "1e9", "--tokens", "2e10", "--device", "a100", "--devices", "8", "--price", "2"]
    for extra in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["statecast", "cost", *arguments, *extra])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code
        told = capsys.readouterr().out
        if extra:
            cost = json.loads(told)["estimate"]
            assert cost["flops"] == pytest.approx(1.2e20) and cost["price"] == pytest.approx(2 * cost["device_hours"])
            assert cost["assumptions"]["sources"]["price_per_hour"] == "given"
        else:
            assert "not known" not in told and "codecarbon's table, WORLD" in told


def test_a_run_that_was_stopped_is_not_touched_without_a_word_and_not_resumed_by_another_recipe(
    runs, tmp_path, statecast
):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(runs.recipe))
    unfinished = tmp_path / "run.unfinished"
    shutil.copytree(runs.pretrained, unfinished)
    (unfinished / "model").rename(unfinished / "start")
    code, message = statecast("pretrain", "recipe.yaml", "--out", "run")
    assert (
        code == 2
        and "run.unfinished contains an interrupted run, but neither --resume nor --overwrite was given" in message
    )
    code, message = statecast("pretrain", "recipe.yaml", "training.learning_rate=0.5", "--out", "run", "--resume")
    assert code == 2 and "another recipe: training.learning_rate (0.0035 before, 0.5 now)" in message
    assert (unfinished / "start").is_dir() and not (tmp_path / "run").exists()
    changed = ["training.learning_rate=0.5", "--resume", "--allow-changes", "--quiet"]
    assert statecast("pretrain", "recipe.yaml", "--out", "run", *changed)[0] == 0
    finished = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    assert statecast("pretrain", "recipe.yaml", "--out", "run", "--resume")[0] == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == finished
