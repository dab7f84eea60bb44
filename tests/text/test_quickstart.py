"""The first run on texts, with a few steps of tiny models: what it leaves."""

import json

import statecast as sc
from statecast.text.quickstart import Plan, quickstart

OVERRIDES = (
    "model.width=32",
    "model.heads=2",
    "model.encoder_layers=1",
    "data.train=[0,149]",
    "data.validate=[5500,5529]",
    "training.batch_size=4",
    "training.validation_samples=4",
    "training.footprint=false",
)


def test_it_leaves_scores_of_every_question_a_report_and_runs(tmp_path):
    plan = Plan(labels=(60, 150), steps={"pretrained": 2, "classes": 2, "generator": 2}, overrides=OVERRIDES)
    scores = quickstart(tmp_path / "text", plan=plan, progress=False)
    assert [score.record() for score in scores] == json.loads((tmp_path / "text" / "scores.json").read_text())
    of_task = {task: {s.forecast for s in scores if s.task == task} for task in {s.task for s in scores}}
    classifiers = {"pre-trained", "from scratch", "frozen", "TF-IDF", "frequencies"}
    assert of_task == {
        "masked": {"model", "marginal"},
        "classes, 60 labels": classifiers,
        "classes, 150 labels": classifiers,
        "next": {"model", "bigrams", "unigrams"},
    }
    page = (tmp_path / "text" / "report.html").read_text()
    assert page.count("data:image/png") == 3 and "Learning curve" in page and "p(true)" in page
    tuned, scratch = (sc.load(tmp_path / "text" / name) for name in ("classes-60", "scratch-60"))
    assert tuned.codecs["text"].categories == scratch.codecs["text"].categories
    assert len(tuned.codecs["label"].classes) == 11
