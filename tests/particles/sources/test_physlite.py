"""ATLAS PHYSLITE: MeV, and tracks by links. uproot writes no such links: tables are in memory."""

import awkward as ak
import numpy as np
import pytest

from statecast.particles.jets import JetError
from statecast.particles.sources import rules
from statecast.particles.sources.layouts import Selection, find_reading
from statecast.particles.sources.layouts.layout import NoConstituentsError
from statecast.particles.sources.layouts.physlite import TRACK_KEY
from statecast.particles.sources.rules import Rules, cleaned

ELSEWHERE = 1036585512
PT_MEV, ETA = np.array([2000.0, 8000.0, 500.0]), np.array([0.5, -1.2, 2.0])


def links(events):
    return ak.Array(
        [[[{"m_persKey": key, "m_persIndex": place} for key, place in jet] for jet in event] for event in events]
    )


def tracks():
    theta = 2 * np.arctan(np.exp(-ETA))
    momentum = PT_MEV / np.sin(theta)
    name = "InDetTrackParticlesAuxDyn"
    return {
        f"{name}.qOverP": ak.unflatten(np.array([1, -1, 1]) / momentum, [2, 1]),
        f"{name}.theta": ak.unflatten(theta, [2, 1]),
        f"{name}.phi": ak.Array([[0.1, 3.0], [-3.0]]),
        f"{name}.d0": ak.Array([[0.01, 0.02], [0.03]]),
        f"{name}.z0": ak.Array([[1.0, 2.0], [3.0]]),
        f"{name}.vz": ak.Array([[0.1, 0.1], [0.2]]),
        f"{name}.definingParametersCovMatrixDiag": ak.Array(
            [[[0.04, 0.09, 1, 1, 1], [0.01, 0.16, 1, 1, 1]], [[0.25, 0.36, 1, 1, 1]]]
        ),
        "PrimaryVerticesAuxDyn.z": ak.Array([[5.0, 0.6], [0.5, 7.0]]),
        "PrimaryVerticesAuxDyn.vertexType": ak.Array([[3, 1], [1, 0]]),
    }


def jets_of(name, references, link="GhostTrack"):
    own = {
        "pt": [[60e3, 40e3], [90e3]],
        "eta": [[0.0, 1.0], [2.0]],
        "phi": [[0.0, 3.0], [-3.0]],
        "m": [[5e3, 4e3], [9e3]],
    }
    return {f"{name}AuxDyn.{what}": ak.Array(values) for what, values in own.items()} | {
        f"{name}AuxDyn.{link}": links(references)
    }


SMALL = jets_of(
    "AnalysisJets", [[[(TRACK_KEY, 1), (0, 0), (TRACK_KEY, 0)], [(0, 4)]], [[(TRACK_KEY, 0), (TRACK_KEY, 5)]]]
)
LARGE = jets_of("AnalysisLargeRJets", [[[(ELSEWHERE, 1)], []], [[(ELSEWHERE, 0)]]], "constituentLinks")


def read(table, **options):
    _, reading = find_reading([table], Selection(**options))
    counted = Rules()
    (block,) = table.blocks(reading.columns, 0, len(table), len(table))
    return cleaned(reading.convert(block, counted), 128, counted), counted, reading


def test_tracks_belong_to_their_jets_by_links(memory_table):
    jets, counted, reading = read(memory_table(SMALL | LARGE | tracks()))
    assert reading.layout == "PHYSLITE" and reading.unit == "MeV" and reading.collection == "AnalysisJets"
    np.testing.assert_allclose(jets.particles["pt_gev"], [8000, 2000, 500], rtol=1e-6)  # still in the unit of the file
    np.testing.assert_allclose(jets.particles["eta"], [-1.2, 0.5, 2.0], rtol=1e-6)
    assert list(jets.particles["charge"]) == [-1, 1, 1] and list(jets.multiplicity) == [2, 1]
    np.testing.assert_allclose(jets.particles["mass_gev"], 139.57039, rtol=1e-6)
    assert counted.counts == {rules.NOT_IN_FILE: 2, rules.BAD_INDEX: 1, rules.NO_PARTICLE: 1}


def test_impact_parameters_count_from_the_primary_vertex(memory_table):
    jets, _, _ = read(memory_table(SMALL | tracks()))
    np.testing.assert_allclose(jets.particles["d0_mm"], [0.02, 0.01, 0.03], rtol=1e-6)
    np.testing.assert_allclose(jets.particles["dz_mm"], [2.0 + 0.1 - 0.6, 1.0 + 0.1 - 0.6, 3.0 + 0.2 - 0.5], rtol=1e-5)
    np.testing.assert_allclose(jets.particles["d0_error_mm"], [0.1, 0.2, 0.5], rtol=1e-6)
    np.testing.assert_allclose(jets.particles["dz_error_mm"], [0.4, 0.3, 0.6], rtol=1e-6)


def test_jets_whose_constituents_are_not_kept_are_refused_with_what_is(memory_table):
    message = rf"AnalysisLargeRJets has no constituents in the file.*\(keys: {ELSEWHERE}\). Name AnalysisJets"
    with pytest.raises(NoConstituentsError, match=message):
        read(memory_table(SMALL | LARGE | tracks()), jets="AnalysisLargeRJets")


def test_jets_alone_are_read_on_request(memory_table):
    table = memory_table(SMALL | LARGE | tracks())
    _, reading = find_reading([table], Selection(jets="AnalysisLargeRJets", constituents=False))
    (block,) = table.blocks(reading.columns, 0, 2, 2)
    assert list(reading.convert(block, Rules()).of_jets["pt_gev"]) == [60e3, 40e3, 90e3]


def test_a_missing_column_of_the_tracks_is_named(memory_table):
    table = SMALL | tracks()
    del table["InDetTrackParticlesAuxDyn.theta"]
    with pytest.raises(
        JetError, match=r"has no column InDetTrackParticlesAuxDyn.theta, which the layout PHYSLITE needs"
    ):
        read(memory_table(table))
