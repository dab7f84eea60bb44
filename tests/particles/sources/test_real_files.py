"""Whole real files, which the sources of coffea hold: each goes in by the command alone, and its values are those that uproot reads."""

import subprocess
import sys
import tarfile

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from statecast.particles.jets import JetError
from statecast.particles.sources import open_jets, read_jets, rules
from statecast.particles.sources.describe import describe

pytestmark = [pytest.mark.pypi, pytest.mark.timeout(600)]
COFFEA = "2026.9.0"


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """The directory of samples in the source distribution of coffea (30 MB, BSD-3-Clause)."""
    directory = tmp_path_factory.mktemp("coffea")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-binary",
        ":all:",
        f"coffea=={COFFEA}",
        "-d",
        directory,
    ]
    subprocess.run(command, check=True, capture_output=True)
    with tarfile.open(directory / f"coffea-{COFFEA}.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    return directory / f"coffea-{COFFEA}" / "tests" / "samples"


FILES = {
    "delphes.root": ("Delphes", 158),
    "pfnano.root": ("NanoAOD", 24),
    "pfnano_rntuple.root": ("NanoAOD", 24),
    "nano_tt_v15.root": ("NanoAOD", 64),
    "PHYSLITE_example.root": ("PHYSLITE", 881),
    "nano_dy.root": ("NanoAOD without constituents", 188),
    "nano_dy.parquet": ("NanoAOD without constituents", 188),
}


@pytest.mark.parametrize(("name", "expected"), FILES.items())
def test_each_file_is_described_by_the_command(samples, statecast, name, expected):
    code, message = statecast("data", "describe", str(samples / name))
    assert code == 0, message
    found = describe(str(samples / name))
    assert (found.layout, found.jets) == expected


def test_constituents_of_delphes_sum_to_their_jets(samples):
    """Of jets of particle flow: px and py of the jets that FastJet made, from particles by reference."""
    jets = read_jets(samples / "delphes.root", jets="ParticleFlowJet08", most_constituents=1000)
    with uproot.open(samples / "delphes.root") as file:
        tree = file["Delphes"]
        pt = ak.to_numpy(ak.flatten(tree["ParticleFlowJet08.PT"].array()))
        counts = ak.to_numpy(ak.flatten(ak.num(tree["ParticleFlowJet08.Constituents"].array().refs, axis=2)))
        track = tree["EFlowTrack.PT"].array()[0]
    np.testing.assert_array_equal(jets.of_jets["pt_gev"], pt)
    assert np.count_nonzero(jets.multiplicity != counts) <= 5  # of particles with a pT of 0
    sums = [abs(np.sum(own["pt_gev"] * np.exp(1j * own["phi"]))) for own in map(jets.particles_of, range(len(jets)))]
    np.testing.assert_allclose(sums, pt, rtol=2e-4)
    assert np.isin(jets.particles["pt_gev"][: jets.offsets[2]], ak.to_numpy(track)).any()


@pytest.mark.parametrize("name", ["Jet", "GenJet", "CaloJet08", "TrackJet08"])
def test_all_kinds_of_jets_of_delphes_have_their_constituents(samples, name):
    files = open_jets(samples / "delphes.root", jets=name)
    jets = files.read()
    assert files.rules[rules.NOT_IN_FILE] == 0
    sums = [abs(np.sum(own["pt_gev"] * np.exp(1j * own["phi"]))) for own in map(jets.particles_of, range(len(jets)))]
    assert np.median(np.abs(sums / jets.of_jets["pt_gev"] - 1)) < (
        0.05 if name == "Jet" else 2e-3
    )  # Jet is corrected in energy


@pytest.mark.parametrize("name", ["pfnano.root", "pfnano_rntuple.root"])
@pytest.mark.parametrize("jets_name", ["FatJet", "Jet", "GenJetAK8"])
def test_constituents_of_pfnano_sum_to_their_jets(samples, name, jets_name):
    jets = read_jets(samples / name, jets=jets_name, most_constituents=1000)
    with uproot.open(samples / name) as file:
        tree = file["Events"]
        pt = ak.to_numpy(ak.flatten(tree[f"{jets_name}_pt"].array()))
        raw = 1 - ak.to_numpy(ak.flatten(tree[f"{jets_name}_rawFactor"].array())) if jets_name != "GenJetAK8" else 1.0
    np.testing.assert_array_equal(jets.of_jets["pt_gev"], pt)
    sums = [abs(np.sum(own["pt_gev"] * np.exp(1j * own["phi"]))) for own in map(jets.particles_of, range(len(jets)))]
    assert np.median(np.abs(np.array(sums) / (pt * raw) - 1)) < 2e-3


def test_tracks_of_physlite_have_the_values_that_uproot_reads(samples):
    jets = read_jets(samples / "PHYSLITE_example.root")
    with uproot.open(samples / "PHYSLITE_example.root") as file:
        tree = file["CollectionTree"]
        pt = ak.to_numpy(ak.flatten(tree["AnalysisJetsAuxDyn.pt"].array()))
        links = ak.flatten(tree["AnalysisJetsAuxDyn.GhostTrack"].array(), axis=1)
        event = np.repeat(np.arange(100), ak.num(tree["AnalysisJetsAuxDyn.pt"].array()))
        curvature, theta = (tree[f"InDetTrackParticlesAuxDyn.{name}"].array() for name in ("qOverP", "theta"))
    some = ak.to_numpy(ak.any(links.m_persKey == 490246363, axis=1))
    np.testing.assert_allclose(jets.of_jets["pt_gev"], pt[some] / 1000, rtol=1e-6)
    first = np.flatnonzero(some)[0]
    places = links[first].m_persIndex[links[first].m_persKey == 490246363]
    momenta = np.sort(np.abs(1 / curvature[event[first]][places]) * np.sin(theta[event[first]][places]))[::-1] / 1000
    np.testing.assert_allclose(jets.particles_of(0)["pt_gev"], ak.to_numpy(momenta), rtol=1e-5)


@pytest.mark.parametrize("name", ["nano_tt_v15.root", "nano_dy.root", "nano_dy.parquet"])
def test_jets_of_nanoaod_have_the_values_that_uproot_and_pyarrow_read(samples, name):
    files = open_jets(samples / name, constituents=False)
    jets, column = files.read(), f"{files.collection}_mass"
    if name.endswith(".root"):
        with uproot.open(samples / name) as file:
            mass = ak.to_numpy(ak.flatten(file["Events"][column].array()))
    else:
        mass = np.concatenate(pq.read_table(samples / name, columns=[column])[column].to_pylist())
    assert len(jets) > 0
    np.testing.assert_allclose(jets.of_jets["mass_gev"], np.maximum(mass, 0)[jets.numbers], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad_delphes.root", "cannot be read as a ROOT file|holds no tree"),
        ("nano_dy_malformed.parquet", "is no Parquet, ROOT or HDF5 file|cannot be read"),
        ("nano_dy_empty.root", "has no constituents"),
        ("treemaker.root", "of no known layout"),
    ],
)
def test_files_that_can_not_be_used_are_refused_in_one_line(samples, statecast, name, message):
    with pytest.raises(JetError, match=message) as raised:
        read_jets(samples / name)
    assert "\n" not in str(raised.value)
