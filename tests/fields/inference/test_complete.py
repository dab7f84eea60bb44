"""Filling what a store lacks: what was observed stays, what is missing is answered."""

import cf_xarray  # noqa: F401  (the accessor `cf`)
import numpy as np
import pytest
import torch
import xarray as xr

import statecast
from statecast.config import read_recipe
from statecast.fields.inference import complete, neighbourhoods, write_forecast
from statecast.fields.inference.tiles import weighted
from statecast.fields.sources import StoreError, open_fields
from statecast.fields.tokenizers import Place
from statecast.trained import ModelError, TrainedModel

PERIOD = ("2000-02-10", "2000-02-13")
TRAINING = {"steps": 2, "batch_size": 2, "validation_samples": 2, "footprint": False}
LONGER = TRAINING | {"steps": 200}  # as long as it takes to learn that one stream follows the other
NOISE = 0.1  # K, of the store: what nobody can know
APART = {
    "fields": {"variables": ["t"], "levels": [500, 850], "patch": [2, 2, 2]},
    "pressure": {"variables": ["msl"], "patch": [2, 2, 2]},
}


@pytest.fixture(scope="module")
def tuned(runs, tmp_path_factory):
    recipe = {"task": {"kind": "fill", "slabs": 2, "slab_h": 12.0}, "training": TRAINING}
    return statecast.finetune(recipe, runs.pretrained, tmp_path_factory.mktemp("fill") / "run", progress=False)


def rmse(found, truth) -> float:
    """Over all points at which something was found."""
    return float(((found - truth) ** 2).mean() ** 0.5)


def usual_departure(truth) -> float:
    """The RMSE of a constant at each point, which a climatology of these waves is."""
    return rmse(truth.mean("time"), truth)


@pytest.fixture
def whole(runs) -> xr.Dataset:
    """The period that is filled, as it was."""
    return open_fields(runs.store).load().drop_vars("nothing").sel(time=slice(*PERIOD))


@pytest.fixture
def gappy(runs) -> xr.Dataset:
    """A corner is missing at one time, a whole field at another."""
    dataset = open_fields(runs.store).load()
    t = dataset.t.copy()
    t.loc[{"time": "2000-02-11T06", "lat": slice(0, 90), "lon": slice(0, 90)}] = np.nan
    t.loc[{"time": "2000-02-12T12"}] = np.nan
    return dataset.drop_vars("nothing").assign(t=t)


def test_what_is_missing_is_answered_and_the_rest_stays(tuned, gappy, whole):
    told = []
    filled = complete(tuned, {"fields": gappy}, PERIOD, 3, progress=told.append)
    assert filled.t.dims == ("number", "time", "level", "lat", "lon") and filled.sizes["number"] == 3
    assert bool(np.isfinite(filled.t).all()) and told[-1] == 1.0
    known = gappy.t.sel(time=filled.time)
    for member in filled.t:
        xr.testing.assert_equal(member.where(known.notnull()).drop_vars("number"), known.transpose(*member.dims))
    assert float(filled.t.std("number").where(known.isnull()).max()) > 0
    for time in ("2000-02-11T06", "2000-02-12T12"):  # a corner, a whole field
        gap = whole.t.sel(time=time).where(known.sel(time=time).isnull())
        assert rmse(filled.t.sel(time=time).mean("number"), gap) < 0.2 * usual_departure(whole.t)
    assert filled.t.attrs["units"] == "K" and filled.attrs["Conventions"] == "CF-1.11"


def test_times_that_the_store_skips_are_answered(tuned, gappy, whole):
    skipped = gappy.drop_sel(time=np.datetime64("2000-02-11T12", "ns"))
    filled = complete(tuned, {"fields": skipped}, PERIOD, 2)
    assert np.datetime64("2000-02-11T12") in filled.time.values and bool(np.isfinite(filled.msl).all())
    assert filled.sizes["time"] == 16
    for variable in ("t", "msl"):
        answered, truth = (fields[variable].sel(time="2000-02-11T12") for fields in (filled, whole))
        assert rmse(answered.mean("number"), truth) < 0.15 * usual_departure(whole[variable])


