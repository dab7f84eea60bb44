"""HDF5: the frame of the top-tagging dataset, as pandas writes it, and the arrays of OmniLearn and OmniLearned."""

import pickle

import h5py
import numpy as np
import pytest

from statecast.particles.jets import PARTICLE_KINDS, UNKNOWN_KIND, JetError
from statecast.particles.sources import open_jets, read_jets
from statecast.particles.sources.layouts import omnilearn

PLACES = 5
COMPONENTS = ("E", "PX", "PY", "PZ")


def particles_of(jets=8, seed=0):
    """E, px, py and pz of up to `PLACES` particles of each jet; 0 beyond them."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, PLACES + 1, jets)
    pt = -np.sort(-random.exponential(50, (jets, PLACES)) - 1)
    eta, phi = random.normal(0.5, 0.2, (jets, PLACES)), random.normal(3, 0.3, (jets, PLACES))
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + 0.1**2)
    parts = np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=2)
    return parts * (np.arange(PLACES) < counts[:, None])[:, :, None]


def write_frame(path, particles, labels, form="table", names=None, chunk=None):
    """As `DataFrame.to_hdf(path, key='table', format=form)` of pandas and PyTables writes it (checked with pandas 3 and PyTables 3.10)."""
    names = names or [f"{component}_{place}" for place in range(PLACES) for component in COMPONENTS]
    floats = particles.reshape(len(particles), -1).astype(np.float32)
    whole = np.stack([np.zeros(len(labels), int), labels], axis=1)
    with h5py.File(path, "w") as file:
        group = file.create_group("table")
        if form == "fixed":
            group["axis0"], group["axis1"] = np.array([*names, "ttv", "is_signal_new"], "S13"), np.arange(len(labels))
            group["block0_items"], group["block0_values"] = np.array(names, "S7"), floats
            group["block1_items"], group["block1_values"] = np.array(["ttv", "is_signal_new"], "S13"), whole
            return path
        kind = [("index", "<i8"), ("values_block_0", "<f4", (floats.shape[1],)), ("values_block_1", "<i8", (2,))]
        rows = np.zeros(len(labels), kind)
        rows["index"], rows["values_block_0"], rows["values_block_1"] = np.arange(len(labels)), floats, whole
        table = group.create_dataset("table", data=rows, chunks=(chunk or len(labels),), compression="gzip")
        table.attrs["index_kind"] = np.bytes_(b"integer")
        table.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(names, 0))
        table.attrs["values_block_1_kind"] = np.bytes_(pickle.dumps(["ttv", "is_signal_new"], 0))
    return path


@pytest.mark.parametrize("form", ["table", "fixed"])
def test_the_top_tagging_frame_has_the_values_that_h5py_reads(tmp_path, form):
    particles, labels = particles_of(), np.array([0, 1, 1, 0, 0, 1, 0, 1])
    files = open_jets(write_frame(tmp_path / "top.h5", particles, labels, form))
    jets = files.read()
    assert files.layout == "top tagging" and files.classes == ("QCD", "top")
    assert list(jets.labels) == [("QCD", "top")[label] for label in labels]
    present = particles[:, :, 0] > 0
    np.testing.assert_array_equal(jets.multiplicity, present.sum(axis=1))
    energy, px, py, pz = particles[present].T
    np.testing.assert_allclose(jets.particles["pt_gev"], np.hypot(px, py), rtol=1e-6)
    np.testing.assert_allclose(jets.particles["eta"], np.arcsinh(pz / np.hypot(px, py)), rtol=1e-5)
    found = np.sqrt(jets.particles["mass_gev"] ** 2 + (jets.particles["pt_gev"] * np.cosh(jets.particles["eta"])) ** 2)
    np.testing.assert_allclose(found, energy, rtol=1e-5)
    sums = particles.sum(axis=1)
    np.testing.assert_allclose(jets.of_jets["pt_gev"], np.hypot(sums[:, 1], sums[:, 2]), rtol=1e-5)
    mass = np.sqrt(sums[:, 0] ** 2 - (sums[:, 1:] ** 2).sum(axis=1))
    np.testing.assert_allclose(jets.of_jets["mass_gev"], mass, rtol=1e-3, atol=0.01)
    assert (jets.particles["kind"] == UNKNOWN_KIND).all() and np.isnan(jets.particles["charge"]).all()


def test_a_frame_is_read_by_ranges(tmp_path):
    path = write_frame(tmp_path / "top.h5", particles_of(30), np.zeros(30, int), chunk=7)
    whole = read_jets(path).of_jets["pt_gev"]
    np.testing.assert_array_equal(read_jets(path, 5, 19).of_jets["pt_gev"], whole[5:19])


def test_a_frame_that_lacks_a_component_is_refused(tmp_path):
    names = [f"{component}_{place}" for place in range(PLACES) for component in ("E", "PX", "PY", "P_Z")]
    path = write_frame(tmp_path / "top.h5", particles_of(), np.zeros(8, int), names=names)
    with pytest.raises(JetError, match=r"has no column PZ_0, which the layout top tagging needs. Similar: .*P_Z_0"):
        open_jets(path)


def test_names_of_columns_run_no_code(tmp_path):
    path = write_frame(tmp_path / "top.h5", particles_of(), np.zeros(8, int))
    with h5py.File(path, "a") as file:
        file["table/table"].attrs["values_block_0_kind"] = np.bytes_(b"cos\nsystem\n(S'touch harmed'\ntR.")
    with pytest.raises(JetError, match="the names of its columns can't be read"):
        open_jets(path)
    assert not (tmp_path / "harmed").exists()


def test_a_compression_that_h5py_lacks_is_named(tmp_path, monkeypatch):
    path = write_frame(tmp_path / "top.h5", particles_of(), np.zeros(8, int))
    files = open_jets(path)
    monkeypatch.setattr(
        h5py.Dataset,
        "__getitem__",
        lambda *_: (_ for _ in ()).throw(OSError("required filter 'blosc' is not registered")),
    )
    with pytest.raises(JetError, match=r"is compressed in a way that h5py does not know. pip install hdf5plugin"):
        files.read()


CODES = [-211, -13, -11, 0, 11, 13, 22, 130, 211]


def omnilearned(jets=40, features=9, seed=0):
    """`data` in the features of OmniLearned, and the jets that they are of: (pT, η, φ, mass) and the particles' E, px, py, pz."""
    particles = particles_of(jets, seed)
    energy, px, py, pz = particles.transpose(2, 0, 1)
    present = energy > 0
    sums = particles.sum(axis=1)
    pt_of_jet = np.hypot(sums[:, 1], sums[:, 2])
    eta_of_jet, phi_of_jet = np.arcsinh(sums[:, 3] / pt_of_jet), np.arctan2(sums[:, 2], sums[:, 1])
    pt = np.where(present, np.hypot(px, py), 1.0)
    turn = np.angle(np.exp(1j * (np.arctan2(py, px) - phi_of_jet[:, None])))
    random = np.random.default_rng(seed)
    code = random.integers(0, len(CODES), present.shape)
    track = random.normal(0, 0.3, (*present.shape, 4))
    columns = [
        np.arcsinh(pz / pt) - eta_of_jet[:, None],
        turn,
        np.log(pt),
        np.log(np.where(present, energy, 1.0)),
        code,
        *np.tanh(track.T).T.transpose(2, 0, 1),
    ]
    data = np.stack(columns[:features], axis=2) * present[:, :, None]
    mass = np.sqrt(np.maximum(sums[:, 0] ** 2 - (sums[:, 1:] ** 2).sum(axis=1), 0))
    return (
        data.astype(np.float32),
        {"pt": pt_of_jet, "eta": eta_of_jet, "phi": phi_of_jet, "mass": mass},
        particles,
        code,
        present,
    )


