"""The first run on jets, with a few steps: what it leaves behind, and that its control is fair."""

import json

import pytest

from statecast.particles.quickstart import Plan, quickstart
from statecast.trained import load

FEW = (
    "data.train=[0,299]",
    "data.validate=[300,339]",
    "training.steps=2",
    "training.batch_size=8",
    "training.validation_samples=8",
    "training.footprint=false",
)


@pytest.mark.timeout(300)
def test_the_quickstart_of_jets_leaves_what_the_documentation_says(tmp_path):
    plan = Plan(labels=100, generated=20, held_out=(400, 499), masked_jets=10, overrides=FEW)
    scores = quickstart(tmp_path / "jets", plan=plan, progress=False)
    found = {path.name for path in (tmp_path / "jets").iterdir()}
    assert found == {"pretrained", "tagger", "scratch", "generator", "scores.json", "report.html"}
    tagger, scratch = load(tmp_path / "jets" / "tagger"), load(tmp_path / "jets" / "scratch")
    assert tagger.recipe == scratch.recipe and tagger.parameters == scratch.parameters
    assert tagger.recipe.data.train == (0, 99)
    records = json.loads((tmp_path / "jets" / "scores.json").read_text())
    assert records == [score.record() for score in scores]
    taggers = {record["forecast"] for record in records if record["metric"] == "auc"}
    assert taggers == {"pre-trained", "scratch", "boosting on substructure", "logistic on substructure"}
    generators = {record["forecast"] for record in records if record["metric"] == "wasserstein"}
    assert generators == {"model", "independent constituents", "truth"}
    page = (tmp_path / "jets" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 1 + 1 + 2 + 1  # ROC, distributions, a jet of each class, training
