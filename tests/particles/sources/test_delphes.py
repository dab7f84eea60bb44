"""Events of Delphes: particles by reference, or by distance where a file has none. uproot writes no references: tables are in memory."""

import awkward as ak
import numpy as np
import pytest

from statecast.particles.jets import PARTICLE_KINDS, JetError
from statecast.particles.sources import rules
from statecast.particles.sources.layouts import Selection, find_reading
from statecast.particles.sources.layouts.delphes import MATCHED, radius_of
from statecast.particles.sources.layouts.layout import NoConstituentsError
from statecast.particles.sources.rules import Rules, cleaned

PROCESS = 1 << 24  # ROOT keeps the number of the process above the 24 bits of the object


def columns(collection, **values):
    return {f"{collection}.{name}": ak.Array(value) for name, value in values.items()}


def links(references):
    return ak.Array([[{"fName": "", "refs": each} for each in event] for event in references])


EVENTS = {
    **columns(
        "Jet",
        PT=[[60.0, 40.0], [], [90.0]],
        Eta=[[0.0, 2.0], [], [-1.0]],
        Phi=[[3.1, 0.0], [], [0.5]],
        Mass=[[5.0, 4.0], [], [9.0]],
        BTag=[[0, 1], [], [0]],
        Flavor=[[21, 5], [], [1]],
    ),
    "Jet.Constituents": links([[[4, 2, 7], [3, 8]], [], [[2, 3]]]),
    **columns(
        "EFlowTrack",
        fUniqueID=[[PROCESS + 2, PROCESS + 3], [PROCESS + 2], [PROCESS + 3]],
        PT=[[30.0, 25.0], [1.0], [60.0]],
        Eta=[[0.1, 2.0], [0.0], [-1.0]],
        Phi=[[-3.1, 0.1], [0.0], [0.4]],
        Mass=[[0.14, 0.0005], [0.14], [0.5]],
        PID=[[-211, 11], [211], [321]],
        Charge=[[-1, -1], [1], [1]],
        D0=[[0.1, 0.2], [0.3], [0.4]],
        ErrorD0=[[0.01, 0.02], [0.03], [0.04]],
        DZ=[[1.0, 2.0], [3.0], [4.0]],
        ErrorDZ=[[0.1, 0.2], [0.3], [0.4]],
    ),
    **columns(
        "EFlowPhoton",
        fUniqueID=[[PROCESS + 4], [], [PROCESS + 2]],
        ET=[[20.0], [], [31.0]],
        Eta=[[-0.1], [], [-0.9]],
        Phi=[[3.0], [], [0.7]],
        E=[[20.1], [], [44.0]],
    ),
    **columns(
        "EFlowNeutralHadron",
        fUniqueID=[[PROCESS + 7, PROCESS + 8], [], []],
        ET=[[10.0, 15.0], [], []],
        Eta=[[0.0, 2.1], [], []],
        Phi=[[3.1, -0.1], [], []],
        E=[[10.0, 62.0], [], []],
    ),
    **columns("Vertex", Z=[[0.5, 9.0], [1.0], []]),
}


def without(*names):
    return {name: column for name, column in EVENTS.items() if not name.endswith(names)}


def read(table, **options):
    _, reading = find_reading([table], Selection(**options))
    counted = Rules()
    (block,) = table.blocks(reading.columns, 0, len(table), len(table))
    return cleaned(reading.convert(block, counted), 128, counted), counted, reading


def test_references_lead_to_tracks_photons_and_neutral_hadrons_of_their_event(memory_table):
    jets, counted, reading = read(memory_table(EVENTS))
    assert reading.layout == "Delphes" and reading.collection == "Jet"
    assert [list(jets.particles_of(number)["pt_gev"]) for number in range(3)] == [[30, 20, 10], [25, 15], [60, 31]]
    assert [PARTICLE_KINDS[code] for code in jets.particles["kind"]] == [
        "charged hadron", "photon", "neutral hadron", "electron", "neutral hadron", "charged hadron", "photon",
    ]  # fmt: skip
    assert list(jets.particles["charge"]) == [-1, 0, 0, -1, 0, 1, 0]
    np.testing.assert_allclose(jets.particles["mass_gev"], [0.14, 0, 0, 0.0005, 0, 0.5, 0], rtol=1e-6)
    assert counted.counts == {rules.UNSORTED: 2} and list(jets.of_jets["parton_flavour"]) == [21, 5, 1]


def test_tracks_count_from_the_first_vertex_and_clusters_have_none(memory_table):
    jets, _, _ = read(memory_table(EVENTS))
    np.testing.assert_allclose(jets.particles["d0_mm"], [0.1, np.nan, np.nan, 0.2, np.nan, 0.4, np.nan], rtol=1e-6)
    np.testing.assert_allclose(jets.particles["dz_mm"], [0.5, np.nan, np.nan, 1.5, np.nan, 4.0, np.nan], rtol=1e-6)


def test_the_process_in_a_reference_does_not_matter(memory_table):
    shifted = EVENTS | {"Jet.Constituents": links([[[PROCESS + 4, PROCESS + 2, 7], [3, 8]], [], [[2, 3]]])}
    np.testing.assert_array_equal(read(memory_table(shifted))[0].offsets, read(memory_table(EVENTS))[0].offsets)


