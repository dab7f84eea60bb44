"""Grids: equal values at equal places, whatever the order, rounding, origin and names of the coordinates; and what is no grid."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statecast.fields.sources import StoreError, open_fields, open_stores

SOME = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TIME = np.datetime64("2000-01-01", "ns") + np.arange(2) * np.timedelta64(6, "h")
ROUNDING = st.floats(-1e-5, 1e-5)
LAT = {"units": "degrees_north", "standard_name": "latitude"}
LON = {"units": "degrees_east", "standard_name": "longitude"}


def one_line(store) -> str:
    with pytest.raises(StoreError) as error:
        open_fields(store)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    return str(error.value)


def field(lat, lon) -> np.ndarray:
    """A number for each place and time, the same whatever the turn of the globe that a longitude counts."""
    places = 1000 * np.round(lat, 2)[:, None] + np.round(lon % 360, 2)[None]
    return np.stack([places, places + 0.5])


@st.composite
def grids(draw) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the globe or of a region, which may lie across Greenwich or the date line."""
    rows, columns = draw(st.integers(2, 6)), draw(st.integers(3, 8))
    if draw(st.booleans()):
        return np.linspace(-90, 90, rows), np.arange(columns) * 360 / columns
    spacing = draw(st.sampled_from([0.1, 0.25, 2.5]))
    south, west = draw(st.integers(-80, 60)), draw(st.integers(-180, 179))
    return south + spacing * np.arange(rows), west + spacing * np.arange(columns)


@SOME
@given(
    grids(),
    ROUNDING,
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([0, 180]),
    st.sampled_from([("lat", "lon"), ("latitude", "longitude"), ("y", "x"), ("breite", "laenge")]),
    st.permutations(["time", "lat", "lon"]),
    st.randoms(use_true_random=False),
)
def test_values_stay_at_their_places(tmp_path_factory, grid, rounding, dtype, turn, names, order, shuffle):
    lat, lon = grid
    stored_lon = (lon + turn) % 360 - turn  # from 0, or from -180
    rows, columns = list(range(len(lat))), list(range(len(lon)))
    shuffle.shuffle(rows), shuffle.shuffle(columns)
    coords = {
        "time": TIME,
        "lat": ("lat", (lat + rounding).astype(dtype), LAT),
        "lon": ("lon", (stored_lon + rounding).astype(dtype), LON),
    }
    store = xr.Dataset({"t": (("time", "lat", "lon"), field(lat, lon), {"units": "K"})}, coords)
    path = tmp_path_factory.mktemp("grid") / "store.nc"
    stored = store.isel(lat=rows, lon=columns).transpose(*order).rename(lat=names[0], lon=names[1])
    stored.to_netcdf(path)
    with open_fields(path) as opened:
        assert opened.sizes == {"time": 2, "lat": len(lat), "lon": len(lon)}
        assert (np.diff(opened.lat) > 0).all() and (np.diff(opened.lon) > 0).all() and abs(opened.lat).max() <= 90
        np.testing.assert_array_equal(
            opened["t"].transpose("time", "lat", "lon"), field(*(opened[n].values.round(2) for n in ("lat", "lon")))
        )


@SOME
@given(grids(), ROUNDING, st.sampled_from([np.float32, np.float64]), st.booleans())
def test_stores_whose_points_differ_by_rounding_share_them(grid, rounding, dtype, is_reversed):
    lat, lon = grid
    one = xr.Dataset({"a": (("time", "lat", "lon"), field(lat, lon))}, {"time": TIME, "lat": lat, "lon": lon})
    two = one.rename(a="b").assign_coords(
        lat=(lat + rounding).astype(dtype), lon=((lon + rounding) % 360).astype(dtype)
    )
    two = two.isel(lat=slice(None, None, -1)) if is_reversed else two
    for axis, attributes in (("lat", LAT), ("lon", LON)):
        one[axis].attrs = two[axis].attrs = attributes
    stores = open_stores(one, ["one", "two"], {"two": two})
    merged = xr.merge([stores["one"], stores["two"]])
    assert merged.sizes == {"time": 2, "lat": len(lat), "lon": len(lon)}
    np.testing.assert_array_equal(
        merged["a"].transpose("time", "lat", "lon"), merged["b"].transpose("time", "lat", "lon")
    )


