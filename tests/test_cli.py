"""The command line: what it prints, and one line and exit code 2 for a user's mistake."""

import json
import shutil
import subprocess
import sys

import pytest
import xarray as xr
import yaml

from statecast import cli
from statecast.inspection import look_at_samples
from statecast.sources import open_fields


@pytest.fixture
def statecast(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder, in this process; returns its exit code and what it wrote to standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["statecast", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, capsys.readouterr().err

    return run


def test_the_steps_of_the_readme_run_one_after_the_other(runs, tmp_path, statecast):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(runs.recipe))
    (tmp_path / "tuning.yaml").write_text(yaml.safe_dump(runs.tuning))
    period = ["--period", *runs.held_out]
    for command in (
        ["data", "describe", runs.store],
        ["pretrain", "recipe.yaml", "training.steps=3", "--out", "run"],
        ["finetune", "tuning.yaml", "--from", "run", "--out", "run2", "--quiet"],
        ["evaluate", "run2", "--data", runs.store, *period, "--out", "scores", "--every-h", "48"],
        [
            "predict",
            "run2",
            "--data",
            runs.store,
            "--init",
            "2000-02-20T00",
            "--steps",
            "4",
            "--members",
            "4",
            "--store",
            f"fields={runs.store}",
            "--out",
            "f.zarr",
        ],
    ):
        code, message = statecast(*command)
        assert code == 0, message
    assert (tmp_path / "scores" / "report.html").is_file() and (tmp_path / "f.zarr").is_dir()


def test_an_update_tells_both_periods_and_how_many_weights_may_change(runs, tmp_path, statecast):
    command = ["update", runs.forecast, "--data", runs.store, "--since", "2000-02-06", "--quiet"]
    code, message = statecast(*command, "--replay", "0", "--out", "run", "training.steps=2")
    assert code == 0 and "weights may change, of a model of" in message
    assert {path.name for path in (tmp_path / "run" / "update").iterdir()} == {"old", "new"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--since", "soon"], "--since soon: expected a date such as 2001-01-01."),
        (["--since", "2000-02-06", "--replay", "1"], "--replay 1: expected a share of the windows"),
        (["--since", "2000-02-06", "--store", "relief=x"], "a store is given for stream relief, which there isn't."),
    ],
)
def test_a_mistake_in_an_update_names_its_option(runs, tmp_path, statecast, option, message):
    code, written = statecast("update", runs.forecast, "--data", runs.store, *option, "--out", "run")
    assert code == 2 and written.startswith(f"statecast: {message}") and written.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_a_store_lacks_is_filled(runs, tmp_path, statecast):
    period = ["--period", "2000-02-10", "2000-02-11"]
    (tmp_path / "fill.yaml").write_text(yaml.safe_dump({"task": {"kind": "fill"}, "training": runs.tuning["training"]}))
    assert statecast("finetune", "fill.yaml", "training.steps=2", "--from", runs.pretrained, "--out", "run")[0] == 0
    gaps = open_fields(runs.store).load().drop_vars("nothing").sel(time=slice(*period[1:]))
    gaps["t"][2, :, 2:4, 4:8] = float("nan")
    gaps.to_netcdf(tmp_path / "gaps.nc")
    code, message = statecast("complete", "run", "--data", "gaps.nc", *period, "--members", "2", "--out", "whole.nc")
    assert code == 0, message
    with xr.open_dataset(tmp_path / "whole.nc") as found:
        assert found.sizes["number"] == 2 and bool(found.t.notnull().all())


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


def test_a_fine_tuning_on_a_store_in_other_units_is_refused(runs, tmp_path, statecast):
    celsius = open_fields(runs.store).load().drop_vars("nothing")
    celsius["t"] = (celsius.t - 273.15).assign_attrs(units="degC")
    celsius.to_netcdf(tmp_path / "celsius.nc")
    (tmp_path / "tuning.yaml").write_text(yaml.safe_dump(runs.tuning))
    code, message = statecast(
        "finetune", "tuning.yaml", "data.store=celsius.nc", "--from", runs.pretrained, "--out", "run"
    )
    assert code == 2 and message.count("\n") == 1
    assert message.startswith("statecast: stream fields: variable 't@500' is in 'degC' in the store")
    assert not list(tmp_path.glob("run*"))


