"""Tables of labels."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import statecast as sc
from statecast.evaluation.samples import evaluate_samples
from statecast.particles.inference.tag import tag, tag_jets


def test_each_jet_gets_the_probability_of_each_class(runs, statecast, tmp_path, make_jets):
    assert statecast("tag", runs.tagged, "1.jets", "2.jets", "--out", "tags.parquet", "--batch", 64) == (0, "")
    table = pd.read_parquet(tmp_path / "tags.parquet")
    assert list(table.columns) == ["jet", "probability_one", "probability_two", "class"]
    assert table["jet"].tolist() == list(range(600))
    assert (table["probability_one"] + table["probability_two"]).to_numpy() == pytest.approx(1)
    assert table["class"].tolist() == [*make_jets(seed=1).labels, *make_jets(seed=2).labels]


def test_probabilities_are_those_of_the_evaluation(runs, tmp_path):
    trained = sc.load(runs.tagged)
    tag(trained, "0.jets", tmp_path / "tags.nc", batch=37)
    tagged = xr.open_dataset(tmp_path / "tags.nc").sel(jet=slice(200, 249))
    answers = evaluate_samples(trained, out=tmp_path / "scores", progress=False).answers
    np.testing.assert_allclose(
        tagged.probability_two, answers.label_probability.sel(label_class="two"), rtol=2e-5, atol=1e-6
    )


def test_labels_in_the_file_are_not_needed(runs, make_jets):
    trained = sc.load(runs.tagged)
    one, other = (tag_jets(trained, make_jets(20, labelled=labelled))["label"].logits for labelled in (True, False))
    assert np.array_equal(one.numpy(), other.numpy())


def test_numbers_get_a_mean_and_an_interval(make_recipe, tmp_path):
    streams = {"particles": {}, "mass": {"label": "generated_mass_gev"}}
    trained = sc.pretrain(
        make_recipe({"kind": "translate", "to": ["mass"]}, streams=streams), tmp_path / "run", progress=False
    )
    tag(trained, "1.jets", tmp_path / "t.parquet")
    table = pd.read_parquet(tmp_path / "t.parquet")
    assert list(table.columns) == ["jet", "mass", "mass_low", "mass_high", "class"]
    assert (table.mass_low <= table.mass).all() and (table.mass <= table.mass_high).all()


def test_a_model_that_answers_no_label_is_refused(runs, statecast, tmp_path):
    code, error = statecast("tag", runs.masked, "1.jets", "--out", "t.parquet")
    assert code == 2 and "answers codes, expected a label" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
