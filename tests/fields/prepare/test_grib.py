"""GRIB as the Climate Data Store gives it: several variables, reference times and steps, levels."""

import numpy as np
import pandas as pd
import pytest

from statecast.fields.prepare import prepare, read_spec
from statecast.fields.sources import open_fields

pytest.importorskip("pyproj")  # before ecCodes, whose wheel brings another PROJ
ec = pytest.importorskip("eccodes", exc_type=ImportError)
pytest.importorskip("cfgrib")

TIMES = pd.date_range("2000-01-01", periods=4, freq="6h")


def _write(path, messages):
    with path.open("wb") as out:
        for when, step, param, kind, level, values in messages:
            handle = ec.codes_grib_new_from_samples(
                "regular_ll_pl_grib1" if kind == "isobaricInhPa" else "regular_ll_sfc_grib1"
            )
            keys = {"Ni": 12, "Nj": 8, "latitudeOfFirstGridPointInDegrees": 70, "latitudeOfLastGridPointInDegrees": -70}
            keys |= {"longitudeOfFirstGridPointInDegrees": 0, "longitudeOfLastGridPointInDegrees": 330}
            keys |= {"iDirectionIncrementInDegrees": 30, "jDirectionIncrementInDegrees": 20, "paramId": param}
            keys |= {
                "dataDate": int(when.strftime("%Y%m%d")),
                "dataTime": when.hour * 100,
                "typeOfLevel": kind,
                "level": level,
            }
            keys |= {"stepUnits": 1, "step": step, "bitsPerValue": 24}
            for key, value in keys.items():
                ec.codes_set(handle, key, value)
            ec.codes_set_values(handle, np.asarray(values, float).ravel())
            ec.codes_write(handle, out)
            ec.codes_release(handle)


def test_all_variables_are_there_at_valid_times_and_levels(tmp_path):
    import xarray as xr

    fields = np.random.default_rng(0).normal(280, 5, (4, 8, 12))
    surface = [(w, 6, p, "surface", 0, fields[i] + p) for i, w in enumerate(TIMES) for p in (167, 165)]
    upper = [(w, 6, 130, "isobaricInhPa", p, fields[i] - p / 100) for i, w in enumerate(TIMES) for p in (850, 500)]
    (tmp_path / "in").mkdir()
    _write(tmp_path / "in" / "a.grib", [*surface, *upper])
    spec = read_spec("era5-cds", (), [str(tmp_path / "in")])
    found = open_fields(prepare(spec, tmp_path / "out.zarr"))
    assert set(found.data_vars) == {"t2m", "u10", "t"}
    assert list(found.level) == [500, 850]
    assert list(found.indexes["time"]) == list(TIMES + pd.Timedelta("6h"))
    np.testing.assert_allclose(found.t2m.values, fields[:, ::-1] + 167, atol=1e-3)
    np.testing.assert_allclose(found.t.sel(level=850).values, fields[:, ::-1] - 8.5, atol=1e-3)
    read = xr.open_dataset(
        tmp_path / "in" / "a.grib",
        engine="cfgrib",
        backend_kwargs={"filter_by_keys": {"shortName": "2t"}, "indexpath": ""},
    )
    assert found.t2m.isel(time=2, lat=-1, lon=3).item() == read.t2m.values[2, 0, 3]
    assert not list(tmp_path.rglob("*.idx"))


def test_amounts_of_forecasts_become_rates_at_valid_times(tmp_path):
    rate = np.random.default_rng(0).gamma(1, 1, (2, 3, 8, 12)) * 1e-4  # metres in three hours
    since = np.cumsum(rate, axis=1)
    starts = pd.date_range("2000-01-01", periods=2, freq="12h")
    messages = [(w, 3 * (k + 1), 228, "surface", 0, since[i, k]) for i, w in enumerate(starts) for k in range(3)]
    _write(tmp_path / "tp.grib", messages)
    spec = read_spec("era5-cds", ["variables={tp: {accumulation: start}}"], [str(tmp_path / "tp.grib")])
    found = open_fields(prepare(spec, tmp_path / "out.zarr"))
    assert list(found.time.dt.hour) == [3, 6, 9, 15, 18, 21]
    np.testing.assert_allclose(found.tp.values, rate.reshape(6, 8, 12)[:, ::-1] * 1000 / 10800, atol=1e-7)
