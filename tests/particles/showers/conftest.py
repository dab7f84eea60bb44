"""A calorimeter of 3 layers x 4 alphas x 2 rings, showers in it, and a model that generates them after a few steps."""

import numpy as np
import pytest

import statecast as sc
from statecast.particles.showers.geometry import read_geometry
from statecast.particles.showers.sources.files import Showers, write_showers
from statecast.particles.showers.sources.profile import Calorimeter, draw_showers

pytest.importorskip("h5py")
pytest.importorskip("sklearn")
pytest.importorskip("mplhep")

XML = """<Bins>
   <Bin pid="11" name="electron">
      <Layer id="0" r_edges="0,20,60" n_bin_alpha="4" />
      <Layer id="1" r_edges="0,20,60" n_bin_alpha="4" />
      <Layer id="2" r_edges="0,20,60" n_bin_alpha="4" />
   </Bin>
   <Bin pid="22" etaMin="0" etaMax="130" name="photon">
      <Layer id="0" r_edges="0,5,10" n_bin_alpha="1" />
      <Layer id="1" r_edges="0" n_bin_alpha="1" />
   </Bin>
</Bins>
"""
STREAMS = {
    "incident": {"incident": True},
    "response": {"response": True},
    "layers": {"layers": True},
    "voxels": {"patch": [1, 2, 2]},
}
CASCADE = {"kind": "cascade", "order": [["response", "layers"], ["voxels"]]}
MODEL = {
    "width": 32,
    "heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "head": "flow",
    "flow_layers": 1,
    "members": 2,
}
TRAINING = {"steps": 2, "batch_size": 4, "footprint": False, "validation_samples": 4, "loggers": []}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A directory with `tiny.xml` and the 240 showers of `showers.hdf5`."""
    folder = tmp_path_factory.mktemp("showers")
    (folder / "tiny.xml").write_text(XML)
    geometry = read_geometry(folder / "tiny.xml", "electron")
    random = np.random.default_rng(0)
    energies = np.exp(random.uniform(np.log(1), np.log(100), 240))
    voxels = draw_showers(energies, geometry, Calorimeter(), random)
    write_showers(folder / "showers.hdf5", iter([Showers(1000 * energies, voxels)]), 240, 24, {})
    return folder


@pytest.fixture(scope="session")
def recipe(tiny):
    data = {"domain": "showers", "files": str(tiny / "showers.hdf5"), "geometry": str(tiny / "tiny.xml")}
    data |= {"particle": "electron", "train": [0, 159], "validate": [160, 239]}
    return {"data": data, "streams": STREAMS, "task": CASCADE, "model": MODEL, "training": TRAINING}


@pytest.fixture(scope="session")
def pretrained(recipe, tiny):
    masked = {"kind": "masked", "slabs": 3}
    sc.pretrain({**recipe, "task": masked}, tiny / "pretrained", progress=False)
    return tiny / "pretrained"


@pytest.fixture(scope="session")
def generator(pretrained, tiny):
    sc.finetune({"task": CASCADE, "training": TRAINING}, pretrained, tiny / "generator", progress=False)
    return tiny / "generator"
