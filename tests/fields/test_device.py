"""Answers of a model on a GPU are those of a CPU. Where there is no GPU, a device that refuses what a GPU would (`elsewhere`)."""

import json

import numpy as np
import pytest
import xarray as xr

import statecast as sc
from statecast.verbs import explain


def assert_same(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert set(found) == set(expected)
    for name in expected.data_vars:
        if expected[name].dtype.kind == "f":
            scale = float(np.nanstd(expected[name])) or 1.0
            np.testing.assert_allclose(found[name].values, expected[name].values, rtol=1e-3, atol=1e-3 * scale)


def scores(trained, runs, out) -> list[dict]:
    sc.evaluate(trained, runs.store, runs.held_out, out, every_h=240, members=2, report=False, progress=False)
    return json.loads((out / "scores.json").read_text())


def test_an_evaluation_has_the_scores_of_the_cpu(runs, device, tmp_path):
    expected = scores(sc.load(runs.forecast), runs, tmp_path / "cpu")
    found = scores(sc.load(runs.forecast, device), runs, tmp_path / "device")
    assert [row["value"] for row in found] == pytest.approx([row["value"] for row in expected], rel=1e-2, nan_ok=True)


@pytest.mark.parametrize("lattices", [1, 2])
def test_a_forecast_is_that_of_the_cpu(runs, device, lattices):
    ask = {"data": runs.store, "init": "2000-02-12T00", "steps": 2, "members": 2, "lattices": lattices}
    assert_same(sc.predict(sc.load(runs.forecast, device), **ask), sc.predict(runs.forecast, **ask))


def test_gaps_are_filled_as_on_the_cpu(runs, device):
    store = xr.open_zarr(runs.store, consolidated=False).load()
    gaps = store.assign(t=store.t.where(np.random.default_rng(0).random(store.t.shape) > 0.2))
    period = ("2000-02-12", "2000-02-13")
    ask = {"members": 2, "progress": False}
    assert_same(
        sc.complete(sc.load(runs.pretrained, device), gaps, period, **ask),
        sc.complete(runs.pretrained, gaps, period, **ask),
    )


def test_embeddings_and_explanations_are_those_of_the_cpu(runs, device):
    there, here = sc.load(runs.forecast, device), sc.load(runs.forecast)
    period = ("2000-02-12", "2000-02-13")
    assert_same(sc.embed(there, runs.store, period), sc.embed(here, runs.store, period))
    asked = ("2000-02-13T00", (40.0, 90.0, "msl"))
    assert_same(explain(there, runs.store, *asked), explain(here, runs.store, *asked))


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)  # long elsewhere
def test_strange_states_are_as_strange_as_on_the_cpu(runs, device, tmp_path):
    period, found = ("2000-02-12", "2000-02-13"), []
    for trained, name in ((sc.load(runs.pretrained), "cpu"), (sc.load(runs.pretrained, device), "device")):
        sc.anomalies(trained, runs.store, period, tmp_path / name, report=False, progress=False)
        with xr.open_dataset(tmp_path / name / "anomalies.nc") as stored:
            found.append(stored.load())
    assert_same(found[1], found[0])