def test_streams_on_grids_half_a_cell_apart_keep_theirs(make_store):
    store = make_store(steps=2)
    stores = open_stores(store, ["one", "two"], {"two": store.assign_coords(lon=("lon", store.lon.values + 7.5, LON))})
    assert stores["two"].lon.values[0] == 7.5 and stores["one"].lon.values[0] == 0


@SOME
@given(
    st.sampled_from(
        [
            (
                "rlat",
                "rlon",
                {"standard_name": "grid_latitude", "units": "degrees"},
                {"standard_name": "grid_longitude", "units": "degrees"},
            ),
            ("lat", "lon", {"standard_name": "grid_latitude"}, {"standard_name": "grid_longitude"}),
            (
                "y",
                "x",
                {"standard_name": "projection_y_coordinate", "units": "km"},
                {"standard_name": "projection_x_coordinate", "units": "km"},
            ),
            ("lat", "lon", {"units": "km"}, {"units": "km"}),
            ("lat", "lon", {"units": "m"}, {"units": "m"}),
            ("lat", "lon", {"units": "degrees_south"}, LON),
            ("lat", "lon", LAT, {"units": "degrees_west"}),
            ("lat", "lon", {"units": "degrees_east"}, {"units": "degrees_north"}),
            ("y", "x", {}, {}),
            ("y", "x", {"units": "degrees"}, {"units": "degrees"}),
            ("lat", "lon", {"units": "1"}, {"units": "1"}),
        ]
    ),
    st.floats(0.5, 3.0),
)
def test_coordinates_of_other_grids_are_no_degrees(make_store, kind, spacing):
    lat, lon, of_lat, of_lon = kind
    store = make_store(steps=1, lat=spacing * np.arange(-5.0, 6.0), lon=spacing * np.arange(-4.0, 5.0))
    store["lat"].attrs, store["lon"].attrs = of_lat, of_lon
    one_line(store.rename({k: v for k, v in (("lat", lat), ("lon", lon)) if k != v}))


def test_a_grid_mapping_says_that_plain_names_may_lie(make_store):
    store = make_store(steps=1, lat=np.arange(-5.0, 6.0), lon=np.arange(-4.0, 5.0))
    store["lat"].attrs = store["lon"].attrs = {}
    assert open_fields(store).sizes["lat"] == 11
    rotated = store.assign(pole=((), 0, {"grid_mapping_name": "rotated_latitude_longitude"}))
    assert "has the grid mapping rotated_latitude_longitude" in one_line(rotated)
    plain = store.assign(crs=((), 0, {"grid_mapping_name": "latitude_longitude"}))
    assert open_fields(plain).sizes["lat"] == 11


@pytest.mark.parametrize("first", [0, 1])
def test_row_numbers_are_no_degrees(make_store, first):
    store = make_store(steps=1, lat=first + np.arange(8), lon=first + np.arange(12))
    assert open_fields(store).sizes["lat"] == 8  # its attributes say so
    store["lat"].attrs = store["lon"].attrs = {}
    assert "counts rows or columns" in one_line(store)


def test_radians_are_converted(make_store):
    store = make_store(steps=1)
    in_radians = store.assign_coords(
        {
            n: (n, np.deg2rad(store[n].values), {"units": "radian", "standard_name": s})
            for n, s in (("lat", "latitude"), ("lon", "longitude"))
        }
    )
    opened = open_fields(in_radians)
    np.testing.assert_allclose(opened.lat, store.lat)
    np.testing.assert_allclose(opened.lon, store.lon, atol=1e-9)


@pytest.mark.parametrize("dimension", ["station", "time"])
def test_stations_and_tracks_are_no_grid(dimension):
    size = 2 if dimension == "time" else 5
    dims = ("time",) if dimension == "time" else ("time", "station")
    table = xr.Dataset(
        {"t": (dims, np.zeros((2, 5)[: len(dims)]))},
        {
            "time": TIME,
            "lat": (dimension, np.linspace(40, 50, size), LAT),
            "lon": (dimension, np.linspace(5, 9, size), LON),
        },
    )
    assert f"both lie along '{dimension}'" in one_line(table)


@pytest.mark.parametrize(
    "lon", [np.arange(12) * 1000.0, np.arange(12) * 60.0, np.append(np.arange(11) * 360 / 11, 359.99999)]
)
def test_longitudes_of_more_than_one_turn_or_twice_the_same_are_refused(make_store, lon):
    one_line(make_store(steps=1, lon=lon))
