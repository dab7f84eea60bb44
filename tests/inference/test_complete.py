"""Filling what a store lacks: what was observed stays, what is missing is answered."""

import cf_xarray  # noqa: F401  (the accessor `cf`)
import numpy as np
import pytest
import xarray as xr

import statecast
from statecast.inference import complete, write_forecast
from statecast.sources import StoreError, open_fields
from statecast.trained import ModelError

PERIOD = ("2000-02-10", "2000-02-13")
TRAINING = {"steps": 2, "batch_size": 2, "validation_samples": 2, "footprint": False}
APART = {
    "fields": {"variables": ["t"], "levels": [500, 850], "patch": [2, 2, 2]},
    "pressure": {"variables": ["msl"], "patch": [2, 2, 2]},
}


@pytest.fixture(scope="module")
def tuned(runs, tmp_path_factory):
    recipe = {"task": {"kind": "fill", "slabs": 2, "slab_h": 12.0}, "training": TRAINING}
    return statecast.finetune(recipe, runs.pretrained, tmp_path_factory.mktemp("fill") / "run", progress=False)


@pytest.fixture
def gappy(runs) -> xr.Dataset:
    """A corner is missing at one time, a whole field at another."""
    dataset = open_fields(runs.store).load()
    t = dataset.t.copy()
    t.loc[{"time": "2000-02-11T06", "lat": slice(0, 90), "lon": slice(0, 90)}] = np.nan
    t.loc[{"time": "2000-02-12T12"}] = np.nan
    return dataset.drop_vars("nothing").assign(t=t)


def test_what_is_missing_is_answered_and_the_rest_stays(tuned, gappy):
    told = []
    filled = complete(tuned, {"fields": gappy}, PERIOD, 3, progress=told.append)
    assert filled.t.dims == ("number", "time", "level", "lat", "lon") and filled.sizes["number"] == 3
    assert bool(np.isfinite(filled.t).all()) and told[-1] == 1.0
    known = gappy.t.sel(time=filled.time)
    for member in filled.t:
        xr.testing.assert_equal(member.where(known.notnull()).drop_vars("number"), known.transpose(*member.dims))
    assert float(filled.t.std("number").where(known.isnull()).max()) > 0
    assert filled.t.attrs["units"] == "K" and filled.attrs["Conventions"] == "CF-1.11"


def test_times_that_the_store_skips_are_answered(tuned, gappy):
    skipped = gappy.drop_sel(time=np.datetime64("2000-02-11T12", "ns"))
    filled = complete(tuned, {"fields": skipped}, PERIOD, 2)
    assert np.datetime64("2000-02-11T12") in filled.time.values and bool(np.isfinite(filled.msl).all())
    assert filled.sizes["time"] == 16


def test_every_step_of_a_period_is_there_also_one_that_ends_in_the_middle_of_a_token(tuned, gappy):
    odd = ("2000-02-10", "2000-02-12T12")  # 11 steps, tokens of two; the last time lacks t
    filled = complete(tuned, {"fields": gappy}, odd, 2)
    assert filled.sizes["time"] == 11 and bool(np.isfinite(filled.t).all())


def test_a_variable_on_levels_is_answered_for_a_store_that_has_no_levels_or_others(runs, tmp_path):
    recipe = {"streams": APART, "task": {"kind": "translate", "to": ["fields"]}, "training": TRAINING}
    model = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    flat = open_fields(runs.store).load()[["msl"]]
    other = flat.assign(w=flat.msl.expand_dims(level=[300.0, 500.0, 700.0]))
    for store in (flat.drop_vars("level", errors="ignore"), other):
        filled = complete(model, dict.fromkeys(APART, store), PERIOD, 2)
        assert list(filled.level.values) == [500, 850] and bool(np.isfinite(filled.t).all())


def test_values_that_are_missing_are_not_read(tuned, gappy, runs):
    """The truth under the gap plays no part: another one gives the same answer."""
    other = open_fields(runs.store).load().drop_vars("nothing")
    other["t"] = (other.t + 5).where(gappy.t.isnull(), other.t).where(gappy.t.notnull())
    xr.testing.assert_equal(
        complete(tuned, {"fields": gappy}, PERIOD, 1), complete(tuned, {"fields": other}, PERIOD, 1)
    )


def test_a_variable_that_was_never_measured_is_answered_by_a_model_that_translates(runs, tmp_path):
    recipe = {"streams": APART, "task": {"kind": "translate", "to": ["pressure"]}, "training": TRAINING}
    model = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    store = open_fields(runs.store).load()[["t"]]
    filled = complete(model, dict.fromkeys(APART, store), PERIOD, 4)
    assert set(filled.data_vars) == {"msl"} and filled.msl.dims == ("number", "time", "lat", "lon")
    assert bool(np.isfinite(filled.msl).all()) and abs(float(filled.msl.mean()) - 1.025e5) < 1e3
    assert filled.msl.attrs["units"] == "Pa"


def test_it_is_written_with_its_ending(runs, tuned, gappy, tmp_path):
    gappy.to_zarr(tmp_path / "gappy.zarr", zarr_format=3, consolidated=False)
    for name in ("filled.zarr", "filled.nc"):
        statecast.complete(tuned, str(tmp_path / "gappy.zarr"), PERIOD, members=2, out=tmp_path / name, progress=False)
    with xr.open_dataset(tmp_path / "filled.nc") as fields:
        assert fields.t.sizes["number"] == 2 and fields.number.attrs["standard_name"] == "realization"
    assert open_fields(str(tmp_path / "filled.zarr")).sizes["time"] == 16


@pytest.mark.parametrize("name", ["filled.zarr", "filled.nc"])
def test_other_programs_find_the_axes_of_what_was_filled(tuned, gappy, tmp_path, name):
    write_forecast(complete(tuned, {"fields": gappy}, PERIOD, 2), tmp_path / name)
    with xr.open_zarr(tmp_path / name) if name == "filled.zarr" else xr.open_dataset(tmp_path / name) as opened:
        axes = {"X": "lon", "Y": "lat", "Z": "level", "T": "time"}
        assert {axis: opened.t.cf[axis].name for axis in axes} == axes
        assert opened.t.cf["vertical"].attrs["positive"] == "down"
        assert not [c for c, values in opened.coords.items() if "_FillValue" in values.encoding]


def test_a_model_that_forecasts_is_sent_to_the_right_command(runs, gappy):
    with pytest.raises(ModelError, match="Use `statecast predict`"):
        complete(statecast.load(runs.forecast), {"fields": gappy}, PERIOD, 2)


@pytest.mark.parametrize(
    ("period", "members", "error", "message"),
    [
        (PERIOD, 0, ModelError, "members is 0, expected at least 1"),
        (("2000-02-10T00", "2000-02-10T06"), 2, StoreError, "has 2 time steps, expected at least the 4 of a window"),
        (("2010-01-01", "2010-02-01"), 2, StoreError, "holds no data"),
    ],
)
def test_what_cannot_be_filled_is_refused(tuned, gappy, period, members, error, message):
    with pytest.raises(error, match=message):
        complete(tuned, {"fields": gappy}, period, members)


def test_nothing_to_go_by_is_refused(tuned, gappy):
    with pytest.raises(StoreError, match="nothing was observed from 2000-02-1"):
        complete(tuned, {"fields": gappy.where(gappy.time < np.datetime64("2000-02-11T12"))}, PERIOD, 2)
