"""Unfolding: joint draws of the numbers of the generated jet."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import statecast as sc
from statecast.evaluation.samples import evaluate_samples
from statecast.models import Draws
from statecast.particles.inference.unfold import unfold_jets

STREAMS = {
    "particles": {},
    "jet": {"quantities": ["pt_gev", "mass_gev"]},
    "mass": {"label": "generated_mass_gev"},
    "pt": {"label": "pt_gev"},
}
TASK = {"kind": "translate", "to": ["mass", "pt"]}
FLOW = {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "head": "flow", "members": 6}


@pytest.fixture(scope="module")
def unfolding(tmp_path_factory, files_of_jets):
    """A path of a model that draws mass and pT together."""
    recipe = {
        "data": {"domain": "particles", "files": "0.jets", "train": [0, 199], "validate": [200, 249]},
        "streams": STREAMS,
        "task": TASK,
        "model": FLOW,
        "training": {"steps": 3, "batch_size": 4, "validate_every": 3, "validation_samples": 4, "footprint": False},
    }
    out = tmp_path_factory.mktemp("unfolding") / "run"
    sc.pretrain(recipe, out, progress=False)
    return out


def test_every_jet_has_a_row_for_each_member(unfolding, statecast, tmp_path):
    said = statecast("unfold", unfolding, "1.jets", "--members", 3, "--steps", 2, "--batch", 70, "--out", "u.parquet")
    assert said == (0, "")
    table = pd.read_parquet(tmp_path / "u.parquet")
    assert list(table.columns) == ["jet", "member", "mass", "pt"]
    assert len(table) == 900
    assert table.jet.tolist() == np.repeat(np.arange(300), 3).tolist()
    assert table.member.tolist() == [0, 1, 2] * 300


def test_draws_of_a_jet_are_the_same_in_any_batch_and_differ_between_jets(unfolding, statecast, tmp_path):
    for batch, name in ((64, "a.nc"), (7, "b.nc")):
        statecast("unfold", unfolding, "1.jets", "--members", 2, "--steps", 2, "--batch", batch, "--out", name)
    one, other = (xr.open_dataset(tmp_path / name) for name in ("a.nc", "b.nc"))
    assert dict(one.sizes) == {"jet": 300, "member": 2} and one.mass.units == "GeV"
    np.testing.assert_allclose(one.mass, other.mass, rtol=1e-3)
    assert len(np.unique(one.mass)) == 600


def test_another_seed_gives_other_draws(unfolding, make_jets):
    trained, jets = sc.load(unfolding), make_jets(5)
    one, other = (unfold_jets(trained, jets, Draws(members=2, steps=2, seed=seed))["pt"] for seed in (0, 1))
    assert (one != other).all()


def test_the_evaluation_tells_coverage_and_ranks(unfolding, tmp_path):
    evaluation = evaluate_samples(unfolding, out=tmp_path / "scores", progress=False)
    (of_mass,) = [v for v in evaluation.verifications if v.task == "translate mass" and v.forecast == "model"]
    assert 0 <= of_mass.value("coverage_50")[0] <= of_mass.value("coverage_68")[0] + 1e-9 <= 1
    assert "coverage_95" not in of_mass.metrics  # six members have no such interval
    ranks = xr.open_datatree(tmp_path / "scores" / "scores.nc")["translate_mass/model"].rank_histogram
    assert ranks.shape == (1, 7) and ranks.sum() == 50


def test_a_model_that_answers_numbers_one_by_one_is_refused(make_recipe, statecast, tmp_path):
    sc.pretrain(make_recipe(TASK, streams=STREAMS), tmp_path / "run", progress=False)
    code, error = statecast("unfold", tmp_path / "run", "1.jets", "--out", "u.parquet")
    assert code == 2 and "has the head ensemble" in error and "jets-unfold" in error and error.count("statecast:") == 1
    assert not (tmp_path / "u.parquet").exists()


def test_a_model_of_classes_is_refused(runs, statecast, tmp_path):
    code, error = statecast("unfold", runs.tagged, "1.jets", "--out", "u.parquet")
    assert code == 2 and "answers a class, expected numbers" in error
