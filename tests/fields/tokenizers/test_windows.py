"""Windows: whole domains, and neighbourhoods whose centres are uniform on the sphere."""

import numpy as np
import pytest
from scipy.stats import chisquare

from statecast.fields.sources import Grid
from statecast.fields.tokenizers import Windows, WindowSampler, window_around
from statecast.fields.tokenizers.windows import same_size, smallest_domain, whole_domain

GLOBAL = Grid(np.linspace(-85, 85, 18), np.arange(36) * 10.0)
WITH_POLES = Grid(np.linspace(-90, 90, 19), np.arange(36) * 10.0)
REGIONAL = Grid(np.linspace(30, 60, 7), np.linspace(100, 150, 11))


def drawn(grid, extent, count=200, starts=(0, 3, 4), seed=0):
    sampler = WindowSampler(grid, np.array(starts), 6, extent)
    generator = np.random.default_rng(seed)
    return [sampler.draw(generator) for _ in range(count)]


@pytest.mark.parametrize("grid", [GLOBAL, WITH_POLES, REGIONAL], ids=["global", "with poles", "regional"])
def test_centres_are_uniform_on_the_sphere(grid):
    places = drawn(grid, (1, 1), count=6000)
    rows = np.bincount([p.rows.start for p in places], minlength=grid.shape[0])
    columns = np.bincount([p.columns[0] for p in places], minlength=grid.shape[1])
    area = grid.cell_area.sum(axis=1) / grid.cell_area.sum()
    assert chisquare(rows, area * len(places)).pvalue > 0.01
    assert chisquare(columns).pvalue > 0.01
    assert chisquare(rows).pvalue < 1e-6  # not uniform in latitude: the test can tell


def test_every_start_is_drawn_as_often():
    starts = [p.start for p in drawn(GLOBAL, None, count=3000)]
    assert set(starts) == {0, 3, 4}
    assert chisquare(np.bincount(starts)[[0, 3, 4]]).pvalue > 0.01


@pytest.mark.parametrize("grid", [GLOBAL, WITH_POLES, REGIONAL], ids=["global", "with poles", "regional"])
@pytest.mark.parametrize("extent", [(5, 4), (4, 7), (7, 11)])
def test_windows_have_the_extent_and_never_cross_a_pole(grid, extent):
    places = drawn(grid, extent)
    for place in places:
        assert place.steps == 6 and place.rows.stop - place.rows.start == extent[0]
        assert place.rows.start >= 0 and place.rows.stop <= grid.shape[0]
        assert len(np.unique(place.columns)) == extent[1]
        assert place.columns.min() >= 0 and place.columns.max() < grid.shape[1]
    assert {p.rows.start for p in places} >= {0, grid.shape[0] - extent[0]}  # both edges are reached


def test_columns_run_across_the_date_line_if_the_grid_goes_round_the_globe():
    places = drawn(GLOBAL, (3, 8))
    assert all(((np.diff(p.columns) % 36) == 1).all() for p in places)
    assert any((np.diff(p.columns) < 0).any() for p in places)


def test_columns_of_a_region_never_jump():
    assert all((np.diff(p.columns) == 1).all() for p in drawn(REGIONAL, (3, 8)))


def test_without_extent_the_window_is_the_whole_domain():
    place = drawn(REGIONAL, None)[0]
    expected = whole_domain(REGIONAL, place.start, 6)
    assert place.rows == expected.rows == slice(0, 7)
    np.testing.assert_array_equal(place.columns, np.arange(11))


def test_an_extent_as_large_as_the_grid_is_allowed():
    assert all(p.rows == slice(0, 18) and len(p.columns) == 36 for p in drawn(GLOBAL, (18, 36), count=20))


@pytest.mark.parametrize("extent", [(19, 4), (4, 37)])
def test_an_extent_larger_than_the_grid_is_refused(extent):
    with pytest.raises(ValueError, match=r"exceeds the grid of \[18, 36\] points. Choose a smaller one"):
        WindowSampler(GLOBAL, np.arange(3), 6, extent)


def test_equal_generators_draw_equal_windows():
    for a, b in zip(drawn(GLOBAL, (5, 4), seed=7), drawn(GLOBAL, (5, 4), seed=7), strict=True):
        assert (a.start, a.rows) == (b.start, b.rows) and (a.columns == b.columns).all()


@pytest.mark.parametrize("extent", [(4, 6), (6, 36), (2, 2)])
def test_a_window_on_a_finer_grid_lies_around_the_same_centre_and_covers_as_many_degrees(extent):
    fine = Grid(np.linspace(-88.75, 88.75, 72), np.arange(144) * 2.5)
    sizes = set()
    for place in drawn(GLOBAL, extent, count=50):
        there = window_around(place, GLOBAL, fine, same_size(extent, GLOBAL, fine, (1, 4, 4)))
        rows, columns = fine.lat[there.rows], fine.lon[there.columns]
        sizes.add((len(rows), len(columns)))
        assert (there.start, there.steps) == (place.start, place.steps)
        assert abs(rows.mean() - GLOBAL.lat[place.rows].mean()) <= 1.25  # half a fine row
        if extent[1] < 36:
            east, west = np.deg2rad(GLOBAL.lon[place.columns]), np.deg2rad(columns)
            turn = np.angle(np.exp(1j * east).sum() * np.exp(-1j * west).sum())
            assert abs(np.rad2deg(turn)) < 3
    assert sizes == {(4 * extent[0], min(4 * extent[1], 144))}


def test_a_window_on_a_region_ends_at_its_edge_and_the_whole_goes_with_the_whole():
    fine = Grid(np.linspace(31, 59, 57), np.linspace(101, 149, 97))
    for place in drawn(REGIONAL, (3, 3), count=40):
        there = window_around(place, REGIONAL, fine, same_size((3, 3), REGIONAL, fine, (1, 5, 5)))
        assert there.rows.stop - there.rows.start == 30 and np.diff(there.columns).tolist() == [1] * 29
        assert there.rows.start >= 0 and there.columns[-1] < 97
    assert window_around(whole_domain(REGIONAL, 3, 6), REGIONAL, fine, fine.shape).rows == slice(0, 57)


def test_windows_are_drawn_on_the_grid_that_covers_the_least():
    assert smallest_domain({"a": GLOBAL, "b": REGIONAL}) == "b"
    assert smallest_domain({"a": WITH_POLES, "b": GLOBAL}) == "a"
    windows = Windows.of((4, 6), {"a": GLOBAL, "b": REGIONAL}, {"a": (1, 1, 1), "b": (1, 2, 2)})
    assert windows.drawn_on == "b"
    assert windows.shapes == {"a": (4, 6), "b": (6, 10)}  # 40 and 60 degrees of 5; its 11 columns hold five tokens
