"""Inputs that would give a wrong store without a word: each is read for what it means, or refused in one line."""

import os
from importlib import import_module

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from statecast.fields.prepare import PrepareError, append, prepare, read_spec
from statecast.fields.prepare.cells import cells_of
from statecast.fields.prepare.fields import fields_of
from statecast.fields.prepare.inputs import open_inputs
from statecast.fields.sources import open_fields

LAT, LON = np.array([-45.0, -15.0, 15.0, 45.0]), np.arange(0.0, 360.0, 60.0)
SHAPE = (8, 4, 6)
ABOUT = {"lat": {"units": "degrees_north"}, "lon": {"units": "degrees_east"}}


def _field(seed: int = 0, mean: float = 280.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 5, SHAPE).astype("f4")


def _record(values: dict[str, np.ndarray], start: str = "2001-01-01", lat=LAT, lon=LON, units: str = "K") -> xr.Dataset:
    times = pd.date_range(start, periods=SHAPE[0], freq="6h")
    coords = {"time": times, "lat": ("lat", lat, ABOUT["lat"]), "lon": ("lon", lon, ABOUT["lon"])}
    return xr.Dataset({n: (("time", "lat", "lon"), v, {"units": units}) for n, v in values.items()}, coords)


def _fields(*paths, **more) -> xr.Dataset:
    spec = read_spec({"source": {"paths": [str(p) for p in paths]} | more.pop("source", {}), **more})
    return fields_of(open_inputs(spec.source, spec.period), spec)


def _zarr_input(tmp_path, version: int, fill: object, name: str = "in.zarr"):
    """Zeros and ones in two chunks along time, of which the second is taken away."""
    path = tmp_path / name
    _record({"rain": np.ones(SHAPE, "f4")}, units="1").chunk(time=4).to_zarr(
        path, zarr_format=version, encoding={"rain": {"_FillValue": fill} if version == 3 else {}}
    )
    group = zarr.open_group(path, mode="r+")
    attributes = dict(group["rain"].attrs)
    del group["rain"]
    names = {"dimension_names": ("time", "lat", "lon")} if version == 3 else {}
    array = group.create_array("rain", shape=SHAPE, chunks=(4, 4, 6), dtype="f4", fill_value=0, **names)
    attributes |= {"_ARRAY_DIMENSIONS": ["time", "lat", "lon"]} if version == 2 else {}
    array.attrs.update({k: v for k, v in attributes.items() if k != "_FillValue"})
    array[:4] = 1.0
    zarr.consolidate_metadata(path, zarr_format=version)
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_a_zarr_chunk_that_is_not_there_is_no_dry_hour(tmp_path, version):
    path = _zarr_input(tmp_path, version, None)
    with pytest.raises(PrepareError, match=r"variable 'rain' cannot be read at time\[4\].*is not in the store"):
        prepare(read_spec({"source": {"paths": [str(path)]}}), tmp_path / "out.zarr")
    found = _fields(path, source={"absent_chunks": "missing"})
    assert np.isnan(found.rain.values[4:]).all() and (found.rain.values[:4] == 1).all()
    assert (_fields(path, source={"absent_chunks": "fill_value"}).rain.values[4:] == 0).all()


def test_what_was_never_written_into_a_netcdf_file_is_missing(tmp_path):
    with netCDF4.Dataset(tmp_path / "in.nc", "w") as file:
        for name, values in (("time", np.arange(8.0)), ("lat", LAT), ("lon", LON)):
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
        file["time"].units, file["lat"].units, file["lon"].units = (
            "hours since 2001-01-01",
            "degrees_north",
            "degrees_east",
        )
        variable = file.createVariable("t2m", "f4", ("time", "lat", "lon"))
        variable.units = "K"
        variable[:6] = 280.0
    found = _fields(tmp_path / "in.nc").t2m.values
    assert np.isnan(found[6:]).all() and (found[:6] == 280).all()


