"""Collisions by Pythia and the jets in them: decays, directions, and momentum that is conserved."""

import numpy as np
import pytest

from statecast.particles.jets import Jets, summed_momentum
from statecast.particles.sources import pythia

ak = pytest.importorskip("awkward")
pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")


def record(*particles):
    """An event record of (pdg, daughter1, daughter2, px, py)."""
    names = ("id", "daughter1", "daughter2")
    rows = [
        dict(zip(names, particle[:3], strict=True))
        | {"p": {"px": particle[3], "py": particle[4], "pz": 1.0, "e": 10.0}}
        for particle in particles
    ]
    return ak.Array(rows)


def test_the_quarks_of_a_top_are_found_behind_all_copies():
    event = record(
        (90, 0, 0, 0, 0),
        (6, 2, 3, 9, 0),  # radiates a gluon
        (6, 4, 4, 8, 0),
        (21, 0, 0, 1, 0),
        (6, 5, 6, 7, 0),  # decays
        (24, 7, 7, 5, 0),
        (5, 0, 0, 0, 3.0),
        (24, 8, 9, 5, 1),
        (2, 0, 0, -4.0, 0),
        (-1, 0, 0, 2.0, 2.0),
    )
    (quarks,) = pythia.decay_quarks(event, 6)
    assert sorted(quarks[:, 1].tolist()) == pytest.approx([np.pi / 4, np.pi / 2, np.pi])
    assert quarks[:, 0] == pytest.approx(np.arctanh([0.1] * 3))
    (of_w,) = pythia.decay_quarks(event, 24)
    assert sorted(of_w[:, 1].tolist()) == pytest.approx([np.pi / 4, np.pi])


def test_distances_go_the_short_way_round():
    assert pythia.distances(np.array([0.3, 3.1]), np.array([0.0, -3.1])) == pytest.approx(
        np.hypot(0.3, 2 * np.pi - 6.2)
    )


def test_the_nearest_axis_is_one_of_the_same_event():
    other = np.array([[0.0, 0.0], [1.0, 1.0], [0.1, 0.0]])
    nearest, distance = pythia.nearest_axes(np.zeros((2, 2)), np.array([1, 2]), other, np.array([0, 1, 1]))
    assert nearest[0] == 2 and distance[0] == pytest.approx(0.1) and np.isinf(distance[1])
    assert np.isinf(pythia.nearest_axes(np.zeros((1, 2)), np.array([0]), np.zeros((0, 2)), np.zeros(0, int))[1]).all()


def test_jets_of_several_events_are_clustered_apart_and_sorted():
    particles = {
        "pt_gev": np.array([100.0, 200.0, 300.0, 50.0]),
        "eta": np.array([0.0, 0.2, 0.0, 1.9]),
        "phi": np.array([0.0, 0.1, 0.0, 0.0]),
        "mass_gev": np.zeros(4),
        "event": np.array([0, 0, 2, 2]),
    }
    jets, event = pythia.clustered(particles, 3, 60.0)
    assert event.tolist() == [0, 2] and jets.multiplicity.tolist() == [2, 1]
    assert jets.particles["pt_gev"].tolist() == [200, 100, 300]
    assert "event" not in jets.particles
    assert jets.of_jets["pt_gev"] == pytest.approx(summed_momentum(jets)["pt_gev"])


@pytest.fixture(scope="module")
def tops():
    """The first batches with jets of a W and of a top."""
    batches = {}
    for name in ("top", "w"):
        jets = pythia.generate(pythia.KINDS[name], (500.0, 650.0), 3, np.random.default_rng(3))
        batches[name] = next(batch for batch in jets if len(batch.measured) > 3)
    return batches


def test_generated_jets_fulfil_what_is_said_of_them(tops):
    for batch in tops.values():
        of_jets = batch.measured.of_jets
        assert ((of_jets["pt_gev"] > 500) & (of_jets["pt_gev"] < 650) & (np.abs(of_jets["eta"]) < 2)).all()
        apart = pythia.distances(pythia.axes(batch.measured), pythia.axes(batch.generated))
        assert (apart < 0.4).all()
        assert not np.isin(np.abs(batch.generated.particles["pdg"]), (12, 14, 16)).any()
        for jets in (batch.measured, batch.generated):
            inside = np.repeat(pythia.axes(jets), jets.multiplicity, axis=0)
            members = pythia.axes(Jets(jets.offsets, {}, jets.particles))
            assert np.quantile(pythia.distances(inside, members), 0.99) < 0.85
            assert (np.diff(jets.particles["pt_gev"])[np.diff(inside[:, 0]) == 0] <= 0).all()
        response = of_jets["pt_gev"] / batch.generated.of_jets["pt_gev"]
        assert response.mean() == pytest.approx(0.99, abs=0.04)


def test_weights_undo_the_flattening(tops):
    weight = tops["top"].measured.of_jets["weight"]
    assert ((weight > (500 / (1.35 * 650)) ** 6) & (weight <= (500 / (0.8 * 500)) ** 6)).all() and weight.std() > 0


def test_masses_of_the_jets_are_those_of_the_heavy_particles(tops):
    for name, mass in (("top", 172.5), ("w", 80.4)):
        generated = tops[name].generated.of_jets["mass_gev"]
        assert np.median(generated) == pytest.approx(mass, abs=25), name
