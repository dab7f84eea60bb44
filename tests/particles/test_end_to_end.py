"""Jets through the whole core: training, resuming, loading, costs, evaluation, explanation, representations."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

import statecast as sc
from statecast.costs import size_of
from statecast.particles.inference.write import write_jets
from statecast.particles.source import JetSource

STREAMS = {
    "particles": {},
    "jet": {"quantities": ["multiplicity", "pt_gev", "mass_gev"]},
    "codes": {"asks": "codebook", "size": 32},
}


def test_a_model_of_jets_comes_back_and_answers_the_same(runs):
    one, other = sc.load(runs.masked), sc.load(runs.masked)
    assert one.recipe.data.domain == "particles" and set(one.codecs) == {"particles", "jet", "codes"}
    source = one.domain.open(one.recipe, "validate", one.codecs)
    assert len(source.cases()) == 50 and source.cases().labels == list(range(200, 250))
    for trained in (one, other):
        assert trained.parameters == sum(p.numel() for p in trained.model.parameters())
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


def test_a_fine_tuned_model_keeps_statistics_and_weights(runs):
    masked, tagged, generating = map(sc.load, runs)
    for trained in (tagged, generating):
        assert torch.equal(trained.codecs["particles"].mean, masked.codecs["particles"].mean)
    assert torch.equal(generating.codecs["codes"].codebook.centres, masked.codecs["codes"].codebook.centres)
    new = yaml.safe_load((runs.tagged / "run.yaml").read_text())["new_parameters"]
    assert new and all("label" in name for name in new)


def test_a_run_killed_after_a_checkpoint_ends_with_the_same_bits(
    make_jets, make_recipe, tmp_path, require_same_bits_after_a_kill
):
    """Weights and codebooks, of a file: jets are read, codebooks fitted, and samples rotated as before."""
    write_jets(make_jets(), tmp_path / "jets.parquet")
    data = {"domain": "particles", "files": str(tmp_path / "jets.parquet"), "train": [0, 199], "validate": [200, 249]}
    streams = STREAMS | {"fine": {"asks": "residual", "of": "codes", "size": 16}}
    task = {"kind": "masked_particles", "ask": ["codes", "fine"], "show": ["jet"]}
    recipe = make_recipe(task, data=data | {"rotate": True}, streams=streams)
    require_same_bits_after_a_kill(recipe, JetSource, 18)  # in the fifth step, after a validation and a checkpoint


def test_the_cost_counts_what_the_model_has(runs):
    for run in (runs.tagged, runs.generating):
        trained = sc.load(run)
        size = size_of(trained.recipe)
        assert size.parameters == trained.parameters and size.flops_per_sample > 0 and not size.assumed


def test_the_cost_of_files_that_are_not_there_is_assumed(make_recipe, monkeypatch):
    from statecast.config import read_recipe
    from statecast.particles import record
    from statecast.particles.jets import JetError

    def missing(files, most_constituents):
        raise JetError("file nowhere.root: there is no such file.")

    monkeypatch.setattr(record, "open_files", missing)
    size = size_of(read_recipe(make_recipe()))
    assert "jets are assumed to have 50 particles" in size.assumed[0] and size.tokens_per_sample == 50 + 51 + 3


@pytest.mark.parametrize("command", ["cost", "samples", "evaluate", "explain", "explain codes", "embed"])
def test_the_commands_know_jets(runs, statecast, tmp_path, command):
    if command == "cost":
        assert statecast("cost", runs.masked / "model" / "recipe.yaml") == (0, "")
    elif command == "samples":
        assert statecast("samples", runs.masked, "--step", 2) == (0, "")
    elif command == "evaluate":
        assert statecast("evaluate", runs.tagged, "--out", "out", "--quiet") == (0, "")
        records = json.loads((tmp_path / "out" / "scores.json").read_text())
        forecasts = {"model", "boosting on substructure", "logistic on substructure"}
        assert {record["forecast"] for record in records} == forecasts and {record["n"] for record in records} == {50}
        assert (tmp_path / "out" / "report.html").is_file()
    elif command.startswith("explain"):
        run, token = (runs.masked, "codes:1") if command.endswith("codes") else (runs.tagged, "label")
        assert statecast("explain", run, "--token", token, "--sample", 1, "--out", "out") == (0, "")
        explained = xr.open_dataset(tmp_path / "out" / "explain.nc")
        total = sum(float(explained[f"{name}_decoder_attention"].sum()) for name in ("particles", "jet"))
        assert total == pytest.approx(2)  # 1 layer, 2 heads
        assert float(explained["particles_sensitivity"].sel(particles_token=0).isnull().sum()) == 0
        assert "particles_delta_eta" in explained.coords
    else:
        assert statecast("embed", runs.tagged, "--data", "1.jets", "--period", 0, 4, "--out", "e.nc", "--quiet") == (
            0,
            "",
        )
        found = xr.open_dataset(tmp_path / "e.nc")
        assert found["particles"].shape == (5, 32) and found.sample.values.tolist() == [0, 1, 2, 3, 4]
        assert "label" not in found


def test_other_files_are_evaluated_whole_and_without_their_labels_embedded(runs):
    representation = sc.embed(runs.tagged, "u.jets")
    assert representation["particles"].shape == (300, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--period", "a", 3), "expected the numbers of the first and the last jet"),
        (("--period", 3, 1), "expected the first and the last jet, in this order"),
        (("--period", 100, 220), "which the model has learned from"),
        (("--period", 250, 400), "have 300 jets, expected jets 250 to 400"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused_in_one_line(runs, statecast, tmp_path, options, message):
    code, error = statecast("evaluate", runs.tagged, *options, "--out", "out", "--quiet")
    assert code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_mixture_trains(runs, make_recipe, tmp_path):
    tasks = [
        {"kind": "masked_particles", "ask": ["codes"], "show": ["jet"]},
        {"kind": "next_particle", "ask": ["codes"], "show": ["jet"]},
    ]
    trained = sc.pretrain(make_recipe({"kind": "mix", "tasks": tasks}), tmp_path / "run", progress=False)
    again = sc.load(tmp_path / "run")
    assert again.recipe == trained.recipe and len(again.recipe.task.tasks) == 2


def test_masses_are_learned_better_than_their_distribution(make_recipe, tmp_path):
    streams = {"particles": {}, "jet": {"quantities": ["mass_gev", "pt_gev"]}, "mass": {"label": "generated_mass_gev"}}
    training = {"steps": 60, "batch_size": 32, "validate_every": 60, "validation_samples": 32, "footprint": False}
    values = make_recipe({"kind": "translate", "to": ["mass"]}, streams=streams, training=training)
    sc.pretrain(values, tmp_path / "run", progress=False)
    verifications = sc.evaluate(tmp_path / "run", out=tmp_path / "scores", progress=False).verifications
    rmse = {v.forecast: float(v.value("rmse")[0]) for v in verifications}
    assert rmse["model"] < 0.5 * rmse["marginal"]


def test_tokens_of_hidden_particles_are_learned_better_than_their_frequencies(make_recipe, tmp_path):
    training = {"steps": 60, "batch_size": 32, "validate_every": 60, "validation_samples": 32, "footprint": False}
    streams = {"particles": {}, "kinds": {"asks": "kinds"}, "momenta": {"asks": "values"}}
    task = {"kind": "masked_particles", "ask": ["momenta"]}
    values = make_recipe(task, streams={k: v for k, v in streams.items() if k != "kinds"}, training=training)
    sc.pretrain(values, tmp_path / "run", progress=False)
    verifications = sc.evaluate(tmp_path / "run", out=tmp_path / "scores", progress=False).verifications
    crps = {v.forecast: float(v.value("crps")[0]) for v in verifications}
    assert np.isfinite(crps["model"]) and crps["model"] < 0.93 * crps["marginal"]
