"""Whole events: selection and missing momentum, blocks, and the file with its reader."""

import numpy as np
import pytest

from statecast.particles.events import Events
from statecast.particles.jets import JetError, Jets, summed_momentum
from statecast.particles.sources import event_blocks, open_jets
from statecast.particles.sources.collisions import in_events, is_accepted, missing_momentum
from statecast.particles.sources.event_blocks import EventOptions
from statecast.particles.sources.simulate import simulate_events

pytest.importorskip("awkward")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")

from statecast.particles.sources.event_columns import read_events, table_of  # noqa: E402


def some_jets(random, count):
    """Jets of 3 particles."""
    pt = np.sort(random.uniform(200, 300, (count, 3)), axis=1)[:, ::-1].ravel()
    columns = {"pt_gev": pt, "eta": random.normal(0, 0.1, 3 * count), "phi": random.normal(0, 0.1, 3 * count)}
    columns |= {"mass_gev": np.zeros(3 * count), "charge": np.ones(3 * count), "kind": np.arange(3 * count) % 5}
    jets = Jets(np.arange(count + 1) * 3, columns, {})
    return Jets(jets.offsets, columns, summed_momentum(jets))


def some_events(random, counts, label="QCD"):
    """Events with so many jets each."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    jets = some_jets(random, offsets[-1])
    event = np.repeat(np.arange(len(counts)), counts)
    jets = jets[np.lexsort((-jets.of_jets["pt_gev"], event))]
    of_events = {name: random.uniform(size=len(counts)) for name in ("met_gev", "met_phi", "weight")}
    return Events(
        offsets, jets, of_events | {"cross_section_fb": np.full(len(counts), 5.0)}, np.full(len(counts), label)
    )


def test_the_missing_momentum_balances_the_visible_one():
    random = np.random.default_rng(0)
    particles = {"pt_gev": random.uniform(1, 50, 30), "phi": random.uniform(-3, 3, 30), "eta": random.normal(size=30)}
    particles |= {"mass_gev": np.ones(30), "event": np.sort(random.integers(0, 3, 30))}
    missing = missing_momentum(particles, 4)
    for event in range(3):
        of = particles["event"] == event
        x = (particles["pt_gev"] * np.cos(particles["phi"]))[of].sum()
        y = (particles["pt_gev"] * np.sin(particles["phi"]))[of].sum()
        assert missing["met_gev"][event] * np.cos(missing["met_phi"][event]) == pytest.approx(-x)
        assert missing["met_gev"][event] * np.sin(missing["met_phi"][event]) == pytest.approx(-y)
    assert missing["met_gev"][3] == 0  # an event of which nothing was measured


def test_accepted_events_have_two_hard_central_jets():
    columns = {
        "pt_gev": np.array([900.0, 500, 500, 400, 700, 800, 600]),
        "eta": np.array([0.0, 1.9, 0, 0, 0, 2.1, 0]),
        "phi": np.zeros(7),
        "mass_gev": np.zeros(7),
    }
    jets = Jets(np.arange(8), columns, columns)
    event = np.array([0, 0, 1, 1, 2, 3, 3])  # good; second too soft; a single jet; first not central
    events = in_events(jets, event, {"met_gev": np.zeros(5), "met_phi": np.zeros(5)})
    assert is_accepted(events, 450.0).tolist() == [True, False, False, False, False]
    assert events.multiplicity.tolist() == [2, 2, 1, 2, 0]


def test_events_come_back_from_their_file(tmp_path):
    events = some_events(np.random.default_rng(0), [2, 3, 2])
    parquet.write_table(table_of(events), tmp_path / "events.parquet")
    parts = list(read_events([str(tmp_path / "events.parquet")], events=2))
    back = Events.joined(parts)
    assert [len(part) for part in parts] == [2, 1] and back.labels.tolist() == ["QCD"] * 3
    assert back.offsets.tolist() == events.offsets.tolist()
    assert back.jets.offsets.tolist() == events.jets.offsets.tolist()
    for name in ("pt_gev", "eta", "phi", "mass_gev", "kind", "charge"):
        np.testing.assert_allclose(back.jets.particles[name], events.jets.particles[name], rtol=1e-6, atol=1e-6)
    for name, column in events.of_events.items():
        np.testing.assert_allclose(back.of_events[name], column, rtol=1e-6)
    np.testing.assert_allclose(back.jets.of_jets["mass_gev"], events.jets.of_jets["mass_gev"], rtol=1e-3)


def test_of_a_jet_the_hardest_particles_are_read(tmp_path):
    events = some_events(np.random.default_rng(0), [2, 2])
    parquet.write_table(table_of(events), tmp_path / "events.parquet")
    (back,) = read_events([str(tmp_path / "events.parquet")], most_constituents=2)
    assert back.jets.multiplicity.tolist() == [2] * 4
    expected = events.jets.particles["pt_gev"].reshape(-1, 3)[:, :2].ravel()
    np.testing.assert_allclose(back.jets.particles["pt_gev"], expected, rtol=1e-6)


def test_what_is_no_file_of_events_is_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no table")
    parquet.write_table(
        table_of(some_events(np.random.default_rng(0), [2])).drop(["met_pt"]), tmp_path / "jets.parquet"
    )
    for name, message in (
        ("none", "does not exist"),
        ("text", "is no Parquet file"),
        ("jets", "column met_pt is missing"),
    ):
        with pytest.raises(JetError, match=rf"{name}.parquet: .*{message}"):
            next(read_events([str(tmp_path / f"{name}.parquet")]))


def test_a_file_of_events_is_no_file_of_jets(tmp_path):
    parquet.write_table(table_of(some_events(np.random.default_rng(0), [2])), tmp_path / "events.parquet")
    with pytest.raises(JetError, match=r"events.parquet: each entry is an event of several jets, expected jets"):
        open_jets(tmp_path / "events.parquet")


@pytest.fixture
def fake(monkeypatch):
    """Seven events a batch, without collisions."""

    def generate(process, min_pt_gev, mass_gev, seed, random):
        while True:
            yield some_events(random, [2] * 7, process.label)

    monkeypatch.setattr(event_blocks, "generate_events", generate)
    monkeypatch.setattr(event_blocks, "BLOCK_EVENTS", 10)


def simulate(out, **options):
    return simulate_events(out, **{"events": 60, "workers": 1, "progress": False} | options)


def test_processes_take_turns_in_a_file_and_its_first_events_do_not_depend_on_its_length(fake, tmp_path):
    (whole,) = read_events([str(simulate(tmp_path / "whole.parquet"))])
    assert whole.labels.tolist() == ["Zprime", "QCD", "ttbar"] * 20
    (short,) = read_events([str(simulate(tmp_path / "short.parquet", events=30))])
    np.testing.assert_array_equal(short.jets.of_jets["pt_gev"], whole[:30].jets.of_jets["pt_gev"])
    assert simulate(tmp_path / "again.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_finished_file_stays_and_another_one_is_refused(fake, tmp_path):
    out = simulate(tmp_path / "events.parquet")
    before = out.stat().st_mtime_ns
    assert simulate(out).stat().st_mtime_ns == before
    with pytest.raises(JetError, match=r"was made with mass_gev 1500.0 \(requested: 2000.0\)"):
        simulate(out, mass_gev=2000.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"events": 61}, "events is 61, expected a positive multiple of the number of kinds, 3"),
        ({"kinds": ("zprim",)}, "kind zprim is not a kind of event. Kinds: zprime, qcd, ttbar"),
        ({"min_pt_gev": 50.0}, "lowest pT is 50 GeV, expected 200 to 2000 GeV"),
        ({"mass_gev": 1e4}, "mass is 10000 GeV, expected 500 to 6000 GeV"),
        ({"seed": -1}, "seed is -1, expected 0 to"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message, tmp_path):
    with pytest.raises(JetError, match=message):
        simulate(tmp_path / "events.parquet", **options)
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_hardly_accepted_is_refused(monkeypatch):
    def generate(process, min_pt_gev, mass_gev, seed, random):
        while True:
            yield some_events(random, [])

    monkeypatch.setattr(event_blocks, "generate_events", generate)
    options = EventOptions(3, ("zprime", "qcd", "ttbar"), 0, 450.0, 1500.0)
    with pytest.raises(JetError, match="kind qcd: 0 events in 100 batches of collisions have two jets above 450 GeV"):
        options.table(options.blocks()[1])


def test_pythia_makes_resonances_of_the_mass_that_was_asked_for(tmp_path):
    from statecast.particles.events import dijet_mass

    out = simulate_events(
        tmp_path / "z.parquet", events=12, kinds=("zprime",), mass_gev=1500.0, workers=1, progress=False
    )
    (events,) = read_events([str(out)])
    assert len(events) == 12 and (events.jets.of_jets["pt_gev"][events.leading(2).offsets[:-1]] > 200).all()
    assert 1000 < np.median(dijet_mass(events)) < 1700
    assert 1 < events.of_events["cross_section_fb"][0] < 1000  # 218 fb, half of which decay outside of the selection
