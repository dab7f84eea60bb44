"""Features of particles, numbers of jets, and their inverses."""

import numpy as np
import pytest

from statecast.particles.features import (
    QUANTITIES,
    jet_quantities,
    particle_columns,
    particle_features,
    principal_turns,
    quantity_values,
    turned,
)
from statecast.particles.jets import JetError, Jets, wrapped


def test_particles_come_back_from_their_features(make_jets):
    jets = make_jets(50)
    names = ("delta_eta", "delta_phi", "log_pt_fraction", "charge", "mass_gev", "d0_mm")
    features = particle_features(jets, names)
    jet = {name: np.repeat(column, jets.multiplicity) for name, column in jets.of_jets.items()}
    back = particle_columns(features, names, jets.particles["kind"], jet)
    for name in ("pt_gev", "eta", "mass_gev", "charge", "kind", "d0_mm"):
        np.testing.assert_allclose(back[name], jets.particles[name], rtol=2e-6, atol=1e-6, err_msg=name)
    turn = (back["phi"] - jets.particles["phi"] + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turn).max() < 2e-6


def test_directions_are_relative_to_the_axis_across_the_border_of_phi():
    particles = {"pt_gev": [2.0], "eta": [0.5], "phi": [-3.1], "mass_gev": [0.0], "kind": [2], "charge": [0.0]}
    of_jet = {"pt_gev": [8.0], "eta": [0.2], "phi": [3.1], "mass_gev": [0.0]}
    columns = ({name: np.array(values) for name, values in each.items()} for each in (particles, of_jet))
    found = particle_features(Jets(np.array([0, 1]), *columns), ("delta_eta", "delta_phi", "log_pt_fraction", "log_pt"))
    np.testing.assert_allclose(found[0], [0.3, 2 * np.pi - 6.2, np.log(0.25), np.log(2)], rtol=1e-6)


def test_a_column_that_is_missing_is_refused(make_jets):
    with pytest.raises(JetError, match="no column dz_mm"):
        particle_features(make_jets(3), ("delta_eta", "dz_mm"))


def test_numbers_of_a_jet_come_back(make_jets):
    jets = make_jets(40)
    names = ("multiplicity", "pt_gev", "eta", "mass_gev")
    scaled = jet_quantities(jets, names)
    truth = {"multiplicity": jets.multiplicity, **jets.of_jets}
    for place, name in enumerate(names):
        np.testing.assert_allclose(quantity_values(scaled[:, place], name), truth[name], rtol=1e-5, atol=1e-6)


def test_the_count_is_the_first_number_and_all_come_before_the_particles():
    orders = [quantity.order for quantity in QUANTITIES.values()]
    assert orders[0] == min(orders) and next(iter(QUANTITIES)) == "multiplicity" and max(orders) < 0
    assert orders == sorted(orders)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_jet_is_aligned_in_the_same_way_however_it_was_turned_or_reflected(make_jets, sign):
    jets, names = make_jets(60), ("log_pt", "delta_eta", "delta_phi")
    counts, of = jets.multiplicity, np.repeat(np.arange(60), jets.multiplicity)
    angle = np.random.default_rng(1).uniform(0, 2 * np.pi, 60)[of]
    eta = jets.particles["eta"] - jets.of_jets["eta"][of]
    phi = sign * wrapped(jets.particles["phi"] - jets.of_jets["phi"][of])
    other = dict(jets.particles)
    other["eta"] = jets.of_jets["eta"][of] + np.cos(angle) * eta - np.sin(angle) * phi
    other["phi"] = wrapped(jets.of_jets["phi"][of] + np.sin(angle) * eta + np.cos(angle) * phi)
    aligned = []
    for each in (jets, Jets(jets.offsets, other, jets.of_jets)):
        turns = principal_turns(each)
        np.testing.assert_allclose(
            turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(2), turns.shape), atol=1e-12
        )
        aligned.append(turned(particle_features(each, names), names, turns, counts))
    np.testing.assert_allclose(*aligned, atol=2e-5)
    along, across = (np.bincount(of, jets.particles["pt_gev"] * aligned[0][:, column] ** 2) for column in (1, 2))
    assert (along >= across - 1e-3).all()
