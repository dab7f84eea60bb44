"""Events of several jets: what follows from their momenta, and choosing among them."""

import numpy as np
import pytest

from statecast.particles.events import (
    EVENT_NUMBERS,
    Events,
    angle_to_leading,
    dijet_mass,
    event_numbers,
    leading_pair,
    relative_weight,
)
from statecast.particles.jets import Jets


def events_of(momenta, met=(50.0, 0.0)):
    """Events of massless jets of one particle: for each event a list of (pT, η, φ)."""
    flat = np.array([jet for event in momenta for jet in event], float).reshape(-1, 3)
    columns = {"pt_gev": flat[:, 0], "eta": flat[:, 1], "phi": flat[:, 2], "mass_gev": np.zeros(len(flat))}
    particles = columns | {"kind": np.zeros(len(flat), np.int8), "charge": np.ones(len(flat))}
    offsets = np.concatenate([[0], np.cumsum([len(event) for event in momenta])]).astype(int)
    missing = {"met_gev": np.full(len(momenta), met[0]), "met_phi": np.full(len(momenta), met[1])}
    names = np.array([f"event {number}" for number in range(len(momenta))])
    return Events(offsets, Jets(np.arange(len(flat) + 1), particles, columns), missing, names)


THREE = events_of([[(500, 0, 1), (400, 1, -2)], [(300, 0.5, 0)], [(700, 0, 3), (600, 0, 0), (100, 2, 1)]])


def test_two_back_to_back_jets_have_the_mass_of_the_rest_frame():  # m² = 2 pT₁ pT₂ (cosh Δη - cos Δφ) of massless jets
    back_to_back = events_of([[(500, 0.3, 0), (500, 0.3, np.pi)], [(500, 1.0, 0.5), (200, -0.5, 2.0)]])
    expected = [1000.0, np.sqrt(2 * 500 * 200 * (np.cosh(1.5) - np.cos(1.5)))]
    np.testing.assert_allclose(dijet_mass(back_to_back), expected)


def test_the_dijet_mass_of_one_jet_is_unknown_and_a_third_jet_plays_no_part():
    mass = dijet_mass(THREE)
    assert np.isnan(mass[1]) and np.isfinite(mass[[0, 2]]).all()
    np.testing.assert_allclose(mass, dijet_mass(THREE.leading(2)))


def test_the_missing_momentum_is_seen_from_the_first_jet():
    turned = events_of([[(500, 0, 1), (400, 1, -2)]], met=(50.0, 1.0))
    assert angle_to_leading(turned) == pytest.approx([0.0])
    np.testing.assert_allclose(angle_to_leading(THREE), [-1.0, 0.0, -3.0])


def test_numbers_of_an_event_do_not_change_when_it_is_turned_about_the_beam():
    turned = events_of([[(500, 0, 2), (400, 1, -1)]], met=(50.0, 1.0))
    straight = events_of([[(500, 0, 1), (400, 1, -2)]], met=(50.0, 0.0))
    np.testing.assert_allclose(event_numbers(turned, list(EVENT_NUMBERS)), event_numbers(straight, list(EVENT_NUMBERS)))


def test_chosen_and_joined_events_keep_their_jets():
    chosen = THREE[np.array([2, 0])]
    assert chosen.labels.tolist() == ["event 2", "event 0"] and chosen.multiplicity.tolist() == [3, 2]
    assert chosen.jets.of_jets["pt_gev"].tolist() == [700, 600, 100, 500, 400]
    whole = Events.joined([THREE[:1], THREE[1:]])
    assert whole.offsets.tolist() == THREE.offsets.tolist() and whole.labels.tolist() == THREE.labels.tolist()
    np.testing.assert_array_equal(whole.jets.of_jets["pt_gev"], THREE.jets.of_jets["pt_gev"])


def test_weights_are_one_in_the_mean_of_each_process():
    weighted = Events(
        THREE.offsets, THREE.jets, {**THREE.of_events, "weight": np.array([1.0, 3.0, 5.0])}, np.array(["a", "a", "b"])
    )
    assert relative_weight(weighted).tolist() == [0.5, 1.5, 1.0] and relative_weight(THREE).tolist() == [1.0] * 3


def test_the_leading_jets_are_those_of_largest_momentum():
    leading = THREE.leading(1)
    assert leading.jets.of_jets["pt_gev"].tolist() == [500, 300, 700] and leading.multiplicity.tolist() == [1, 1, 1]
    second = leading_pair(THREE)[1]["pt_gev"]
    assert second[[0, 2]].tolist() == [400, 600] and np.isnan(second[1])
