"""Members as states: closed forms of the scores, and balances of physics."""

import numpy as np
import pytest

from statecast.fields.evaluation.states import (
    EARTH_RADIUS_M,
    ROTATION_PER_S,
    ageostrophic_wind,
    area_means,
    energy_score,
    neighbour_differences,
    short_power,
    state_scores,
    variogram_score,
)
from statecast.fields.sources import Grid

GLOBE = Grid(np.linspace(-87.5, 87.5, 36), np.arange(0.0, 360.0, 5.0))
REGION = Grid(np.arange(30.0, 60.0, 2.5), np.arange(-10.0, 20.0, 2.5))


def test_area_means_keep_the_global_mean_and_weigh_by_area():
    fields = np.random.default_rng(0).standard_normal((3, *GLOBE.shape))
    means, area = area_means(fields, GLOBE)
    assert means.shape == (3, 9, 18)
    assert area.sum() == pytest.approx(GLOBE.cell_area.sum())
    np.testing.assert_allclose(
        (means * area).sum((-1, -2)), (fields * GLOBE.cell_area).sum((-1, -2)), rtol=1e-9, atol=1e-9
    )


def test_the_mean_of_an_area_leaves_out_what_is_missing():
    fields = np.ones(REGION.shape)
    fields[0, 0], fields[:, -1] = np.nan, 7.0
    means, _ = area_means(fields, REGION)
    assert means[0, 0] == 1
    assert np.isnan(area_means(np.full(REGION.shape, np.nan), REGION)[0]).all()


def test_differences_go_round_the_globe_and_end_at_the_edge_of_a_region():
    lon = np.broadcast_to(np.sin(np.deg2rad(GLOBE.lon)), GLOBE.shape)
    expected = np.sin(np.deg2rad(GLOBE.lon + 5)) - np.sin(np.deg2rad(GLOBE.lon))
    np.testing.assert_allclose(neighbour_differences(lon, GLOBE)[3], expected, atol=1e-12)
    assert np.isnan(neighbour_differences(np.ones(REGION.shape), REGION)[:, -1]).all()


def test_a_geostrophic_wind_leaves_nothing():
    lat, lon = np.deg2rad(GLOBE.lat)[:, None], np.deg2rad(GLOBE.lon)[None]
    geopotential = 1e4 * np.sin(lat) ** 2 * np.ones_like(lon)
    coriolis = 2 * ROTATION_PER_S * np.sin(lat)
    eastward = -2e4 * np.sin(lat) * np.cos(lat) / EARTH_RADIUS_M / coriolis * np.ones_like(lon)
    rest, other = ageostrophic_wind(eastward, np.zeros_like(eastward), geopotential, GLOBE)
    assert np.nanmax(np.abs(rest)) < 0.01 * np.nanmax(np.abs(eastward))
    assert np.nanmax(np.abs(other)) < 1e-9
    assert np.isnan(rest[np.abs(GLOBE.lat) < 20]).all() and np.isfinite(rest[5]).all()


def test_the_wind_across_a_wave_balances_its_eastward_gradient():
    lat, lon = np.deg2rad(GLOBE.lat)[:, None], np.deg2rad(GLOBE.lon)[None]
    geopotential = 1e3 * np.cos(2 * lon) * np.ones_like(lat)
    slope = -2e3 * np.sin(2 * lon) / (EARTH_RADIUS_M * np.cos(lat))
    northward = slope / (2 * ROTATION_PER_S * np.sin(lat))
    _, rest = ageostrophic_wind(np.zeros_like(northward), northward, geopotential, GLOBE)
    middle = np.abs(GLOBE.lat) > 25
    assert np.nanmax(np.abs(rest[middle])) < 0.02 * np.abs(northward[middle]).max()


def test_the_energy_score_of_one_member_is_its_rmse_and_of_fields_of_one_value_the_crps():
    random = np.random.default_rng(1)
    members, truth = random.standard_normal((5, 2, *REGION.shape)), random.standard_normal((2, *REGION.shape))
    weight = REGION.cell_area / REGION.cell_area.sum()
    rmse = np.sqrt(((members[0] - truth) ** 2 * weight).sum((-1, -2)))
    np.testing.assert_allclose(energy_score(members[:1], truth, REGION.cell_area), rmse)
    flat = np.broadcast_to(random.standard_normal((5, 1, 1)), (5, *REGION.shape))
    numbers = flat[:, 0, 0]
    pairs = np.abs(numbers[:, None] - numbers[None]).sum() / (2 * 5 * 4)
    expected = np.abs(numbers - 0.3).mean() - pairs
    np.testing.assert_allclose(energy_score(flat, np.full(REGION.shape, 0.3), REGION.cell_area), expected)


def test_the_variogram_score_tells_rough_members_from_smooth_ones():
    lon = np.deg2rad(GLOBE.lon)
    truth = np.broadcast_to(np.sin(3 * lon), GLOBE.shape)
    smooth = np.stack([np.broadcast_to(np.sin(3 * lon + 0.1 * k), GLOBE.shape) for k in range(6)])
    rough = smooth + 0.5 * np.random.default_rng(2).standard_normal(smooth.shape)
    assert variogram_score(truth[None], truth, GLOBE) == pytest.approx(0, abs=1e-12)
    assert variogram_score(rough, truth, GLOBE) > 5 * variogram_score(smooth, truth, GLOBE)


def test_short_power_is_that_of_short_waves_alone():
    lon = np.deg2rad(GLOBE.lon)
    long, short = (np.broadcast_to(np.sin(k * lon), GLOBE.shape) for k in (3, 30))
    assert short_power(long, GLOBE) == pytest.approx(0, abs=1e-20)
    means = {"power_of_members": short_power(2 * short, GLOBE), "power_of_truth": short_power(short, GLOBE)}
    assert state_scores(means, 2)["short_power"] == pytest.approx(4)
