"""What one does with a trained model of fields: files, and what is refused."""

import json
import re

import pytest
import xarray as xr

import statecast
from statecast.fields.sources import StoreError

SCORE_KEYS = {"forecast", "task", "variable", "level_hpa", "lead_time_h", "metric", "value", "low", "high", "n"}


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
    evaluation = statecast.evaluate(
        runs.pretrained, runs.store, runs.held_out, tmp_path / "scores", progress=False, report=False
    )
    assert {v.task for v in evaluation.verifications} == {"masked 50%", "masked 75%", "masked 90%"}
    assert {v.forecast for v in evaluation.verifications} == {"model", "climatology", "interpolation"}


def test_evaluation_on_the_training_period_is_refused(runs, tmp_path):
    with pytest.raises(StoreError, match="overlaps the training period"):
        statecast.evaluate(
            runs.forecast, runs.store, ("2000-01-20", "2000-02-20"), tmp_path / "scores", progress=False, report=False
        )
    assert not list(tmp_path.iterdir())


def test_evaluation_on_what_an_earlier_model_was_trained_on_is_refused(runs, tmp_path):
    later = {"data": {"train": ["2000-02-06", "2000-02-14"], "validate": None}}
    statecast.finetune(runs.tuning | later, runs.pretrained, tmp_path / "run", progress=False)
    for period in (("2000-01-20", "2000-01-25"), ("2000-02-10", "2000-02-20")):
        with pytest.raises(StoreError, match="overlaps the training period"):
            statecast.evaluate(tmp_path / "run", runs.store, period, tmp_path / "scores", progress=False, report=False)


def test_another_spelling_of_the_store_is_the_same_store(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs.pretrained.parent)
    with pytest.raises(StoreError, match="overlaps the training period"):
        statecast.evaluate(
            runs.forecast, "./store.zarr", ("2000-01-20", "2000-01-25"), tmp_path / "s", progress=False, report=False
        )


def test_a_forecast_is_written_with_its_ending(runs, tmp_path):
    for name in ("f.zarr", "f.nc"):
        statecast.predict(runs.forecast, runs.store, "2000-02-20T00", 3, members=2, out=tmp_path / name)
    assert (tmp_path / "f.zarr").is_dir() and (tmp_path / "f.nc").is_file()
    with xr.open_dataset(tmp_path / "f.nc") as fields:
        assert dict(fields.t.sizes) == {"init_time": 1, "number": 2, "lead_time": 3, "level": 2, "lat": 8, "lon": 16}
