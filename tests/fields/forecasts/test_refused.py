"""What `statecast verify` refuses, in one line with exit code 2."""

import json

import numpy as np
import pytest
import xarray as xr

from statecast.cli import app


def without_lead_times(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.isel(prediction_timedelta=0, drop=True)


def of_other_variables(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.rename(t="ta", msl="psl")


def of_another_time(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.assign_coords(time=forecasts.time + np.timedelta64(3650, "D"))


def half_an_hour_later(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.assign_coords(time=forecasts.time + np.timedelta64(30, "m"))


def on_another_grid(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.interp(latitude=np.linspace(-70, 70, 6)).astype(np.float32)


def of_a_region(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.sel(latitude=slice(0, 60), longitude=slice(0, 90))


def of_something_else(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.assign(t=forecasts.t.assign_attrs(units="m s-1"))


def with_leads_of_something_else(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.assign_coords(prediction_timedelta=("prediction_timedelta", [6.0, 12.0, 24.0], {"units": "K"}))


def of_another_calendar(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.convert_calendar("360_day", align_on="date")


def of_several_kinds(forecasts: xr.Dataset) -> xr.Dataset:
    return forecasts.expand_dims(experiment=2)


CASES = {
    without_lead_times: "found no lead time among its dimensions time (6), ",
    of_other_variables: "no variable is in common: the analyses have t, msl, ",
    of_another_time: "no forecast is valid at a time of the analyses: forecasts are valid from 2010-01-29",
    half_an_hour_later: "no forecast is valid at a time of the analyses",
    on_another_grid: "has 6 x 16 points",
    of_a_region: "or score a part: --region 11.25 56.25 0 90",
    of_something_else: "variable 't': is in 'm s-1' in f.nc and in 'K' in the analyses, which measures something else",
    with_leads_of_something_else: "its lead times are in 'K', expected a unit of time",
    of_another_calendar: "has the calendar 360_day, the analyses have proleptic_gregorian",
    of_several_kinds: "has the dimension 'experiment' of 2",
}


@pytest.mark.parametrize(("change", "message"), CASES.items(), ids=lambda x: getattr(x, "__name__", None))
def test_forecasts_that_cannot_be_compared_are_refused_in_one_line(
    change, message, make_forecasts, analyses, statecast, tmp_path
):
    change(make_forecasts()).to_netcdf(tmp_path / "f.nc")
    code, error = statecast("verify", "f.nc", "--against", analyses, "--out", "out", "--quiet")
    lines = [line for line in error.splitlines() if not line.startswith("note: ")]
    assert code == app.USER_ERROR and len(lines) == 1 and len(lines[0]) < 300, error
    assert message in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["f.nc"]


OPTIONS = {
    ("--variables", "q"): "variable 'q': is none of the analyses that depends on lat, lon, time. It has t, msl.",
    ("--variables", "t=q"): "variable 'q': is none of store f.nc that depends on init_time, lat, lead_time, lon",
    ("--levels", "700"): "level 700 hPa is not in all stores. In common: 500, 850",
    ("--levels", "x"): "--levels x: expected numbers separated by commas",
    ("--lead-times", "18"): "lead time 18 h: is not in all forecasts. In common: 6, 12, 24 h",
    ("--period", "2001", "2002"): "period 2001 to 2002: contains no data",
    ("--region", "40", "41", "0", "90"): "has no point of the grid",
    ("--region", "40", "20", "0", "90"): "expected SOUTH NORTH WEST EAST in degrees",
    ("--climatology-period", "1990", "1999"): "period 1990 to 1999: contains no data",
    ("--merge",): "--against does not go with --merge",
    ("--beside", "f.nc", "--beside", "f.nc"): "stores f.nc and f.nc both have a forecast from 2000-02-01",
}


@pytest.mark.parametrize(
    ("options", "message"), OPTIONS.items(), ids=lambda x: "-".join(x) if isinstance(x, tuple) else ""
)
def test_options_that_cannot_be_met_are_refused_in_one_line(
    options, message, make_forecasts, analyses, statecast, tmp_path
):
    make_forecasts().to_netcdf(tmp_path / "f.nc")
    code, error = statecast("verify", "f.nc", "--against", analyses, "--out", "out", "--quiet", *options)
    assert code == app.USER_ERROR and message in error, error
    assert [path.name for path in tmp_path.iterdir()] == ["f.nc"]


def test_a_broken_chunk_is_named_with_its_variable_and_initial_time(make_forecasts, analyses, statecast, tmp_path):
    forecasts = make_forecasts()
    chunks = {name: {"chunks": [1, *array.shape[1:]]} for name, array in forecasts.data_vars.items()}
    forecasts.to_zarr(tmp_path / "f.zarr", zarr_format=3, consolidated=False, encoding=chunks)
    chunk = next(path for path in (tmp_path / "f.zarr" / "msl" / "c" / "3").rglob("*") if path.is_file())
    chunk.write_bytes(b"broken")
    code, error = statecast("verify", "f.zarr", "--against", analyses, "--out", "out", "--quiet", "--no-report")
    assert code == app.USER_ERROR
    assert "variable 'msl' can't be read at 2000-02-02T12:00:00, chunk 3.0.0.0" in error
    assert "3 initial times are kept in out.unfinished; the same command goes on from there" in error


def test_the_command_writes_scores_and_a_report_and_keeps_what_is_there(make_forecasts, analyses, statecast, tmp_path):
    make_forecasts(members=2).to_netcdf(tmp_path / "f.nc")
    command = ["verify", "f.nc", "--against", analyses, "--out", "out", "--quiet", "--region", -60, 60, -90, 90]
    code, error = statecast(*command, "--variables", "t", "--levels", "500", "--lead-times", "6,24", "--threads", 2)
    assert code == 0, error
    records = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {(r["variable"], r["level_hpa"], r["lead_time_h"]) for r in records} == {("t", 500, 6), ("t", 500, 24)}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Forecast skill" in page and "6 × 9 points" in page and page.count("<img") == 4
    code, error = statecast(*command)
    assert code == app.USER_ERROR and "out already exists" in error
    assert statecast("verify", "out", "--merge", "--out", "merged", "--no-report")[0] == 0
    assert json.loads((tmp_path / "merged" / "scores.json").read_text()) == records