def test_variables_whose_points_differ_by_rounding_or_by_their_order_share_them(tmp_path):
    """float32 beside float64, north first, from -180 on, and times that are off by microseconds."""
    lat, lon = LAT + 0.1, LON + 0.1
    one = _record({"t2m": _field(1)}, lat=lat, lon=lon)
    two = _record({"skt": _field(2)}, lat=lat.astype("f4"), lon=lon.astype("f4"))
    three = _record({"d2m": _field(3)}, lat=lat, lon=lon).sortby("lat", ascending=False)
    three = three.assign_coords(lon=("lon", (three.lon.values + 180) % 360 - 180, ABOUT["lon"])).sortby("lon")
    four = _record({"msl": _field(4)}, lat=lat, lon=lon)
    four["time"] = four.time + np.timedelta64(3, "us") * (np.arange(8) % 2)
    for name, dataset in (("a", one), ("b", two), ("c", three), ("d", four)):
        dataset.to_netcdf(tmp_path / f"{name}.nc")
    found = _fields(tmp_path)
    assert dict(found.sizes) == {"time": 8, "lat": 4, "lon": 6}
    for seed, name in enumerate(("t2m", "skt", "d2m", "msl"), start=1):
        np.testing.assert_array_equal(found[name].values, _field(seed))


def test_parts_of_a_variable_in_another_order_and_in_other_units_are_one(tmp_path):
    _record({"t2m": _field(1)}).to_netcdf(tmp_path / "a.nc")
    later = _record({"t2m": _field(2)}, "2001-01-03", units="kelvin").sortby("lat", ascending=False)
    later.assign_coords(lon=("lon", later.lon.values - 360, ABOUT["lon"])).to_netcdf(tmp_path / "b.nc")
    _record({"t2m": _field(3) - 273.15}, "2001-01-05", units="degC").to_netcdf(tmp_path / "c.nc")
    found = _fields(tmp_path).t2m
    assert found.attrs["units"] == "K"
    np.testing.assert_allclose(found.values, np.concatenate([_field(1), _field(2), _field(3)]), atol=1e-3)


@pytest.mark.parametrize("kept", ["one_file", "one_file_a_level"])
def test_a_single_pressure_is_a_level_and_not_lost(tmp_path, kept):
    for level in (500.0, 850.0) if kept == "one_file_a_level" else (850.0,):
        upper = _record({"t": _field(int(level))}).assign_coords(plev=((), level * 100, {"units": "Pa"}))
        upper.to_netcdf(tmp_path / f"{level:g}.nc")
    found = _fields(tmp_path).t
    assert found.dims == ("time", "level", "lat", "lon")
    np.testing.assert_array_equal(found.sel(level=850).values, _field(850))


def test_a_lead_time_that_is_selected_moves_the_times(tmp_path):
    forecast = xr.concat(
        [_record({"t2m": _field(k)}) for k in (0, 1)], pd.Index(pd.to_timedelta([0, 24], "h"), name="lead")
    )
    forecast = forecast.rename(lead="prediction_timedelta")
    forecast.to_netcdf(tmp_path / "in.nc")
    found = _fields(tmp_path / "in.nc", source={"select": {"prediction_timedelta": 24}})
    assert str(found.time.values[0])[:13] == "2001-01-02T00"
    np.testing.assert_array_equal(found.t2m.values, _field(1))


@pytest.mark.parametrize("has_valid_times", [False, True])
def test_a_single_lead_time_moves_the_times(tmp_path, has_valid_times):
    """Of forecasts as the Climate Data Store has them, with times of two dimensions, and of those without."""
    names = {"time": "forecast_reference_time"} if has_valid_times else {}
    one = _record({"t2m": _field()}).expand_dims(forecast_period=pd.to_timedelta([24], "h")).rename(names)
    if has_valid_times:
        valid = one.forecast_reference_time + one.forecast_period
        one = one.assign_coords(valid_time=valid.assign_attrs(standard_name="time"))
        one["forecast_reference_time"].attrs["standard_name"] = "forecast_reference_time"
    one.to_netcdf(tmp_path / "in.nc")
    found = _fields(tmp_path / "in.nc")
    assert str(found.time.values[0])[:13] == "2001-01-02T00"
    np.testing.assert_array_equal(found.t2m.values, _field())


def test_a_member_that_a_shipped_spec_takes_is_told(tmp_path, capsys):
    xr.concat([_record({"t2m": _field(k)}) for k in (0, 1)], pd.Index([0, 1], name="number")).to_netcdf(
        tmp_path / "in.nc"
    )
    spec = read_spec("era5-cds", (), [str(tmp_path / "in.nc")])
    np.testing.assert_array_equal(fields_of(open_inputs(spec.source), spec).t2m.values, _field(0))
    assert "number 0 is taken, of 0, 1" in capsys.readouterr().err


