"""Regridding from any grid, against closed forms and brute force."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import roots_legendre

from statecast.fields.prepare import PrepareError, read_spec
from statecast.fields.prepare.cells import cells_of
from statecast.fields.prepare.regrid import on_latitudes_and_longitudes
from statecast.fields.prepare.weights import weights

LAT, LON = np.arange(-85.0, 90.0, 10.0), np.arange(5.0, 360.0, 10.0)
AREA = np.repeat(np.diff(np.sin(np.deg2rad(np.arange(-90.0, 91.0, 10.0)))), 36) * np.deg2rad(10.0)
POLE = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 40.0,
    "grid_north_pole_longitude": -170.0,
}
STEREO = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 0.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 70.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
}


def _rectilinear():
    return xr.Dataset(coords={"lat": ("lat", np.linspace(90, -90, 37)), "lon": ("lon", np.arange(0, 360, 5.0))})


def _reduced_gaussian():
    rows = np.rad2deg(np.arcsin(roots_legendre(32)[0]))
    counts = [20 + 4 * min(i, 31 - i) for i in range(32)]
    lat = np.repeat(rows, counts)
    lon = np.concatenate([np.arange(n) * 360 / n for n in counts])
    return xr.Dataset(coords={"latitude": ("values", lat), "longitude": ("values", lon)})


def _healpix():
    return xr.Dataset(
        {
            "x": ("cell", np.zeros(12 * 16**2)),
            "crs": ((), 0, {"grid_mapping_name": "healpix", "healpix_order": "nested"}),
        }
    )


def _rotated():
    axis = np.arange(-12.0, 12.0, 0.5)
    y, x = (("rlat", axis, {"standard_name": "grid_latitude"}), ("rlon", axis, {"standard_name": "grid_longitude"}))
    return xr.Dataset({"pole": ((), 0, POLE)}, {"rlat": y, "rlon": x})


def _stereographic():
    axis = np.arange(-4000.0, 4001.0, 100.0)
    y = ("y", axis, {"standard_name": "projection_y_coordinate", "units": "km"})
    return xr.Dataset(
        {"map": ((), 0, STEREO)},
        {"y": y, "x": ("x", axis, {"standard_name": "projection_x_coordinate", "units": "km"})},
    )


def _curvilinear():
    cells = cells_of(_stereographic())
    return xr.Dataset(coords={n: (("y", "x"), a.reshape(81, 81)) for n, a in (("lat", cells.lat), ("lon", cells.lon))})


GLOBAL = [_rectilinear, _reduced_gaussian, _healpix]
AROUND = {
    _rotated: (np.arange(46.0, 55.0), np.arange(5.0, 16.0)),
    _stereographic: (np.arange(61.0, 90.0, 2), np.arange(0.0, 360.0, 6)),
}
AROUND |= {_curvilinear: AROUND[_stereographic]}


def _smooth(lat, lon):
    lat, lon = np.deg2rad(lat), np.deg2rad(lon)
    return 280 + 10 * np.sin(lat) + 5 * np.cos(lat) * np.cos(lon)


def _mean(lat, lon, step):
    """Area means of `_smooth` over cells of `step` degrees, by a finer grid."""
    fine = (np.arange(40) + 0.5) / 40 - 0.5
    y, x = lat[:, None, None, None] + step[0] * fine[:, None], lon[None, :, None, None] + step[1] * fine
    area = np.cos(np.deg2rad(y)) * np.ones_like(x)
    return ((_smooth(y, x) * area).sum((2, 3)) / area.sum((2, 3))).ravel()


@pytest.mark.parametrize("grid", GLOBAL)
def test_conservative_counts_each_cell_once(grid):
    if grid is _healpix:
        pytest.importorskip("healpix")
    pytest.importorskip("shapely")
    cells = cells_of(grid())
    matrix = weights(cells, LAT, LON, "conservative")
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-4)  # each target cell is covered
    counted = matrix.T @ AREA
    np.testing.assert_allclose(counted.sum(), 4 * np.pi, rtol=1e-4)
    if grid is _healpix:
        np.testing.assert_allclose(counted, 4 * np.pi / len(cells.lat), rtol=5e-3)
        assert np.abs(counted / (4 * np.pi / len(cells.lat)) - 1).mean() < 4e-4


@pytest.mark.parametrize("grid", [*GLOBAL, *AROUND])
@pytest.mark.parametrize(("method", "worst"), [("bilinear", 0.05), ("nearest", 0.8), ("conservative", 0.2)])
def test_a_smooth_field_stays_what_it_is(grid, method, worst):
    for package in ("shapely", "pyproj", "healpix"):
        pytest.importorskip(package)
    cells = cells_of(grid())
    lat, lon = AROUND.get(grid, (LAT, LON))
    matrix = weights(cells, lat, lon, method)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-4)
    step = (np.diff(lat)[0], np.diff(lon)[0])
    truth = (
        _mean(lat, lon, step)
        if method == "conservative"
        else _smooth(*(a.ravel() for a in np.meshgrid(lat, lon, indexing="ij")))
    )
    error = np.abs(matrix @ _smooth(cells.lat, cells.lon) - truth)
    assert error.max() < worst


def test_conservative_between_latitude_longitude_grids_is_the_overlap_of_cells():
    source = xr.Dataset(coords={"lat": ("lat", [-45.0, 45.0]), "lon": ("lon", [45.0, 135.0, 225.0, 315.0])})
    matrix = weights(cells_of(source), np.array([0.0]), np.array([0.0]), "conservative").toarray()
    np.testing.assert_allclose(matrix, [[0.25, 0, 0, 0.25, 0.25, 0, 0, 0.25]])  # a cell around (0, 0) meets four


def test_bilinear_is_exact_for_a_linear_field_across_the_date_line():
    source = xr.Dataset(
        coords={"lat": ("lat", np.arange(-80.0, 81.0, 20)), "lon": ("lon", np.arange(-180.0, 180.0, 20))}
    )
    cells = cells_of(source)
    matrix = weights(cells, np.array([13.0]), np.array([175.0, 185.0]), "bilinear")
    np.testing.assert_allclose(matrix @ cells.lat, 13.0)
    np.testing.assert_allclose(
        matrix @ np.cos(np.deg2rad(cells.lon)), np.cos(np.deg2rad(160)) * 0.25 - 0.75, atol=1e-12
    )


@pytest.mark.parametrize("method", ["bilinear", "nearest", "conservative"])
def test_nothing_is_made_up_outside_the_source(method):
    pytest.importorskip("pyproj")
    pytest.importorskip("shapely")
    for lat, lon, share in ((49.5, 10.0, 1.0), (-40.0, 10.0, 0.0), (49.5, 200.0, 0.0)):
        matrix = weights(cells_of(_rotated()), np.array([lat, lat + 0.5]), np.array([lon, lon + 0.5]), method)
        np.testing.assert_allclose(matrix.sum(axis=1), share, atol=1e-6)


def test_missing_values_weigh_nothing_and_too_many_make_a_value_missing():
    lat, lon = np.array([-45.0, 45.0]), np.arange(45.0, 360.0, 90.0)
    values = np.arange(8.0).reshape(1, 2, 4)
    values[0, 0, 1] = np.nan
    dataset = xr.Dataset({"t": (("time", "lat", "lon"), values)}, {"time": [0], "lat": lat, "lon": lon})
    wide = {"method": "conservative", "lat": [-45, 45, 90], "lon": [90, 270, 180]}
    found = on_latitudes_and_longitudes(dataset, read_spec({"grid": {**wide, "valid_share": 0.5}})).t.values
    np.testing.assert_allclose(found[0], [[0.0, 2.5], [4.5, 6.5]])
    found = on_latitudes_and_longitudes(dataset, read_spec({"grid": {**wide, "valid_share": 0.6}})).t.values
    assert np.isnan(found[0, 0, 0])
    assert np.isfinite(found[0]).sum() == 3


def test_cells_without_corners_are_refused_for_conservative():
    rng = np.random.default_rng(0)
    dataset = xr.Dataset(coords={"lat": ("cell", rng.uniform(40, 50, 30)), "lon": ("cell", rng.uniform(0, 10, 30))})
    with pytest.raises(PrepareError, match="corners of the cells"):
        weights(cells_of(dataset), np.array([45.0]), np.array([5.0]), "conservative")


def test_winds_along_the_grid_are_refused_until_they_are_named():
    pytest.importorskip("pyproj")
    dataset = _rotated().assign(u=(("rlat", "rlon"), np.ones((48, 48)), {"standard_name": "grid_eastward_wind"}))
    grid = {"method": "nearest", "lat": [48, 50, 1], "lon": [9, 11, 1]}
    with pytest.raises(PrepareError, match="wind along the axes of the grid"):
        on_latitudes_and_longitudes(dataset, read_spec({"grid": grid}))
