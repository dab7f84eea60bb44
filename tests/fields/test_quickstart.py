"""The quickstart, with a few steps: what it leaves behind and that its control is fair."""

import json

import pytest

from statecast import load, quickstart, read_recipe


@pytest.mark.timeout(400)
def test_the_quickstart_leaves_what_the_documentation_says(tmp_path):
    few = ["training.steps=3", "training.validation_samples=2", "training.footprint=false"]
    small = [
        "data.train=[2000-01-01, 2000-01-31]",
        "streams.atmosphere={variables: [z, t2m], levels: [500], patch: [2, 4, 4]}",
    ]
    recipe = read_recipe("quickstart", [*few, *small])
    quickstart(
        tmp_path / "q",
        pretraining=recipe,
        tuning_overrides=["training.steps=3", "training.footprint=false"],
        period=("2001-01-01", "2001-01-05"),
        progress=False,
    )
    found = {p.name for p in (tmp_path / "q").iterdir()}
    assert found == {"pretrained", "forecast", "scratch", "model", "scores.json", "scores.nc", "report.html"}
    tuned, scratch = load(tmp_path / "q" / "model"), load(tmp_path / "q" / "scratch")
    assert tuned.recipe.task == scratch.recipe.task and tuned.parameters == scratch.parameters
    assert tuned.recipe.training.steps == scratch.recipe.training.steps
    forecasts = {r["forecast"] for r in json.loads((tmp_path / "q" / "scores.json").read_text())}
    assert {"model", "scratch", "persistence", "climatology", "climatology_distribution"} <= forecasts