@pytest.mark.parametrize("every", [2, 3])
def test_a_record_of_every_other_or_third_step_is_refined_to_all_of_them(runs, whole, tmp_path, every):
    """Known times may be the first or the second of a token. Of waves that travel linear interpolation leaves more than the noise."""
    recipe = {"task": {"kind": "refine", "every": every, "slabs": 4}, "training": TRAINING | {"steps": 60}}
    tuned = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    coarse = whole.isel(time=slice(None, None, every))
    refined = complete(tuned, {"fields": coarse}, PERIOD, 2)
    times = whole.time[: every * (coarse.sizes["time"] - 1) + 1]
    np.testing.assert_array_equal(refined.time.values, times.values)
    kept = refined.t.sel(time=coarse.time).isel(number=0, drop=True)
    xr.testing.assert_equal(kept, coarse.t.transpose(*kept.dims))
    between = refined.sel(time=~refined.time.isin(coarse.time))
    truth = whole.t.sel(time=between.time)
    line = coarse.t.interp(time=between.time)
    assert rmse(between.t.mean("number"), truth) < 1.8 * NOISE < 0.8 * rmse(line, truth)


def test_a_point_that_is_never_observed_does_not_hide_the_known_steps_of_its_token(runs, whole, tmp_path):
    """As land is in a record of the sea: the other points of the token still start from its known step."""
    recipe = {"task": {"kind": "refine", "every": 2, "slabs": 3}, "training": TRAINING}
    tuned = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    coarse = whole.isel(time=slice(None, None, 2))
    land = (coarse.lat == coarse.lat[3]) & (coarse.lon == coarse.lon[5])
    refined = complete(tuned, {"fields": coarse.where(~land)}, PERIOD, 2)
    near = refined.sel(time=~refined.time.isin(coarse.time)).isel(lat=[2, 3], lon=[4, 5])
    truth, line = (
        whole.t.sel(time=near.time).isel(lat=[2, 3], lon=[4, 5]),
        coarse.t.interp(time=near.time).isel(lat=[2, 3], lon=[4, 5]),
    )
    for row, column in ((0, 0), (0, 1), (1, 0)):  # the other three points of the token
        found, of_line, true = (fields.isel(lat=row, lon=column) for fields in (near.t.mean("number"), line, truth))
        assert rmse(found, true) < 0.8 * rmse(of_line, true)


def test_every_step_of_a_period_is_there_also_one_that_ends_in_the_middle_of_a_token(tuned, gappy, whole):
    odd = ("2000-02-10", "2000-02-12T12")  # 11 steps, tokens of two; the last time lacks t
    filled = complete(tuned, {"fields": gappy}, odd, 2)
    assert filled.sizes["time"] == 11 and bool(np.isfinite(filled.t).all())
    last = filled.t.isel(time=-1).mean("number")
    assert rmse(last, whole.t.sel(time=last.time)) < 0.25 * usual_departure(whole.t)


def test_a_variable_on_levels_is_answered_for_a_store_that_has_no_levels_or_others(runs, whole, tmp_path):
    recipe = {"streams": APART, "task": {"kind": "translate", "to": ["fields"]}, "training": LONGER}
    model = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    flat = open_fields(runs.store).load()[["msl"]]
    other = flat.assign(w=flat.msl.expand_dims(level=[300.0, 500.0, 700.0]))
    for store in (flat.drop_vars("level", errors="ignore"), other):
        filled = complete(model, dict.fromkeys(APART, store), PERIOD, 2)
        assert list(filled.level.values) == [500, 850]
        assert rmse(filled.t.mean("number"), whole.t) < 0.1 * usual_departure(whole.t)


def test_values_that_are_missing_are_not_read(tuned, gappy, runs):
    """The truth under the gap plays no part: another one gives the same answer."""
    other = open_fields(runs.store).load().drop_vars("nothing")
    other["t"] = (other.t + 5).where(gappy.t.isnull(), other.t).where(gappy.t.notnull())
    xr.testing.assert_equal(
        complete(tuned, {"fields": gappy}, PERIOD, 1), complete(tuned, {"fields": other}, PERIOD, 1)
    )


def test_a_variable_that_was_never_measured_is_answered_by_a_model_that_translates(runs, whole, tmp_path):
    recipe = {"streams": APART, "task": {"kind": "translate", "to": ["pressure"]}, "training": LONGER}
    model = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    store = open_fields(runs.store).load()[["t"]]
    filled = complete(model, dict.fromkeys(APART, store), PERIOD, 4)
    assert set(filled.data_vars) == {"msl"} and filled.msl.dims == ("number", "time", "lat", "lon")
    assert rmse(filled.msl.mean("number"), whole.msl) < 0.1 * usual_departure(whole.msl)
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
        (("2010-01-01", "2010-02-01"), 2, StoreError, "contains no data"),
    ],
)
def test_what_cannot_be_filled_is_refused(tuned, gappy, period, members, error, message):
    with pytest.raises(error, match=message):
        complete(tuned, {"fields": gappy}, period, members)


