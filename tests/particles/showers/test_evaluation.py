"""Scores of generated showers, against closed forms and against what is known by construction."""

import numpy as np
import pytest

from statecast.particles.showers.evaluation.baselines import independent_voxels, nearest_showers
from statecast.particles.showers.evaluation.classifier import voxel_auc
from statecast.particles.showers.evaluation.generation import mean_wasserstein, separation_power
from statecast.particles.showers.evaluation.observables import kind_of, observables
from statecast.particles.showers.geometry import read_geometry
from statecast.particles.showers.sources.files import Showers, open_showers


@pytest.fixture(scope="module")
def showers(tiny):
    return open_showers(tiny / "showers.hdf5").read()


@pytest.fixture(scope="module")
def geometry(tiny):
    return read_geometry(tiny / "tiny.xml", "electron")


def test_observables_of_two_voxels_are_known(geometry):
    voxels = np.zeros((1, 24))
    voxels[0, 8], voxels[0, 12] = 30.0, 10.0  # layer 1, ring 0, opposite alphas: radius 10 mm at -135° and 45°
    found = observables(Showers(np.array([100.0]), voxels), geometry)
    assert found["response"][0] == pytest.approx(0.4) and found["energy_1"][0] == pytest.approx(0.4)
    assert found["sparsity"][0] == pytest.approx(22 / 24) and found["sparsity_1"][0] == pytest.approx(6 / 8)
    assert found["centre_x_1"][0] == pytest.approx(-5 / np.sqrt(2)) and found["radius_1"][0] == pytest.approx(10)
    assert found["width_y_1"][0] == pytest.approx(np.sqrt(50 - 12.5))
    assert found["centre_x_0"][0] == found["width_x_0"][0] == 0
    assert kind_of("centre_x_12") == "centre_x" and kind_of("response") == "response"


def test_separation_power_has_its_closed_forms():
    values = np.arange(100.0)
    assert separation_power(values, values)[0] == 0
    assert separation_power(values, values + 1000)[0] == pytest.approx(
        0.5 * (0.98 + 0.98**2 / 1.02)
    )  # all in the last bin
    half = np.concatenate([values[:50], values[:50]])  # ½ (25 bins of 0.02²/0.06 + 25 bins of 0.02)
    assert separation_power(values, half)[0] == pytest.approx(0.5 * (25 * 0.02**2 / 0.06 + 25 * 0.02))


def test_wasserstein_distances_are_in_standard_deviations():
    truth = {"response": np.arange(100.0)}
    score = mean_wasserstein("shifted", truth, {"response": truth["response"] + 10})
    assert score.value == pytest.approx(10 / truth["response"].std())


def test_baselines_take_showers_of_similar_energy(showers):
    energies = showers.incident_mev[:50] * 1.0001
    nearest = nearest_showers(showers, energies)
    np.testing.assert_allclose(nearest.voxels_mev, showers.voxels_mev[:50] * 1.0001, rtol=1e-5)
    independent = independent_voxels(showers, energies, np.random.default_rng(0))
    ratio = independent.voxels_mev.sum() / nearest.voxels_mev.sum()
    assert ratio == pytest.approx(1, abs=0.1) and not np.array_equal(independent.voxels_mev, nearest.voxels_mev)


def test_a_classifier_finds_what_differs_and_nothing_else(showers):
    one, other = showers[::2], showers[1::2]
    assert abs(voxel_auc(one, other, epochs=3)[0] - 0.5) < 0.25
    changed = Showers(other.incident_mev, np.roll(other.voxels_mev, 1, axis=1))
    value, signal, background = voxel_auc(one, changed, epochs=3)
    assert value > 0.95 and signal == background == 24
