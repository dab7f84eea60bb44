"""The columns of JetClass and JetClass-II, from ROOT and Parquet, against what uproot and pyarrow read of the same file."""

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from statecast.particles.jets import PARTICLE_KINDS, UNKNOWN_KIND, JetError
from statecast.particles.sources import open_jets, read_jets

NEAR = {"rtol": 2e-6, "atol": 2e-6}  # of 32 bits


def flat(array):
    return ak.to_numpy(ak.flatten(array))


def momenta_of(table, of):
    px, py, pz, energy = (of(table[f"part_{name}"]).astype(np.float64) for name in ("px", "py", "pz", "energy"))
    pt = np.hypot(px, py)
    return pt, np.arcsinh(pz / pt), np.arctan2(py, px), energy


@pytest.mark.parametrize("kind", ["root", "parquet"])
def test_jetclass_has_the_values_that_its_library_reads(request, jetclass, kind):
    path = request.getfixturevalue(kind)(jetclass())
    jets = read_jets(path)
    if kind == "root":
        with uproot.open(path) as file:
            table = file["tree"].arrays()
    else:
        table = ak.from_arrow(pq.read_table(path))
    pt, eta, phi, energy = momenta_of(table, flat)
    np.testing.assert_array_equal(jets.multiplicity, ak.num(table["part_px"]))
    np.testing.assert_allclose(jets.particles["pt_gev"], pt, **NEAR)
    np.testing.assert_allclose(jets.particles["eta"], eta, **NEAR)
    np.testing.assert_allclose(np.cos(jets.particles["phi"] - phi), 1, **NEAR)
    expected = np.sqrt(np.maximum(energy**2 - (pt * np.cosh(eta)) ** 2, 0))
    np.testing.assert_allclose(jets.particles["mass_gev"], expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(jets.particles["charge"], flat(table["part_charge"]))
    for name in ("pt", "eta"):
        np.testing.assert_allclose(jets.of_jets["pt_gev" if name == "pt" else name], table[f"jet_{name}"], **NEAR)
    np.testing.assert_allclose(jets.of_jets["soft_drop_mass_gev"], table["jet_sdmass"], **NEAR)
    names = np.array(["QCD", "Hbb", "Tbqq"])
    flags = np.stack([ak.to_numpy(table[f"label_{name}"]) for name in names], axis=1)
    np.testing.assert_array_equal(jets.labels, names[flags.argmax(axis=1)])


def test_kinds_and_tracks_are_those_of_the_flags_and_only_of_charged_particles(jetclass, parquet):
    table = jetclass()
    jets = read_jets(parquet(table))
    for code, flag in enumerate(
        ("part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon")
    ):
        np.testing.assert_array_equal(jets.particles["kind"] == code, flat(table[flag]))
    neutral = flat(table["part_charge"]) == 0
    for name, column in (("d0_mm", "part_d0val"), ("dz_error_mm", "part_dzerr")):
        assert np.isnan(jets.particles[name][neutral]).all() and neutral.any()
        np.testing.assert_allclose(jets.particles[name][~neutral], flat(table[column])[~neutral], rtol=1e-6)


def test_a_particle_without_a_flag_is_of_unknown_kind(jetclass, parquet, drop):
    table = jetclass()
    assert (read_jets(parquet(table)).particles["kind"] != UNKNOWN_KIND).all()
    without = drop(table, ["part_isPhoton"])
    unknown = read_jets(parquet(without)).particles["kind"] == UNKNOWN_KIND
    np.testing.assert_array_equal(unknown, flat(table["part_isPhoton"]))


def test_phi_lies_between_minus_pi_and_pi(jetclass, parquet):
    phi = read_jets(parquet(jetclass())).particles["phi"]
    assert phi.min() >= -np.pi and phi.max() < np.pi and (phi < 0).any() and (phi > 0).any()


@pytest.mark.parametrize("names", [("etarel", "phirel"), ("deta", "dphi"), ("eta", "phi")])
def test_coordinates_relative_to_the_jet_and_absolute_ones_give_the_same_jets(jetclass, parquet, names, drop):
    table = jetclass()
    expected = read_jets(parquet(table))
    px, py, pz = table["part_px"], table["part_py"], table["part_pz"]
    eta, phi = np.arcsinh(pz / np.hypot(px, py)), np.arctan2(py, px)
    sign = np.sign(table["jet_eta"]) if names[0] == "deta" else 1
    if names[0] != "eta":
        eta, phi = sign * (eta - table["jet_eta"]), phi - table["jet_phi"]
    other = drop(table, ["part_px", "part_py", "part_pz"])
    other = ak.with_field(other, np.hypot(px, py), "part_pt")
    other = ak.with_field(ak.with_field(other, eta, f"part_{names[0]}"), phi, f"part_{names[1]}")
    jets = read_jets(parquet(other, "other.parquet"))
    for name in ("pt_gev", "eta"):
        np.testing.assert_allclose(jets.particles[name], expected.particles[name], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.cos(jets.particles["phi"] - expected.particles["phi"]), 1, atol=1e-6)


def test_deta_of_jetclass_changes_its_sign_for_jets_at_negative_eta(jetclass, parquet, drop):
    table = jetclass()
    mirrored = ak.with_field(ak.with_field(table, -table["part_pz"], "part_pz"), -table["jet_eta"], "jet_eta")
    deta = np.arcsinh(table["part_pz"] / np.hypot(table["part_px"], table["part_py"])) - table["jet_eta"]
    of_both = []
    for name, each in (("one", table), ("other", mirrored)):
        other = ak.with_field(each, np.hypot(each["part_px"], each["part_py"]), "part_pt")
        other = ak.with_field(other, deta, "part_deta")
        other = ak.with_field(other, np.arctan2(each["part_py"], each["part_px"]), "part_phi")
        other = drop(other, ["part_px", "part_py", "part_pz"])
        of_both.append(read_jets(parquet(other, f"{name}.parquet")).particles["eta"])
    np.testing.assert_allclose(of_both[0], -of_both[1], rtol=1e-6)


def test_jets_without_own_momentum_have_that_of_their_particles(jetclass, parquet, drop):
    table = jetclass()
    own = [name for name in table.fields if name.startswith("jet_")]
    jets = read_jets(parquet(drop(table, own)))
    np.testing.assert_allclose(jets.of_jets["pt_gev"], table["jet_pt"], rtol=1e-5)
    np.testing.assert_allclose(jets.of_jets["eta"], table["jet_eta"], rtol=1e-5)


def test_kinds_and_charges_come_from_pdg_codes_where_there_are_no_flags(jetclass, parquet, drop):
    table = jetclass()
    flags = [name for name in table.fields if name.startswith("part_is")]
    codes = ak.unflatten(
        np.resize([211, -211, 130, 22, 11, -13], ak.sum(ak.num(table["part_px"]))), ak.num(table["part_px"])
    )
    other = ak.with_field(drop(table, [*flags, "part_charge"]), codes, "part_pid")
    jets = read_jets(parquet(other))
    kinds = np.array([*PARTICLE_KINDS, "unknown"])[jets.particles["kind"][:6]]
    assert list(kinds) == ["charged hadron", "charged hadron", "neutral hadron", "photon", "electron", "muon"]
    assert list(jets.particles["charge"][:6]) == [1, -1, 0, 0, -1, 1]


def test_real_jets_of_jetclass2_have_the_values_that_pyarrow_reads(real):
    path = real / "jetclass2_6_jets.parquet"
    files, table = open_jets(path), pq.read_table(path).to_pylist()
    jets = files.read()
    assert files.layout == "JetClass-II" and len(jets) == 6 and len(files.classes) == 188
    assert list(jets.labels) == [files.classes[row["jet_label"]] for row in table]
    hardest = jets.particles_of(0)
    assert hardest["pt_gev"][0] == pytest.approx(np.hypot(-202.0544891357422, 28.983366012573242), rel=1e-6)
    for number, row in enumerate(table):
        own = jets.particles_of(number)
        pt = np.hypot(row["part_px"], row["part_py"])
        np.testing.assert_allclose(own["pt_gev"], pt, rtol=1e-6)
        relative = np.sign(row["jet_eta"]) * np.array(row["part_deta"])
        np.testing.assert_allclose(own["eta"] - jets.of_jets["eta"][number], relative, atol=2e-5)
        assert jets.of_jets["pt_gev"][number] == np.float32(row["jet_pt"])
        resonance = [m for m, is_x in zip(row["aux_genpart_mass"], row["aux_genpart_isResX"], strict=True) if is_x]
        assert jets.of_jets["resonance_mass_gev"][number] == pytest.approx(resonance[0])


def test_the_labels_of_jetclass2_name_the_products_that_the_file_keeps(real):
    """Two electrons and two strange quarks are the first jet's resonance; its label is number 92."""
    row = pq.read_table(real / "jetclass2_6_jets.parquet").to_pylist()[0]
    products = [
        abs(code)
        for code, chosen in zip(row["aux_genpart_pid"], row["aux_genpart_isResDecayProd"], strict=True)
        if chosen
    ]
    assert row["jet_label"] == 92 and sorted(products) == [3, 3, 11, 11]
    assert read_jets(real / "jetclass2_6_jets.parquet", 0, 1).labels[0] == "X_YY_see"


def test_a_missing_branch_is_named_with_those_that_are_called_like_it(jetclass, root, drop):
    renamed = ak.with_field(drop(jetclass(), ["part_energy"]), jetclass()["part_energy"], "part_enrgy")
    with pytest.raises(
        JetError, match=r"tree tree: has no column part_energy, which the layout JetClass needs. Similar: part_enrgy"
    ):
        open_jets(root(renamed))


def test_particles_of_different_number_in_two_columns_are_refused(jetclass, parquet):
    table = jetclass()
    short = ak.with_field(table, table["part_py"][:, :-1], "part_py")
    with pytest.raises(JetError, match=r"part_py has \d+ values where part_px has \d+ \(entry 0"):
        read_jets(parquet(short))


def test_missing_values_of_parquet_are_particles_without_momentum(jetclass, parquet):
    table = jetclass()
    px = table["part_px"].to_list()
    px[0][0] = None
    holey = ak.with_field(table, ak.Array(px), "part_px")
    files = open_jets(parquet(holey))
    assert files.read().offsets[-1] == ak.sum(ak.num(table["part_py"])) - 1
    assert sum(files.rules.counts.values()) == 1


def test_a_collection_is_refused_where_each_entry_is_a_jet(jetclass, parquet):
    with pytest.raises(JetError, match="each entry is a jet, there are no jets FatJet"):
        open_jets(parquet(jetclass()), jets="FatJet")


def test_the_sample_of_simulated_jets_has_what_its_file_holds():
    """Particles by pT, η, φ and mass; numbers of the generated jet and the weight of the event beside those of the jet."""
    files = open_jets("sample:jets")
    jets, table = files.read(0, 50), pq.read_table(files.paths[0]).slice(0, 50)
    assert files.rules.counts == {} and len(files) == 18_000
    for column, name in (("part_pt", "pt_gev"), ("part_mass", "mass_gev"), ("part_eta", "eta")):
        values = np.concatenate([np.asarray(each) for each in table[column].to_pylist()])
        np.testing.assert_allclose(jets.particles[name], values, rtol=1e-6)
    for column, name in (
        ("genjet_mass", "generated_mass_gev"),
        ("genjet_tau2", "generated_tau2"),
        ("event_weight", "weight"),
    ):
        np.testing.assert_allclose(jets.of_jets[name], table[column].to_numpy(), rtol=1e-6)
