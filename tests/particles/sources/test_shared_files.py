"""Whole small real files, which lie beside the repository where it is developed: each goes in by the command alone, as uproot and pyarrow read it."""

from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from statecast.particles.sources import open_jets, read_jets, rules
from statecast.particles.sources.describe import describe

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "jets"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the files are not beside the repository")


@pytest.mark.parametrize(
    ("name", "layout", "jets"),
    [
        ("JetClassII_example.parquet", "JetClass-II", 100),
        ("delphes_events.root", "Delphes", None),
        ("nanoAOD_2015_CMS_Open_Data_ttbar.root", "NanoAOD without constituents", None),
    ],
)
def test_each_file_is_described_by_the_command(statecast, name, layout, jets):
    assert statecast("data", "describe", FOLDER / name) == (0, "")
    found = describe(str(FOLDER / name))
    assert found.layout == layout and found.jets == (jets or found.jets) > 0


def test_jets_of_jetclass2_have_the_values_that_pyarrow_reads():
    path = FOLDER / "JetClassII_example.parquet"
    table, jets = pq.read_table(path).to_pydict(), read_jets(path)
    np.testing.assert_allclose(jets.of_jets["pt_gev"], table["jet_pt"], rtol=1e-6)
    for number in (0, 57, 99):
        pt = np.hypot(table["part_px"][number], table["part_py"][number])
        np.testing.assert_allclose(jets.particles_of(number)["pt_gev"], np.sort(pt)[::-1][:128], rtol=1e-5)


def test_jets_of_delphes_have_the_values_that_uproot_reads():
    path = FOLDER / "delphes_events.root"
    files = open_jets(path)
    jets = files.read()
    with uproot.open(path) as file:
        (tree,) = (file[name] for name, kind in file.classnames(cycle=False).items() if kind == "TTree")
        pt = ak.to_numpy(ak.flatten(tree[f"{files.collection}.PT"].array()))
    np.testing.assert_array_equal(jets.of_jets["pt_gev"], pt[jets.numbers])
    assert files.rules[rules.BAD_INDEX] == 0


def test_jets_of_nanoaod_have_the_values_that_uproot_reads():
    path = FOLDER / "nanoAOD_2015_CMS_Open_Data_ttbar.root"
    files = open_jets(path, constituents=False)
    with uproot.open(path) as file:
        mass = ak.to_numpy(ak.flatten(file["Events"][f"{files.collection}_mass"].array()))
    jets = files.read()
    np.testing.assert_allclose(jets.of_jets["mass_gev"], np.maximum(mass, 0)[jets.numbers], rtol=1e-6)