def _curvilinear(in_time: bool, moving: float = 0.0) -> xr.Dataset:
    """As WRF writes it: places on three dimensions, the times beside a dimension without coordinates."""
    lat = np.linspace(40, 45, 6)[:, None] + 0.02 * np.arange(7)
    lon = np.linspace(5, 11, 7)[None] + 0.03 * np.arange(6)[:, None]
    steps = moving * np.arange(4)[:, None, None]
    places = {"XLAT": lat + steps, "XLONG": lon + steps} if in_time else {"XLAT": lat, "XLONG": lon}
    dims = ("Time", "y", "x") if in_time else ("y", "x")
    values = np.broadcast_to(270 + lat, (4, 6, 7))
    about = {"XLAT": {"units": "degree_north"}, "XLONG": {"units": "degree_east"}}
    return xr.Dataset(
        {
            "T2": (("Time", "y", "x"), values, {"units": "K"}),
            "Times": ("Time", [f"2020-01-01_{h:02}:00:00" for h in range(4)]),
        },
        {n: (dims, v, about[n]) for n, v in places.items()}
        | {"XTIME": ("Time", pd.date_range("2020-01-01", periods=4, freq="h"))},
    )


@pytest.mark.parametrize("in_time", [False, True])
def test_the_output_of_wrf_is_regridded(tmp_path, in_time):
    pytest.importorskip("shapely")
    _curvilinear(in_time).to_netcdf(tmp_path / "in.nc")
    grid = {"method": "bilinear", "lat": [41.0, 44.0, 0.5], "lon": [6.0, 10.0, 0.5]}
    found = _fields(tmp_path / "in.nc", grid=grid, variables=["T2"])
    assert found.time.dt.hour.values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found.T2[0], 270 + np.broadcast_to(found.lat.values[:, None], (7, 9)), atol=0.02)


def test_places_that_move_are_refused(tmp_path):
    _curvilinear(True, moving=0.1).to_netcdf(tmp_path / "in.nc")
    with pytest.raises(PrepareError, match="XLAT changes with time, as in a swath"):
        _fields(tmp_path / "in.nc", grid={"method": "nearest", "spacing": 1.0}, variables=["T2"])


@pytest.mark.parametrize("said", ["a dimension", "featureType", "cf_role"])
def test_stations_are_not_regridded_to_a_field(tmp_path, said):
    dim = "station" if said == "a dimension" else "cell"
    coords = {
        "time": pd.date_range("2001-01-01", periods=3),
        "lat": (dim, LAT, ABOUT["lat"]),
        "lon": (dim, LON[:4], ABOUT["lon"]),
    }
    about = {"cf_role": "timeseries_id"} if said == "cf_role" else {}
    table = xr.Dataset({"t2m": (("time", dim), np.ones((3, 4))), "id": (dim, np.arange(4), about)}, coords)
    table.assign_attrs(featureType="timeSeries" if said == "featureType" else "").to_netcdf(tmp_path / "in.nc")
    with pytest.raises(PrepareError, match="holds stations, profiles or tracks, expected fields"):
        _fields(tmp_path / "in.nc", grid={"method": "nearest", "spacing": 10.0})


@pytest.mark.parametrize(("number", "units"), [(-1000.0, "degC"), (-9999.0, "1"), (1e20, "kg m-2")])
def test_a_number_for_missing_values_is_not_regridded_with_others(tmp_path, number, units):
    values = _field(mean=10.0)
    values[:, 0] = number
    _record({"sst": values}, units=units).to_netcdf(tmp_path / "in.nc")
    with pytest.raises(PrepareError, match=r"'sst' has the value .* expected NaN or a _FillValue"):
        _fields(tmp_path / "in.nc", grid={"method": "bilinear", "spacing": 10.0}).load()


def test_a_table_is_told_to_be_one(tmp_path):
    (tmp_path / "in.csv").write_text("station,time\n")
    with pytest.raises(PrepareError, match="is a table, expected fields"):
        _fields(tmp_path / "in.csv")


