"""The parametrised detector: helices, resolutions, efficiencies and cells as their formulas say."""

import numpy as np
import pytest

from statecast.particles.jets import PARTICLE_KINDS
from statecast.particles.sources import detector
from statecast.particles.sources.detector import (
    CHARGED_HADRON,
    ELECTRON,
    MASS_GEV,
    MUON,
    NEUTRAL_HADRON,
    PHOTON,
    ecal_resolution,
    hcal_resolution,
    impact_parameters,
    kinds_of,
    measure,
)

MANY = 40_000


def generated(count, pt, eta, kind, phi=0.3, charge=0.0, event=0):
    values = {"pt_gev": pt, "eta": eta, "phi": phi, "mass_gev": MASS_GEV[kind], "charge": charge}
    columns = {name: np.broadcast_to(np.asarray(value, float), count).copy() for name, value in values.items()}
    whole = {"kind": np.full(count, kind, np.int8), "event": np.broadcast_to(event, count).copy()}
    return columns | whole


def measured(particles, seed=0):
    count = len(particles["pt_gev"])
    return measure(particles, np.zeros((3, count)), np.random.default_rng(seed))


def test_kinds_follow_the_pdg_codes():
    pdg = np.array([211, -321, 2112, 130, 22, 11, -13, 2212])
    charge = np.array([1.0, -1, 0, 0, 0, -1, 1, 1])
    kinds = [PARTICLE_KINDS[kind] for kind in kinds_of(pdg, charge)]
    assert kinds == [
        "charged hadron",
        "charged hadron",
        "neutral hadron",
        "neutral hadron",
        "photon",
        "electron",
        "muon",
        "charged hadron",
    ]


@pytest.mark.parametrize("charge", [1.0, -1.0])
def test_a_track_from_the_beam_line_has_no_d0_and_the_z_of_its_vertex(charge):
    track = generated(3, [0.5, 5, 50], [-1.0, 0.0, 2.0], CHARGED_HADRON, [0, 2, -3], charge)
    d0, dz = impact_parameters(np.array([[0.0] * 3, [0.0] * 3, [1.0, -2.0, 3.0]]), track)
    assert d0 == pytest.approx([0] * 3, abs=1e-9) and dz == pytest.approx([1, -2, 3])


def test_impact_parameters_of_a_straight_track_are_distances_to_a_line():
    x, y, z, phi, eta = 3.0, -1.0, 2.0, 0.8, 1.2
    d0, dz = impact_parameters(np.array([[x], [y], [z]]), generated(1, 1e7, eta, CHARGED_HADRON, phi, 1.0))
    assert d0[0] == pytest.approx(y * np.cos(phi) - x * np.sin(phi), rel=1e-5)
    assert dz[0] == pytest.approx(z - (x * np.cos(phi) + y * np.sin(phi)) * np.sinh(eta), abs=1e-4)


@pytest.mark.parametrize("charge", [1.0, -1.0])
def test_impact_parameters_are_the_same_at_every_point_of_the_helix(charge):
    """dφ/ds = -q / R and dz/ds = sinh η along the path: integrated in small steps."""
    pt, eta, phi, radius = 0.8, 0.7, 2.9, 1000 * 0.8 / (0.3 * 3.8)
    point, step = np.array([1.0, 2.0, 3.0]), 0.001
    before = impact_parameters(point[:, None], generated(1, pt, eta, CHARGED_HADRON, phi, charge))
    for _ in range(8000):
        middle = phi - charge * step / 2 / radius
        point = point + step * np.array([np.cos(middle), np.sin(middle), np.sinh(eta)])
        phi -= charge * step / radius
    after = impact_parameters(point[:, None], generated(1, pt, eta, CHARGED_HADRON, phi, charge))
    assert np.ravel(after) == pytest.approx(np.ravel(before), abs=1e-4)
    assert abs(before[0][0]) > 1


@pytest.mark.parametrize(
    ("kind", "pt", "eta", "efficiency", "resolution"),
    [
        (CHARGED_HADRON, 0.8, 0.2, 0.70, 0.010),
        (CHARGED_HADRON, 20.0, -1.0, 0.95, np.hypot(0.015, 2.5e-4 * 20)),
        (CHARGED_HADRON, 20.0, 2.0, 0.85, np.hypot(0.025, 5.5e-4 * 20)),
        (ELECTRON, 200.0, 0.2, 0.99, np.hypot(0.03, 1.3e-3 * 200)),
        (ELECTRON, 50.0, 2.0, 0.83, np.hypot(0.15, 3.1e-3 * 50)),
        (MUON, 50.0, 1.0, 0.99, np.hypot(0.015, 1.5e-4 * 50)),
    ],
)
def test_tracks_are_found_and_smeared_as_the_card_says(kind, pt, eta, efficiency, resolution):
    events = np.arange(MANY)
    seen = measured(generated(MANY, pt, eta, kind, charge=1.0, event=events))
    tracks = seen["charge"] != 0
    assert tracks.sum() / MANY == pytest.approx(efficiency, abs=0.01)
    assert seen["pt_gev"][tracks].mean() == pytest.approx(pt, rel=5 * resolution / np.sqrt(MANY))
    assert seen["pt_gev"][tracks].std() == pytest.approx(resolution * pt, rel=0.03)
    assert set(seen["kind"][tracks]) == {kind}


