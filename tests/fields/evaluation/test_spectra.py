"""Spectra: a wave has its power where it belongs, and Parseval's theorem holds."""

import numpy as np
import pytest

from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.sources import Grid

GLOBAL = Grid(np.linspace(-85, 85, 18), np.arange(36) * 10.0)
REGION = Grid(np.linspace(31, 59, 8), np.linspace(-30, 56, 24))


def test_a_wave_round_the_globe_has_all_of_its_power_at_its_wavenumber():
    field = np.broadcast_to(3.0 * np.cos(np.deg2rad(5 * GLOBAL.lon)) + 100.0, GLOBAL.shape)
    power = zonal_power(field, GLOBAL)
    assert power[4] == pytest.approx(3.0**2 * 36 / 4) and np.delete(power, 4).max() < 1e-9


def test_power_sums_to_the_variance_of_noise():
    noise = np.random.default_rng(0).standard_normal((400, *REGION.shape))
    power = zonal_power(noise, REGION).mean(axis=0)
    assert 2 * power[:-1].sum() / 24 + power[-1] / 24 == pytest.approx(1.0, rel=0.06)  # less the mean of each row


def test_rows_with_missing_values_count_for_nothing():
    noise = np.random.default_rng(0).standard_normal(REGION.shape)
    gappy = noise.copy()
    gappy[3, 5] = np.nan
    rest = Grid(REGION.lat, REGION.lon)
    area = rest.cell_area.sum(axis=1)
    rows = np.stack([zonal_power(np.where(np.arange(8)[:, None] == r, noise, np.nan), REGION) for r in range(8)])
    kept = np.delete(np.arange(8), 3)
    np.testing.assert_allclose(zonal_power(gappy, REGION), (area[kept, None] * rows[kept]).sum(0) / area[kept].sum())
    assert np.isnan(zonal_power(np.full(REGION.shape, np.nan), REGION)).all()