def test_nothing_to_go_by_is_refused(tuned, gappy):
    with pytest.raises(StoreError, match="nothing was observed from 2000-02-1"):
        complete(tuned, {"fields": gappy.where(gappy.time < np.datetime64("2000-02-11T12"))}, PERIOD, 2)


LAST = ("2001-02-06T06", "2001-02-07T00")
SIZE = 6  # of a neighbourhood: one token


@pytest.fixture
def even(make_store):
    """A temperature that is the same everywhere at each time, on 12 x 24 points."""
    t = 270 + 10 * np.random.default_rng(0).standard_normal((40, 1, 1, 1)) + np.zeros((40, 3, 12, 24))
    dims = ("time", "level", "lat", "lon")
    return open_fields(make_store(steps=40).assign(t=(dims, t.astype(np.float32), {"units": "K"})))


@pytest.fixture
def of_neighbourhoods(make_trained, even) -> TrainedModel:
    """Random weights, the same for all points and heads of a token: answers are even in it, and others elsewhere."""
    trained = make_trained(store=even, names=("air",))
    for head in trained.model.heads.values():
        head.weight.data = head.weight.data[:1].expand_as(head.weight).clone()
        head.bias.data = torch.zeros_like(head.bias)
    return filling_in(trained, [SIZE, SIZE])


def filling_in(trained: TrainedModel, extent: list[int] | None) -> TrainedModel:
    """The same model with the task to fill gaps, in windows of so many points."""
    sections = {"task": {"kind": "fill", "slabs": 2}, "window": {"extent": extent}}
    return TrainedModel(trained.model, trained.codecs, read_recipe(trained.recipe.as_dict() | sections))


def side_by_side(grid, extent):
    """Tiles that don't overlap."""
    assert extent == (SIZE, SIZE)
    firsts = [(row, column) for row in range(0, 12, SIZE) for column in range(0, 24, SIZE)]
    return weighted([Place(0, 0, slice(r, r + SIZE), c + np.arange(SIZE)) for r, c in firsts], grid.shape)


def steps_at_borders(trained, store) -> list[tuple[float, float]]:
    """Along rows and along columns the mean step from point to point, across borders of tiles and elsewhere."""
    gappy = store[["t", "u"]].assign(t=store.t.where(store.time < np.datetime64("2001-02-06T12")))
    answered = complete(trained, {"air": gappy}, LAST, 1).t.isel(number=0, time=slice(-2, None)).values
    found = []
    for axis in (-2, -1):
        step = np.moveaxis(np.abs(np.diff(answered, axis=axis)), axis, -1)
        is_border = np.arange(step.shape[-1]) % SIZE == SIZE - 1
        found.append((float(step[..., is_border].mean()), float(step[..., ~is_border].mean())))
    return found


def test_there_are_no_seams_at_the_borders_of_tiles_which_side_by_side_would_leave(
    of_neighbourhoods, even, monkeypatch
):
    for across, elsewhere in steps_at_borders(of_neighbourhoods, even):
        assert 0 < across < elsewhere
    monkeypatch.setattr(neighbourhoods, "tiles", side_by_side)
    for across, elsewhere in steps_at_borders(of_neighbourhoods, even):
        assert across > 100 * elsewhere


def test_members_are_one_field_across_tiles(make_trained, even):
    """With heads that are the same in every token, a member is what it would be had the whole been asked at once."""
    trained = make_trained(store=even, names=("air",))
    for head in trained.model.heads.values():
        head.weight.data.zero_()
        head.bias.data = torch.linspace(-1, 1, 4).repeat_interleave(len(head.bias) // 4)
    gappy = even[["t", "u"]].assign(t=even.t.where(even.time < np.datetime64("2001-02-06T12")))
    whole, tiled = (
        complete(filling_in(trained, extent), {"air": gappy}, LAST, 3) for extent in (None, [SIZE, 2 * SIZE])
    )
    assert float(whole.t.isel(time=-1).std("number").max()) > 1
    xr.testing.assert_allclose(tiled, whole, rtol=1e-5)
