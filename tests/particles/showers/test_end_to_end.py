"""From files to generated showers by the commands, and to another geometry."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import statecast as sc
from statecast.particles.evaluation import generation as scores_of_jets
from statecast.particles.showers.evaluation import generation as scores_of_showers
from statecast.particles.showers.geometry import ShowerError
from statecast.particles.showers.inference.generate import generate
from statecast.particles.showers.quickstart import Plan, quickstart
from statecast.particles.showers.sources.files import open_showers
from statecast.trained import ModelError


def test_a_model_generates_a_file_of_the_calochallenge(statecast, generator, tiny, tmp_path):
    options = ["--showers", "20", "--energy", "2", "50", "--quiet"]
    assert statecast("generate", str(generator), *options, "--out", str(tmp_path / "a.hdf5"))[0] == 0
    showers = open_showers(tmp_path / "a.hdf5").read()
    assert showers.voxels_mev.shape == (20, 24) and (showers.voxels_mev > 0).any()
    assert showers.incident_mev.min() >= 2000 and showers.incident_mev.max() <= 50_000
    few = generate(generator, 7, energy_gev=(2, 50), batch=4)
    np.testing.assert_allclose(few.voxels_mev, showers.voxels_mev[:7], rtol=1e-3, atol=1e-2)  # however many are drawn
    other = generate(generator, 7, energy_gev=(2, 50), seed=1)
    assert not np.isclose(other.voxels_mev, few.voxels_mev).all(axis=1).any()
    like = generate(generator, like=tiny / "showers.hdf5", showers=5)
    np.testing.assert_array_equal(like.incident_mev, open_showers(tiny / "showers.hdf5").read(0, 4).incident_mev)


def test_drawn_layers_hold_what_was_drawn_for_them(generator):
    """Shares are normalised: energies of layers follow from response and layers alone."""
    trained = sc.load(generator)
    drawn = generate(trained, 30)
    of_layers = drawn.voxels_mev.reshape(30, 3, 8).sum(axis=2)
    assert np.isfinite(drawn.voxels_mev).all() and (drawn.voxels_mev >= 0).all()
    faint = trained.codecs["voxels"].grid.faint_mev
    assert drawn.voxels_mev[drawn.voxels_mev > 0].min() >= 0.999 * faint > 0 and (of_layers > 0).any()


def test_evaluation_writes_scores_beside_baselines(statecast, generator, tmp_path):
    assert statecast("evaluate", str(generator), "--out", str(tmp_path / "out"), "--quiet")[0] == 0
    records = json.loads((tmp_path / "out" / "scores.json").read_text())
    named = {record["forecast"] for record in records if record["metric"] == "separation"}
    assert named == {"model", "nearest energy", "independent voxels", "truth"}
    metrics = {record["metric"] for record in records if record["forecast"] == "model"}
    assert metrics >= {
        "voxel_auc",
        "classifier_auc",
        "fpd",
        "kpd",
        "wasserstein_mean",
        "sampling_fraction",
        "ms_per_shower",
    }
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/png;base64,") == 2


def test_a_masked_model_is_evaluated_token_by_token(statecast, pretrained, tmp_path):
    period = ["--period", "160", "165"]
    assert statecast("evaluate", str(pretrained), *period, "--out", str(tmp_path / "out"), "--quiet")[0] == 0
    records = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {record["metric"] for record in records} >= {"crps"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--showers", "0"), "showers"),
        (("--energy", "1", "5000"), "but the model learned from 1.0"),
        (("--energy", "5", "2"), "energy is 5 to 2 GeV"),
        (("--jets", "3"), "jets: generating by a model of showers has no such option"),
    ],
)
def test_what_can_not_be_drawn_is_refused(statecast, generator, tmp_path, options, message):
    code, text = statecast("generate", str(generator), *options, "--out", str(tmp_path / "out.hdf5"), "--quiet")
    assert code == 2 and message in text and len(text.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_python_refuses_no_showers_and_a_model_that_does_not_generate(generator, pretrained):
    with pytest.raises(ShowerError, match="showers is 0, expected at least 1"):
        generate(generator, 0)
    with pytest.raises(
        ModelError, match=r"its task does not ask for response. Fine-tune it by the recipe showers-generate"
    ):
        generate(pretrained, 3)


def test_showers_that_were_learned_from_are_no_test(statecast, generator, tmp_path):
    code, text = statecast(
        "evaluate", str(generator), "--period", "100", "200", "--out", str(tmp_path / "out"), "--quiet"
    )
    assert code == 2 and "which the model has learned from" in text


def test_a_model_goes_on_to_another_geometry(generator, recipe, tiny, tmp_path):
    """Weights of patches of the same form are kept; the statistics are those of the new geometry."""
    (tmp_path / "other.xml").write_text((tiny / "tiny.xml").read_text().replace("0,20,60", "0,15,50"))
    data = {**recipe["data"], "geometry": str(tmp_path / "other.xml"), "depth_x0": 20}
    training = {**recipe["training"], "steps": 1, "learning_rate": 1e-6}
    moved = sc.finetune(
        {"data": data, "task": recipe["task"], "training": training}, generator, tmp_path / "moved", progress=False
    )
    before, after = (load_file(path / "model" / "model.safetensors") for path in (generator, tmp_path / "moved"))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-4) for name in before)
    known = sc.load(generator).codecs["voxels"]
    assert moved.codecs["voxels"].grid != known.grid and moved.codecs["voxels"].coords[0, 0] < known.coords[0, 0]
    again = sc.finetune({"task": recipe["task"], "training": training}, generator, tmp_path / "same", progress=False)
    assert np.array_equal(again.codecs["voxels"].scale.mean, known.scale.mean)


def test_sizes_are_known_without_data(generator):
    trained = sc.load(generator)
    sizes = trained.domain.sizes(trained.recipe)
    window = trained.domain.open(trained.recipe, "validate", trained.codecs).window(0)
    assert sizes.specs == {name: tokens.spec for name, tokens in window.items()}
    assert {name: len(tokens) for name, tokens in sizes.window.items()} == {
        name: len(tokens) for name, tokens in window.items()
    }


def test_the_quickstart_of_showers_leaves_what_the_documentation_says(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        scores_of_jets, "classifier_auc", lambda *features: 0.5
    )  # which take longest, and are tested apart
    monkeypatch.setattr(scores_of_showers, "voxel_auc", lambda *showers: (0.5, 10, 10))
    (tmp_path / "one.xml").write_text((tiny / "tiny.xml").read_text().partition('   <Bin pid="22"')[0] + "</Bins>")
    few = (
        "training.batch_size=4",
        "training.footprint=false",
        "training.validation_samples=4",
        "streams.voxels.patch=[1,2,2]",
    )
    few += ("model.width=32", "model.heads=2", "model.encoder_layers=1", "model.flow_layers=1")
    plan = Plan((60, 50), str(tmp_path / "one.xml"), {"pretrained": 1, "generator": 1}, few)
    scores = quickstart(tmp_path / "showers", plan=plan, progress=False)
    found = {path.name for path in (tmp_path / "showers").iterdir()}
    assert found == {"pretrained", "generator", "scores.json", "report.html"}
    assert json.loads((tmp_path / "showers" / "scores.json").read_text()) == [score.record() for score in scores]
    assert sc.load(tmp_path / "showers" / "generator").recipe.data.files == (str(tmp_path / "showers.hdf5"),)
    assert (tmp_path / "showers" / "report.html").read_text().count("data:image/png;base64,") == 3
