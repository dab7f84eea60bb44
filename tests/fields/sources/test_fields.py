"""Stores, whatever their coordinates are called, ordered and measured in."""

import re

import cftime
import numpy as np
import pytest
import xarray as xr

from statecast.fields.samples import SAMPLES, sample_path
from statecast.fields.sources import StoreError, open_fields


def refused(store, pattern: str) -> str:
    """The message of the StoreError that opening `store` raises: one line that matches `pattern`."""
    with pytest.raises(StoreError, match=pattern) as error:
        open_fields(store)
    message = str(error.value)
    assert "\n" not in message and message.endswith((".", ")."))
    return message


def assert_same(opened: xr.Dataset, original: xr.Dataset) -> None:
    for name in ("t", "msl"):
        np.testing.assert_array_equal(opened[name].transpose(*original[name].dims).values, original[name].values)
    for axis in ("time", "level", "lat", "lon"):
        np.testing.assert_array_equal(opened[axis].values, original[axis].values)


def test_a_store_under_standard_names_is_left_as_it_is(make_store):
    store = make_store(steps=3)
    assert_same(open_fields(store), store)
    assert_same(open_fields(open_fields(store)), store)


@pytest.mark.parametrize("kind", ["zarr 3", "zarr 2", "zarr 2 unconsolidated", "netcdf"])
def test_zarr_2_zarr_3_and_netcdf_hold_the_same(make_store, tmp_path, kind):
    store = make_store(steps=3)
    path = tmp_path / ("store.nc" if kind == "netcdf" else "store.zarr")
    if kind == "netcdf":
        store.to_netcdf(path)
    else:
        store.to_zarr(path, zarr_format=int(kind.split()[1]), consolidated=kind == "zarr 2")
    opened = open_fields(path)
    assert_same(opened, store)
    assert_same(open_fields(str(path)), store)
    opened.close()


