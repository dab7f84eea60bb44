"""The command line as a whole: its help, its steps in a row, and one line and exit code 2 for a user's mistake."""

import subprocess
import sys

import pytest
import yaml

from statecast.cli import main


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
        (["pretrain", "nothing.yaml", "--out", "run"], "is neither a file nor a recipe"),
        (["pretrain", "quickstart", "training.steps=0", "--out", "run"], "training.steps"),
        (["data", "describe", "nowhere.zarr"], "does not exist"),
        (["finetune", "quickstart-forecast", "--from", "nowhere", "--out", "run"], "is not a model directory"),
        (
            ["predict", "nowhere", "--data", "x", "--init", "2001-01-01", "--steps", "1", "--out", "f.zarr"],
            "is not a model directory",
        ),
        (["data", "simulate", "--out", "s.zarr"], "--days or --years"),
        (
            ["data", "simulate", "--out", "s.zarr", "--days", "1", "--physics", "a.b=1", "--physics", "a.b=2"],
            "--physics a.b: is given 2 times, expected once.",
        ),
        (
            ["data", "simulate", "--out", "s.zarr", "--days", "1", "--restart-days", "inf", "--physics", "a.b=1"],
            "--restart-days is inf, expected a finite number.",
        ),
        (["data", "simulate", "atmosphere", "--out", "s.zarr"], "--days or --years"),
        (["data", "simulate", "jets", "--out", "j.parquet", "--jets", "7"], "jets is 7, expected a positive multiple"),
        (
            ["data", "simulate", "jets", "--out", "j.parquet", "--jets", "8", "--kind", "b"],
            "kind b is not a kind of jet. Kinds: qcd, top, w, z, h.",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, statecast, command, message):
    code, written = statecast(*command)
    lines = written.strip().splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("statecast: ") and message in lines[0], written
    assert not list(tmp_path.iterdir())


def test_each_simulation_has_options_of_its_own(monkeypatch, capsys):
    """Without a name, options are those of the atmosphere, as before there were others; the help lists both."""
    shown = {}
    for words in ((), ("atmosphere",), ("jets",)):
        monkeypatch.setattr(sys, "argv", ["statecast", "data", "simulate", *words, "--help"])
        with pytest.raises(SystemExit, match="0"):
            main()
        shown[words] = capsys.readouterr().out
    assert "atmosphere" in shown[()] and "jets" in shown[()] and "--days" not in shown[()]
    assert "--days" in shown["atmosphere",] and "--kind" not in shown["atmosphere",]
    assert "--kind" in shown["jets",] and "--days" not in shown["jets",]


def test_a_bug_keeps_its_traceback(monkeypatch, statecast):
    monkeypatch.setattr("statecast.fields.sources.describe.open_fields", lambda store, **options: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        statecast("data", "describe", "x")
