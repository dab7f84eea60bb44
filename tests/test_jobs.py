"""The jobs: run directories, refusals, and that nothing is half-written."""

import gc
import json
import re
import shutil

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import statecast
from statecast.config import RecipeError
from statecast.fields.sources import StoreError
from statecast.outputs import OutputError, new_output
from statecast.trained import ModelError
from statecast.training import QuestionDataset

SCORE_KEYS = {"forecast", "task", "variable", "level_hpa", "lead_time_h", "metric", "value", "low", "high", "n"}


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
    assert tuned.recipe["data"] == base.recipe["data"] and tuned.recipe["task"]["kind"] == "forecast"
    np.testing.assert_array_equal(tuned.tokenizers["fields"].climatology.mean, base.codecs["fields"].climatology.mean)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(runs, tmp_path):
    again = statecast.pretrain(runs.recipe, tmp_path / "again", progress=False)
    other = statecast.pretrain(runs.recipe | {"seed": 1}, tmp_path / "other", progress=False)
    kept = statecast.load(runs.pretrained).model.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in again.model.state_dict().items())
    assert not torch.equal(other.model.state_dict()["encoder_norm.weight"], kept["encoder_norm.weight"])


def test_evaluation_of_a_forecast_writes_scores_and_a_self_contained_report(runs, tmp_path):
    statecast.evaluate(runs.forecast, runs.store, runs.held_out, tmp_path / "scores", every_h=24.0, progress=False)
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert all(set(record) == SCORE_KEYS for record in records)
    assert {r["forecast"] for r in records} == {"model", "persistence", "climatology", "climatology_distribution"}
    page = (tmp_path / "scores" / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4 and not re.search(r'(src|href)="(?!data:)', page)
    assert "Training" in page  # the curves of the run
    with xr.open_datatree(tmp_path / "scores" / "scores.nc") as tree:
        assert tree["forecast/model"]["rank_histogram"].sizes["rank"] == 5


def test_evaluation_of_a_pretrained_model_is_reconstruction(runs, tmp_path):
    evaluation = statecast.evaluate(runs.pretrained, runs.store, runs.held_out, tmp_path / "scores", progress=False)
    assert {v.task for v in evaluation.verifications} == {"masked 50%", "masked 75%", "masked 90%"}
    assert {v.forecast for v in evaluation.verifications} == {"model", "climatology", "interpolation"}


def test_evaluation_on_the_training_period_is_refused(runs, tmp_path):
    with pytest.raises(StoreError, match="overlaps the training period"):
        statecast.evaluate(runs.forecast, runs.store, ("2000-01-20", "2000-02-20"), tmp_path / "scores", progress=False)
    assert not list(tmp_path.iterdir())


def test_evaluation_on_what_an_earlier_model_was_trained_on_is_refused(runs, tmp_path):
    later = {"data": {"train": ["2000-02-06", "2000-02-14"], "validate": None}}
    statecast.finetune(runs.tuning | later, runs.pretrained, tmp_path / "run", progress=False)
    for period in (("2000-01-20", "2000-01-25"), ("2000-02-10", "2000-02-20")):
        with pytest.raises(StoreError, match="overlaps the training period"):
            statecast.evaluate(tmp_path / "run", runs.store, period, tmp_path / "scores", progress=False)


def test_another_spelling_of_the_store_is_the_same_store(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs.pretrained.parent)
    with pytest.raises(StoreError, match="overlaps the training period"):
        statecast.evaluate(runs.forecast, "./store.zarr", ("2000-01-20", "2000-01-25"), tmp_path / "s", progress=False)


def test_a_forecast_is_written_with_its_ending(runs, tmp_path):
    for name in ("f.zarr", "f.nc"):
        statecast.predict(runs.forecast, runs.store, "2000-02-20T00", 3, members=2, out=tmp_path / name)
    assert (tmp_path / "f.zarr").is_dir() and (tmp_path / "f.nc").is_file()
    with xr.open_dataset(tmp_path / "f.nc") as fields:
        assert dict(fields.t.sizes) == {"init_time": 1, "number": 2, "lead_time": 3, "level": 2, "lat": 8, "lon": 16}


def test_a_new_stream_is_added_and_named(runs, tmp_path):
    stream = {"surface": {"variables": ["msl"], "patch": [2, 2, 2]}}
    recipe = {"streams": stream, "task": {"kind": "masked", "slabs": 2}, "training": {"steps": 2}}
    added = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    base = statecast.load(runs.pretrained)
    assert list(added.tokenizers) == ["surface"]
    names = (tmp_path / "run" / "run.yaml").read_text()
    assert "values.surface.weight" in names and "encoder." not in names
    assert (
        added.model.state_dict()["encoder.0.attention.to_query.weight"].shape
        == base.model.state_dict()["encoder.0.attention.to_query.weight"].shape
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"streams": {"fields": {"variables": ["t", "w"], "levels": [500], "patch": [2, 2, 2]}}},
            StoreError,
            "no variable 'w'",
        ),
        (
            {"streams": {"fields": {"variables": ["t"], "levels": [550], "patch": [2, 2, 2]}}},
            StoreError,
            "no level 550 hPa",
        ),
        (
            {"streams": {"fields": {"variables": ["t"], "levels": [500], "patch": [2, 3, 2]}}},
            RecipeError,
            "3 does not divide the 8 rows",
        ),
        (
            {"streams": {"fields": {"variables": ["nothing"], "patch": [2, 2, 2]}}},
            StoreError,
            "no value in the training period",
        ),
        ({"data": {"store": "nowhere.zarr", "train": ["2000-01-01", "2000-01-31"]}}, StoreError, "does not exist"),
        ({"window": {"extent": [80, 80]}}, ValueError, "exceeds the grid"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line_and_nothing_is_written(runs, tmp_path, change, error, message):
    with pytest.raises(error, match=message) as caught:
        statecast.pretrain(runs.recipe | change, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_validation_period_inside_the_training_period_is_refused(runs, tmp_path):
    recipe = runs.recipe | {"data": runs.recipe["data"] | {"validate": ["2000-01-31", "2000-02-05"]}}
    with pytest.raises(
        RecipeError, match=r"data.validate is 2000-01-31 .* overlaps the training period 2000-01-01 to 2000-01-31"
    ):
        statecast.pretrain(recipe, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_empty_period_is_refused(runs, tmp_path):
    data = runs.recipe["data"] | {"train": ["1990-01-01", "1990-02-01"]}
    with pytest.raises(StoreError, match="holds no data"):
        statecast.pretrain(runs.recipe | {"data": data}, tmp_path / "run", progress=False)


def test_other_sizes_than_the_models_are_refused(runs, tmp_path):
    with pytest.raises(RecipeError, match=r"model\.width differs"):
        statecast.finetune(runs.tuning, runs.pretrained, tmp_path / "run", overrides=["model.width=64"], progress=False)
    with pytest.raises(ModelError, match="is not a model directory"):
        statecast.finetune(runs.tuning, tmp_path, tmp_path / "run", progress=False)


def test_an_output_that_exists_is_kept_unless_told(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(OutputError, match="already exists"), new_output(tmp_path / "out"):
        raise AssertionError
    with pytest.raises(RuntimeError), new_output(tmp_path / "out", overwrite=True) as path:
        path.mkdir()
        raise RuntimeError
    assert (tmp_path / "out" / "precious").exists()
    with new_output(tmp_path / "out", overwrite=True) as path:
        path.write_text("new")
    assert (tmp_path / "out").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_what_was_trained_before_a_job_failed_is_kept(tmp_path):
    with pytest.raises(RuntimeError), new_output(tmp_path / "run") as path:
        path.mkdir()
        (path / "model.safetensors").write_text("weights")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["run.failed"]


@pytest.mark.parametrize(
    "killed", ["while the model was written", "after it was written", "while the start was removed"]
)
def test_a_run_that_was_killed_at_its_very_end_goes_on(runs, tmp_path, killed):
    recipe = runs.recipe | {"training": runs.recipe["training"] | {"checkpoint_every": 1}}
    whole = statecast.pretrain(recipe, tmp_path / "run", progress=False)
    unfinished = tmp_path / "run.unfinished"
    (tmp_path / "run").rename(unfinished)
    start = unfinished / ("start.part" if killed == "while the start was removed" else "start")
    shutil.copytree(unfinished / "model", start)
    if killed == "while the model was written":
        (unfinished / "model").rename(unfinished / "model.part")
        (unfinished / "model.part" / "model.safetensors").unlink()
    if start.name == "start.part":
        (start / "model.json").unlink()
    again = statecast.pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    assert all(torch.equal(v, whole.model.state_dict()[name]) for name, v in again.model.state_dict().items())
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"checkpoints", "logs", "model", "run.yaml"}