def test_references_without_target_are_dropped_and_counted(memory_table):
    table = EVENTS | {"Jet.Constituents": links([[[4, 2, 999], [3, 8]], [], [[2, 0]]])}
    jets, counted, _ = read(memory_table(table))
    assert counted[rules.NOT_IN_FILE] == 2 and list(jets.multiplicity) == [2, 2, 1]


def test_jets_of_particles_that_are_not_in_the_file_are_refused(memory_table):
    table = EVENTS | {"Jet.Constituents": links([[[14, 12, 999], [3, 18]], [], [[12, 13]]])}
    with pytest.raises(
        JetError, match=r"6 of 7 particles of Jet are not in the file \(EFlowTrack, EFlowPhoton, EFlowNeutralHadron\)"
    ):
        read(memory_table(table))


@pytest.mark.parametrize("lacking", [(".Constituents",), (".fUniqueID",), (".Constituents", ".fUniqueID")])
def test_without_references_particles_go_to_the_nearest_jet_within_its_radius(memory_table, lacking):
    jets, counted, _ = read(memory_table(without(*lacking)))
    assert counted[MATCHED] == 3
    assert [list(jets.particles_of(number)["pt_gev"]) for number in range(3)] == [[30, 20, 10], [25, 15], [60, 31]]


def test_matching_by_distance_agrees_with_brute_force(memory_table):
    random = np.random.default_rng(0)
    counts, jets_in = random.integers(0, 40, 30), random.integers(0, 5, 30)

    def lists(sizes, low, high):
        return [random.uniform(low, high, size).tolist() for size in sizes]

    table = columns(
        "Jet",
        PT=lists(jets_in, 50, 100),
        Eta=lists(jets_in, -2, 2),
        Phi=lists(jets_in, -np.pi, np.pi),
        Mass=lists(jets_in, 1, 2),
        BTag=lists(jets_in, 0, 1),
    )
    table |= columns(
        "EFlowPhoton",
        ET=lists(counts, 1, 5),
        Eta=lists(counts, -2, 2),
        Phi=lists(counts, -np.pi, np.pi),
        E=lists(counts, 1, 5),
    )
    (block,) = memory_table(table).blocks(list(table), 0, 30, 30)
    _, reading = find_reading([memory_table(table)], Selection())
    jets = reading.convert(block, Rules())
    expected = []
    for event in range(30):
        eta, phi = np.array(table["Jet.Eta"][event]), np.array(table["Jet.Phi"][event])
        own = [[] for _ in eta]
        for pt, one, other in zip(*(table[f"EFlowPhoton.{name}"][event] for name in ("ET", "Eta", "Phi")), strict=True):
            turn = np.angle(np.exp(1j * (other - phi)))
            distance = np.hypot(one - eta, turn)
            if len(distance) and distance.min() < 0.5:
                own[distance.argmin()].append(pt)
        expected += own
    assert sum(map(len, expected)) > 30
    for number, own in enumerate(expected):
        np.testing.assert_allclose(jets.particles_of(number)["pt_gev"], own, rtol=1e-6)


@pytest.mark.parametrize(
    ("jets", "radius"),
    [
        ("JetAK8", 0.8),
        ("JetPUPPIAK15", 1.5),
        ("ParticleFlowJet04", 0.4),
        ("FatJet", 0.8),
        ("Jet", 0.5),
        ("GenJet", 0.5),
    ],
)
def test_the_radius_is_in_the_name(jets, radius):
    assert radius_of(jets) == radius


def test_generated_jets_refer_to_generated_particles(memory_table):
    table = {name.replace("Jet.", "GenJet."): column for name, column in EVENTS.items() if name.startswith("Jet.")}
    table |= {
        name.replace("EFlowTrack", "Particle"): column
        for name, column in EVENTS.items()
        if name.startswith("EFlowTrack")
    }
    table |= {"GenJet.Constituents": links([[[2], [3]], [], [[3]]])}
    jets, _, _ = read(memory_table(table))
    assert list(jets.particles["pt_gev"]) == [30, 25, 60]


def test_a_file_without_particles_is_refused_and_its_jets_are_read_on_request(memory_table):
    table = memory_table({name: column for name, column in EVENTS.items() if name.startswith("Jet.")})
    with pytest.raises(
        NoConstituentsError, match="has no particles of Jet, expected one of ParticleFlowCandidate, EFlowTrack"
    ):
        read(table)
    _, reading = find_reading([table], Selection(constituents=False))
    (block,) = table.blocks(reading.columns, 0, 3, 3)
    jets = cleaned(reading.convert(block, Rules()), 128, Rules(), keep_empty=True)
    assert list(jets.of_jets["pt_gev"]) == [60, 40, 90]


def test_labels_are_a_column_of_the_jets(memory_table):
    assert list(read(memory_table(EVENTS), labels="Flavor")[0].labels) == ["21", "5", "1"]


def test_jets_without_a_mass_are_no_jets_of_delphes(memory_table):
    with pytest.raises(JetError, match="of no known layout"):
        read(memory_table(without(".Mass")))
