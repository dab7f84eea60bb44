"""Substructure against closed forms: prongs, a soft wide-angle particle, and axes found by brute force."""

import numpy as np
import pytest

from statecast.particles.jets import JetError, Jets, summed_momentum
from statecast.particles.substructure import names, substructure

pytest.importorskip("fastjet")


def jets_of(*lists):
    """Jets of massless particles, each given by pT, eta and phi."""
    offsets = np.concatenate([[0], np.cumsum([len(particles) for particles in lists])])
    pt, eta, phi = np.array([particle for particles in lists for particle in particles], float).reshape(-1, 3).T
    particles = {"pt_gev": pt, "eta": eta, "phi": phi, "mass_gev": np.zeros(len(pt))}
    return Jets(offsets, particles, {})


def test_two_equal_prongs_have_tau2_0_and_the_tau1_of_their_distance():
    """The axis lies half way, 0.2 from each prong: tau1 = 0.2 / 0.8."""
    values = substructure(jets_of([(300, 0.0, 0.0), (300, 0.0, 0.4)]))
    assert values["tau1"][0] == pytest.approx(0.25, abs=1e-4)
    assert values["tau2"][0] == 0.0 and values["tau21"][0] == 0.0
    assert np.isnan(values["tau32"][0])
    assert values["multiplicity"][0] == 2


def test_three_prongs_with_a_soft_particle_each_have_the_tau3_of_the_soft_ones():
    """With hard prongs as axes, soft particles of 1 GeV at a distance of 0.01: tau3 = 3 * 0.01 / (303 * 0.8), just below after a pass."""
    prongs = [(100, 0.3, 0.0), (100, -0.3, 0.2), (100, 0.0, -0.4)]
    soft = [(1, eta + 0.01, phi) for _, eta, phi in prongs]
    values = substructure(jets_of(prongs + soft))
    assert values["tau3"][0] == pytest.approx(3 * 0.01 / (303 * 0.8), rel=0.05)
    assert values["tau32"][0] < 0.01


def test_tau1_is_the_least_that_any_axis_gives():
    random = np.random.default_rng(1)
    pt, eta, phi = random.exponential(20, 12) + 1, random.normal(0, 0.2, 12), random.normal(0, 0.2, 12)
    grid = np.stack(np.meshgrid(np.linspace(-0.3, 0.3, 301), np.linspace(-0.3, 0.3, 301)), axis=-1)
    apart = np.hypot(grid[..., 0, None] - eta, grid[..., 1, None] - phi)
    brute_force = (pt * apart).sum(axis=-1).min() / (pt.sum() * 0.8)
    assert substructure(jets_of(list(zip(pt, eta, phi, strict=True))))["tau1"][0] == pytest.approx(
        brute_force, rel=2e-3
    )


def test_soft_drop_removes_a_soft_wide_particle_and_keeps_the_mass_of_the_hard_pair():
    hard = [(300, 0.0, 0.0), (200, 0.1, 0.3)]
    with_soft = jets_of(hard, [*hard, (20, 0.0, -0.7)])
    mass = summed_momentum(with_soft)["mass_gev"]
    assert mass[1] > mass[0] + 5
    groomed = substructure(with_soft)["soft_drop_mass_gev"]
    assert groomed == pytest.approx([mass[0], mass[0]], rel=1e-6)


@pytest.mark.parametrize(("share", "kept"), [(0.11, True), (0.09, False)])
def test_soft_drop_cuts_at_a_tenth_of_the_momentum(share, kept):
    """min(pT1, pT2) / (pT1 + pT2) = share; the mass of two massless particles is 2 pT1 pT2 (cosh Δη - cos Δφ)."""
    pt1, pt2 = 500 * share, 500 * (1 - share)
    expected = np.sqrt(2 * pt1 * pt2 * (1 - np.cos(0.5))) if kept else 0.0
    mass = substructure(jets_of([(pt1, 0.0, 0.0), (pt2, 0.0, 0.5)]))["soft_drop_mass_gev"][0]
    assert mass == pytest.approx(expected, rel=1e-5, abs=1e-3)


def test_a_single_particle_has_neither_mass_nor_subjettiness():
    values = substructure(jets_of([(500, 1.0, 3.0)]))
    assert [values[name][0] for name in ("tau1", "tau2", "tau3", "soft_drop_mass_gev")] == pytest.approx(
        [0] * 4, abs=1e-6
    )
    assert np.isnan(values["tau21"][0]) and values["soft_drop_mass_gev"][0] >= 0


def test_substructure_does_not_depend_on_direction_or_neighbours():
    """Turned around the beam, over φ = π, and boosted along it; alone or among others."""
    random = np.random.default_rng(2)
    pt, eta, phi = random.exponential(20, 20) + 1, random.normal(0, 0.2, 20), random.normal(0, 0.2, 20)
    jet, turned = ([*zip(pt, eta + shift, phi + turn, strict=True)] for shift, turn in ((0, 0), (0.7, 3.0)))
    both = substructure(jets_of(jet, [(400, 0, 0), (100, 0, 0.3)], turned))
    alone = substructure(jets_of(jet))
    for name in names():
        assert both[name][[0, 2]] == pytest.approx([alone[name][0]] * 2, rel=1e-4)


def test_no_jets_have_no_values_and_a_jet_without_particles_is_refused():
    assert {name: len(values) for name, values in substructure(jets_of()).items()} == dict.fromkeys(names(), 0)
    with pytest.raises(JetError, match="jet 1: has no constituents, expected at least 1"):
        substructure(jets_of([(400, 0, 0)], []))


def test_fastjet_does_not_print_its_banner(capfd):
    substructure(jets_of([(400, 0, 0)]))
    assert capfd.readouterr().out == ""
