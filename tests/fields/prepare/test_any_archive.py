"""An archive in any calendar, order, type, units and names: prepared and added to, it holds the values of its inputs, or is one line."""

import shutil

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statecast.fields.prepare import PrepareError, append, prepare, read_spec
from statecast.fields.sources import StoreError, open_fields

FEW = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
STEPS, LAT, LON, LEVELS = 24, np.array([-60.0, -20.0, 20.0, 60.0]), np.arange(0, 360, 60.0), np.array([500.0, 850.0])
CELSIUS = {"K": 0.0, "kelvin": 0.0, "degC": 273.15, "celsius": 273.15}
PRESSURE = {"hPa": 1.0, "Pa": 100.0, "millibar": 1.0}
forms = st.fixed_dictionaries(
    {
        "calendar": st.sampled_from(["standard", "noleap", "360_day", "all_leap", "julian"]),
        "freq": st.sampled_from(["3h", "D", "MS"]),
        "since": st.sampled_from(["hours since 1850-01-01", "days since 1979-01-01 12:00", "seconds since 1970-01-01"]),
        "order": st.permutations(["time", "level", "lat", "lon"]),
        "names": st.sampled_from(
            [("time", "lev", "lat", "lon"), ("valid_time", "pressure_level", "latitude", "longitude")]
        ),
        "north_first": st.booleans(),
        "turn": st.sampled_from([0, 180]),
        "rounding": st.sampled_from([0.0, 1e-6]),
        "units": st.sampled_from(sorted(CELSIUS)),
        "pressure": st.sampled_from(sorted(PRESSURE)),
        "dtype": st.sampled_from(["f4", "f8", "i2"]),
        "kind": st.sampled_from(["nc", "zarr2", "zarr3"]),
    }
)


def _made(calendar: str, freq: str) -> xr.Dataset:
    """The truth: temperatures in K, with a gap of one value."""
    times = xr.date_range("1999-12-01", periods=STEPS, freq=freq, calendar=calendar, use_cftime=True)
    values = np.random.default_rng(0).normal(250, 10, (STEPS, 2, 4, 6)).round(2)
    values[3, 0, 0, 0] = np.nan
    return xr.Dataset({"t": (("time", "level", "lat", "lon"), values)}, {"time": times, "level": LEVELS, "lat": LAT, "lon": LON})  # fmt: skip


def _write(truth: xr.Dataset, path, form: dict) -> None:
    there = truth.assign(t=(truth.t - CELSIUS[form["units"]]).assign_attrs(units=form["units"]))
    lon = (LON + form["turn"]) % 360 - form["turn"] + form["rounding"]
    there = there.assign_coords(
        level=("level", LEVELS * PRESSURE[form["pressure"]], {"units": form["pressure"], "standard_name": "air_pressure"}),
        lat=("lat", LAT + form["rounding"], {"units": "degrees_north"}),
        lon=("lon", lon, {"units": "degrees_east"}),
    )  # fmt: skip
    there = there.sortby("lat", ascending=not form["north_first"]).sortby("lon").transpose(*form["order"])
    time, level, lat, lon_name = form["names"]
    there = there.rename({"time": time, "level": level, "lat": lat, "lon": lon_name})
    there[time].encoding = {"units": form["since"], "calendar": form["calendar"], "dtype": "f8"}
    there[time].attrs["standard_name"] = "time"
    packing = {"scale_factor": 0.01, "add_offset": 250.0 - CELSIUS[form["units"]], "_FillValue": -32768}
    encoding = {"t": {"dtype": form["dtype"], **(packing if form["dtype"] == "i2" else {})}}
    if form["kind"] == "nc":
        there.to_netcdf(path, encoding=encoding)
    else:
        there.to_zarr(path, zarr_format=int(form["kind"][-1]), consolidated=False, encoding=encoding)


@FEW
@given(form=forms, other=forms, cut=st.integers(2, STEPS - 2))
def test_what_is_prepared_and_added_holds_the_values_of_the_inputs(tmp_path_factory, form, other, cut):
    folder = tmp_path_factory.mktemp("any")
    truth = _made(form["calendar"], form["freq"])
    for name, part, of in (("a", truth.isel(time=slice(cut)), form), ("b", truth.isel(time=slice(cut, None)), other | {"calendar": form["calendar"]})):  # fmt: skip
        _write(part, folder / f"{name}.{of['kind']}", of)
    spec = {"source": {"paths": [str(folder / f"a.{form['kind']}")]}, "variables": {"t": {"units": "K"}}}
    store = prepare(read_spec(spec), folder / "out.zarr")
    assert append(store, [str(folder / f"b.{other['kind']}")]) == STEPS - cut
    found = open_fields(store)
    assert [str(time)[:19].replace("T", " ") for time in found.time.values] == [str(time) for time in truth.time.values]
    assert found.t.attrs["units"] == "K" and found.level.values.tolist() == LEVELS.tolist()
    np.testing.assert_allclose(found.t, truth.t, atol=2e-2 if "i2" in (form["dtype"], other["dtype"]) else 1e-3)
    np.testing.assert_array_equal(np.isnan(found.t), np.isnan(truth.t))
    raw = xr.open_zarr(store, decode_times=False)["time"]
    assert cftime.num2date(0, raw.units, raw.calendar).year == 1970 and raw.standard_name == "time"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """One archive in each kind of file, in small chunks."""
    folder = tmp_path_factory.mktemp("inputs")
    truth = _made("standard", "D").drop_isel(time=3).chunk(time=4)
    for kind in (2, 3):
        truth.to_zarr(folder / f"in.zarr{kind}", zarr_format=kind, consolidated=False)
    truth.to_netcdf(folder / "in.nc", encoding={"t": {"zlib": True, "chunksizes": (4, 2, 4, 6)}})
    return folder, truth.load()


@FEW
@given(data=st.data())
def test_a_damaged_archive_is_prepared_as_it_was_or_refused_in_one_line(inputs, tmp_path_factory, data):
    """Any file of it cut off, emptied, overwritten or gone: its values, missing values where it says so, or one line."""
    folder, truth = inputs
    work = tmp_path_factory.mktemp("damaged")
    name = data.draw(st.sampled_from(["in.nc", "in.zarr2", "in.zarr3"]))
    copy = shutil.copy if name.endswith("nc") else shutil.copytree
    given = work / name
    copy(folder / name, given)
    files = sorted(p for p in given.rglob("*") if p.is_file()) or [given]
    file = data.draw(st.sampled_from(files))
    content, how = file.read_bytes(), data.draw(st.sampled_from(["cut", "empty", "over", "gone"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if how == "gone" and file is not given:
        file.unlink()
    else:
        file.write_bytes({"cut": content[:at], "empty": b"", "gone": b""}.get(how, content[:at] + b"\xff\x00" * 8 + content[at + 16 :]))  # fmt: skip
    try:
        store = prepare(read_spec({"source": {"paths": [str(given)]}}), work / "out.zarr")
    except (PrepareError, StoreError) as error:
        assert "\n" not in str(error) and len(str(error)) < 600, error
        assert not (work / "out.zarr").exists()
        return
    found = open_fields(store)
    if how == "over":  # bytes that are no values, such as those of an attribute, or values without a checksum
        return
    assert found.sizes["time"] <= truth.sizes["time"]
    same = found.t.values == truth.t.sel(time=found.time).transpose(*found.t.dims).values.astype("f4")
    assert (same | np.isnan(found.t.values)).all()
