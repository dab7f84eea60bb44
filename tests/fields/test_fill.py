"""Swaths: the ground track of a polar orbiter, and what it leaves out."""

import numpy as np
import pytest
import torch

from statecast.fields.fill import INCLINATION_DEG, ORBIT_MIN, Fill, ground_track


def generators(seed: int):
    return np.random.default_rng(seed), np.random.default_rng(99)


def test_the_track_starts_at_its_node_and_turns_back_at_its_inclination():
    track = ground_track(np.arange(0, ORBIT_MIN, 0.1), node_deg=30.0)
    assert track[0] == pytest.approx([np.cos(np.pi / 6), np.sin(np.pi / 6), 0])
    assert np.linalg.norm(track, axis=1) == pytest.approx(np.ones(len(track)))
    assert np.rad2deg(np.arcsin(track[:, 2].max())) == pytest.approx(180 - INCLINATION_DEG, abs=0.1)


def test_a_satellite_moves_as_fast_everywhere_on_an_earth_that_stands_still(monkeypatch):
    monkeypatch.setattr("statecast.fields.fill.EARTH_DEG_PER_MIN", 0.0)
    track = ground_track(np.arange(0, ORBIT_MIN, 1.0), node_deg=0.0)
    steps = np.rad2deg(np.arccos((track[1:] * track[:-1]).sum(axis=1)))
    assert steps == pytest.approx(np.full(len(steps), 360 / ORBIT_MIN), rel=1e-6)


def test_the_next_orbit_crosses_the_equator_further_west():
    first, second = ground_track(np.array([0.0, ORBIT_MIN]), node_deg=0.0)
    west = np.rad2deg(np.arctan2(second[1], second[0]))
    assert first[1] == pytest.approx(0) and west == pytest.approx(-ORBIT_MIN / 4)


def test_each_slab_shows_the_share_that_is_not_hidden_and_asks_the_rest(window):
    question = Fill(slabs=4, hidden=0.6).complete(window)
    for name, per_slab in (("a", 60), ("b", 15)):
        shown = question.context[name].coordinate("offset_h").unique(return_counts=True)[1]
        assert (shown == round(0.4 * per_slab)).all()
        assert len(question.context[name]) + len(question.queries[name]) == len(window[name])


def test_what_is_shown_lies_nearest_to_the_track(window):
    """The swath of one slab has no hole: each token that is asked lies further from the track than all that are shown."""
    task = Fill(slabs=4, hidden=0.5, slab_h=6.0)
    node = np.random.default_rng(3).uniform(0, 360)
    question = task.complete(window, seed=3)
    track = ground_track(60 * (9 + 3) - 360 + np.arange(360.0), node)

    def nearness(tokens):
        first = tokens[torch.from_numpy(np.flatnonzero(tokens.coordinate("offset_h") == 9))]
        lat, lon = (np.deg2rad(first.coordinate(c).numpy()) for c in ("latitude_deg", "longitude_deg"))
        return (np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], -1) @ track.T).max(1)

    assert nearness(question.context["a"]).min() >= nearness(question.queries["a"]).max() - 1e-5


def test_samples_see_other_orbits_with_the_same_number_of_tokens(window):
    task = Fill(slabs=4)
    questions = [task(window, *generators(seed)) for seed in (0, 0, 1)]
    shown = [q.context["a"].values[:, 0] for q in questions]
    assert torch.equal(shown[0], shown[1]) and not torch.equal(shown[0], shown[2]) and len(shown[0]) == len(shown[2])
