"""A record whose times are not those that a model learned: refused, or told; observed values stay, whatever their type, calendar and step."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import statecast
from statecast.config import read_recipe
from statecast.fields.continual import update
from statecast.fields.inference import complete, forecast, write_forecast
from statecast.fields.sources import Record, StoreError, Times, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import ModelOptions
from statecast.splits import open_training
from statecast.trained import ModelError, TrainedModel, build

PERIOD = ("2000-02-10", "2000-02-13")
STREAM = Stream(variables=("t",), patch=(2, 2, 2))
LAT, LON = np.array([-30.0, -10.0, 10.0, 30.0]), np.arange(6) * 60.0
STEPS = 48
LEARNED = {"10min": 320, "1h": 80, "6h": 48, "1D": 48, "MS": 48}  # two days at least: each hour twice


def at_steps(dataset: xr.Dataset, every_h: int) -> xr.Dataset:
    """The record at other steps: some of its times, or times between them."""
    times = pd.date_range("2000-01-01", "2000-02-24T00", freq=f"{every_h}h")
    return dataset.sel(time=times) if every_h > 6 else dataset.reindex(time=times, method="pad")


@pytest.fixture(params=[1, 3, 12, 24])
def other(request, runs) -> xr.Dataset:
    return at_steps(open_fields(runs.store).load().drop_vars("nothing"), request.param)


def test_a_record_of_another_step_is_refused_where_it_is_learned_from_or_scored(runs, other, tmp_path):
    path = str(tmp_path / "other.nc")
    other.to_netcdf(path)
    told = r"the store has steps of \d+ h, the model learned steps of 6 h\. Give a store of such steps"
    quiet = {"progress": False}
    for run in (runs.pretrained, runs.forecast):
        with pytest.raises(ModelError, match=told):
            statecast.evaluate(run, path, runs.held_out, tmp_path / "s", report=False, **quiet)
    with pytest.raises(ModelError, match=told):
        statecast.embed(runs.pretrained, path, runs.held_out)
    with pytest.raises(ModelError, match=told):
        statecast.finetune(runs.tuning | {"data": {"store": path}}, runs.pretrained, tmp_path / "r", **quiet)
    with pytest.raises(ModelError, match=told):
        update(runs.forecast, path, "2000-02-06", tmp_path / "u", **quiet)
    assert not [name for name in ("s", "r", "u", "r.unfinished", "u.unfinished") if (tmp_path / name).exists()]


def test_forecasts_take_the_times_of_the_models_own_steps_and_tell_it(runs, other, capsys):
    own = forecast(statecast.load(runs.forecast), open_fields(runs.store), "2000-02-12", 2, 1)
    history = statecast.load(runs.forecast).recipe.task.history * 2
    has_history = other.sizes["time"] > 200
    capsys.readouterr()
    if has_history:
        xr.testing.assert_equal(forecast(statecast.load(runs.forecast), other, "2000-02-12", 2, 1), own)
        assert "note: the store has steps of" in capsys.readouterr().err
    else:
        with pytest.raises(StoreError, match=f"needs {history} steps up to its start"):
            forecast(statecast.load(runs.forecast), other, "2000-02-12", 2, 1)


def test_a_record_that_changes_its_step_is_refused_in_training(runs, tmp_path):
    whole = open_fields(runs.store).load().drop_vars("nothing")
    parts = [whole.isel(time=slice(0, 80)), whole.isel(time=slice(80, 220, 2))]
    xr.concat(parts, "time", data_vars="minimal").to_netcdf(tmp_path / "changing.nc")
    data = {"store": str(tmp_path / "changing.nc"), "train": ["2000-01-01", "2000-02-20"], "validate": None}
    with pytest.raises(
        StoreError, match=r"its step changes: 6 h elsewhere, 12 h from 2000-01-2\d .* Select a part with one step"
    ):
        open_training(read_recipe(runs.recipe | {"data": data}), {})


def made(times, dtype: str = "f4", seed: int = 0) -> xr.Dataset:
    values = 20000 + 2000 * np.random.default_rng(seed).standard_normal((len(times), len(LAT), len(LON)))
    t = values.astype(dtype) if dtype[0] == "i" else (values + np.pi).astype(dtype)
    return xr.Dataset({"t": (("time", "lat", "lon"), t, {"units": "K"})}, {"time": times, "lat": LAT, "lon": LON})


def model_of(dataset: xr.Dataset, **task) -> TrainedModel:
    tokenizers = {"air": FieldTokenizer(STREAM, fit_climatology(Record.open(dataset, STREAM)))}
    recipe = {
        "data": {"store": "a.nc", "train": ["2001", "2002"]},
        "streams": {"air": STREAM.model_dump()},
        "task": task,
    }
    options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=2)
    return TrainedModel(build(options, tokenizers, 0).eval(), tokenizers, read_recipe(recipe))


kinds_of_time = {
    "calendar": st.sampled_from(["standard", "noleap", "360_day", "julian"]),
    "freq": st.sampled_from(["10min", "1h", "6h", "1D", "MS"]),
    "unit": st.sampled_from(["hours", "days"]),
    "since": st.sampled_from(["0001-01-01", "1900-01-01"]),
}


def opened(path, dataset: xr.Dataset, unit: str, since: str) -> xr.Dataset:
    dataset.to_netcdf(path, encoding={"time": {"units": f"{unit} since {since}", "dtype": "f8"}})
    return open_fields(str(path)).load()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    **kinds_of_time,
    dtype=st.sampled_from(["f4", "f8", "i4", "i2"]),
    missing=st.sets(st.integers(1, STEPS - 2), max_size=5),
    holes=st.integers(0, 40),
)
def test_what_was_observed_is_never_changed(tmp_path_factory, calendar, freq, unit, since, dtype, missing, holes):
    times = xr.date_range("2000-01-01", periods=STEPS, freq=freq, calendar=calendar, use_cftime=True)
    whole = made(times, dtype)
    if dtype[0] == "f":
        values = whole.t.values.reshape(-1)
        values[np.random.default_rng(1).integers(0, values.size, holes)] = np.nan
    store = opened(
        tmp_path_factory.mktemp("complete") / "a.nc", whole.isel(time=sorted(set(range(STEPS)) - missing)), unit, since
    )
    learned = made(xr.date_range("2000-01-01", periods=LEARNED[freq], freq=freq, calendar=calendar, use_cftime=True))
    trained = model_of(opened(tmp_path_factory.mktemp("model") / "a.nc", learned, unit, since), kind="fill", slabs=2)
    filled = complete(trained, {"air": store}, ("1999", "2010"), 1)
    assert [str(time)[:19].replace("T", " ") for time in filled.time.values] == [str(time) for time in times]
    found, true = filled.t.values[0], whole.t.values
    known = np.isfinite(true)
    known[np.array(sorted(missing), int)] = False
    assert np.isfinite(found).all() and filled.t.attrs["units"] == "K"
    np.testing.assert_array_equal(found[known], true[known])


@settings(max_examples=10, deadline=None, derandomize=True)
@given(**kinds_of_time)
def test_a_forecast_is_stamped_with_the_times_that_follow(tmp_path_factory, calendar, freq, unit, since):
    folder = tmp_path_factory.mktemp("forecast")
    times = xr.date_range("2000-01-01", periods=LEARNED[freq], freq=freq, calendar=calendar, use_cftime=True)
    store = opened(folder / "a.nc", made(times[:-6]), unit, since)
    fields = forecast(
        model_of(store, kind="forecast", history=1, leads=1), store, str(times[-7]).replace(" ", "T"), 6, 1
    )
    expected = [str(time) for time in times[-6:]]
    assert [str(time)[:19].replace("T", " ") for time in fields.valid_time.values[0]] == expected
    write_forecast(fields, folder / "p.nc")
    with xr.open_dataset(folder / "p.nc", decode_timedelta=freq != "MS") as read:
        assert [str(time)[:19].replace("T", " ") for time in read.valid_time.values[0]] == expected
        assert read.lead_time.attrs["standard_name"] == "forecast_period"
        if freq == "MS":
            assert read.lead_time.values.tolist() == [1, 2, 3, 4, 5, 6] and read.lead_time.attrs["units"] == "months"
        else:
            lead = Times(times[-6:]).ticks - Times(times[-7:]).ticks[0]
            np.testing.assert_array_equal(read.lead_time.values.astype("m8[us]").astype(int), lead)


def test_times_between_the_steps_of_the_model_are_refused_and_none_is_dropped(runs):
    trained = statecast.load(runs.pretrained)
    whole = open_fields(runs.store).load().drop_vars("nothing")
    extra = whole.sel(time=slice(*PERIOD)).isel(time=[2]).assign_coords(time=[np.datetime64("2000-02-10T15", "ns")])
    odd = xr.concat([whole, extra], "time").sortby("time")
    with pytest.raises(
        ModelError, match="has the time 2000-02-10 15:00:00, which lies between steps of 6 h from 2000-02-10"
    ):
        complete(trained, {"fields": odd}, PERIOD, 1)
