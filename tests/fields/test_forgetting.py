"""What a fine-tuning has forgotten: the old question before and after, or a line that says why it isn't asked."""

import json

import numpy as np
import pytest
import torch

import statecast
from statecast.adaptation import transfer
from statecast.config import read_recipe
from statecast.fields.forgetting import as_before
from statecast.splits import open_training
from statecast.trained import TrainedModel, build

TRAINING = {"steps": 2, "batch_size": 2, "validation_samples": 2, "footprint": False}
NARROW = {"fields": {"variables": ["t"], "levels": [850], "patch": [2, 2, 2]}}
WIDE = {"fields": {"variables": ["msl", "t"], "levels": [500, 850], "patch": [2, 2, 2]}}


@pytest.fixture(scope="module")
def narrow(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("narrow") / "run"
    statecast.pretrain(runs.recipe | {"streams": NARROW, "training": TRAINING}, out, progress=False)
    return out


def masked(**changes):
    return {"task": {"kind": "masked", "slabs": 2}, "training": TRAINING} | changes


def test_a_level_and_a_variable_that_are_added_report_what_was_forgotten_of_the_old_ones(
    runs, narrow, tmp_path, capsys, scores_of
):
    statecast.finetune(masked(streams=WIDE), narrow, tmp_path / "run", progress=False)
    records = json.loads((tmp_path / "run" / "forgetting" / "scores.json").read_text())
    assert {(r["variable"], r["level_hpa"]) for r in records} == {("t", 850.0)}
    rmse = {(r["task"], r["forecast"]): r["value"] for r in records if r["metric"] == "rmse"}
    told = capsys.readouterr().err
    base, tuned = statecast.load(narrow), statecast.load(tmp_path / "run")
    for name, model in {"before": base, "model": as_before(tuned, base)}.items():
        period = base.recipe.data.validate_on
        found = statecast.evaluate(
            model, runs.store, period, tmp_path / name, every_h=24.0, progress=False, report=False
        )
        alone = scores_of(r for v in found.verifications for r in v.records())
        assert scores_of(records)[name] == alone["model"]
    for task in ("masked 50%", "masked 75%", "masked 90%"):
        assert rmse[task, "model"] != rmse[task, "before"]
        ratio = f"{rmse[task, 'model'] / rmse[task, 'before']:.3f}"
        line = next(line for line in told.splitlines() if task in line)
        assert line.count(ratio) == 2 and "t@850" in line  # one channel: the mean and the worst
    assert told.endswith(f"forgetting: {tmp_path / 'run' / 'forgetting' / 'scores.json'}\n")


def test_before_it_has_learned_anything_a_model_with_new_channels_has_forgotten_nothing(runs, narrow):
    base = statecast.load(narrow)
    recipe = read_recipe(masked(streams=WIDE), inherit=base.recipe)
    codecs = open_training(recipe, base.codecs).codecs
    model = build(base.model.options, codecs, recipe.seed)
    transfer(base.model, base.codecs, model, codecs)
    old, again = base.model.state_dict(), as_before(TrainedModel(model, codecs, recipe), base)
    assert again.recipe == base.recipe and not again.model.training
    assert all(torch.equal(value, old[name]) for name, value in again.model.state_dict().items())
    np.testing.assert_array_equal(again.codecs["fields"].climatology.mean, base.codecs["fields"].climatology.mean)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"streams": WIDE, "data": {"validate": None}}, "data.validate is null. Name a period"),
        ({"streams": {"pressure": {"variables": ["msl"], "patch": [2, 2, 2]}}}, "stream fields, which the old"),
        ({"streams": {"fields": WIDE["fields"] | {"levels": [500]}}}, "stream fields has no t@850 any more"),
    ],
)
def test_one_line_says_why_there_is_no_report(runs, narrow, tmp_path, capsys, changes, reason):
    statecast.finetune(masked(**changes), narrow, tmp_path / "run", progress=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if "forgetting" in line]
    assert len(lines) == 1 and lines[0].startswith(f"no forgetting report, because {reason}")
    assert not (tmp_path / "run" / "forgetting").exists()


def test_nothing_is_said_where_streams_stay_what_they_were(runs, narrow, tmp_path, capsys):
    statecast.finetune(runs.tuning, narrow, tmp_path / "run", progress=False)
    assert "forgetting" not in capsys.readouterr().err
