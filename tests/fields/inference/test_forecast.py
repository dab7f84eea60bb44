"""Forecasts as CF datasets."""

import re

import cf_xarray  # noqa: F401  (the accessor `cf`)
import numpy as np
import pytest
import xarray as xr

from statecast.fields.inference import forecast, write_forecast
from statecast.fields.sources import Record, StoreError, open_fields
from statecast.tasks import Masked
from statecast.trained import ModelError

INIT = "2001-02-05T06"


def test_a_forecast_has_cf_dimensions_units_and_attributes(make_trained, global_store):
    fields = forecast(make_trained(), global_store, INIT, 3, 2)
    assert dict(fields.t.sizes) == {"init_time": 1, "number": 2, "lead_time": 3, "level": 2, "lat": 12, "lon": 24}
    assert fields.msl.dims == ("init_time", "number", "lead_time", "lat", "lon")
    assert fields.t.attrs["units"] == "K" and fields.msl.attrs["units"] == "Pa"
    names = {"number": "realization", "lead_time": "forecast_period", "init_time": "forecast_reference_time",
             "valid_time": "time", "level": "air_pressure", "lat": "latitude", "lon": "longitude"}  # fmt: skip
    assert {axis: fields[axis].attrs["standard_name"] for axis in names} == names
    np.testing.assert_array_equal(fields.lead_time, [6.0, 12.0, 18.0])
    assert fields.init_time.values[0] == np.datetime64("2001-02-05T06")
    assert fields.valid_time.values[0, -1] == np.datetime64("2001-02-06T00")
    assert fields.attrs["Conventions"].startswith("CF-") and np.isfinite(fields.t).all()


def test_a_forecast_can_start_at_the_last_time_of_the_store(make_trained, global_store):
    last = str(global_store.time.values[-1])
    fields = forecast(make_trained(), global_store, last, 4, 1)
    assert fields.valid_time.values[0, -1] == global_store.time.values[-1] + np.timedelta64(24, "h")
    assert np.isfinite(fields.t).all()


def test_a_forecast_does_not_see_the_future(make_trained, global_store):
    trained = make_trained()
    whole = forecast(trained, global_store, INIT, 6, 2)
    past = forecast(trained, global_store.sel(time=slice(None, INIT)), INIT, 6, 2)
    xr.testing.assert_equal(whole, past)


@pytest.mark.parametrize(("history", "leads"), [(1, 2), (2, 1), (3, 1)])
def test_roll_out_goes_on_from_each_members_own_past(persistent, make_store, history, leads):
    """Of a damped persistence model the last observed anomaly, at any lead time, with a history longer than a block too."""
    store = open_fields(make_store(steps=40))
    trained = persistent(store=store, names=("air",), history=history, leads=leads)
    fields = forecast(trained, store, INIT, 11, 2)
    climatology = trained.codecs["air"].climatology
    last = store.t.sel(time=INIT, level=[500, 850]).values
    record = Record.open(store, trained.codecs["air"].stream)
    first = int(np.flatnonzero(store.time.values == np.datetime64(INIT))[0])
    times = slice(first, first + 12)
    now, *usual = climatology.at(record.months_passed[times], record.hour_utc[times])[:, :2]
    damped = 0.98 ** np.arange(1, 12)[:, None, None, None] * (last - now)  # of `persistent`
    np.testing.assert_allclose(fields.t[0, 1], damped + usual, atol=0.2)


def test_a_store_in_other_units_is_refused_and_one_without_any_is_taken_at_its_word(make_trained, global_store):
    trained, celsius = make_trained(), global_store.copy()
    celsius["t"] = (celsius.t - 273.15).assign_attrs(units="degC")
    with pytest.raises(ModelError, match="'t@500' is in 'degC' in the store, the model learned it in 'K'"):
        forecast(trained, celsius, INIT, 2, 1)
    unlabelled = global_store.copy()
    unlabelled["t"] = unlabelled.t.assign_attrs(units=None).drop_attrs()
    assert np.isfinite(forecast(trained, unlabelled, INIT, 2, 1).t).all()


def test_the_first_block_is_the_same_however_long_the_forecast_is(make_trained, global_store):
    trained = make_trained()
    short, long = (forecast(trained, global_store, INIT, steps, 2) for steps in (2, 9))
    xr.testing.assert_equal(short.t, long.t.isel(lead_time=slice(0, 2)))
    assert np.isfinite(long.t).all() and float(np.abs(long.t[:, 0] - long.t[:, 1]).mean()) > 0


def test_places_that_were_never_observed_stay_missing_and_are_not_shown_in_roll_out(make_trained, global_store):
    trained = make_trained(names=("air",))
    trained.codecs["air"].climatology.mean[:, :, 0, 3, 4] = np.nan
    fields = forecast(trained, global_store, INIT, 9, 1)
    missing = np.isnan(fields.t[0, 0])
    assert missing[:, 0, 3, 4].all() and int(missing.sum()) == 9


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_other_calendars_have_their_own_dates(make_trained, make_store, calendar):
    store = make_store(steps=24, start="2001-02-25", calendar=calendar)
    day = "2001-02-30" if calendar == "360_day" else "2001-02-28"
    trained = make_trained(store=store)
    fields = forecast(trained, open_fields(store), f"{day}T06", 4, 1)
    assert str(fields.init_time.values[0]) == f"{day} 06:00:00"
    assert str(fields.valid_time.values[0, -1]) == "2001-03-01 06:00:00"
    with pytest.raises(StoreError, match="init 2001-02-31: is not a time of the store"):
        forecast(trained, open_fields(store), "2001-02-31", 4, 1)


