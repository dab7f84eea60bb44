"""The quality page of a codebook."""

import json
import sys
from dataclasses import asdict
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml

import statecast as sc
from statecast.particles.evaluation import codebook as codebook_module
from statecast.particles.evaluation.codebook import OBSERVABLES, codebook_quality, codebooks_of, decoded_jets


@pytest.fixture(autouse=True)
def moments_for_subjettiness(monkeypatch):
    """Needs no fastjet: mean and maximal share of momentum in place of ratios of N-subjettiness."""
    module = ModuleType("statecast.particles.substructure")

    def substructure(jets):
        pt, first = jets.particles["pt_gev"], jets.offsets[:-1]
        share = np.maximum.reduceat(pt, first) / np.add.reduceat(pt, first)
        return {"tau21": share, "tau32": 1 / jets.multiplicity}

    module.substructure = substructure
    monkeypatch.setitem(sys.modules, "statecast.particles.substructure", module)


def test_a_second_code_keeps_more_of_a_jet(runs, statecast, tmp_path):
    """By the command, on other jets than those of validation, and by the function, on them."""
    coarse = codebook_quality(runs.masked, "1.jets", ("0", "199"))
    code, error = statecast("codebook", runs.generating, "--data", "1.jets", "--period", 0, 199, "--out", "out")
    assert (code, error) == (0, "")
    fine = json.loads((tmp_path / "out" / "codebook.json").read_text())
    assert coarse.codes == fine["codes"] == 32 and 0.9 < coarse.used <= 1 and 10 < coarse.perplexity < 32
    for name in ("mass_gev", "tau21"):
        assert fine["resolution"][name] < 0.9 * coarse.resolution[name]
    assert fine["resolution"]["tau32"] == 0  # the number of particles stays
    assert fine["auc"] < coarse.auc and fine["jets"] == coarse.jets == 200
    assert set(fine["resolution"]) == set(fine["wasserstein"]) == set(OBSERVABLES)
    page = (tmp_path / "out" / "codebook.html").read_text()
    assert "perplexity" in page and page.count("<img") == 2 and "200 of 1.jets" in page


def test_a_recipe_is_as_good_as_the_model_that_it_trains(runs, make_recipe, statecast, tmp_path):
    """The codebook is fitted before the model is trained; by default both are measured on the validation split."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(make_recipe()))
    assert statecast("codebook", "recipe.yaml", "--out", "out") == (0, "")
    of_recipe = json.loads((tmp_path / "out" / "codebook.json").read_text())
    assert of_recipe == asdict(codebook_quality(runs.masked)) and of_recipe["jets"] == 50


@pytest.mark.parametrize(
    ("run", "options", "message"),
    [
        ("tagged", (), "has no codebook. Streams: particles, jet, label"),
        ("masked", ("--period", 100, 220), "which the model has learned from"),
        ("masked", ("--period", 290, 310), "have 300 jets, expected jets 290 to 310"),
        ("quickstart", (), "recipe quickstart: is not of jets"),
        ("jets", ("--period", 0, 100), "overlaps those of training"),
    ],
)
def test_what_has_no_codebook_or_no_jets_of_its_own_is_refused_in_one_line(
    runs, statecast, tmp_path, run, options, message
):
    code, error = statecast("codebook", getattr(runs, run, run), *options, "--out", "out")
    assert code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_jets_that_lose_nothing_can_not_be_told_from_themselves(runs, monkeypatch):
    """Were a jet and its decoded twin on both sides of the split of a classifier, its AUC would lie below 0.5."""
    monkeypatch.setattr(
        codebook_module,
        "decoded_jets",
        lambda jets, codec, fine, generator: (decoded_jets(jets, codec, fine, generator)[0], jets),
    )
    quality = codebook_quality(runs.masked, "1.jets")
    assert quality.auc == pytest.approx(0.5, abs=0.12)  # standard error 0.033
    assert set(quality.resolution.values()) == set(quality.wasserstein.values()) == {0.0}


def test_decoded_jets_have_the_particles_of_the_true_ones_in_other_places(runs, make_jets):
    jets = make_jets(40)
    codec, fine = codebooks_of(sc.load(runs.generating).codecs)
    codes, decoded = decoded_jets(jets, codec, fine, torch.Generator().manual_seed(0))
    assert len(codes) == len(jets.particles["pt_gev"]) and (decoded.multiplicity == jets.multiplicity).all()
    ratio = decoded.of_jets["pt_gev"] / jets.of_jets["pt_gev"]
    assert ratio.mean() == pytest.approx(1, abs=0.1) and not np.allclose(ratio, 1)
