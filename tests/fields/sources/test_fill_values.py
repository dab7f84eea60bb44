"""Zarr's fill values: what was written comes back, and what is not there is missing or an error, never a number."""

from pathlib import Path

import netCDF4
import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from statecast.fields.sources import Record, StoreError, open_fields
from statecast.fields.sources.describe import describe
from statecast.fields.streams import Stream

SOME = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
STEPS, CHUNK = 12, 4
LAT, LON = np.linspace(-60, 60, 4), np.arange(6) * 60.0
NO_COMPRESSION = {"compressors": None}
CODECS = {
    2: [
        NO_COMPRESSION,
        {"compressors": [numcodecs.Blosc()]},
        {"compressors": [numcodecs.Zlib()]},
    ],
    3: [NO_COMPRESSION, {"compressors": [zarr.codecs.BloscCodec()]}, {"compressors": [zarr.codecs.GzipCodec()]}, {}],
}
RAIN = Stream(variables=("tp",))


def write(path: Path, values: np.ndarray, form: int, **options) -> Path:
    """A store as zarr-python writes it, which is told nothing of fill values but what `options` say."""
    root = zarr.open_group(path, mode="w", zarr_format=form)
    arrays = {
        "time": (("time",), np.arange(STEPS) * 6, {"units": "hours since 2000-01-01"}),
        "lat": (("lat",), LAT, {"units": "degrees_north"}),
        "lon": (("lon",), LON, {"units": "degrees_east"}),
        "tp": (("time", "lat", "lon"), values, {"units": "mm"}),
    }
    for name, (dims, data, attributes) in arrays.items():
        named = {"dimension_names": dims} if form == 3 else {}
        chunks = (CHUNK, *data.shape[1:]) if name == "tp" else data.shape
        array = root.create_array(
            name, shape=data.shape, dtype=data.dtype, chunks=chunks, **named, **(options if name == "tp" else {})
        )
        array[...] = data
        array.attrs.update(attributes if form == 3 else {"_ARRAY_DIMENSIONS": list(dims), **attributes})
    return path


def rain(seed: int, dtype) -> np.ndarray:
    """A third of it dry."""
    random = np.random.default_rng(seed)
    values = random.integers(1, 100, (STEPS, len(LAT), len(LON)))
    return np.where(random.random(values.shape) < 1 / 3, 0, values).astype(dtype)


def chunk_of(path: Path, form: int, number: int) -> Path:
    return path / "tp" / (f"{number}.0.0" if form == 2 else f"c/{number}/0/0")


@SOME
@given(
    form=st.sampled_from([2, 3]),
    dtype=st.sampled_from(["f4", "f8", "i2", "u1"]),
    fill=st.sampled_from(["unsaid", None, 0, float("nan"), -9999]),
    seed=st.integers(0, 99),
    gone=st.sampled_from([None, 0, 2]),
)
def test_what_was_written_comes_back_and_a_chunk_that_is_gone_is_no_number(
    tmp_path_factory, form, dtype, fill, seed, gone
):
    is_float = dtype.startswith("f")
    assume(is_float or fill in ("unsaid", 0) or (fill == -9999 and dtype == "i2") or (fill is None and form == 2))
    assume(fill is not None or form == 2)
    values = rain(seed, dtype)
    options = {} if fill == "unsaid" else {"fill_value": fill}
    path = write(tmp_path_factory.mktemp("zarr") / "store.zarr", values, form, **options)
    expected = values.astype(float)
    if gone is not None:
        chunk_of(path, form, gone).unlink()
        expected[gone * CHUNK : (gone + 1) * CHUNK] = np.nan
    opened = open_fields(path)
    assert opened.time.values[0] == np.datetime64("2000-01-01")  # its number is 0
    try:
        read = Record.open(opened, RAIN).in_memory[:, 0]
    except StoreError as error:
        assert (
            gone is not None
            and f"chunk {chunk_of(path, form, gone).relative_to(path / 'tp')} is not in the store" in str(error)
        )
        return
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("form", [2, 3])
def test_a_recipe_can_say_what_chunks_that_are_not_there_mean(tmp_path, form):
    values = rain(0, "f4")
    path = write(tmp_path / "store.zarr", values, form)
    chunk_of(path, form, 1).unlink()
    values[CHUNK : 2 * CHUNK] = 0
    np.testing.assert_array_equal(open_fields(path, absent="fill_value")["tp"], values)
    values[CHUNK : 2 * CHUNK] = np.nan
    np.testing.assert_array_equal(open_fields(path, absent="missing")["tp"], values)
    with pytest.raises(
        StoreError, match=r"chunk .* is not in the store .* data.absent_chunks.* needed at 2000-01-02T00:00:00"
    ):
        Record.open(open_fields(path), RAIN)
    assert describe(str(path)).variables[0].missing == pytest.approx(3 / 8, abs=0.13)


@pytest.mark.parametrize("form", [2, 3])
def test_a_number_that_means_missing_is_masked(tmp_path, form):
    values = rain(1, "f4")
    values[0, 0, 0] = -9999
    path = write(tmp_path / "store.zarr", values, form, fill_value=-9999)
    values[0, 0, 0] = np.nan
    np.testing.assert_array_equal(open_fields(path)["tp"], values)