@pytest.mark.parametrize(
    "init", ["2001-02-05T07", "1990-01-01", "soon", "", "NaT", "2001-02-30", "2001-02-05T06-01:00"]
)
def test_an_init_that_is_no_time_of_the_store_is_refused(make_trained, global_store, init):
    with pytest.raises(StoreError, match="is not a time of the store, which has 2001-01-30") as caught:
        forecast(make_trained(), global_store, init, 2, 1)
    assert "\n" not in str(caught.value)


def test_an_init_without_its_history_is_refused(make_trained, global_store):
    with pytest.raises(StoreError, match=r"needs 2 steps up to its start .* Name a later init"):
        forecast(make_trained(), global_store, str(global_store.time.values[0]), 2, 1)


def test_what_cannot_be_forecast_is_refused_in_one_line(make_trained, global_store, regional_store):
    trained = make_trained()
    for steps, members, message in (
        (0, 1, "steps is 0"),
        (2, 0, "members is 0"),
    ):
        with pytest.raises(ModelError, match=message):
            forecast(trained, global_store, INIT, steps, members)
    with pytest.raises(ModelError, match="trained for the task 'masked', expected forecast"):
        masked = trained.recipe.model_copy(update={"task": Masked()})
        forecast(type(trained)(trained.model, trained.codecs, masked), global_store, INIT, 1, 1)
    with pytest.raises(ModelError, match="the model's grid is 12 x 24, the store's is 6 x 9"):
        forecast(trained, regional_store, str(regional_store.time.values[-1]), 1, 1)
    with pytest.raises(StoreError, match="no variable 'u'"):
        forecast(trained, global_store.drop_vars("u"), INIT, 1, 1)


@pytest.fixture
def written(make_trained, global_store, tmp_path):
    """A forecast of three steps, and it written and opened as anyone would; warnings are errors."""
    fields = forecast(make_trained(), global_store, INIT, 3, 2)

    def write(name: str) -> tuple[xr.Dataset, xr.Dataset]:
        write_forecast(fields, tmp_path / name)
        opened = xr.open_zarr(tmp_path / name) if name == "f.zarr" else xr.open_dataset(tmp_path / name)
        return fields, opened

    return write


@pytest.mark.parametrize("name", ["f.zarr", "f.nc"])
def test_what_was_written_opens_again_with_lead_times_in_hours(written, name):
    fields, opened = written(name)
    with opened:
        np.testing.assert_array_equal(opened.lead_time, [6.0, 12.0, 18.0])
        assert opened.lead_time.attrs["units"] == "hours"
        np.testing.assert_array_equal(opened.t, fields.t)
        np.testing.assert_array_equal(opened.valid_time, fields.valid_time)


@pytest.mark.parametrize("name", ["f.zarr", "f.nc"])
def test_other_programs_find_the_axes_of_what_was_written(written, name):
    _, opened = written(name)
    with opened:
        assert {axis: opened.t.cf[axis].name for axis in "XYZT"} == {
            "X": "lon", "Y": "lat", "Z": "level", "T": "valid_time"
        }  # fmt: skip
        assert opened.t.cf["vertical"].attrs["positive"] == "down"
        assert not [c for c, values in opened.coords.items() if "_FillValue" in values.encoding]
        assert np.isnan(opened.t.encoding["_FillValue"])


def test_a_zarr_store_opens_by_its_engine_without_a_warning(written, tmp_path):
    fields, opened = written("f.zarr")
    with opened, xr.open_dataset(tmp_path / "f.zarr", engine="zarr") as by_engine:
        xr.testing.assert_equal(by_engine.load(), fields)


def test_forty_steps_of_roll_out_stay_finite(make_trained, global_store):
    fields = forecast(make_trained(), global_store, INIT, 40, 2)
    assert fields.sizes["lead_time"] == 40 and float(fields.lead_time[-1]) == 240.0
    assert np.isfinite(fields.t).all() and np.isfinite(fields.msl).all()


def test_a_member_is_the_same_whatever_the_number_of_members(make_trained, global_store):
    trained = make_trained()
    few, many = (forecast(trained, global_store, INIT, 6, members) for members in (3, 7))
    xr.testing.assert_equal(few.t, many.t.sel(number=slice(0, 2)))
    assert np.isfinite(many.t).all() and many.sizes["number"] == 7
    last = many.t.isel(lead_time=-1, init_time=0)
    assert float(np.abs(last - last.sel(number=0)).mean(["level", "lat", "lon"])[1:].min()) > 0


def test_what_is_written_says_when_and_keeps_what_the_store_says_of_a_variable(tmp_path, global_store, make_trained):
    global_store["t"].attrs |= {"cell_methods": "time: mean", "units_metadata": "temperature: on_scale", "other": "x"}
    fields = forecast(make_trained(), global_store, INIT, 2, 1)
    write_forecast(fields, tmp_path / "f.nc")
    with xr.open_dataset(tmp_path / "f.nc") as written:
        assert written.t.attrs["cell_methods"] == "time: mean" and "other" not in written.t.attrs
        assert written.t.attrs["units_metadata"] == "temperature: on_scale"
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ written by statecast ", written.attrs["history"])
