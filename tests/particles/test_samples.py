"""The sample of jets opens, and is what its README says."""

from pathlib import Path

import numpy as np
import pytest

from statecast.particles.jets import PARTICLE_KINDS, Jets, summed_momentum
from statecast.particles.samples import SAMPLES, sample_path
from statecast.particles.sources.jet_columns import KIND_COLUMNS, PARTICLE_COLUMNS
from statecast.particles.substructure import substructure

ak = pytest.importorskip("awkward")
pytest.importorskip("pyarrow")
pytest.importorskip("fastjet")


@pytest.fixture(scope="module")
def sample():
    return ak.from_parquet(sample_path("sample:jets"))


def first(sample, count):
    """The first jets of the sample."""
    chosen = sample[:count]
    columns = {
        name: ak.to_numpy(ak.flatten(chosen[f"part_{short}"]))
        for short, name in PARTICLE_COLUMNS.items()
        if f"part_{short}" in chosen.fields
    }
    return Jets(np.concatenate([[0], np.cumsum(ak.to_numpy(chosen.jet_nparticles))]), columns, {})


def test_the_sample_is_small_enough_and_has_its_provenance_beside_it():
    path = sample_path("sample:jets")
    assert path.stat().st_size <= 10_000_000
    readme = (path.parent / "README.md").read_text()
    assert all(word in readme for word in ("sample:jets", "data simulate jets", "pythia8mc 8.317.0", "Apache-2.0"))
    assert {Path(sample_path(name)).name for name in SAMPLES} == {file.name for file in path.parent.glob("*.parquet")}


def test_an_unknown_sample_has_no_path():
    with pytest.raises(KeyError):
        sample_path("sample:showers")


def test_half_of_the_jets_are_tops_and_all_are_in_the_window(sample):
    assert ak.sum(sample.label_QCD) == ak.sum(sample.label_Tbqq) == len(sample) / 2
    assert ak.all((sample.jet_pt > 499.5) & (sample.jet_pt < 650.5) & (np.abs(sample.jet_eta) < 2.001))
    assert ak.all(ak.num(sample.part_pt) == sample.jet_nparticles)


def test_columns_of_the_jets_follow_from_their_particles(sample):
    jets = first(sample, 50)
    values = {**summed_momentum(jets), **substructure(jets)}
    names = {
        "pt_gev": "pt",
        "mass_gev": "mass",
        "tau21": "tau21",
        "tau32": "tau32",
        "soft_drop_mass_gev": "sdmass",
        "multiplicity": "nparticles",
    }
    for name, short in names.items():
        assert np.allclose(values[name], sample[f"jet_{short}"][:50], rtol=1e-4, atol=1e-4), name


def test_particles_are_sorted_and_of_one_kind_each(sample):
    assert ak.all(sample.part_pt[:, 1:] <= sample.part_pt[:, :-1])
    assert ak.all(sum(sample[f"part_{short}"] * 1 for short in KIND_COLUMNS) == 1)
    assert list(KIND_COLUMNS.values()) == list(PARTICLE_KINDS)
    assert ak.all(np.isnan(sample.part_d0val) == (sample.part_charge == 0))


def test_tops_weigh_what_a_top_weighs_and_qcd_jets_do_not(sample):
    """The top of the simulation has 172.5 GeV; radiation, underlying event and neutrinos of b quarks widen the peak."""
    groomed = ak.to_numpy(sample.genjet_sdmass[sample.label_Tbqq], allow_missing=False)
    near = groomed[(groomed > 140) & (groomed < 200)]
    assert np.median(near) == pytest.approx(172.5, abs=4)
    assert len(near) > 0.7 * len(groomed)
    assert ak.mean((sample.jet_sdmass > 140) & (sample.jet_sdmass < 200) & sample.label_QCD) < 0.1