@pytest.mark.parametrize("form", [2, 3])
def test_a_packed_store_of_xarray_lacks_a_chunk(tmp_path, form):
    store = xr.open_zarr(write(tmp_path / "plain.zarr", rain(2, "f8"), 3), consolidated=False)
    packed = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 200.0, "_FillValue": -32768, "chunks": (CHUNK, 4, 6)}
    store.drop_encoding().to_zarr(
        tmp_path / "store.zarr", zarr_format=form, consolidated=False, encoding={"tp": packed}
    )
    chunk_of(tmp_path / "store.zarr", form, 1).unlink()
    missing = open_fields(tmp_path / "store.zarr")["tp"].isnull().mean(["lat", "lon"])
    assert missing.values.tolist() == [0] * CHUNK + [1] * CHUNK + [0] * CHUNK


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("fill", [0, float("nan")])
def test_describe_tells_chunks_that_are_absent(tmp_path, form, fill):
    path = write(tmp_path / "store.zarr", rain(2, "f8"), form, fill_value=fill)
    whole = str(describe(path))
    chunk_of(path, form, 1).unlink()
    assert "absent" not in whole and "absent chunks of tp are not in the store" in str(describe(path))


@pytest.mark.parametrize("form", [2, 3])
def test_a_packed_chunk_that_is_absent_is_no_zero(tmp_path, form):
    """Of integers without a `_FillValue` nothing can be missing, so the line does not offer it."""
    path = write(tmp_path / "store.zarr", rain(2, "i2"), form)
    root = zarr.open_group(path, mode="r+")
    root["tp"].attrs.update({"add_offset": 5.0, "scale_factor": 0.1} if form == 3 else {})
    chunk_of(path, form, 1).unlink()
    with pytest.raises(StoreError, match=r"absent_chunks \(of a spec: source.absent_chunks\): fill_value \(integers"):
        Record.open(open_fields(path, absent="missing"), RAIN)


@SOME
@given(
    dtype=st.sampled_from(["i2", "u2", "i4", "u4", "f4", "f8"]),
    written=st.integers(1, STEPS - 1),
    seed=st.integers(0, 99),
)
def test_what_was_never_written_packed_or_not_is_missing(tmp_path_factory, dtype, written, seed):
    """Packed integers, and floats, without a `_FillValue`."""
    path = tmp_path_factory.mktemp("nc") / "store.nc"
    values = rain(seed, dtype)
    with netCDF4.Dataset(path, "w") as file:
        for name, of, units in (("time", np.arange(STEPS), "days since 2000-01-01"), ("lat", LAT, "degrees_north"), ("lon", LON, "degrees_east")):  # fmt: skip
            file.createDimension(name, len(of))
            file.createVariable(name, "f8", (name,))[:] = of
            file[name].units = units
        variable = file.createVariable("tp", dtype, ("time", "lat", "lon"))
        variable.set_auto_maskandscale(False)
        if dtype[0] != "f":
            variable.scale_factor = 0.5
        variable[:written] = values[:written]
    with open_fields(path) as opened:
        found = Record.open(opened, RAIN).in_memory[:, 0]
    np.testing.assert_array_equal(found[:written], values[:written] * (1.0 if dtype[0] == "f" else 0.5))
    assert np.isnan(found[written:]).all()


@SOME
@given(form=st.sampled_from([2, 3]), codec=st.integers(0, 3), kept=st.floats(0, 0.99), number=st.integers(0, 2))
def test_a_chunk_that_is_cut_off_is_one_line_with_variable_time_and_chunk(tmp_path_factory, form, codec, kept, number):
    values = rain(3, "f4")
    path = write(
        tmp_path_factory.mktemp("zarr") / "store.zarr", values, form, **CODECS[form][codec % len(CODECS[form])]
    )
    chunk = chunk_of(path, form, number)
    chunk.write_bytes(chunk.read_bytes()[: int(kept * chunk.stat().st_size)])
    with pytest.raises(StoreError) as error:
        Record.open(open_fields(path), RAIN)
    message = str(error.value)
    assert "\n" not in message and "'tp'" in message and f"2000-01-0{1 + number}T00:00:00" in message
    assert f"chunk {number}.0.0" in message or f"chunk c/{number}/0/0" in message


def test_a_damaged_netcdf_file_is_one_line(tmp_path):
    store = xr.open_zarr(write(tmp_path / "plain.zarr", rain(4, "f8"), 3), consolidated=False).load().drop_encoding()
    store.to_netcdf(tmp_path / "store.nc", encoding={"tp": {"zlib": True, "chunksizes": (CHUNK, 4, 6)}})
    damaged = bytearray((tmp_path / "store.nc").read_bytes())
    at = damaged.rindex(b"\x78\x5e")  # where zlib begins a chunk
    damaged[at : at + 20] = bytes(20)
    (tmp_path / "store.nc").write_bytes(damaged)
    with (
        open_fields(tmp_path / "store.nc") as opened,
        pytest.raises(StoreError, match=r"'tp' can't be read at 2000-01-0.*, chunk \d.0.0"),
    ):
        Record.open(opened, RAIN)


def test_what_was_never_written_into_a_netcdf_file_is_missing(make_store, tmp_path):
    store = make_store(steps=4)
    store["t2m"].encoding["_FillValue"] = store["msl"].encoding["_FillValue"] = None
    store["t2m"][2:] = np.float32(9.969209968386869e36)
    store.to_netcdf(tmp_path / "store.nc")
    with open_fields(tmp_path / "store.nc") as opened:
        assert opened["t2m"].isnull().mean(["lat", "lon"]).values.tolist() == [0, 0, 1, 1]
        np.testing.assert_array_equal(opened["msl"], store["msl"])
        assert opened["t2m"].dtype == np.float32 and not opened["t2m"].variable._in_memory
