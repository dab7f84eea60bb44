"""The quality page of a codebook."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import statecast as sc
from statecast.particles.evaluation.codebook import OBSERVABLES, codebook_quality, codebooks_of, decoded_jets
from statecast.trained import ModelError


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


def test_a_second_code_keeps_more_of_a_jet(runs, tmp_path):
    coarse = codebook_quality(runs.masked, "0.jets", (0, 199))
    fine = codebook_quality(runs.generating, "0.jets", (0, 199), tmp_path / "out")
    assert coarse.codes == fine.codes == 32 and 0.9 < coarse.used <= 1 and 10 < coarse.perplexity < 32
    for name in ("mass_gev", "tau21"):
        assert fine.resolution[name] < 0.9 * coarse.resolution[name]
    assert fine.resolution["tau32"] == 0  # the number of particles stays
    assert fine.auc < coarse.auc
    written = json.loads((tmp_path / "out" / "codebook.json").read_text())
    assert set(written["resolution"]) == set(OBSERVABLES) and written["auc"] == fine.auc
    page = (tmp_path / "out" / "codebook.html").read_text()
    assert "perplexity" in page and page.count("<img") == 2


def test_decoded_jets_have_the_particles_of_the_true_ones_in_other_places(runs, make_jets):
    jets = make_jets(40)
    codec, fine = codebooks_of(sc.load(runs.generating))
    codes, decoded = decoded_jets(jets, codec, fine, torch.Generator().manual_seed(0))
    assert len(codes) == len(jets.particles["pt_gev"]) and (decoded.multiplicity == jets.multiplicity).all()
    ratio = decoded.of_jets["pt_gev"] / jets.of_jets["pt_gev"]
    assert ratio.mean() == pytest.approx(1, abs=0.1) and not np.allclose(ratio, 1)


def test_a_model_without_a_codebook_is_refused(runs):
    with pytest.raises(ModelError, match=r"has no codebook. Streams: particles, jet, label"):
        codebook_quality(runs.tagged, "0.jets")
