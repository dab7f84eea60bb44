"""CMS NanoAOD: jets with particle-flow candidates by index, against what uproot reads, and jets without."""

import awkward as ak
import numpy as np
import pytest
import uproot

from statecast.particles.jets import PARTICLE_KINDS, JetError
from statecast.particles.sources import open_jets, read_jets, rules
from statecast.particles.sources.layouts import Selection, find_reading
from statecast.particles.sources.layouts.layout import NoConstituentsError
from statecast.particles.sources.rules import Rules, cleaned

EVENTS = {
    "FatJet_pt": [[300.0, 200.0], [], [500.0]],
    "FatJet_eta": [[0.1, -1.0], [], [2.0]],
    "FatJet_phi": [[3.1, 0.0], [], [-3.0]],
    "FatJet_mass": [[80.0, 10.0], [], [170.0]],
    "FatJetPFCands_jetIdx": [[1, 0, 0, 1, 0], [], [0, 0]],
    "FatJetPFCands_pFCandsIdx": [[0, 1, 2, 3, 4], [], [1, 0]],
    "PFCands_pt": [[120.0, 100.0, 190.0, 80.0, 10.0], [9.0], [200.0, 300.0]],
    "PFCands_eta": [[-1.0, 0.1, 0.0, -1.1, 0.2], [0.0], [2.0, 2.1]],
    "PFCands_phi": [[0.0, 3.1, 3.0, 0.1, -3.1], [0.0], [-3.0, 3.1]],
    "PFCands_mass": [[0.14, 0.14, 0.0, 0.0, 0.14], [0.14], [0.0, 0.14]],
    "PFCands_pdgId": [[211, -211, 22, 130, 13], [211], [22, -11]],
    "PFCands_charge": [[1, -1, 0, 0, -1], [1], [0, 1]],
    "PFCands_d0": [[0.01, -0.02, -1.0, -1.0, -1.0], [0.0], [-1.0, 0.1]],
    "PFCands_d0Err": [[0.001, 0.002, -1.0, -1.0, -1.0], [0.1], [-1.0, 0.01]],
}


def events(**changes):
    return {name: ak.Array(values) for name, values in (EVENTS | changes).items()}


def read(table, **options):
    _, reading = find_reading([table], Selection(**options))
    counted = Rules()
    (block,) = table.blocks(reading.columns, 0, len(table), len(table))
    return cleaned(reading.convert(block, counted), 128, counted), counted, reading


def test_particles_go_to_their_jet_by_index_whatever_the_order_of_the_links(memory_table):
    jets, counted, reading = read(memory_table(events()))
    assert reading.layout == "NanoAOD" and reading.collection == "FatJet"
    assert [list(jets.particles_of(number)["pt_gev"]) for number in range(3)] == [[190, 100, 10], [120, 80], [300, 200]]
    assert [PARTICLE_KINDS[code] for code in jets.particles["kind"]] == [
        "photon", "charged hadron", "muon", "charged hadron", "neutral hadron", "electron", "photon",
    ]  # fmt: skip
    assert counted.counts == {rules.UNSORTED: 1}