def test_impact_parameters_scatter_by_the_errors_of_the_cms_tracker():
    """The abstract of arXiv:1405.6569: 25 to 90 µm transverse, 45 to 150 µm longitudinal between 10 and 1 GeV."""
    for pt, d0, dz in ((1.0001, 0.090, 0.150), (10.0, 0.025, 0.045)):
        seen = measured(generated(MANY, pt, 0.1, MUON, charge=-1.0, event=np.arange(MANY)))
        tracks = seen["charge"] != 0
        assert seen["d0_mm"][tracks].std() == pytest.approx(d0, rel=0.03)
        assert seen["dz_mm"][tracks].std() == pytest.approx(dz, rel=0.03)
        assert seen["d0_error_mm"][tracks].mean() == pytest.approx(d0, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "energy", "eta", "resolution"),
    [
        (PHOTON, 50.0, 0.5, (1 + 0.64 * 0.25) * np.sqrt(0.4**2 + 0.11**2 * 50 + 0.4**2)),
        (PHOTON, 50.0, 2.3, (2.16 + 5.6 * 0.09) * np.sqrt(0.4**2 + 0.11**2 * 50 + 0.4**2)),
        (NEUTRAL_HADRON, 100.0, 1.0, np.sqrt(5**2 + 1.5**2 * 100)),
    ],
)
def test_calorimeters_smear_energy_as_the_card_says(kind, energy, eta, resolution):
    formula = ecal_resolution if kind == PHOTON else hcal_resolution
    assert formula(np.array([energy]), np.array([eta]))[0] == pytest.approx(resolution)
    seen = measured(generated(MANY, energy / np.cosh(eta), eta, kind, event=np.arange(MANY)))
    energies = seen["pt_gev"] * np.cosh(seen["eta"])
    assert len(energies) == MANY and set(seen["kind"]) == {kind}
    assert energies.mean() == pytest.approx(energy, rel=0.01)
    assert energies.std() == pytest.approx(resolution, rel=0.05)
    assert np.isnan(seen["d0_mm"]).all() and not seen["charge"].any() and not seen["mass_gev"].any()


def test_photons_in_one_cell_are_measured_as_one_and_those_in_another_event_are_not():
    pair = generated(3, 40.0, [0.501, 0.502, 0.501], PHOTON, [0.100, 0.101, 0.100], event=[0, 0, 1])
    seen = measured(pair)
    assert seen["event"].tolist() == [0, 1]
    energies = seen["pt_gev"] * np.cosh(seen["eta"])
    assert energies == pytest.approx([80 * np.cosh(0.5), 40 * np.cosh(0.5)], rel=0.1)
    assert np.abs(seen["eta"] - 0.5).max() < 0.0174 and np.abs(seen["phi"] - 0.1).max() < np.pi / 180


def test_directions_in_the_calorimeter_are_spread_over_the_cell_and_not_beyond():
    photons = measured(generated(MANY, 50.0, -0.013, PHOTON, np.pi - 1e-3, event=np.arange(MANY)))
    assert photons["eta"].min() >= -0.0174 and photons["eta"].max() <= 0
    assert photons["eta"].std() == pytest.approx(0.0174 / np.sqrt(12), rel=0.02)
    assert photons["phi"].min() >= np.pi - np.pi / 180 - 1e-9
    hadrons = measured(generated(MANY, 50.0, 2.0, NEUTRAL_HADRON, event=np.arange(MANY)))
    assert hadrons["eta"].std() == pytest.approx(2 * 0.087 / np.sqrt(12), rel=0.02)


def test_charged_hadrons_without_a_track_arrive_in_the_hadronic_calorimeter_where_their_helix_leads(monkeypatch):
    """At R = 1.29 m the azimuth of a positive particle has turned by -asin(1.29 · 0.3 · 3.8 / (2 pT)); below 0.735 GeV it curls up."""
    monkeypatch.setattr(detector, "track_efficiency", lambda particles: np.zeros(len(particles["pt_gev"])))
    both = generated(2, 20.0, 0.5, CHARGED_HADRON, 0.3, [1.0, -1.0], event=[0, 1])
    entered = detector._at_the_calorimeter(both)
    turn = np.arcsin(1.29 * 0.3 * 3.8 / 40)
    assert entered["phi"] == pytest.approx([0.3 - turn, 0.3 + turn])
    seen = measured(generated(MANY, 20.0, 0.5, CHARGED_HADRON, charge=1.0, event=np.arange(MANY)))
    assert set(seen["kind"]) == {NEUTRAL_HADRON} and len(seen["kind"]) > 0.9 * MANY
    assert not len(measured(generated(100, 0.73, 0.0, ELECTRON, charge=1.0, event=np.arange(100)))["kind"])
    assert not len(measured(generated(100, 50.0, 0.0, MUON, charge=1.0, event=np.arange(100)))["kind"])


def test_nothing_is_measured_outside_the_acceptance_or_below_the_thresholds():
    for particles in (
        generated(1000, 50.0, 3.01, PHOTON),
        generated(1000, 50.0, 2.51, MUON, charge=1.0),
        generated(1000, 0.05, 0.0, CHARGED_HADRON, charge=1.0),
    ):
        assert not len(measured(particles)["kind"])
    for kind, energy, least in ((PHOTON, 0.6, 0.5), (NEUTRAL_HADRON, 2.0, 1.5**2)):  # E > 0.5 GeV; E > 1.5 √E
        faint = measured(generated(MANY, energy, 0.0, kind, event=np.arange(MANY)))
        energies = faint["pt_gev"] * np.cosh(faint["eta"])
        assert 0 < len(energies) < MANY
        assert least < energies.min() < 1.02 * least


def test_a_measurement_depends_on_the_generator_alone():
    particles = generated(500, 5.0, np.linspace(-2, 2, 500), PHOTON, event=np.repeat([0, 1], 250))
    one, same, other = measured(particles, 1), measured(particles, 1), measured(particles, 2)
    assert (one["pt_gev"] == same["pt_gev"]).all() and not np.array_equal(one["pt_gev"], other["pt_gev"])
