"""Pressure levels and sea-level pressure against the standard atmosphere and closed forms."""

import numpy as np
import pytest

from statecast.fields.sources.pressure_levels import (
    GAS_CONSTANT,
    GRAVITY,
    Column,
    on_pressure_levels,
    sea_level_pressure,
)

SIGMA = np.array([0.025, 0.095, 0.2, 0.34, 0.51, 0.685, 0.835, 0.95])[:, None, None]


def column(t, z, ps, phis):
    p = SIGMA * ps
    ramp = np.linspace(1.0, 8.0, 8)[:, None, None] * np.ones_like(ps)
    return Column(p, t(p), ramp, -ramp, np.zeros_like(p), z(p), ps, phis)


def standard_atmosphere(height_m):
    """288.15 K and 1013.25 hPa at sea level, 6.5 K per km, in closed form at every pressure; ground at `height_m`."""
    x = 0.0065 * GAS_CONSTANT / GRAVITY
    temperature = lambda p: 288.15 * (p / 101325.0) ** x  # noqa: E731
    geopotential = lambda p: (288.15 - temperature(p)) * GRAVITY / 0.0065  # noqa: E731
    height = np.array([height_m])[:, None]
    ps = 101325.0 * (1 - 0.0065 * height / 288.15) ** (1 / x)
    return column(temperature, geopotential, ps, GRAVITY * height), temperature, geopotential


def test_levels_of_a_column_linear_in_log_pressure_have_their_closed_form():
    slope, at_1000 = 40.0, 280.0  # T = a + b ln(p / p0), so phi = -R (a ln(p / p0) + b ln(p / p0)² / 2)
    temperature = lambda p: at_1000 + slope * np.log(p / 1e5)  # noqa: E731
    geopotential = lambda p: -GAS_CONSTANT * (at_1000 * np.log(p / 1e5) + slope * np.log(p / 1e5) ** 2 / 2)  # noqa: E731
    levels_hpa = [100.0, 300.0, 500.0, 510.0, 850.0]
    found = on_pressure_levels(column(temperature, geopotential, np.full((2, 3), 1e5), np.zeros((2, 3))), levels_hpa)
    for i, level_hpa in enumerate(levels_hpa):
        np.testing.assert_allclose(found["t"][i], temperature(level_hpa * 100), rtol=1e-12)
        np.testing.assert_allclose(found["z"][i], geopotential(level_hpa * 100), rtol=1e-12)
    assert found["t"].shape == (5, 2, 3)


def test_a_level_on_a_layer_has_the_values_of_the_layer():
    atmosphere, _, _ = standard_atmosphere(0.0)
    found = on_pressure_levels(atmosphere, [float(atmosphere.p[4, 0, 0]) / 100])
    for name in "tuvqz":
        np.testing.assert_allclose(found[name][0], getattr(atmosphere, name)[4], rtol=1e-12)


def test_below_the_ground_the_standard_atmosphere_goes_on():
    atmosphere, temperature, geopotential = standard_atmosphere(3000.0)  # its ground is at 701 hPa
    found = on_pressure_levels(atmosphere, [850.0, 1000.0])
    np.testing.assert_allclose(found["t"].ravel(), temperature(np.array([85e3, 100e3])), rtol=1e-9)
    np.testing.assert_allclose(found["z"].ravel(), geopotential(np.array([85e3, 100e3])), rtol=1e-9)
    assert (found["u"] == 8.0).all() and (found["v"] == -8.0).all()  # as in the lowest layer


def test_geopotential_meets_that_of_the_ground_at_the_ground():
    atmosphere, _, _ = standard_atmosphere(1000.0)
    found = on_pressure_levels(atmosphere, [float(atmosphere.ps[0, 0]) / 100])
    np.testing.assert_allclose(found["z"][0], GRAVITY * 1000.0, rtol=1e-9)


@pytest.mark.parametrize("height_m", [-200.0, 0.0, 500.0, 1500.0, 4000.0])
def test_sea_level_pressure_of_the_standard_atmosphere_is_its_own(height_m):
    atmosphere, _, _ = standard_atmosphere(height_m)
    np.testing.assert_allclose(sea_level_pressure(atmosphere), 101325.0, rtol=1.5e-3)


def test_sea_level_pressure_over_the_sea_is_the_surface_pressure():
    atmosphere, _, _ = standard_atmosphere(0.0)
    np.testing.assert_array_equal(sea_level_pressure(atmosphere), atmosphere.ps)
