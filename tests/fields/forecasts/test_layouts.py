"""The same forecasts in the layouts of archives have the same scores, whatever their order, signs, types and spellings."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from statecast.fields.forecasts import Choice
from statecast.fields.forecasts.pairing import paired
from statecast.fields.forecasts.scoring import Scoring
from statecast.fields.sources import StoreError
from statecast.fields.sources.forecasts import open_forecasts

HOUR = np.timedelta64(1, "h")


def as_cfgrib(forecasts: xr.Dataset) -> xr.Dataset:
    """As cfgrib opens an ensemble, written to NetCDF."""
    named = {"prediction_timedelta": "step", "level": "isobaricInhPa"}
    found = forecasts.rename(named).transpose("number", "time", "step", ...).isel(latitude=slice(None, None, -1))
    found = found.assign_coords(valid_time=found.time + found.step)
    found.time.attrs |= {"standard_name": "forecast_reference_time", "long_name": "initial time of forecast"}
    found.step.attrs |= {"standard_name": "forecast_period", "long_name": "time since forecast_reference_time"}
    found.valid_time.attrs |= {"standard_name": "time"}
    found.number.attrs |= {"standard_name": "realization", "units": "1"}
    found.isobaricInhPa.attrs |= {"standard_name": "air_pressure", "units": "hPa"}
    return found.isel(isobaricInhPa=slice(None, None, -1))


def as_cf(forecasts: xr.Dataset) -> list[xr.Dataset]:
    """As centres of climate write them: a store for each initial time, lead time along the valid time, levels in Pa."""
    stores = []
    for i in range(forecasts.sizes["time"]):
        one = forecasts.isel(time=i).rename(time="reftime", number="member_id", level="plev")
        valid = (one.reftime + one.prediction_timedelta).values
        one = one.rename(prediction_timedelta="time").assign_coords(time=("time", valid, {"standard_name": "time"}))
        hours = forecasts.prediction_timedelta.values / HOUR
        about = {"standard_name": "forecast_period", "units": "days"}
        one = one.assign_coords(leadtime=("time", (hours / 24).astype(np.float32), about))
        one.reftime.attrs["standard_name"] = "forecast_reference_time"
        one = one.assign_coords(plev=("plev", one.plev.values * 100, {"units": "Pa", "standard_name": "air_pressure"}))
        one.member_id.attrs |= {"standard_name": "realization"}
        lon = (one.longitude + 180) % 360 - 180
        stores.append(one.assign_coords(longitude=lon).sortby("longitude"))
    return stores


def as_predict_writes(forecasts: xr.Dataset) -> xr.Dataset:
    """The names and attributes of `inference.forecast`."""
    found = forecasts.rename(time="init_time", prediction_timedelta="lead_time", latitude="lat", longitude="lon")
    valid = found.init_time + found.lead_time
    hours = found.lead_time.values / HOUR
    found = found.assign_coords(
        lead_time=("lead_time", hours, {"standard_name": "forecast_period", "units": "hours"}),
        valid_time=(("init_time", "lead_time"), valid.values, {"standard_name": "time"}),
    )
    found.init_time.attrs["standard_name"] = "forecast_reference_time"
    found.number.attrs["standard_name"] = "realization"
    return found.transpose("init_time", "number", "lead_time", ...)


def statistics_of(stores: list[str], analyses: str) -> dict[str, list[np.ndarray]]:
    """The statistics of the forecast at each initial time."""
    pairing = paired(stores, [], analyses, Choice())
    scoring = Scoring(pairing, [])
    of_cases = [next(scored for scored in scoring(init) if scored.forecast == "forecast") for init in pairing.inits]
    return {name: [scored.statistics[name] for scored in of_cases] for name in of_cases[0].statistics}


@pytest.mark.parametrize("layout", [as_cfgrib, as_cf, as_predict_writes])
def test_the_layouts_of_archives_have_the_same_scores(layout, make_forecasts, analyses, write):
    forecasts = make_forecasts(members=2).isel(time=slice(0, 3))
    expected = statistics_of([write(forecasts, "weatherbench.zarr")], analyses)
    found = layout(forecasts)
    parts = found if isinstance(found, list) else [found]
    stores = [write(part, f"{i}.nc") for i, part in enumerate(parts)]
    theirs = statistics_of(stores, analyses)
    for name, values in expected.items():
        np.testing.assert_allclose(theirs[name], values, rtol=1e-12, err_msg=name)


@settings(max_examples=8, deadline=None, database=None)
@given(data=st.data())
def test_order_direction_type_and_spelling_change_no_score(data, tmp_path_factory, truth, make_forecasts):
    folder = tmp_path_factory.mktemp("random")
    plain = make_forecasts(members=2).isel(time=slice(0, 2))
    truth = truth.sel(time=slice("2000-02-01", "2000-02-03"))
    plain.to_netcdf(folder / "plain.nc")
    truth.to_netcdf(folder / "analyses.nc")
    other = plain.astype(data.draw(st.sampled_from([np.float32, np.float64])))
    other["t"].attrs["units"] = data.draw(st.sampled_from(["K", "kelvin", "degK"]))
    other["msl"].attrs["units"] = data.draw(st.sampled_from(["Pa", "pascal", "kg m-1 s-2"]))
    for axis in ("latitude", "level", "time", "prediction_timedelta", "number"):
        if data.draw(st.booleans()):
            other = other.isel({axis: slice(None, None, -1)})
    if data.draw(st.booleans()):
        other = other.assign_coords(longitude=(other.longitude + 180) % 360 - 180).sortby("longitude")
    dims = data.draw(st.permutations(list(map(str, other.t.dims))))
    other.transpose(*dims).to_netcdf(folder / "other.nc")
    expected, found = (
        statistics_of([str(folder / name)], str(folder / "analyses.nc")) for name in ("plain.nc", "other.nc")
    )
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-9, err_msg=name)


def test_lead_times_are_exact_and_ascending(make_forecasts, write):
    given = make_forecasts().isel(prediction_timedelta=[2, 0, 1])
    lead = (given.prediction_timedelta.values / (24 * HOUR)).astype(np.float32) + np.float32(1 / 3)  # 14, 20 and 32 h
    given = given.assign_coords(prediction_timedelta=("prediction_timedelta", lead, {"units": "days"}))
    found = open_forecasts(write(given, "f.nc"))
    assert found.lead_time_h == (14.0, 20.0, 32.0)
    assert (np.diff(found.valid_ticks[0]) == np.array([6, 12]) * 3600 * 10**6).all()


def test_one_lead_time_of_one_initial_time_is_a_forecast(make_forecasts, analyses, write):
    whole = statistics_of([write(make_forecasts().isel(time=[0], prediction_timedelta=[1]), "w.nc")], analyses)
    path = write(make_forecasts().isel(time=0, prediction_timedelta=1), "f.nc")
    assert open_forecasts(path).lead_time_h == (12.0,)
    np.testing.assert_array_equal(statistics_of([path], analyses)["squared_error"], whole["squared_error"])


def test_nothing_is_read_when_forecasts_are_opened(make_forecasts, write):
    single = make_forecasts().isel(time=0, level=0)
    single.level.attrs["units"] = "hPa"
    path = write(single, "f.zarr")
    damaged = [file for file in (Path(path) / "t").rglob("*") if file.is_file() and file.name != "zarr.json"]
    for file in damaged:
        file.write_bytes(b"broken")
    assert damaged and open_forecasts(path).dataset.t.sizes["level"] == 1


def test_a_valid_time_that_is_called_the_initial_one_is_refused(make_forecasts, write):
    given = as_predict_writes(make_forecasts(members=2))
    moved = given.assign_coords(init_time=given.init_time + 6 * HOUR)
    with pytest.raises(
        StoreError, match=r"lead time 6 h is valid at 2000-02-01 06:00:00, expected 2000-02-01 12:00:00"
    ):
        open_forecasts(write(moved, "f.nc"))


@pytest.mark.parametrize("steps", [(0, 6, 12), (6,)])
def test_grib_keeps_initial_and_lead_times(tmp_path, steps):
    pytest.importorskip("cfgrib")
    import eccodes

    with (tmp_path / "f.grib").open("wb") as out:
        for hour in (0, 12):
            for step in steps:
                for member in (0, 1):
                    message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
                    keys = {"Ni": 12, "Nj": 8, "latitudeOfFirstGridPointInDegrees": 70}
                    keys |= {"latitudeOfLastGridPointInDegrees": -70, "longitudeOfFirstGridPointInDegrees": 0}
                    keys |= {"longitudeOfLastGridPointInDegrees": 330, "iDirectionIncrementInDegrees": 30}
                    keys |= {"jDirectionIncrementInDegrees": 20, "shortName": "t", "level": 500}
                    keys |= {"productDefinitionTemplateNumber": 1, "perturbationNumber": member}
                    keys |= {"dataDate": 20000201, "dataTime": hour * 100, "forecastTime": step, "bitsPerValue": 24}
                    for key, value in keys.items():
                        eccodes.codes_set(message, key, value)
                    eccodes.codes_set_values(message, np.full(96, 250.0 + hour + step / 10 + member * 100))
                    eccodes.codes_write(message, out)
                    eccodes.codes_release(message)
    found = open_forecasts(str(tmp_path / "f.grib"))
    assert found.lead_time_h == tuple(map(float, steps)) and found.members == 2
    first = found.dataset.t.isel(level=0, lat=0, lon=0)
    values = first.transpose("init_time", "lead_time", "number", missing_dims="ignore").values.reshape(2, len(steps), 2)
    expected = 250.0 + np.array([0, 12])[:, None, None] + np.array(steps)[:, None] / 10 + np.array([0, 100])
    np.testing.assert_allclose(values, expected, atol=1e-3)
