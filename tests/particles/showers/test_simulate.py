"""The parametrised showers: their physics, and a file that depends on neither cores nor interruptions."""

import numpy as np
import pytest
from scipy.integrate import quad

from statecast.particles.showers.geometry import Layer, ShowerError, read_geometry
from statecast.particles.showers.sources import simulate
from statecast.particles.showers.sources.files import open_showers
from statecast.particles.showers.sources.profile import (
    CRITICAL_GEV,
    MOLIERE_MM,
    Calorimeter,
    draw_profiles,
    draw_showers,
    in_layers,
    inside,
)
from statecast.particles.showers.sources.simulate import simulate_showers


def test_constants_are_those_of_lead_tungstate():  # Particle Data Group: Molière radius 19.6 mm, critical energy 9.6 MeV
    assert pytest.approx(20, rel=0.1) == MOLIERE_MM and pytest.approx(9.2e-3, rel=0.1) == CRITICAL_GEV


def test_the_depth_of_the_maximum_grows_with_the_logarithm_of_the_energy():
    random = np.random.default_rng(0)
    depths = [np.median(draw_profiles(np.full(4000, e), random).t) for e in (10.0, 100.0)]
    assert depths[0] == pytest.approx(np.log(10 / CRITICAL_GEV) - 0.812, rel=0.01)
    assert depths[1] - depths[0] == pytest.approx(np.log(10), rel=0.05)


def test_shares_of_layers_are_integrals_of_the_gamma_density():
    alpha, t = np.array([4.0]), np.array([6.0])
    beta = (alpha[0] - 1) / t[0]
    expected = quad(lambda x: beta * (beta * x) ** 3 * np.exp(-beta * x) / 6, 2, 5)[0]  # Gamma(4) = 6
    assert in_layers(alpha, t, np.array([2.0, 5.0]))[0, 0] == pytest.approx(expected)


def test_rings_hold_the_integral_of_the_radial_profile():
    whole = inside(Layer((0.0, 1e7), 1), np.array([0.5, 1.5]), np.array([10.0, 10.0]))
    np.testing.assert_allclose(whole, 1, rtol=1e-6)
    parts = inside(Layer((0.0, 5.0, 20.0, 1e7), 1), np.array([1.0]), np.array([10.0]))
    assert parts.sum() == pytest.approx(1) and (parts > 0).all()


def test_energy_is_conserved_and_fluctuates_as_the_sampling_says():
    geometry, random = read_geometry("small"), np.random.default_rng(1)
    wide = type(geometry)("electron", tuple(Layer((0.0, 1e6), 8) for _ in geometry.layers))
    energy = np.full(1500, 20.0)
    response = draw_showers(energy, wide, Calorimeter(depth_x0=60, threshold_mev=0), random).sum(axis=1) / 20_000
    assert response.mean() == pytest.approx(1, abs=0.003)
    assert response.std() == pytest.approx(0.1 / np.sqrt(20), rel=0.1)


def test_showers_are_round_and_faint_voxels_are_zero():
    geometry = read_geometry("small")
    voxels = draw_showers(np.full(500, 5.0), geometry, Calorimeter(threshold_mev=1.0), np.random.default_rng(2))
    of_alphas = voxels.reshape(-1, *geometry.shape).sum(axis=(0, 1, 3))
    assert of_alphas.std() / of_alphas.mean() < 0.03
    assert voxels[voxels > 0].min() >= 1.0 and (voxels == 0).any()


@pytest.fixture
def blocks(monkeypatch):
    monkeypatch.setattr(simulate, "BLOCK_SHOWERS", 10)


def made(path, tiny, **options):
    said = {"showers": 25, "geometry": tiny / "one.xml", "workers": 1, "progress": False}
    (tiny / "one.xml").write_text(read_geometry(tiny / "tiny.xml", "electron").xml())
    return simulate_showers(path, **{**said, **options})


def test_a_file_depends_on_its_options_alone(blocks, tiny, tmp_path, monkeypatch):
    whole = open_showers(made(tmp_path / "whole.h5", tiny)).read()
    assert np.unique(whole.incident_mev).size == 25
    few = open_showers(made(tmp_path / "few.h5", tiny, showers=15)).read()
    assert (few.voxels_mev == whole.voxels_mev[:15]).all()
    other = open_showers(made(tmp_path / "other.h5", tiny, seed=1)).read()
    assert not np.isin(other.incident_mev, whole.incident_mev).any()

    write = simulate.ShowerOptions.write

    def killed(self, block, path):
        if block.number == 1:
            raise KeyboardInterrupt
        write(self, block, path)

    monkeypatch.setattr(simulate.ShowerOptions, "write", killed)
    with pytest.raises(InterruptedError, match="10 of 25 showers"):
        made(tmp_path / "killed.h5", tiny)
    monkeypatch.setattr(simulate.ShowerOptions, "write", write)
    assert (open_showers(made(tmp_path / "killed.h5", tiny)).read().voxels_mev == whole.voxels_mev).all()
    assert not list(tmp_path.glob("*.unfinished"))
    with pytest.raises(ValueError, match="was made with seed 0"):
        made(tmp_path / "killed.h5", tiny, seed=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"showers": 0}, "showers is 0"),
        ({"energy_gev": (0.001, 1.0)}, "energy is 0.001 to 1 GeV"),
        ({"energy_gev": (10.0, 1.0)}, "energy is 10 to 1 GeV"),
        ({"calorimeter": Calorimeter(depth_x0=0)}, "depth is 0"),
        ({"calorimeter": Calorimeter(stochastic=2)}, "stochastic is 2"),
        ({"geometry": "none"}, "neither an XML file nor"),
    ],
)
def test_options_out_of_range_are_refused(tiny, tmp_path, options, message):
    with pytest.raises(ShowerError, match=message):
        made(tmp_path / "out.h5", tiny, **options)
    assert not list(tmp_path.iterdir())
