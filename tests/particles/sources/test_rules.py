"""Each rule for unusable content fires, is counted, and leaves the other jets as they are."""

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from statecast import load
from statecast.particles.jets import JetError, Jets
from statecast.particles.record import Columns, read_record
from statecast.particles.sources import open_jets, rules
from statecast.particles.sources.describe import describe
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


@pytest.fixture
def faulty(jetclass, parquet):
    """Twenty jets: 3 has no particle, 5 has 500, 9 has one without a momentum, 11 none of its own, 13 no label; of one, particles are not sorted."""
    table = jetclass(20, seed=1)
    columns = {name: table[name].to_list() for name in table.fields}
    unsorted = next(place for place in (7, 8, 10, 12, 14) if len(columns["part_px"][place]) > 2)
    for name in (name for name in columns if name.startswith("part_")):
        columns[name][3] = []
        columns[name][5] = columns[name][5][:1] * 500
        columns[name][unsorted] = columns[name][unsorted][::-1]
    columns["part_px"][9][0] = float("nan")
    columns["jet_pt"][11] = -1.0
    for name in ("label_QCD", "label_Hbb", "label_Tbqq"):
        columns[name][13] = 0
    return parquet(ak.Array(columns))


APPLIED = {
    rules.NO_MOMENTUM: 1,
    rules.NO_JET_MOMENTUM: 1,
    rules.NO_PARTICLE: 1,
    rules.UNSORTED: 1,
    rules.CUT_JETS: 1,
    rules.CUT_PARTICLES: 372,
    rules.UNLABELLED: 1,
}


def test_describe_tells_of_every_rule(faulty, statecast):
    assert statecast("data", "describe", faulty) == (0, "")
    found = describe(str(faulty))
    assert found.rules == APPLIED
    for rule, times in APPLIED.items():
        assert f"rule      {times} {rule}" in str(found)


def test_tagging_tells_of_the_rules_and_jets_keep_their_numbers(faulty, runs, statecast, tmp_path):
    code, told = statecast("tag", runs.tagged, faulty, "--out", "tags.parquet", "--batch", 4)
    assert code == 0 and told.startswith(f"{faulty}: ") and told.count("\n") == 1
    for rule, times in APPLIED.items():
        assert f"{times} {rule}" in told
    jets = pq.read_table(tmp_path / "tags.parquet")["jet"].to_pylist()
    assert jets == [number for number in range(20) if number not in (3, 11)]


def test_training_tells_of_the_rules_and_learns_no_class_of_jets_without_one(faulty, make_recipe, statecast, tmp_path):
    data = {"domain": "particles", "files": str(faulty), "train": [0, 14], "validate": [15, 19]}
    streams = {"particles": {}, "label": {"label": "class"}}
    training = {"steps": 1, "batch_size": 4, "footprint": False, "validation_samples": 4}
    recipe = make_recipe({"kind": "translate", "to": ["label"]}, data=data, streams=streams, training=training)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, told = statecast("pretrain", "recipe.yaml", "--out", "run", "--quiet")
    assert code == 0 and f"1 {rules.NO_PARTICLE}" in told and f"1 {rules.UNLABELLED}" in told
    trained = load(tmp_path / "run")
    assert trained.codecs["label"].classes == ("Hbb", "QCD", "Tbqq")
    source = trained.domain.open(trained.recipe, "train", trained.codecs)
    assert source.cases().labels == [number for number in range(15) if number not in (3, 11)]
    assert source.record.label("class", source.cases().labels.index(13)) is None


@pytest.mark.parametrize("columns", ["part_", ("part_", "jet_")])
def test_momenta_in_mev_are_noticed_by_every_command(jetclass, parquet, runs, statecast, tmp_path, columns):
    """Of the particles alone, and of everything."""
    table = jetclass(20)
    for name in ("part_px", "part_py", "part_pz", "part_energy", "jet_pt", "jet_energy"):
        table = ak.with_field(table, table[name] * (1000 if name.startswith(columns) else 1), name)
    path = parquet(table)
    for command in (("data", "describe", path), ("tag", runs.tagged, path, "--out", "tags.parquet")):
        code, message = statecast(*command)
        assert code == 2 and message.count("\n") == 1
        assert ("units are mixed" if columns == "part_" else "give unit MeV") in message
    assert not (tmp_path / "tags.parquet").exists()


def test_a_range_of_which_no_jet_is_left_is_refused(faulty):
    columns = Columns((str(faulty),), (3, 3), 128, ("log_pt",), (), ())
    with pytest.raises(JetError, match=r"no jet of the range is left \(1 jets dropped: no particle is left\)"):
        read_record(columns)


def test_a_cached_record_keeps_the_numbers_of_the_jets(faulty, tmp_path):
    columns = Columns((str(faulty),), (2, 5), 128, ("log_pt",), (), ())
    for cache in (None, str(tmp_path / "cache"), str(tmp_path / "cache")):
        assert read_record(columns, cache).places.tolist() == [2, 4, 5]