def test_opening_reads_no_field(make_store, tmp_path):
    make_store(steps=3).to_zarr(tmp_path / "store.zarr", zarr_format=3, consolidated=False)
    for chunk in (tmp_path / "store.zarr" / "t" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    assert open_fields(tmp_path / "store.zarr")["t"].shape == (3, 3, 12, 24)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_open(name):
    assert sample_path(name).exists()
    assert {"time", "lat", "lon"} <= set(open_fields(name).dims)


def test_latitude_may_run_either_way(make_store):
    store = make_store(steps=2)
    assert_same(open_fields(store.isel(lat=slice(None, None, -1))), store)


def test_values_stay_with_their_coordinates_when_rows_times_and_levels_are_shuffled(make_store):
    store = make_store(steps=5)
    shuffled = store.isel(lat=[3, 1, *range(4, 12), 0, 2], time=[4, 0, 2, 1, 3], level=[2, 0, 1])
    assert_same(open_fields(shuffled), store)


def test_longitude_may_run_from_minus_180(make_store):
    store = make_store(steps=2)
    turned = store.assign_coords(lon=(store.lon + 180) % 360 - 180).sortby("lon")
    assert turned.lon[0] == -180
    assert_same(open_fields(turned), store)


def test_a_region_across_greenwich_stays_in_one_piece(make_store):
    lon = np.array([-20.0, -10, 0, 10, 20, 30])
    store = make_store(steps=2, lon=lon)
    assert_same(open_fields(store), store)
    assert_same(open_fields(store.assign_coords(lon=lon % 360)), store)
    assert_same(open_fields(store.assign_coords(lon=lon % 360).sortby("lon")), store)


def test_a_region_across_the_date_line_counts_on_beyond_180(make_store):
    lon = np.array([160.0, 170, 180, 190, 200])
    store = make_store(steps=2, lon=(lon + 180) % 360 - 180)
    np.testing.assert_array_equal(open_fields(store).lon, lon)
    np.testing.assert_array_equal(open_fields(store)["t"], store["t"])


@pytest.mark.parametrize(("units", "factor"), [("Pa", 100.0), ("hPa", 1.0), ("millibar", 1.0), ("", 100.0), ("", 1.0)])
def test_levels_are_brought_to_hpa(make_store, units, factor):
    store = make_store(steps=2)
    attributes = {"units": units} if units else {}
    opened = open_fields(store.assign_coords(level=("level", store.level.values * factor, attributes)))
    np.testing.assert_array_equal(opened.level, [500, 700, 850])
    assert opened.level.attrs["units"] == "hPa"


def test_one_level_that_is_no_dimension_becomes_one(make_store):
    opened = open_fields(make_store(steps=2).isel(level=1)[["t", "u"]])
    assert opened["t"].sizes["level"] == 1
    assert opened.level.values.tolist() == [700]


def test_one_time_that_is_no_dimension_becomes_one(make_store):
    assert open_fields(make_store(steps=2).isel(time=1)).sizes["time"] == 1


def test_coordinates_are_found_by_their_attributes_under_odd_names(make_store):
    store = make_store(steps=3)
    odd = store.rename(lat="breite", lon="laenge", level="druck", time="zeit")
    odd["zeit"].attrs["standard_name"] = "time"
    assert_same(open_fields(odd), store)


def test_pressure_is_found_by_its_units_alone(make_store):
    store = make_store(steps=2).rename(level="p")
    store["p"].attrs = {"units": "hPa"}
    assert open_fields(store).sizes["level"] == 3


def test_coordinates_are_found_by_usual_names_without_attributes(make_store):
    store = make_store(steps=2)
    bare = store.rename(lat="latitude", lon="longitude", level="plev", time="valid_time")
    for axis in ("latitude", "longitude", "plev"):
        bare[axis].attrs = {}
    assert_same(open_fields(bare), store)


def test_coordinates_along_dimensions_of_another_name_are_found(make_store):
    """lat(y), lon(x), and valid_time(time) beside time: what several archives deliver."""
    store = make_store(steps=2)
    named = store.swap_dims(lat="y", lon="x")
    named = named.assign_coords(valid_time=("time", store.time.values, {"standard_name": "time"}))
    named["time"].attrs = {"standard_name": "forecast_reference_time"}
    assert_same(open_fields(named), store)


def test_a_height_is_not_taken_for_a_pressure_level(make_store):
    store = make_store(steps=2)[["msl"]]
    opened = open_fields(store.assign_coords(height=((), 2.0, {"standard_name": "height", "units": "m", "axis": "Z"})))
    assert "level" not in opened.coords


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_other_calendars_are_kept(make_store, tmp_path, calendar):
    store = make_store(steps=8, start="2001-02-27", calendar=calendar)
    store.to_zarr(tmp_path / "store.zarr", zarr_format=3, consolidated=False)
    opened = open_fields(tmp_path / "store.zarr")
    assert opened.time.dt.calendar == calendar
    assert isinstance(opened.time.values[0], cftime.datetime)
    np.testing.assert_array_equal(opened.time.values, store.time.values)


def test_no_store_is_refused(tmp_path):
    message = refused(tmp_path / "absent.zarr", "does not exist")
    assert "absent.zarr" in message and "sample:atmosphere" in message


def test_an_unknown_sample_is_refused():
    assert "sample:storm1996" in refused("sample:ocean", "no such sample")


def test_a_directory_that_is_no_store_is_refused(tmp_path):
    assert str(tmp_path) in refused(tmp_path, "cannot be read as a Zarr store")


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no field\nat all")
    refused(tmp_path / "notes.txt", "cannot be read as a NetCDF file")


def test_curvilinear_latitudes_are_refused(make_store):
    store = make_store(steps=2)
    lat, lon = xr.broadcast(store.lat, store.lon)
    curved = store.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    curved = curved.assign_coords(lat=(("y", "x"), lat.values), lon=(("y", "x"), lon.values))
    curved["lat"].attrs, curved["lon"].attrs = store.lat.attrs, store.lon.attrs
    assert "Regrid" in refused(curved, "lat 'lat' has 2 dimensions, expected 1")
    curved["lat"].attrs, curved["lon"].attrs = {}, {}
    refused(curved, "lat 'lat' has 2 dimensions, expected 1")


@pytest.mark.parametrize("axis", ["time", "lat", "lon"])
def test_a_missing_coordinate_is_refused(make_store, axis):
    """A dimension without values is none: row numbers are no latitudes."""
    message = refused(make_store(steps=2).drop_vars(axis), f"found no {axis} among its coordinates")
    assert "standard_name" in message


def test_numbers_are_no_times(make_store):
    refused(make_store(steps=2).assign_coords(time=[0, 6]), "time holds int64 instead of times, expected units")


def test_metres_are_no_latitudes(make_store):
    refused(make_store(steps=2, lat=np.arange(12) * 1000.0), "lat runs from 0 to 11000, expected degrees")


def test_a_rotated_pole_is_not_to_be_renamed(make_store):
    store = make_store(steps=2).rename(lat="rlat", lon="rlon")
    store["rlat"].attrs, store["rlon"].attrs = {"standard_name": "grid_latitude"}, {"standard_name": "grid_longitude"}
    assert "Regrid" in refused(store, "lies on a map or around another pole")


def test_levels_that_are_no_pressure_are_refused(make_store):
    store = make_store(steps=2)
    store["level"].attrs = {"units": "m"}
    assert "Interpolate to pressure" in refused(store, "levels 'level' are in 'm', expected a pressure")


@pytest.mark.parametrize("axis", ["time", "level", "lat", "lon"])
def test_coordinates_that_occur_twice_are_refused(make_store, axis):
    store = make_store(steps=3)
    twice = store.isel({axis: [0, 1, 1, 2]})
    message = refused(twice, f"{axis} contains .* twice, expected each value once")
    assert re.search("Remove the duplicates", message)


def test_a_column_that_is_both_0_and_360_degrees_is_refused(make_store):
    refused(make_store(steps=2, lon=np.linspace(0, 360, 25)), "lon contains 0.0 twice.* a longitude of 360 is 0")
    refused(
        make_store(steps=2, lon=np.append(np.arange(0.0, 345.0, 15), np.nan)), "lon has no value at 1 of 24 positions"
    )


def test_a_store_without_any_time_is_refused(make_store):
    refused(make_store(steps=2).isel(time=slice(0, 0)), "time has no values")
