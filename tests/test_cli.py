"""The command line: what it prints, and one line and exit code 2 for a user's mistake."""

import subprocess
import sys

import pytest
import yaml

STATECAST = [sys.executable, "-c", "from statecast.cli import main; main()"]


def run(*arguments, cwd):
    return subprocess.run([*STATECAST, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=110)


def test_the_steps_of_the_readme_run_one_after_the_other(runs, tmp_path):
    recipe, tuning = tmp_path / "recipe.yaml", tmp_path / "tuning.yaml"
    recipe.write_text(yaml.safe_dump(runs.recipe))
    tuning.write_text(yaml.safe_dump(runs.tuning))
    period = ["--period", *runs.held_out]
    for command in (
        ["data", "describe", runs.store],
        ["pretrain", recipe, "training.steps=3", "--out", "run"],
        ["finetune", tuning, "--from", "run", "--out", "run2", "--quiet"],
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
            "--out",
            "f.zarr",
        ],
    ):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores" / "report.html").is_file() and (tmp_path / "f.zarr").is_dir()


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
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, command, message):
    done = run(*command, cwd=tmp_path)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(lines) == 1 and lines[0].startswith("statecast: ") and message in lines[0], (
        done.stderr
    )
    assert not list(tmp_path.iterdir())


def test_a_run_that_exists_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "run").mkdir()
    done = run("pretrain", "quickstart", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2 and "exists already" in done.stderr
