"""Grids: areas on the sphere."""

import numpy as np
import pytest
from scipy.special import roots_legendre

from statecast.fields.sources import Grid

LON = np.arange(36) * 10.0


def gaussian(rows: int) -> tuple[np.ndarray, np.ndarray]:
    sine, weight = roots_legendre(rows)
    return np.rad2deg(np.arcsin(sine)), weight


@pytest.mark.parametrize(
    "lat",
    [
        np.linspace(-85, 85, 18),
        np.linspace(-90, 90, 19),
        gaussian(32)[0],
        gaussian(4)[0],
        np.linspace(-90, 90, 19).astype(np.float32),
    ],
    ids=["without poles", "with poles", "gaussian", "coarse gaussian", "float32"],
)
@pytest.mark.parametrize("lon", [LON, LON + 5, LON[::18]], ids=["from 0", "from 5", "two columns"])
def test_cell_areas_of_a_global_grid_sum_to_the_sphere(lat, lon):
    area = Grid(lat, lon).cell_area
    assert area.shape == (len(lat), len(lon))
    assert (area > 0).all()
    assert area.sum() == pytest.approx(1, abs=1e-6 if lat.dtype == np.float32 else 1e-12)


def test_cell_areas_of_a_gaussian_grid_are_close_to_the_gauss_legendre_weights():
    lat, weight = gaussian(64)
    area = Grid(lat, LON).cell_area.sum(axis=1)
    np.testing.assert_allclose(area[1:-1], weight[1:-1] / 2, rtol=6e-3)  # rows meet halfway in latitude, not by weight
    np.testing.assert_allclose(area, weight / 2, rtol=0.06)  # the row at the pole differs most


def test_the_area_of_a_regional_cell_is_its_closed_form():
    grid = Grid(np.array([10.0, 20.0, 30.0]), np.array([0.0, 4.0, 8.0]))
    expected = (np.sin(np.deg2rad(25)) - np.sin(np.deg2rad(15))) * np.deg2rad(4) / (4 * np.pi)
    np.testing.assert_allclose(grid.cell_area[1], expected, rtol=1e-12)
    span = (np.sin(np.deg2rad(35)) - np.sin(np.deg2rad(5))) * np.deg2rad(12) / (4 * np.pi)
    assert grid.cell_area.sum() == pytest.approx(span, rel=1e-12)


def test_a_region_that_ends_a_row_from_the_pole_does_not_reach_it():
    area = Grid(np.array([60.0, 70.0, 80.0]), LON).cell_area
    assert area.sum() == pytest.approx((np.sin(np.deg2rad(85)) - np.sin(np.deg2rad(55))) / 2, rel=1e-12)


def test_columns_are_periodic_only_if_they_go_round_the_globe():
    assert Grid(np.zeros(1), LON).is_periodic
    assert Grid(np.zeros(1), (LON + 3).astype(np.float32)).is_periodic
    assert not Grid(np.zeros(1), LON[:-1]).is_periodic
    assert not Grid(np.zeros(1), LON[:1]).is_periodic


def test_spacing_is_that_of_the_rows_and_of_the_columns_if_there_is_one_row():
    assert Grid(np.linspace(-85, 85, 18), LON[::2]).spacing_deg == pytest.approx(10)
    assert Grid(np.zeros(1), LON[::2]).spacing_deg == pytest.approx(20)
    assert Grid(np.zeros(1), np.zeros(1)).spacing_deg == 1.0


def test_a_grid_of_one_point_has_a_cell():
    assert Grid(np.zeros(1), np.zeros(1)).cell_area.item() == pytest.approx(np.deg2rad(1) ** 2 / (4 * np.pi), rel=1e-4)


def box(south: float, north: float, west: float, east: float) -> Grid:
    return Grid(np.arange(south, north + 1, 2.0), np.arange(west, east + 1, 2.0))


EUROPE = box(30, 60, -10, 40)


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [
        (EUROPE, True),
        (Grid(np.linspace(-85, 85, 18), LON), True),
        (Grid(np.linspace(-85, -35, 6), LON), False),
        (box(40, 50, 0, 10), True),
        (box(50, 80, 350, 356), True),  # counted from another turn
        (box(50, 80, 30, 60), True),
        (box(50, 80, 42, 60), False),
        (box(50, 80, 200, 346), False),
        (box(62, 80, 0, 10), False),
        (Grid(np.array([45.0]), np.array([355.0])), True),
        (Grid(np.array([45.0]), np.array([345.0])), False),
    ],
)
def test_grids_overlap_where_their_cells_share_a_place(other, overlaps):
    assert EUROPE.overlaps(other) == overlaps == other.overlaps(EUROPE)
