"""Each spec that ships, on small files in exactly the layout of its archive; values are those that xarray reads."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from statecast.fields.prepare import prepare, read_spec
from statecast.fields.sources import open_fields

LAT, LON = np.linspace(90.0, -90.0, 9), np.arange(0.0, 360.0, 30.0)
ROTATED_POLE = {
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
}
RADOLAN = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 10.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "earth_radius": 6370040.0,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _prepared(tmp_path, name, *overrides, paths=("in/*",)):
    (tmp_path / "in").mkdir(exist_ok=True)
    spec = read_spec(name, overrides, [str(tmp_path / p) for p in paths])
    return open_fields(prepare(spec, tmp_path / "out.zarr"))


def test_era5_of_the_new_data_store_in_two_files(tmp_path, rng):
    (tmp_path / "in").mkdir()
    times = pd.date_range("2024-01-01", periods=12, freq="1h")
    place = {"latitude": LAT, "longitude": LON}
    version = ("valid_time", np.where(times < "2024-01-01T06", "0001", "0005"))
    levels = {"pressure_level": ("pressure_level", [850.0, 500.0], {"units": "hPa", "positive": "down"})}
    upper = rng.normal(270, 5, (12, 2, 9, 12)).astype("f4")
    xr.Dataset(
        {"t": (("valid_time", "pressure_level", "latitude", "longitude"), upper, {"units": "K"})},
        {"valid_time": times, "number": 0, "expver": version, **levels, **place},
    ).to_netcdf(tmp_path / "in" / "levels.nc")
    rain = rng.gamma(1, 1e-3, (12, 9, 12)).astype("f4")
    t2m = rng.normal(280, 5, (12, 9, 12)).astype("f4")
    surface = {
        "tp": (("valid_time", "latitude", "longitude"), rain, {"units": "m"}),
        "t2m": (("valid_time", "latitude", "longitude"), t2m, {"units": "K"}),
    }
    xr.Dataset(surface, {"valid_time": times, "number": 0, "expver": version, **place}).to_netcdf(
        tmp_path / "in" / "surface.nc"
    )
    found = _prepared(tmp_path, "era5-cds")
    point = {"lat": 45.0, "lon": 60.0, "time": "2024-01-01T07"}
    assert found.t.sel(level=500, **point).item() == upper[7, 1, 2, 2]
    assert found.t2m.sel(**point).item() == t2m[7, 2, 2]
    np.testing.assert_allclose(
        found.tp.sel(**point).item(), rain[7, 2, 2] * 1000 / 3600, rtol=1e-6
    )  # metres to kg m-2, of an hour
    assert (found.tp.units, found.tp.standard_name) == ("kg m-2 s-1", "precipitation_flux")


def test_era5_of_the_old_data_store_joins_its_two_versions(tmp_path, rng):
    (tmp_path / "in").mkdir()
    times = pd.date_range("2000-02-20", periods=80, freq="6h")
    values = rng.normal(280, 5, (80, 9, 12))
    is_final = (times < "2000-03-01")[:, None, None]
    both = np.stack([np.where(is_final, values, np.nan), np.where(is_final, np.nan, values)], axis=1)
    xr.Dataset(
        {"t2m": (("time", "expver", "latitude", "longitude"), both, {"units": "K"})},
        {"time": times, "expver": [1, 5], "latitude": LAT, "longitude": LON},
    ).to_netcdf(tmp_path / "in" / "old.nc")
    found = _prepared(tmp_path, "era5-cds")
    np.testing.assert_array_equal(found.t2m.values, values[:, ::-1].astype("f4"))


def test_arco_era5_has_hourly_rain_as_a_mean_rate(tmp_path, rng):
    times = pd.date_range("2020-01-01", periods=24, freq="1h")
    rain, t = rng.gamma(1, 1e-3, (24, 9, 12)), rng.normal(270, 5, (24, 3, 9, 12))
    xr.Dataset(
        {
            "temperature": (("time", "level", "latitude", "longitude"), t, {"units": "K"}),
            "total_precipitation": (("time", "latitude", "longitude"), rain, {"units": "m"}),
        },
        {"time": times, "level": [300, 500, 850], "latitude": LAT, "longitude": LON},
        {"valid_time_start": "2020-01-01", "valid_time_stop": "2020-01-02"},
    ).to_zarr(tmp_path / "in", zarr_format=2, consolidated=True)
    found = _prepared(tmp_path, "arco-era5", "variables=[temperature,total_precipitation]", paths=("in",))
    assert list(found.level) == [500, 850]
    assert list(found.time.dt.hour) == [0, 6, 12, 18]
    assert found.temperature.sel(level=850, lat=0, lon=30).values[1] == np.float32(t[6, 2, 4, 1])
    np.testing.assert_allclose(
        found.total_precipitation.sel(lat=0, lon=30).values[1], rain[1:7, 4, 1].mean() / 3.6, rtol=1e-6
    )
    assert np.isnan(found.total_precipitation.values[0]).all()  # the hours before the first are not in the record


def test_weatherbench_2_has_longitude_before_latitude(tmp_path, rng):
    times = pd.date_range("2020-01-01", periods=8, freq="6h")
    values = rng.normal(270, 5, (8, 2, 12, 9)).astype("f4")
    rain = rng.gamma(1, 1e-3, (8, 12, 9)).astype("f4")
    xr.Dataset(
        {
            "temperature": (("time", "level", "longitude", "latitude"), values, {"units": "K"}),
            "total_precipitation_6hr": (("time", "longitude", "latitude"), rain, {"units": "m"}),
        },
        {"time": times, "level": [500, 850], "longitude": LON, "latitude": LAT[::-1]},
    ).to_zarr(tmp_path / "in", zarr_format=2, consolidated=True)
    found = _prepared(tmp_path, "weatherbench2", paths=("in",))
    np.testing.assert_array_equal(found.temperature.values, values.transpose(0, 1, 3, 2))
    np.testing.assert_allclose(found.total_precipitation_6hr.values, rain.transpose(0, 2, 1) / 21.6, rtol=1e-6)


def test_cmip6_has_a_year_without_leap_days_levels_in_pascal_and_bounds(tmp_path, rng):
    (tmp_path / "in").mkdir()
    times = xr.date_range("2000-02-26 12:00", periods=6, freq="1D", calendar="noleap", use_cftime=True)
    lat = LAT[::-1]
    coords = {
        "time": ("time", times, {"bounds": "time_bnds"}),
        "lat": ("lat", lat, {"bounds": "lat_bnds", "units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", LON, {"bounds": "lon_bnds", "units": "degrees_east", "standard_name": "longitude"}),
    }
    day = np.timedelta64(12, "h").astype("timedelta64[s]").item()
    bounds = {
        "time_bnds": (("time", "bnds"), np.stack([times - day, times + day], axis=1)),
        "lat_bnds": (("lat", "bnds"), np.clip(np.stack([lat - 11.25, lat + 11.25], axis=1), -90, 90)),
        "lon_bnds": (("lon", "bnds"), np.stack([LON - 15, LON + 15], axis=1)),
    }
    plev = {"plev": ("plev", [85000.0, 50000.0], {"units": "Pa", "standard_name": "air_pressure"})}
    ta = rng.normal(270, 5, (6, 2, 9, 12)).astype("f4")
    tas = rng.normal(280, 5, (6, 9, 12)).astype("f4")
    about = {"mip_era": "CMIP6", "variable_id": "ta"}
    in_days = {
        n: {"units": "days since 1850-01-01", "calendar": "noleap", "dtype": "f8"} for n in ("time", "time_bnds")
    }
    xr.Dataset(
        {"ta": (("time", "plev", "lat", "lon"), ta, {"units": "K"}), **bounds}, {**coords, **plev}, about
    ).to_netcdf(tmp_path / "in" / "ta_day.nc", encoding=in_days)
    height = {"height": ((), 2.0, {"units": "m", "standard_name": "height"})}
    xr.Dataset({"tas": (("time", "lat", "lon"), tas, {"units": "K"}), **bounds}, {**coords, **height}, about).to_netcdf(
        tmp_path / "in" / "tas_day.nc", encoding=in_days
    )
    found = _prepared(tmp_path, "cmip6")
    assert set(found.data_vars) == {"ta", "tas"}
    assert found.time.dt.calendar == "noleap"
    assert [str(t)[:10] for t in found.indexes["time"]][2:4] == ["2000-02-28", "2000-03-01"]
    np.testing.assert_array_equal(found.ta.sel(level=500).values, ta[:, 1])
    np.testing.assert_array_equal(found.tas.values, tas)


def test_cordex_ml_bench_has_levels_in_names_and_targets_on_a_lambert_map(tmp_path, rng):
    (tmp_path / "in").mkdir()
    times = pd.date_range("1961-01-01", periods=5, freq="1D")
    names = [f"{v}_{p}" for v in ("u", "t") for p in (850, 700, 500)]
    values = {n: rng.normal(0, 5, (5, 9, 12)).astype("f4") for n in names}
    xr.Dataset(
        {n: (("time", "lat", "lon"), v) for n, v in values.items()}, {"time": times, "lat": LAT, "lon": LON}
    ).to_netcdf(tmp_path / "in" / "predictors.nc")
    found = _prepared(tmp_path, "cordex-ml-bench")
    np.testing.assert_array_equal(found.t.sel(level=700).values, values["t_700"][:, ::-1])
    y, x = np.meshgrid(np.arange(40.0, 50, 0.5), np.arange(0.0, 15, 0.5), indexing="ij")
    lat, lon = y + 0.01 * (x - 7), x + 0.02 * (y - 45)  # a map that is slightly bent
    (tmp_path / "target").mkdir()
    target = np.broadcast_to(300 - lat, (5, *lat.shape)).astype("f4")
    xr.Dataset(
        {"tasmax": (("time", "y", "x"), target, {"units": "K"})},
        {
            "time": times,
            "lat": (("y", "x"), lat, {"units": "degrees_north"}),
            "lon": (("y", "x"), lon, {"units": "degrees_east"}),
        },
    ).to_netcdf(tmp_path / "target" / "pr_tasmax.nc")
    grid = "grid={method: bilinear, lat: [42.0, 48.0, 1.0], lon: [3.0, 12.0, 1.0]}"
    spec = read_spec("cordex-ml-bench", [grid], [str(tmp_path / "target")])
    there = open_fields(prepare(spec, tmp_path / "target.zarr"))
    np.testing.assert_allclose(there.tasmax.isel(lon=3).values[0], 300 - there.lat.values, atol=2e-3)


@pytest.mark.parametrize("is_flat", [False, True])
def test_anemoi_dataset_is_unfolded_to_rows_and_columns_or_regridded(tmp_path, rng, is_flat):
    names = ["t_500", "t_850", "2t", "lsm"]
    lat, lon = (a.ravel() for a in np.meshgrid(LAT, LON, indexing="ij"))
    if is_flat:  # a grid that has no columns
        lon = (lon + 5 * np.arange(9).repeat(12)) % 360
    data = rng.normal(280, 5, (6, 4, 1, lat.size)).astype("f4")
    group = zarr.open_group(tmp_path / "in", mode="w", zarr_format=2)
    times = pd.date_range("2020-01-01", periods=6, freq="6h").values.astype("datetime64[s]")
    arrays = {
        "data": (data, ["time", "variable", "ensemble", "cell"]),
        "dates": (times, ["time"]),
        "latitudes": (lat, ["cell"]),
        "longitudes": (lon, ["cell"]),
        "mean": (data.mean((0, 2, 3)), ["variable"]),
    }
    for name, (values, dims) in arrays.items():
        array = group.create_array(name, data=values, chunks=(1, *values.shape[1:]) if name == "data" else values.shape)
        array.attrs["_ARRAY_DIMENSIONS"] = dims
    metadata = {"2t": {"mars": {"param": "2t"}, "units": "K"}}
    group.attrs.update({"variables": names, "variables_metadata": metadata, "frequency": "6h", "field_shape": [9, 12]})
    grid = ["grid={method: nearest, lat: [-67.5, 67.5, 22.5], lon: [0, 330, 30]}"] if is_flat else []
    found = _prepared(tmp_path, "anemoi", *grid, paths=("in",))
    fields = data[:, :, 0].reshape(6, 4, 9, 12)[:, :, ::-1]
    if is_flat:
        assert found.t.sel(level=850, lat=0.0, lon=0.0).values[3] in data[3, 1, 0].reshape(9, 12)[4]
        return
    np.testing.assert_array_equal(found.t.values, fields[:, :2])
    np.testing.assert_array_equal(found["2t"].values, fields[:, 2])
    assert found["2t"].units == "K"


def test_cosmo_rea6_comes_off_its_rotated_pole_with_winds_to_the_east_and_north(tmp_path, rng):
    pyproj = pytest.importorskip("pyproj")
    pytest.importorskip("shapely")
    (tmp_path / "in").mkdir()
    times = pd.date_range("2007-01-01", periods=4, freq="1h")
    y, x = np.arange(-3.0, 3.01, 0.25), np.arange(-3.0, 3.01, 0.25)
    to_degrees = pyproj.Transformer.from_crs(pyproj.CRS.from_cf(ROTATED_POLE), "OGC:CRS84", always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    ahead = to_degrees.transform(*(a + b for a, b in zip(np.meshgrid(x, y), (1e-4, 0), strict=True)))
    angle = np.arctan2(ahead[1] - lat, (ahead[0] - lon) * np.cos(np.deg2rad(lat)))
    east, north = 10.0 + 0.5 * (lat - 51), -5.0 + 0.2 * (lon - 18)
    u, v = east * np.cos(angle) + north * np.sin(angle), -east * np.sin(angle) + north * np.cos(angle)
    mapped = {"grid_mapping": "rotated_pole", "coordinates": "RLON RLAT"}
    fields = {
        "T_2M": (280 + lat, {"units": "K", **mapped}),
        "U_10M": (u, {"units": "m s-1", "standard_name": "grid_eastward_wind", **mapped}),
        "V_10M": (v, {"units": "m s-1", "standard_name": "grid_northward_wind", **mapped}),
        "TOT_PRECIP": (0 * lat + 3.6, {"units": "kg m-2", **mapped}),
    }
    arrays = {n: (("time", "rlat", "rlon"), np.broadcast_to(f, (4, *lat.shape)), a) for n, (f, a) in fields.items()}
    xr.Dataset(
        {**arrays, "rotated_pole": ((), 0, ROTATED_POLE)},
        {
            "time": times,
            "rlat": ("rlat", y, {"standard_name": "grid_latitude", "units": "degrees"}),
            "rlon": ("rlon", x, {"standard_name": "grid_longitude", "units": "degrees"}),
            "RLAT": (("rlat", "rlon"), lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "RLON": (("rlat", "rlon"), lon, {"standard_name": "longitude", "units": "degrees_east"}),
        },
    ).to_netcdf(tmp_path / "in" / "rea6.nc")
    grid = "grid={method: conservative, lat: [50.0, 52.0, 0.5], lon: [17.0, 19.0, 0.5]}"
    found = _prepared(tmp_path, "cosmo-rea6", grid)
    rows, columns = np.meshgrid(found.lat, found.lon, indexing="ij")
    np.testing.assert_allclose(found.T_2M.values[0], 280 + rows, atol=0.03)
    np.testing.assert_allclose(found.U_10M.values[0], 10 + 0.5 * (rows - 51), atol=0.03)
    np.testing.assert_allclose(found.V_10M.values[0], -5 + 0.2 * (columns - 18), atol=0.03)
    np.testing.assert_allclose(found.TOT_PRECIP.values, 3.6 / 3600, rtol=1e-6)
    assert found.U_10M.standard_name == "eastward_wind"


def test_radklim_comes_off_its_polar_stereographic_map_with_gaps(tmp_path, rng):
    pyproj = pytest.importorskip("pyproj")
    (tmp_path / "in").mkdir()
    times = pd.date_range("2020-07-01T00:50", periods=3, freq="1h")
    x, y = np.arange(-100e3, 100e3, 5e3), np.arange(-4300e3, -4100e3, 5e3)
    rain = rng.gamma(1, 2.0, (3, y.size, x.size)).astype("f4")
    rain[1] = np.nan
    attrs = {"units": "kg m-2", "standard_name": "precipitation_amount", "grid_mapping": "polar_stereographic"}
    xr.Dataset(
        {"RR": (("time", "y", "x"), rain, attrs), "polar_stereographic": ((), 0, RADOLAN)},
        {
            "time": times,
            "y": ("y", y, {"standard_name": "projection_y_coordinate", "units": "m"}),
            "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": "m"}),
        },
    ).to_netcdf(tmp_path / "in" / "RW_2020.nc", encoding={"RR": {"_FillValue": -9999.0, "dtype": "f4"}})
    found = _prepared(tmp_path, "radklim", "grid={method: nearest, lat: [51.0, 52.0, 0.1], lon: [9.5, 10.5, 0.1]}")
    to_map = pyproj.Transformer.from_crs("OGC:CRS84", pyproj.CRS.from_cf(RADOLAN), always_xy=True)
    x_there, y_there = to_map.transform(10.2, 51.6)
    row, column = np.abs(y - y_there).argmin(), np.abs(x - x_there).argmin()
    at = found.RR.sel(lat=51.6, lon=10.2, method="nearest").values
    np.testing.assert_allclose(at[[0, 2]], rain[[0, 2], row, column] / 3600, rtol=1e-6)
    assert np.isnan(at[1])