def test_the_installed_command_says_how_it_is_used():
    code = "from statecast.cli import main; import sys; sys.argv = ['statecast', '--help']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(
        command in done.stdout for command in ("quickstart", "pretrain", "finetune", "evaluate", "predict", "data")
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["pretrain", "quickstart", "task.hiden=[0.5,0.9]", "--out", "run"], "Did you mean task.hidden?"),
        (["pretrain", "nothing.yaml", "--out", "run"], "is no file"),
        (["pretrain", "quickstart", "training.steps=0", "--out", "run"], "training.steps"),
        (["data", "describe", "nowhere.zarr"], "does not exist"),
        (["finetune", "quickstart-forecast", "--from", "nowhere", "--out", "run"], "is no model directory"),
        (
            ["predict", "nowhere", "--data", "x", "--init", "2001-01-01", "--steps", "1", "--out", "f.zarr"],
            "is no model directory",
        ),
        (["data", "simulate", "--out", "s.zarr"], "--days or --years"),
        (
            ["data", "simulate", "--out", "s.zarr", "--days", "1", "--physics", "a.b=1", "--physics", "a.b=2"],
            "--physics a.b: is given 2 times, expected once.",
        ),
        (
            ["data", "simulate", "--out", "s.zarr", "--days", "1", "--restart-days", "inf", "--physics", "a.b=1"],
            "restart_days is inf, expected 0, or a multiple of the interval of 6 h.",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, statecast, command, message):
    code, written = statecast(*command)
    lines = written.strip().splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("statecast: ") and message in lines[0], written
    assert not list(tmp_path.iterdir())


def test_a_run_that_exists_is_refused_before_anything_is_read(tmp_path, statecast):
    (tmp_path / "run").mkdir()
    code, written = statecast("pretrain", "quickstart", "--out", "run")
    assert code == 2 and "exists already" in written


def test_the_samples_of_a_step_are_those_that_the_run_drew(runs, tmp_path, statecast):
    facts = look_at_samples(runs.pretrained, 1)
    assert [f.sample for f in facts] == [2, 3] and {f.stream for f in facts} == {"fields"}
    assert all(f.shown and f.asked and f.observed == 1 and f.lowest < f.highest and 0 < f.loss < 5 for f in facts)
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
            "device abacus: is not in the table. Those known:",
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


def test_a_cost_is_told_in_tables_and_as_json():
    arguments = ["--params", "1e9", "--tokens", "2e10", "--device", "a100", "--devices", "8", "--price", "2"]
    for extra in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "statecast", "cost", *arguments, *extra], capture_output=True, text=True, check=True
        )
        if extra:
            cost = json.loads(done.stdout)["estimate"]
            assert cost["flops"] == pytest.approx(1.2e20) and cost["price"] == pytest.approx(2 * cost["device_hours"])
            assert cost["assumptions"]["sources"]["price_per_hour"] == "given"
        else:
            assert "not known" not in done.stdout and "codecarbon's table, WORLD" in done.stdout


def test_a_run_that_was_stopped_is_not_touched_without_a_word_and_not_resumed_by_another_recipe(
    runs, tmp_path, statecast
):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(runs.recipe))
    unfinished = tmp_path / "run.unfinished"
    shutil.copytree(runs.pretrained, unfinished)
    (unfinished / "model").rename(unfinished / "start")
    code, message = statecast("pretrain", "recipe.yaml", "--out", "run")
    assert code == 2 and "run.unfinished holds a run that was stopped. Pass --resume" in message
    code, message = statecast("pretrain", "recipe.yaml", "training.learning_rate=0.5", "--out", "run", "--resume")
    assert code == 2 and "another recipe: training.learning_rate (0.0035 before, 0.5 now)" in message
    assert (unfinished / "start").is_dir() and not (tmp_path / "run").exists()
    changed = ["training.learning_rate=0.5", "--resume", "--allow-changes", "--quiet"]
    assert statecast("pretrain", "recipe.yaml", "--out", "run", *changed)[0] == 0
    finished = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    assert statecast("pretrain", "recipe.yaml", "--out", "run", "--resume")[0] == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == finished


def test_a_bug_keeps_its_traceback(monkeypatch, statecast):
    monkeypatch.setattr("statecast.sources.open_fields", lambda store: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        statecast("data", "describe", "x")