def test_model_levels_of_what_is_left_out_do_not_matter(tmp_path):
    record = _record({"t2m": _field()})
    upper = record.t2m.expand_dims(lev=[1.0, 2.0, 3.0]).assign_coords(lev=("lev", [1.0, 2, 3], {"units": "level"}))
    record.assign(t=upper).to_netcdf(tmp_path / "in.nc")
    np.testing.assert_array_equal(_fields(tmp_path / "in.nc", variables=["t2m"]).t2m.values, _field())
    with pytest.raises(PrepareError, match="the inputs: levels 'lev' are in 'level', expected a pressure"):
        _fields(tmp_path / "in.nc")


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_an_input_that_was_written_again_does_not_go_on_with_the_old_one(tmp_path, kind, monkeypatch):
    path = tmp_path / f"in.{kind}"
    spec = read_spec({"source": {"paths": [str(path)]}, "store": {"window": [4, 4, 4], "steps_per_shard": 4}})

    def write(seed: int) -> None:
        record = _record({"t2m": _field(seed)})
        if kind == "zarr":
            record.to_zarr(path, mode="w", zarr_format=3, consolidated=False)
            return
        record.to_netcdf(tmp_path / "new.nc")  # the old file may be open
        (tmp_path / "new.nc").replace(path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    write(0)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(import_module("statecast.fields.prepare.prepare"), "_put_in_place", killed)
        prepare(spec, tmp_path / "out.zarr")
    write(1)
    with pytest.raises(PrepareError, match="was begun with another spec or other inputs"):
        prepare(spec, tmp_path / "out.zarr")


def test_of_two_grid_mappings_that_of_the_map_counts_whatever_their_order():
    rotated = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 39.25,
        "grid_north_pole_longitude": -162.0,
    }
    plain = {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6371229.0, "inverse_flattening": 0.0}
    axes = {
        "rlat": ("rlat", np.linspace(-5, 5, 4), {"standard_name": "grid_latitude", "units": "degrees"}),
        "rlon": ("rlon", np.linspace(-5, 5, 5), {"standard_name": "grid_longitude", "units": "degrees"}),
    }
    found = []
    for names in (("a", "b"), ("b", "a")):
        mappings = {name: ((), 0, rotated if name == "a" else plain) for name in names}
        found.append(cells_of(xr.Dataset({"t": (("rlat", "rlon"), np.zeros((4, 5)))}, {**mappings, **axes})))
    np.testing.assert_allclose(found[0].lat, found[1].lat)
    assert found[0].lat.min() > 40


def test_radians_are_degrees_and_row_numbers_are_no_latitudes():
    units = {"units": "radian"}
    cells = xr.Dataset(coords={"clat": ("cell", np.deg2rad([10.0, 20.0]), {"standard_name": "latitude", **units})})
    cells = cells.assign_coords(clon=("cell", np.deg2rad([30.0, 40.0]), {"standard_name": "longitude", **units}))
    found = cells_of(cells)
    np.testing.assert_allclose(found.lat, [10, 20])
    np.testing.assert_allclose(found.lon, [30, 40])


def test_row_numbers_are_no_latitudes_for_a_regridding_either(tmp_path):
    values = np.zeros((8, 30, 40), "f4")
    times = pd.date_range("2001-01-01", periods=8, freq="6h")
    rows = xr.Dataset(
        {"t2m": (("time", "lat", "lon"), values)}, {"time": times, "lat": np.arange(30), "lon": np.arange(40)}
    )
    rows.to_netcdf(tmp_path / "in.nc")
    with pytest.raises(PrepareError, match="'lat' counts rows or columns"):
        _fields(tmp_path / "in.nc", grid={"method": "nearest", "spacing": 10})


@pytest.mark.parametrize("where", ["another_file", "another_variable"])
def test_variables_on_points_of_their_own_are_refused(tmp_path, where):
    """Of a staggered grid, whose arrays have the same shape."""
    y, x = np.meshgrid(LAT, LON, indexing="ij")
    for name, shift in (("a", 0.0), ("b", 1.5)):
        record = _record({"t2m" if where == "another_file" else f"t_{name}": _field()}, f"2001-01-0{2 if shift else 1}")
        record = record.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
        record["lat"] = (("y", "x"), y + shift, {"standard_name": "latitude"})
        record["lon"] = (("y", "x"), x, {"standard_name": "longitude"})
        record.set_coords(["lat", "lon"]).to_netcdf(tmp_path / f"{name}.nc")
    with pytest.raises(PrepareError, match=r"b\.nc: has other values of lat than .*a\.nc"):
        _fields(tmp_path, grid={"method": "nearest", "spacing": 10})