def test_lengths_are_in_mm_and_tracks_that_were_not_kept_have_none(memory_table):
    jets, _, _ = read(memory_table(events()))
    np.testing.assert_allclose(jets.particles["d0_mm"], [np.nan, -0.2, np.nan, 0.1, np.nan, 1.0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(
        jets.particles["d0_error_mm"], [np.nan, 0.02, np.nan, 0.01, np.nan, 0.1, np.nan], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "multiplicity"),
    [
        ({"FatJetPFCands_jetIdx": [[1, 0, 7, -1, 0], [], [0, 1]]}, [2, 1, 1]),
        ({"FatJetPFCands_pFCandsIdx": [[0, 5, 2, -2, 4], [], [1, 2]]}, [2, 1, 1]),
    ],
)
def test_indices_out_of_range_are_dropped_and_counted(memory_table, changes, multiplicity):
    jets, counted, _ = read(memory_table(events(**changes)))
    assert counted[rules.BAD_INDEX] == 3 and list(jets.multiplicity) == multiplicity


def test_charges_follow_from_codes_where_the_file_has_none(memory_table):
    expected, _, _ = read(memory_table(events()))
    table = {
        name.replace("PFCands", "PFCand").replace("pFCandsIdx", "pfCandIdx"): values
        for name, values in events().items()
    }
    del table["PFCand_charge"], table["PFCand_d0"], table["PFCand_d0Err"]  # as NanoAOD 15
    jets, _, _ = read(memory_table(table))
    np.testing.assert_array_equal(jets.particles["charge"], expected.particles["charge"])
    assert "d0_mm" not in jets.particles


def test_momenta_are_weighted_where_the_jets_are(memory_table):
    """Jets of PUPPI are sums of weighted candidates, others of candidates: the raw pT of the jets tells."""
    weights = [[0.5, 1.0, 0.8, 0.5, 1.0], [1.0], [1.0, 0.6]]
    table = events(PFCands_puppiWeight=weights)
    candidates = table["PFCands_pt"] * np.exp(1j * table["PFCands_phi"])
    for weighted in (False, True):
        parts = candidates * table["PFCands_puppiWeight"] if weighted else candidates
        sums = [
            [abs(parts[0][1] + parts[0][2] + parts[0][4]), abs(parts[0][0] + parts[0][3])],
            [],
            [abs(parts[2][0] + parts[2][1])],
        ]
        raw = {"FatJet_pt": ak.Array(sums) / 0.9, "FatJet_rawFactor": ak.Array([[0.1, 0.1], [], [0.1]])}
        jets, _, reading = read(memory_table(table | raw))
        hardest = 190 * 0.8 if weighted else 190
        assert jets.particles["pt_gev"][0] == pytest.approx(hardest) and bool(reading.remarks) == weighted


def test_generated_jets_have_generated_candidates(memory_table):
    table = events()
    own = {
        name.replace("FatJet_", "GenJetAK8_"): values for name, values in table.items() if name.startswith("FatJet_")
    }
    candidates = {
        name.replace("PFCands", "GenCands"): values for name, values in table.items() if name.startswith("PFCands_")
    }
    links = {f"GenFatJetCands_{name}": table[f"FatJetPFCands_{name}"] for name in ("jetIdx", "pFCandsIdx")}
    jets, _, reading = read(memory_table(table | own | candidates | links), jets="GenJetAK8")
    assert reading.collection == "GenJetAK8" and list(jets.multiplicity) == [3, 2, 2]


def test_a_real_event_of_pfnano_has_the_values_that_uproot_reads(real):
    path = real / "pfnano_1_event.root"
    files = open_jets(path)
    jets = files.read()
    with uproot.open(path) as file:
        event = file["Events"].arrays()[0]
    assert len(jets) == len(event["FatJet_pt"]) == 2 and files.remarks
    np.testing.assert_array_equal(jets.of_jets["pt_gev"], event["FatJet_pt"])
    for number in range(2):
        index = event["FatJetPFCands_pFCandsIdx"][event["FatJetPFCands_jetIdx"] == number]
        pt = ak.to_numpy(event["PFCands_pt"][index] * event["PFCands_puppiWeight"][index])
        usable = pt > 0
        order = np.argsort(-pt[usable], kind="stable")
        own = jets.particles_of(number)
        np.testing.assert_allclose(own["pt_gev"], pt[usable][order], rtol=1e-6)
        for name, column in (("eta", "eta"), ("charge", "charge")):
            np.testing.assert_array_equal(own[name], ak.to_numpy(event[f"PFCands_{column}"][index])[usable][order])
        d0 = ak.to_numpy(event["PFCands_d0"][index])[usable][order]
        kept = np.isfinite(own["d0_mm"])
        np.testing.assert_allclose(own["d0_mm"][kept], 10 * d0[kept], rtol=1e-6)
        sums = np.abs(np.sum(own["pt_gev"] * np.exp(1j * own["phi"])))
        raw = event["FatJet_pt"][number] * (1 - event["FatJet_rawFactor"][number])
        assert sums == pytest.approx(raw, rel=2e-3)


def test_plain_nanoaod_has_no_constituents_and_says_what_has(real):
    path = real / "nanoaod_20_events.root"
    message = r"Jet has no constituents: plain NanoAOD stores jets without their particles. Use PFNano \(FatJetPFCands and PFCands\)"
    with pytest.raises(NoConstituentsError, match=message):
        open_jets(path)


def test_jets_alone_are_read_on_request(real):
    path = real / "nanoaod_20_events.root"
    jets = read_jets(path, jets="Jet", constituents=False)
    with uproot.open(path) as file:
        pt = file["Events"]["Jet_pt"].array()
    np.testing.assert_array_equal(jets.of_jets["pt_gev"], ak.flatten(pt))
    assert jets.offsets[-1] == 0 and len(jets.particles["pt_gev"]) == 0


def test_ranges_of_jets_span_events(real):
    files = open_jets(real / "nanoaod_20_events.root", jets="Jet", constituents=False)
    every = files.read().of_jets["pt_gev"]
    assert len(files) == len(every) > 50
    for first, last in ((0, 1), (3, 4), (7, 23), (40, len(every))):
        np.testing.assert_array_equal(files.read(first, last).of_jets["pt_gev"], every[first:last])


def test_labels_are_a_column_of_the_jets(real):
    path = real / "nanoaod_20_events.root"
    jets = read_jets(path, jets="Jet", constituents=False, labels="hadronFlavour")
    assert set(jets.labels) == {"0", "4", "5"} and (jets.labels.astype(int) == jets.of_jets["hadron_flavour"]).all()
    with pytest.raises(JetError, match="Name one of the jets, as in labels=hadronFlavour for Jet_hadronFlavour"):
        open_jets(path, jets="Jet", constituents=False, labels=True)
    with pytest.raises(JetError, match="has no column Jet_flavour for labels"):
        open_jets(path, jets="Jet", constituents=False, labels="flavour")


def test_jets_that_are_not_there_and_jets_without_links_are_refused_with_those_that_are(memory_table):
    with pytest.raises(JetError, match=r"has no jets TopJet. Collections: FatJet. Name one of them"):
        read(memory_table(events()), jets="TopJet")
    table = events() | {f"Jet_{name}": ak.Array([[30.0], [], []]) for name in ("pt", "eta", "phi", "mass")}
    with pytest.raises(NoConstituentsError, match=r"Jet has no constituents. Jets that have: FatJet"):
        read(memory_table(table), jets="Jet")


def test_counters_of_columns_are_no_jets(memory_table):
    table = events() | {f"nFatJet_{name}": ak.Array([2, 0, 1]) for name in ("pt", "eta", "phi", "mass")}
    assert read(memory_table(table))[2].collections == ["FatJet"]
