"""A prepared store follows the CF conventions, as the compliance checker of IOOS sees it."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from statecast.fields.prepare import prepare, read_spec


@pytest.mark.filterwarnings("ignore")  # of the checker and what it imports
def test_the_checker_finds_no_fault(tmp_path):
    runner = pytest.importorskip("compliance_checker.runner")
    times = pd.date_range("2001-01-01", periods=12, freq="6h")
    lat, lon = np.linspace(-75.0, 75.0, 6), np.arange(0.0, 360.0, 45.0)
    values = np.random.default_rng(0).normal(280, 5, (12, 6, 8))
    fields = {
        "t2m": (("time", "lat", "lon"), values, {"units": "K", "standard_name": "air_temperature"}),
        "t": (
            ("time", "level", "lat", "lon"),
            np.stack([values, values + 20], 1),
            {"units": "K", "standard_name": "air_temperature"},
        ),
        "tp": (("time", "lat", "lon"), values, {"units": "m"}),
    }
    xr.Dataset(fields, {"time": times, "level": [500.0, 850.0], "lat": lat, "lon": lon}).to_netcdf(tmp_path / "in.nc")
    store = prepare(read_spec("era5-cds", (), [str(tmp_path / "in.nc")]), tmp_path / "out.zarr")
    found = xr.open_zarr(store)
    unfilled = {name: {"_FillValue": None} for name in found.coords}  # which xarray adds to NetCDF, not we
    found.to_netcdf(tmp_path / "out.nc", encoding=unfilled)
    runner.CheckSuite.load_all_available_checkers()
    report = tmp_path / "report.json"
    runner.ComplianceChecker.run_checker(
        str(tmp_path / "out.nc"), ["cf:1.11"], 0, "normal", output_filename=str(report), output_format="json"
    )
    found = next(iter(json.loads(report.read_text()).values()))
    faults = [
        text for level in ("high_priorities", "medium_priorities") for check in found[level] for text in check["msgs"]
    ]
    assert not faults, faults
    assert found["scored_points"] > 20
