"""Runs: what they leave behind, what they inherit, and that nothing is half-written."""

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import statecast
from statecast.config import RecipeError
from statecast.trained import ModelError
from statecast.training import QuestionDataset


def test_a_run_leaves_what_the_documentation_says(runs):
    for run in (runs.pretrained, runs.forecast):
        found = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
        wanted = {"run.yaml", "model/recipe.yaml", "model/model.safetensors", "model/model.json", "model/README.md"}
        assert wanted | {"model/streams/fields.nc", "logs/csv/metrics.csv", "checkpoints/best.ckpt"} <= found
        facts = yaml.safe_load((run / "run.yaml").read_text())
        assert facts["wall_time_s"] > 0 and facts["cpu_time_s"] > 0
    assert sorted(p.name for p in runs.pretrained.parent.iterdir()) == [
        "forecast",
        "pretrained",
        "store.zarr",
    ]  # nothing aside


def test_a_training_lets_go_of_its_record(runs, tmp_path):
    """Of twelve trainings in one process each kept 1 GB, until Python happened to look for cycles."""
    kept = lambda: sum(type(o) is QuestionDataset for o in gc.get_objects())  # noqa: E731
    gc.collect()
    before = kept()
    gc.disable()
    try:
        statecast.pretrain(runs.recipe, tmp_path / "run", progress=False)
        assert kept() == before
    finally:
        gc.enable()


def test_fine_tuning_inherits_and_keeps_statistics(runs):
    base, tuned = statecast.load(runs.pretrained), statecast.load(runs.forecast)
    assert tuned.recipe.data == base.recipe.data and tuned.recipe.task.kind == "forecast"
    np.testing.assert_array_equal(tuned.codecs["fields"].climatology.mean, base.codecs["fields"].climatology.mean)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(runs, tmp_path):
    again = statecast.pretrain(runs.recipe, tmp_path / "again", progress=False)
    other = statecast.pretrain(runs.recipe | {"seed": 1}, tmp_path / "other", progress=False)
    kept = statecast.load(runs.pretrained).model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in again.model.state_dict().items())
    assert not torch.equal(other.model.state_dict()["encoder_norm.weight"], kept["encoder_norm.weight"])


def test_a_new_stream_is_added_and_named(runs, tmp_path):
    stream = {"surface": {"variables": ["msl"], "patch": [2, 2, 2]}}
    recipe = {"streams": stream, "task": {"kind": "masked", "slabs": 2}, "training": {"steps": 2}}
    added = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    base = statecast.load(runs.pretrained)
    assert list(added.codecs) == ["surface"]
    names = (tmp_path / "run" / "run.yaml").read_text()
    assert "values.surface.weight" in names and "encoder." not in names
    assert (
        added.model.state_dict()["encoder.0.attention.to_query.weight"].shape
        == base.model.state_dict()["encoder.0.attention.to_query.weight"].shape
    )


def test_other_sizes_than_the_models_are_refused(runs, tmp_path):
    with pytest.raises(RecipeError, match=r"model\.width differs"):
        statecast.finetune(runs.tuning, runs.pretrained, tmp_path / "run", overrides=["model.width=64"], progress=False)
    with pytest.raises(ModelError, match="is not a model directory"):
        statecast.finetune(runs.tuning, tmp_path, tmp_path / "run", progress=False)


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """A run with a checkpoint of every step, and its recipe."""
    recipe = runs.recipe | {"training": runs.recipe["training"] | {"checkpoint_every": 1}}
    out = tmp_path_factory.mktemp("whole") / "run"
    statecast.pretrain(recipe, out, progress=False)
    return recipe, out


@pytest.mark.parametrize(
    "killed", ["while the model was written", "after it was written", "while the start was removed"]
)
def test_a_run_that_was_killed_at_its_very_end_goes_on(whole, tmp_path, killed):
    recipe, run = whole
    unfinished = Path(shutil.copytree(run, tmp_path / "run.unfinished"))
    start = unfinished / ("start.part" if killed == "while the start was removed" else "start")
    shutil.copytree(unfinished / "model", start)
    if killed == "while the model was written":
        (unfinished / "model").rename(unfinished / "model.part")
        (unfinished / "model.part" / "model.safetensors").unlink()
    if start.name == "start.part":
        (start / "model.json").unlink()
    again = statecast.pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    kept = statecast.load(run).model.state_dict()
    assert all(torch.equal(v, kept[name]) for name, v in again.model.state_dict().items())
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"checkpoints", "logs", "model", "run.yaml"}
