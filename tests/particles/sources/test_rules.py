"""Each rule for unusable content fires, is counted, and leaves the other jets as they are."""

import awkward as ak
import numpy as np
import pytest

from statecast.particles.jets import JetError, Jets
from statecast.particles.sources import open_jets, rules
from statecast.particles.sources.rules import Rules, cleaned


def jets_of(*pts, own=None):
    """Jets with particles of these pT, at η = φ = m = 0 but for η, which numbers them."""
    counts = [len(each) for each in pts]
    values = np.array([pt for each in pts for pt in each], np.float32)
    zeros = np.zeros(len(values), np.float32)
    particles = {"pt_gev": values, "eta": np.arange(len(values), dtype=np.float32), "phi": zeros, "mass_gev": zeros}
    own = np.array(own if own is not None else [100.0] * len(pts))
    of_jets = {"pt_gev": own} | {name: np.zeros(len(pts)) for name in ("eta", "phi", "mass_gev")}
    labels = np.array([f"jet {number}" for number in range(len(pts))])
    return Jets(np.concatenate([[0], np.cumsum(counts)]).astype(int), particles, of_jets, labels)


def test_jets_without_fault_stay_as_they_are():
    counted, jets = Rules(), jets_of([3, 2, 1], [5], [4, 4])
    tidy = cleaned(jets, 128, counted)
    assert counted.counts == {} and str(counted) == ""
    np.testing.assert_array_equal(tidy.offsets, jets.offsets)
    np.testing.assert_array_equal(tidy.particles["eta"], jets.particles["eta"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -3.0])
def test_a_particle_without_a_usable_pt_is_dropped(bad):
    counted = Rules()
    tidy = cleaned(jets_of([3, bad, 1], [5]), 128, counted)
    assert counted.counts == {rules.NO_MOMENTUM: 1}
    assert list(tidy.particles["pt_gev"]) == [3, 1, 5] and list(tidy.particles["eta"]) == [0, 2, 3]


@pytest.mark.parametrize("column", ["eta", "phi", "mass_gev"])
def test_a_particle_with_another_column_that_is_no_number_is_dropped(column):
    counted, jets = Rules(), jets_of([3, 2], [5])
    jets.particles[column][1] = np.nan
    assert list(cleaned(jets, 128, counted).multiplicity) == [1, 1] and counted[rules.NO_MOMENTUM] == 1


def test_a_jet_without_particles_is_dropped_with_its_label_and_number():
    counted = Rules()
    tidy = cleaned(jets_of([], [np.nan], [5], []), 128, counted)
    assert counted.counts == {rules.NO_MOMENTUM: 1, rules.NO_PARTICLE: 3}
    assert list(tidy.labels) == ["jet 2"] and list(tidy.particles["pt_gev"]) == [5]


def test_jets_without_particles_stay_where_the_file_has_none():
    assert len(cleaned(jets_of([], []), 128, Rules(), keep_empty=True)) == 2


@pytest.mark.parametrize("bad", [np.nan, -1.0, 0.0, np.inf])
def test_a_jet_without_own_momentum_is_dropped(bad):
    counted = Rules()
    tidy = cleaned(jets_of([3], [5], [], own=[bad, 1, bad]), 128, counted)
    assert counted.counts == {rules.NO_JET_MOMENTUM: 2} and list(tidy.labels) == ["jet 1"]


def test_particles_are_sorted_by_pt_within_their_jet_and_ties_keep_their_order():
    counted = Rules()
    tidy = cleaned(jets_of([1, 3, 3, 2], [9, 8], [1, 2]), 128, counted)
    assert counted.counts == {rules.UNSORTED: 2}
    assert list(tidy.particles["eta"]) == [1, 2, 3, 0, 4, 5, 7, 6]


def test_a_jet_of_500_particles_keeps_its_hardest():
    random = np.random.default_rng(0)
    many = random.permutation(np.arange(1, 501)).astype(float)
    counted = Rules()
    tidy = cleaned(jets_of(list(many), [5]), 128, counted)
    assert counted.counts == {rules.UNSORTED: 1, rules.CUT_JETS: 1, rules.CUT_PARTICLES: 372}
    assert list(tidy.multiplicity) == [128, 1] and list(tidy.particles["pt_gev"][:128]) == list(range(500, 372, -1))


def test_columns_of_a_particle_stay_together():
    random = np.random.default_rng(1)
    jets = jets_of(*[list(random.normal(5, 5, random.integers(0, 9))) for _ in range(200)])
    jets.particles["phi"][:] = jets.particles["pt_gev"] * 2
    tidy = cleaned(jets, 4, Rules())
    np.testing.assert_array_equal(tidy.particles["phi"], tidy.particles["pt_gev"] * 2)
    assert (tidy.particles["pt_gev"] > 0).all() and tidy.multiplicity.max() == 4 and tidy.multiplicity.min() >= 1
    for number in range(len(tidy)):
        assert (np.diff(tidy.particles_of(number)["pt_gev"]) <= 0).all()


def test_no_jet_at_all_is_no_fault():
    assert len(cleaned(jets_of(), 128, Rules())) == 0


def test_rules_of_a_file_are_those_of_the_last_reading(jetclass, parquet):
    table = jetclass(10)
    px = table["part_px"].to_list()
    px[3][0] = float("nan")
    files = open_jets(parquet(ak.with_field(table, ak.values_astype(ak.Array(px), "float32"), "part_px")))
    assert files.rules.counts == {}
    list(files.chunks(4))
    counts = files.rules.counts
    assert counts[rules.NO_MOMENTUM] == 1
    list(files.chunks(3))
    assert files.rules.counts == counts
    files.read(4, 6)
    assert files.rules[rules.NO_MOMENTUM] == 0


def test_where_all_jets_are_dropped_the_message_says_why(jetclass, parquet):
    table = jetclass(3)
    files = open_jets(parquet(ak.with_field(table, table["part_px"] * np.nan, "part_px")))
    with pytest.raises(JetError, match=r"no jet is left between number 0 and 3 of 3 \(.*particles dropped: a momentum"):
        files.read()
    assert list(files.chunks(2)) == []