def write_arrays(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def test_omnilearned_has_the_values_that_h5py_reads(tmp_path):
    data, jet, particles, code, present = omnilearned()
    own = np.stack([jet["mass"], jet["pt"], jet["eta"], present.sum(axis=1)], axis=1)
    labels = np.arange(40) % 3
    files = open_jets(
        write_arrays(tmp_path / "jets.h5", data=data, pid=labels, **{"global": own}), particle_codes=CODES
    )
    jets = files.read()
    assert files.layout == "OmniLearned" and list(jets.labels) == [str(label) for label in labels]
    np.testing.assert_array_equal(jets.multiplicity, present.sum(axis=1))
    np.testing.assert_allclose(
        jets.particles["pt_gev"], np.hypot(particles[..., 1], particles[..., 2])[present], rtol=1e-5
    )
    np.testing.assert_allclose(jets.of_jets["pt_gev"], jet["pt"], rtol=1e-5)
    np.testing.assert_allclose(jets.of_jets["eta"], jet["eta"], rtol=1e-5)
    np.testing.assert_allclose(jets.of_jets["global_0"], jet["mass"], rtol=1e-5)
    found = np.array(CODES)[code[present]]
    expected = np.select(
        [abs(found) == 211, found == 130, found == 22, abs(found) == 11, abs(found) == 13], range(5), 1
    )
    np.testing.assert_array_equal(jets.particles["kind"], expected)
    charged = np.isin(np.abs(found), (211, 11, 13))
    np.testing.assert_array_equal(jets.particles["charge"] != 0, charged)
    np.testing.assert_allclose(jets.particles["dz_mm"], np.arctanh(data[present][:, 7]), rtol=1e-4)
    assert files.rules.counts == {omnilearn.NO_AZIMUTH: 40}


def test_columns_of_global_are_recognised_in_any_order_and_not_guessed(tmp_path):
    data, jet, _, _, present = omnilearned(features=4)
    columns = {"pt_gev": jet["pt"], "eta": jet["eta"], "global": jet["mass"] / 7, "multiplicity": present.sum(axis=1)}
    random = np.random.default_rng(0)
    for place in range(4):
        order = list(random.permutation(list(columns)))
        own = np.stack([columns[name] for name in order], axis=1)
        files = open_jets(write_arrays(tmp_path / f"{place}.h5", data=data, pid=np.zeros(40, int), **{"global": own}))
        expected = [f"global_{number}" if name == "global" else name for number, name in enumerate(order)]
        assert files.remarks == (f"numbers of jets (global): {', '.join(expected)}",)
        np.testing.assert_allclose(files.read().of_jets["eta"], jet["eta"], rtol=1e-5)


def test_without_the_axis_of_a_jet_particles_stay_relative_to_it_and_this_is_counted(tmp_path):
    data, jet, particles, _, present = omnilearned(features=5)
    files = open_jets(write_arrays(tmp_path / "jets.h5", data=data, pid=np.zeros(40, int)))
    jets = files.read()
    counts = files.rules.counts
    assert counts == {omnilearn.NO_AZIMUTH: 40, omnilearn.NO_AXIS: 40, omnilearn.NO_CODES: present.sum()}
    np.testing.assert_allclose(jets.particles["eta"], data[present][:, 0], rtol=1e-6)
    np.testing.assert_allclose(
        jets.particles["pt_gev"], np.hypot(particles[..., 1], particles[..., 2])[present], rtol=1e-5
    )
    assert (jets.particles["mass_gev"] == 0).all() and np.abs(jets.of_jets["eta"]).max() < 0.5
    np.testing.assert_allclose(jets.of_jets["pt_gev"], jet["pt"], rtol=1e-5)


def test_omnilearn_has_flags_charge_and_jets(tmp_path):
    plain, jet, particles, _, present = omnilearned(features=4)
    random = np.random.default_rng(1)
    kind = random.integers(0, 5, present.shape)
    charge = np.where(np.isin(kind, (1, 2)), 0, random.choice([-1, 1], kind.shape))
    flags = kind[..., None] == np.arange(5)
    share = np.exp(plain[..., 2]) / jet["pt"][:, None]
    data = np.concatenate(
        [plain[..., :2], np.log1p(-np.minimum(share, 0.999))[..., None], plain[..., 2:3], plain[..., 2:3] * 0 - 0.1, plain[..., 3:4],
         np.hypot(plain[..., 0], plain[..., 1])[..., None], charge[..., None], flags], axis=2,
    ) * present[..., None]  # fmt: skip
    own = np.stack([jet["pt"], jet["eta"], jet["mass"], present.sum(axis=1)], axis=1)
    one_hot = np.eye(10)[np.arange(40) % 10]
    files = open_jets(write_arrays(tmp_path / "jets.h5", data=data, jet=own, pid=one_hot))
    jets = files.read()
    assert files.layout == "OmniLearn" and list(jets.labels) == [str(number % 10) for number in range(40)]
    np.testing.assert_array_equal(jets.particles["kind"], kind[present])
    np.testing.assert_array_equal(jets.particles["charge"], charge[present])
    np.testing.assert_allclose(jets.of_jets["mass_gev"], jet["mass"], rtol=1e-5)
    energy = np.sqrt(jets.particles["mass_gev"] ** 2 + (jets.particles["pt_gev"] * np.cosh(jets.particles["eta"])) ** 2)
    np.testing.assert_allclose(energy, particles[present][:, 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("features", "options", "message"),
    [
        (6, {}, "data has 6 features of a particle, expected 4, 5, 8, 9"),
        (5, {"particle_codes": [211, 22]}, r"particle_codes: has 2 codes, and particles have the numbers 0 to 8"),
        (4, {"labels": "classes"}, "has no labels classes. Arrays: data, pid"),
        (4, {"jets": "FatJet"}, "each entry is a jet"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, features, options, message):
    data = omnilearned(features=features)[0]
    with pytest.raises(JetError, match=message):
        read_jets(write_arrays(tmp_path / "jets.h5", data=data, pid=np.zeros(40, int)), **options)


def test_kinds_are_in_the_order_of_the_flags():
    assert PARTICLE_KINDS == ("charged hadron", "neutral hadron", "photon", "electron", "muon")
