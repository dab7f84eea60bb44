"""The first run on images leaves its models, the scores of all and a page with a picture of each answer."""

import json

from statecast.images.quickstart import Plan, quickstart

TINY = ("model.width=32", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=1", "training.steps=2")
TINY += ("training.batch_size=2", "training.validation_samples=2", "training.footprint=false")


def test_the_first_run_leaves_models_scores_and_pictures(tmp_path):
    plan = Plan(labels=40, steps={}, held_out=(1790, 1796), overrides=TINY, photographs=("7", "7"))
    tables = quickstart(tmp_path / "out", plan=plan, progress=False)
    runs = ["inpainting", "jigsaw", "colour", "digits", "classes", "scratch"]
    records = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {record["run"] for record in records} == set(runs) and len(tables) == len(runs)
    assert all((tmp_path / "out" / run / "model").is_dir() for run in runs)
    found = {record["forecast"] for record in records if record["run"] == "classes"}
    assert found == {"model", "marginal", "logistic on pixels", "logistic on frozen features"}
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/png") == len(runs) + 1