def test_append_knows_units_by_meaning_and_needs_no_orography(tmp_path):
    first = _record({"t2m": _field(1)})
    first["orog"] = (("lat", "lon"), np.ones(SHAPE[1:], "f4"), {"units": "m"})
    first.to_netcdf(tmp_path / "a.nc")
    store = prepare(read_spec({"source": {"paths": [str(tmp_path / "a.nc")]}}), tmp_path / "out.zarr")
    _record({"t2m": _field(2) - 273.15}, "2001-01-03", units="degC").to_netcdf(tmp_path / "b.nc")
    append(store, [str(tmp_path / "b.nc")])
    found = open_fields(store)
    np.testing.assert_allclose(found.t2m.values, np.concatenate([_field(1), _field(2)]), atol=1e-3)
    assert (found.orog.values == 1).all()


def test_months_are_appended_to_months(tmp_path):
    def months(start: str, count: int) -> xr.Dataset:
        times = pd.date_range(start, periods=count, freq="MS")
        return _record({"t2m": _field()}).isel(time=slice(count)).assign_coords(time=times)

    months("2000-01-01", 8).to_netcdf(tmp_path / "a.nc")
    store = prepare(read_spec({"source": {"paths": [str(tmp_path / "a.nc")]}}), tmp_path / "out.zarr")
    months("2000-09-01", 4).to_netcdf(tmp_path / "b.nc")
    assert append(store, [str(tmp_path / "b.nc")]) == 4
    months("2001-01-01", 4).assign_coords(time=pd.date_range("2001-01-01", periods=4, freq="D")).to_netcdf(
        tmp_path / "c.nc"
    )
    with pytest.raises(PrepareError, match="step"):
        append(store, [str(tmp_path / "c.nc")])


def test_the_order_of_variables_in_the_inputs_changes_nothing(tmp_path):
    """A Zarr store without consolidated metadata lists them in any order."""
    made = []
    for turn, names in enumerate((("t2m", "d2m", "msl"), ("msl", "d2m", "t2m"))):
        values = {name: _field(sum(map(ord, name))) for name in names}
        _record(values).to_netcdf(tmp_path / "in.nc")
        os.utime(tmp_path / "in.nc", (0, 0))
        spec = read_spec({"source": {"paths": [str(tmp_path / "in.nc")]}})
        made.append(prepare(spec, tmp_path / f"{turn}.zarr"))
        _record(values, "2001-01-03").to_netcdf(tmp_path / "later.nc")
        append(made[-1], [str(tmp_path / "later.nc")])
    contents = [
        {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file() and p != store / "zarr.json"}
        for store in made
    ]
    assert contents[0] == contents[1]
    assert list(open_fields(made[0])) == list(open_fields(made[1]))


def test_monthly_amounts_are_no_hourly_ones(tmp_path):
    rain = _record({"tp": np.full(SHAPE, 0.0024, "f4")}, units="m")
    rain.assign_coords(time=pd.date_range("2001-01-01", periods=8, freq="MS")).to_netcdf(tmp_path / "in.nc")
    paths = [str(tmp_path / "in.nc")]
    spec = read_spec("era5-cds", (), paths)
    with pytest.raises(PrepareError, match=r"known\.tp\.accumulation_h=24"):
        fields_of(open_inputs(spec.source), spec)
    spec = read_spec("era5-cds", ["known.tp.accumulation_h=24"], paths)
    np.testing.assert_allclose(fields_of(open_inputs(spec.source), spec).tp.values, 2.4 / 86400, rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "more", "text"),
    [
        ({"select": {"member": 3}}, {}, "no input has the dimension 'member', to take 3"),
        ({"select": {"member": 0}}, {}, "no input has the dimension 'member', to take 0"),
        ({"select": {"number": 3}}, {}, "number has no value 3"),
        ({}, {"levels": [850]}, "levels: the inputs have no pressure levels"),
        ({}, {"statistics": {"period": ["1990", "1991"]}}, "contains no data"),
    ],
)
def test_what_is_asked_for_and_is_not_there_is_refused(tmp_path, source, more, text):
    _record({"t2m": _field()}).assign_coords(number=0).to_netcdf(tmp_path / "in.nc")
    spec = read_spec({"source": {"paths": [str(tmp_path / "in.nc")], **source}, **more})
    with pytest.raises(ValueError, match=text):
        prepare(spec, tmp_path / "out.zarr")
    assert not list(tmp_path.glob("out.zarr*"))
