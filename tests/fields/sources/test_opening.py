"""Files, groups, zips, directories and URLs: opened, or refused by what they are."""

import shutil
import sys

import pytest
import xarray as xr

from statecast.fields.sources import StoreError, open_fields, opening
from statecast.fields.sources.describe import describe, recognises


def one_line(store) -> str:
    with pytest.raises(StoreError) as error:
        open_fields(store)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    return str(error.value)


@pytest.mark.parametrize("name", ["imerg.HDF5", "imerg.zarr"])
def test_a_group_is_named_and_opened(make_store, tmp_path, name):
    store, path = make_store(steps=2), tmp_path / name
    if name.endswith("zarr"):
        store.to_zarr(path, group="Grid", zarr_format=3, consolidated=False)
    else:
        store.to_netcdf(path, group="Grid", engine="netcdf4")
    assert f"(/Grid), expected some. Name a group: {path}/Grid" in one_line(path)
    with open_fields(f"{path}/Grid") as opened:
        xr.testing.assert_equal(opened["t"].transpose(*store["t"].dims).load(), store["t"])


def test_dimensions_in_any_order_hold_the_same(make_store, tmp_path):
    store = make_store(steps=2)
    store.transpose("time", "level", "lon", "lat").to_zarr(tmp_path / "store.zarr", zarr_format=2)
    xr.testing.assert_equal(open_fields(tmp_path / "store.zarr")["t"].transpose(*store["t"].dims).load(), store["t"])


def test_a_zipped_store_is_read(make_store, tmp_path):
    store = make_store(steps=2)
    store.to_zarr(tmp_path / "store.zarr", zarr_format=2)
    packed = shutil.make_archive(str(tmp_path / "store.zarr"), "zip", tmp_path / "store.zarr")
    assert recognises(packed)
    xr.testing.assert_equal(open_fields(packed)["t2m"].load(), store["t2m"])


@pytest.mark.parametrize("name", ["data/*.nc", "data", "data/"])
def test_several_files_are_refused_with_the_way_to_make_one_store(make_store, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for month in ("2001-01", "2001-02"):
        make_store(steps=2, start=month).to_netcdf(f"data/{month}.nc")
    assert "statecast data prepare" in one_line(name)


def test_a_directory_of_stores_is_refused(make_store, tmp_path):
    make_store(steps=2).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert f"Give one of them, such as {tmp_path / 'a.zarr'}." in one_line(tmp_path)


def test_a_file_behind_a_url_is_told_for_what_it_is(make_store, tmp_path):
    make_store(steps=2).to_netcdf(tmp_path / "store.nc")
    assert "is a NetCDF file behind a URL" in one_line(f"file://{tmp_path}/store.nc")
    make_store(steps=2).to_zarr(tmp_path / "store.zarr", zarr_format=2)
    assert describe(f"file://{tmp_path}/store.zarr").times.count == 2
    assert "no Zarr group is there" in one_line(f"file://{tmp_path}/nothing.zarr")


def test_grib_names_its_extra(tmp_path, monkeypatch):
    (tmp_path / "store.grib").write_bytes(b"GRIB" + bytes(100))
    monkeypatch.setitem(sys.modules, "cfgrib", None)
    assert recognises(str(tmp_path / "store.grib"))
    assert "pip install 'statecast[grib]'" in one_line(tmp_path / "store.grib")


def test_a_bucket_is_read_anonymously_without_credentials(make_store, monkeypatch):
    store, asked = make_store(steps=2), []

    def remote(url, options, absent, cache):
        asked.append(options)
        if not options:
            raise RuntimeError("Unable to locate credentials")
        return store

    monkeypatch.setattr(opening, "_remote", remote)
    xr.testing.assert_equal(open_fields("s3://bucket/store.zarr"), open_fields(store))
    assert asked == [{}, {"anon": True}]


@pytest.mark.parametrize(
    "error", [PermissionError("Forbidden"), RuntimeError("An error occurred (AccessDenied)\nwhen calling")]
)
def test_a_bucket_that_denies_access_says_what_to_set(monkeypatch, error):
    def remote(url, options, absent, cache):
        raise error

    monkeypatch.setattr(opening, "_remote", remote)
    monkeypatch.setattr(opening, "kind_of", lambda path: "Zarr store")
    message = one_line("s3://bucket/store.zarr")
    assert "access is denied" in message and "FSSPEC_S3_ANON=true" in message


def test_names_that_no_file_system_takes_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "does not exist" in one_line(tmp_path / "loop")
    assert len(one_line("x" * 5000)) < 300


def test_a_coordinate_that_is_damaged_is_one_line(make_store, tmp_path):
    store = make_store(steps=2).swap_dims(lat="y", lon="x")
    store.to_zarr(tmp_path / "store.zarr", zarr_format=3, consolidated=False)
    (tmp_path / "store.zarr" / "lat" / "c" / "0").write_bytes(b"damaged")
    assert "coordinate 'lat' can't be read (Zstd" in one_line(tmp_path / "store.zarr")
