"""Streams with stores of their own: a finer, regional data set and an instrument are asked of a global model."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr

import statecast
from statecast.config import RecipeError, read_recipe
from statecast.costs.sizes import size_of
from statecast.fields.continual import update
from statecast.fields.source import recipe_stores, stream_sources
from statecast.fields.sources import StoreError, open_fields
from statecast.fields.tokenizers.first_guess import bilinear
from statecast.splits import open_training
from statecast.trained import ModelError
from statecast.training import QuestionDataset

TRAINING = {"steps": 3, "batch_size": 2, "validation_samples": 2, "footprint": False}
LONGER = TRAINING | {"steps": 60}  # as long as it takes to learn that the finer field is the interpolated one
FINE = {"variables": ["t"], "levels": [850], "patch": [2, 2, 2], "first_guess": {"t": "fields.t"}}
RELIEF = {"variables": ["orog"], "patch": [2, 2, 2]}


@pytest.fixture(scope="module")
def fine_store(runs, tmp_path_factory) -> str:
    """6 × 8 points between those of the global store, 2 K warmer, with an orography, a tenth missing; from the third day on."""
    coarse = open_fields(runs.store).load()
    region = {"lat": np.linspace(-30, 30, 6), "lon": np.linspace(40, 110, 8)}
    fine = (coarse[["t"]].interp(region) + 2.0).isel(time=slice(8, None))
    fine["t"] = fine.t.where(np.random.default_rng(0).uniform(size=fine.t.shape) > 0.1).assign_attrs(coarse.t.attrs)
    height = np.random.default_rng(1).uniform(0, 1000, (6, 8))
    fine = fine.assign(orog=(("lat", "lon"), height, {"units": "m"}))
    path = tmp_path_factory.mktemp("fine") / "fine.nc"
    fine.to_netcdf(path)
    return str(path)


def recipe_of(runs, fine_store, **changes):
    streams = {**runs.recipe["streams"], "relief": RELIEF, "fine": FINE}
    task = {"kind": "translate", "to": ["fine"], "slabs": 2}
    data = {"stores": {"relief": fine_store, "fine": fine_store}}
    return {"data": data, "streams": streams, "task": task, "training": TRAINING} | changes


@pytest.fixture(scope="module")
def tuned(runs, fine_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    statecast.finetune(recipe_of(runs, fine_store, training=LONGER), runs.pretrained, out, progress=False)
    return out


def test_a_short_record_takes_the_rest_of_its_climatology_from_the_known_stream(runs, fine_store):
    """The fine field is the interpolated coarse one and 2 K, so its climatology is that of the coarse one and 2 K, of all that is known of it."""
    values = recipe_of(runs, fine_store)
    values["data"] = values["data"] | {"train": ("2000-01-20", "2000-01-24")}
    base = statecast.load(runs.pretrained)
    recipe = read_recipe(values, inherit=base.recipe)
    sources = stream_sources(recipe, recipe_stores(recipe), base.codecs)
    fine, coarse = sources["fine"].tokenizer.climatology, base.codecs["fields"].climatology
    channel = [str(c) for c in coarse.channels].index("t@850")
    usual = bilinear(coarse.mean[:, :, channel], coarse.grid, fine.grid) + 2.0
    assert np.abs(fine.mean[:, :, 0] - usual).max() < 0.01 * coarse.anomaly_std[channel]
    alone = stream_sources(recipe, recipe_stores(recipe), {})["fine"].tokenizer.climatology
    assert np.abs(alone.mean[:, :, 0] - usual).max() > 0.5 * coarse.anomaly_std[channel]


def test_a_finer_grid_is_learned_and_verified_beside_what_a_specialist_would_try(runs, tuned, tmp_path):
    statecast.evaluate(tuned, runs.store, runs.held_out, tmp_path / "scores", every_h=24.0, progress=False)
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    baselines = {"climatology", "bilinear", "regression", "quantile_mapping"}
    assert {r["forecast"] for r in records} == {"model", *baselines} and {r["task"] for r in records} == {"translate"}
    assert {"frequency_bias_q90", "csi_q90", "ets_q99"} <= {r["metric"] for r in records}
    rmse = {r["forecast"]: r["value"] for r in records if r["metric"] == "rmse"}
    for made_of in (
        "bilinear",
        "quantile_mapping",
    ):  # the record is an interpolation, and 2 K that the climatology knows
        assert rmse[made_of] < 1e-4 * rmse["climatology"]
    assert rmse["regression"] < 0.01 * rmse["climatology"]
    assert rmse["model"] < 0.05 * rmse["climatology"]  # with new weights, about the same first guess, 0.18
    assert "Task: translate" in (tmp_path / "scores" / "report.html").read_text()


def test_an_answer_on_the_finer_grid_is_explained_from_the_coarse_store_alone(runs, tuned, tmp_path, statecast):
    where = ["--data", runs.store, "--at", "2000-02-20T00", "--query", 5, 75, "t@850"]
    code, message = statecast("explain", tuned, *where, "--out", "out")
    assert code == 0, message
    with xr.open_dataset(tmp_path / "out" / "explain.nc") as explained:
        assert np.abs(explained.fields_sensitivity.sel(fields_channel="t@850")).max() > 0
        assert explained.sensitivity.channel.values.tolist() == ["orog"]


def test_a_store_of_one_stream_that_was_learned_from_is_not_unseen(runs, fine_store, tuned, tmp_path):
    copy = str(shutil.copytree(runs.store, tmp_path / "copy.zarr"))
    with pytest.raises(StoreError, match="overlaps the training period"):
        statecast.evaluate(tuned, copy, ("2000-01-10", "2000-01-20"), tmp_path / "s", progress=False, report=False)
    others = {"all": runs.store, "fine": fine_store}
    for name, store in others.items():  # another analysis of the same weather
        changed = open_fields(store).load()
        for variable in ("t", "msl"):
            if variable in changed:
                spread = float(changed[variable].std())
                changed[variable] += np.float32(0.1 * spread) * np.random.default_rng(0).standard_normal(
                    changed[variable].shape
                )
        changed.to_netcdf(tmp_path / f"{name}.nc")
    own = {"fine": str(tmp_path / "fine.nc")}  # only the relief is what it was
    statecast.evaluate(
        tuned,
        str(tmp_path / "all.nc"),
        ("2000-01-10", "2000-01-14"),
        tmp_path / "s",
        stores=own,
        every_h=96,
        progress=False,
        report=False,
    )


def test_a_store_that_begins_after_the_training_can_be_evaluated_on(runs, fine_store, tuned, tmp_path):
    open_fields(fine_store).load().sel(time=slice("2000-02-09", None)).to_netcdf(tmp_path / "later.nc")
    own = {"fine": str(tmp_path / "later.nc")}
    found = statecast.evaluate(
        tuned, runs.store, runs.held_out, tmp_path / "s", stores=own, every_h=96, progress=False, report=False
    )
    assert {v.forecast for v in found.verifications} == {"model", "climatology", "bilinear"}  # others need the training


def test_the_old_question_is_answered_as_before_where_only_what_is_new_may_change(runs, fine_store, tmp_path):
    recipe = recipe_of(runs, fine_store, adaptation={"change": "new"})
    tuned = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False).model.state_dict()
    base = statecast.load(runs.pretrained).model.state_dict()
    assert all(np.array_equal(value, tuned[name]) for name, value in base.items())
    assert any(".fine" in name for name in tuned.keys() - base.keys())


@pytest.fixture(scope="module")
def forecasting(runs, fine_store, tmp_path_factory):
    """Of a model that is shown an orography from a store, and a grid, of its own."""
    recipe = recipe_of(runs, fine_store, task=runs.tuning["task"])
    recipe["streams"] = {name: recipe["streams"][name] for name in ("fields", "relief")}
    recipe["data"] = {"stores": {"relief": fine_store}}
    out = tmp_path_factory.mktemp("forecasting") / "run"
    statecast.finetune(recipe, runs.pretrained, out, progress=False)
    return out


def test_a_forecast_is_shown_an_orography_from_a_store_of_its_own(runs, fine_store, forecasting, tmp_path):
    asked = (runs.store, "2000-02-20T00", 3)
    found = statecast.predict(forecasting, *asked, members=2)
    assert dict(found.sizes) == {"init_time": 1, "number": 2, "lead_time": 3, "level": 2, "lat": 8, "lon": 16}
    assert set(found.data_vars) == {"t", "msl"} and bool(np.isfinite(found.t).all())
    copy = shutil.copy(fine_store, tmp_path / "copy.nc")
    xr.testing.assert_equal(found, statecast.predict(forecasting, *asked, members=2, stores={"relief": str(copy)}))
    raised = open_fields(fine_store).load()
    raised.assign(orog=(raised.orog + 500).assign_attrs(units="m")).to_netcdf(tmp_path / "raised.nc")
    other = statecast.predict(forecasting, *asked, members=2, stores={"relief": str(tmp_path / "raised.nc")})
    assert not np.allclose(found.t, other.t)


@pytest.mark.parametrize("order", [("fields", "relief"), ("relief", "fields")])
def test_an_orography_is_shown_and_not_scored(runs, fine_store, forecasting, tmp_path, order):
    run = forecasting
    if order != ("fields", "relief"):
        recipe = recipe_of(runs, fine_store, task=runs.tuning["task"])
        recipe["streams"] = {name: recipe["streams"][name] for name in order}
        recipe["data"] = {"stores": {"relief": fine_store}}
        run = tmp_path / "run"
        statecast.finetune(recipe, runs.pretrained, run, progress=False)
    statecast.evaluate(run, runs.store, runs.held_out, tmp_path / "scores", every_h=96, progress=False, report=False)
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {r["variable"] for r in records} == {"t", "msl"} and {r["task"] for r in records} == {"forecast"}


def test_an_update_learns_from_the_store_that_is_given_for_a_stream(runs, fine_store, forecasting, tmp_path):
    copy = str(shutil.copy(fine_store, tmp_path / "copy.nc"))
    update(forecasting, runs.store, "2000-02-06", tmp_path / "run", stores={"relief": copy}, progress=False)
    assert statecast.load(tmp_path / "run").recipe.data.stores == {"relief": copy}


def test_forecasts_on_different_grids_do_not_fit_into_one(runs, fine_store, tmp_path):
    recipe = recipe_of(runs, fine_store, task=runs.tuning["task"], data={"stores": {"fine": fine_store}})
    recipe["streams"] = {**runs.recipe["streams"], "fine": FINE | {"first_guess": {}}}
    statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    with pytest.raises(ModelError, match=r"forecasts streams on different grids \(fields and fine\)"):
        statecast.predict(tmp_path / "run", runs.store, "2000-02-20T00", 3)


def test_a_finer_grid_is_answered_from_the_coarse_store_alone(runs, tuned, tmp_path):
    out = tmp_path / "fine.nc"
    found = statecast.complete(tuned, runs.store, ("2000-02-10", "2000-02-12"), members=3, out=out, progress=False)
    assert found.t.dims == ("number", "time", "level", "lat", "lon")
    assert found.t.shape == (3, 12, 1, 6, 8) and bool(np.isfinite(found.t).all())
    truth = open_fields(runs.store).t.sel(level=[850.0]).interp(lat=found.lat, lon=found.lon) + 2.0
    error = np.sqrt(((found.t.mean("number") - truth.sel(time=found.time)) ** 2).mean())
    assert error < 0.05 * truth.sel(time=found.time).std()  # with new weights 0.3
    assert xr.open_dataset(out).t.attrs["units"] == "K"


def test_what_is_known_on_the_finer_grid_stays(runs, fine_store, tuned):
    period = ("2000-02-10", "2000-02-12")
    own = {"fine": fine_store}
    found = statecast.complete(tuned, runs.store, period, stores=own, members=2, progress=False).t
    known = open_fields(fine_store).t.sel(time=found.time, level=[850.0]).transpose(*found[0].dims)
    assert bool(known.isnull().any()) and bool(np.isfinite(found).all())
    np.testing.assert_allclose(found[1].where(known.notnull()), known, rtol=1e-6)


def test_samples_and_windows_of_all_streams_lie_at_the_same_time_and_place(runs, fine_store):
    recipe = statecast.read_recipe(
        recipe_of(runs, fine_store, window={"extent": [4, 4]}), inherit=statecast.load(runs.pretrained).recipe
    )
    source = open_training(recipe, {})
    times = [source.streams[name].record.dataset.indexes["time"] for name in ("fields", "fine")]
    assert times[0].equals(times[1])
    questions = QuestionDataset(source, recipe.task, 0, 2, 20)
    for index in range(20):
        question = questions[index]
        assert {name: len(tokens) for name, tokens in question.context.items()} == {"fields": 8, "relief": 24}
        fine, coarse = question.queries["fine"], question.context["fields"]
        assert len(fine) == 24
        middle = [tokens.coordinate("latitude_deg").mean().item() for tokens in (fine, coarse)]
        assert abs(middle[0] - middle[1]) <= 11.25  # half a coarse row
        assert np.array_equal(np.unique(fine.coordinate("hour_utc")), np.unique(coarse.coordinate("hour_utc")))


def test_the_cost_of_a_recipe_knows_each_streams_own_grid(runs, fine_store):
    inherit = statecast.load(runs.pretrained).recipe
    size = size_of(statecast.read_recipe(recipe_of(runs, fine_store), inherit=inherit))
    assert size.tokens_per_sample == 2 * (4 * 8 + 3 * 4 + 3 * 4) and size.assumed == ()
    gone = recipe_of(runs, fine_store, data={"stores": {"relief": fine_store, "fine": "gone.nc"}})
    size = size_of(statecast.read_recipe(gone, inherit=inherit))
    assert size.tokens_per_sample == 2 * (4 * 8 + 3 * 4 + 4 * 8)
    assert "a window is assumed to have as many tokens of gone.nc as of" in size.assumed[1]


@pytest.fixture(scope="module")
def southern(runs, tmp_path_factory):
    """A model of the southernmost rows, and their store."""
    folder = tmp_path_factory.mktemp("southern")
    coarse = open_fields(runs.store).load().isel(lat=slice(0, 2))
    coarse.drop_vars("nothing").to_netcdf(folder / "south.nc")
    base = runs.recipe | {"data": runs.recipe["data"] | {"store": str(folder / "south.nc")}}
    statecast.pretrain(base, folder / "base", progress=False)
    return folder / "base", str(folder / "south.nc")


@pytest.mark.parametrize("guess", [{"t": "fields.t"}, {}])
def test_a_region_that_does_not_overlap_is_refused(runs, fine_store, southern, tmp_path, guess):
    base, store = southern
    recipe = recipe_of(runs, fine_store, training=TRAINING | {"workers": 2})
    recipe["streams"] = {**runs.recipe["streams"], "fine": FINE | {"first_guess": guess}}
    recipe["data"] = {"store": store, "stores": {"fine": fine_store}}
    message = (
        r"^streams\.fine: the grids don't overlap: one covers -30 to 30 N, 40 to 110 E, that of fields -78.*\. Give"
    )
    with pytest.raises(StoreError, match=message) as caught:
        statecast.finetune(recipe, base, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_region_that_its_first_guess_covers_in_part_is_refused_before_training(runs, fine_store, tmp_path):
    coarse = open_fields(runs.store).load().isel(lat=slice(0, 3))
    coarse.drop_vars("nothing").to_netcdf(tmp_path / "half.nc")
    data = {"train": ["2000-01-03", "2000-01-31"], "store": str(tmp_path / "half.nc"), "stores": {"fine": fine_store}}
    recipe = runs.recipe | {"data": data, "task": {"kind": "translate", "to": ["fine"], "slabs": 2}}
    coarse_stream = runs.recipe["streams"]["fields"] | {"patch": [2, 1, 2]}
    recipe |= {"streams": {"fields": coarse_stream, "fine": FINE}, "training": TRAINING | {"workers": 2}}
    message = r"^streams\.fine\.first_guess: covers -30 to 30 N, .* which covers -78.75 to -33.75 N"
    with pytest.raises(StoreError, match=message) as caught:
        statecast.pretrain(recipe, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_two_regions_of_one_globe_are_learned_together_but_not_in_windows_around_one_place(runs, fine_store, tmp_path):
    fine = open_fields(fine_store).load()
    fine.assign_coords(lon=fine.lon + 180).to_netcdf(tmp_path / "far.nc")
    data = {"stores": {"fine": fine_store, "far": str(tmp_path / "far.nc")}}
    streams = {**runs.recipe["streams"], "fine": FINE | {"first_guess": {}}, "far": FINE | {"first_guess": {}}}
    recipe = recipe_of(runs, fine_store, data=data, task=runs.recipe["task"], streams=streams)
    for extent in (None, [4, 4]):
        read = statecast.read_recipe(
            recipe | {"window": {"extent": extent}}, inherit=statecast.load(runs.pretrained).recipe
        )
        if extent is None:
            assert stream_sources(read, recipe_stores(read), {})
        else:
            with pytest.raises(StoreError, match=r"streams\.far: the grids don't overlap"):
                stream_sources(read, recipe_stores(read), {})


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (
            {"first_guess": {"u": "fields.t"}},
            r"streams\.fine: first_guess names 'u', which is none of the variables \(t\)",
        ),
        ({"first_guess": {"t": "t"}}, r"first_guess of t is 't', expected STREAM\.VARIABLE"),
        ({"log_scale": {"rain": 1.0}}, r"log_scale names 'rain'"),
    ],
)
def test_options_of_variables_that_a_stream_lacks_are_refused(runs, fine_store, stream, message):
    recipe = recipe_of(runs, fine_store)
    recipe["streams"] = {**recipe["streams"], "fine": {**FINE, **stream}}
    with pytest.raises(RecipeError, match=message):
        statecast.read_recipe(recipe, inherit=statecast.load(runs.pretrained).recipe)


def test_stores_and_first_guesses_need_their_streams(runs, fine_store):
    inherit = statecast.load(runs.pretrained).recipe
    with pytest.raises(RecipeError, match=r"data\.stores: there is no stream snow"):
        statecast.read_recipe(recipe_of(runs, fine_store, data={"stores": {"snow": fine_store}}), inherit=inherit)
    with pytest.raises(RecipeError, match=r"streams\.fine\.first_guess: is for a stream that is asked of others"):
        statecast.read_recipe(recipe_of(runs, fine_store, task={"kind": "masked", "slabs": 2}), inherit=inherit)


def test_a_first_guess_from_what_is_asked_too_is_refused(runs, fine_store):
    recipe = recipe_of(runs, fine_store, task={"kind": "translate", "to": ["fine", "finer"], "slabs": 2})
    recipe["streams"] = {**recipe["streams"], "finer": {**FINE, "first_guess": {"t": "fine.t"}}}
    with pytest.raises(RecipeError, match=r"streams\.finer\.first_guess: fine\.t is asked too"):
        statecast.read_recipe(recipe, inherit=statecast.load(runs.pretrained).recipe)


def test_a_bias_on_the_same_grid_is_corrected_and_not_taken_for_observed(runs, tmp_path):
    truth = open_fields(runs.store).load()[["t"]]
    (truth + 20.0).assign(t=(truth.t + 20.0).assign_attrs(truth.t.attrs)).to_netcdf(tmp_path / "warm.nc")
    stream = {"variables": ["t"], "levels": [500, 850], "patch": [2, 2, 2], "first_guess": {"t": "fields.t"}}
    recipe = {
        "data": {"stores": {"warm": str(tmp_path / "warm.nc")}},
        "streams": {**runs.recipe["streams"], "warm": stream},
        "task": {"kind": "translate", "to": ["warm"], "slabs": 2},
        "training": LONGER,
    }
    tuned = statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    found = statecast.complete(tuned, runs.store, ("2000-02-10", "2000-02-12"), members=2, progress=False).t
    error = found.mean("number") - (truth.t.sel(time=found.time) + 20.0)
    assert np.sqrt((error**2).mean()) < 0.05 * truth.t.sel(level=850).std()  # the usual state has 1, and no bias either


def test_a_store_on_another_grid_is_not_verified(runs, fine_store, tuned, tmp_path):
    fine = open_fields(fine_store).load()
    fine.assign_coords(lon=fine.lon + 5).to_netcdf(tmp_path / "aside.nc")
    with pytest.raises(ModelError, match="or has other points"):
        statecast.evaluate(
            tuned,
            runs.store,
            runs.held_out,
            tmp_path / "s",
            stores={"fine": str(tmp_path / "aside.nc")},
            progress=False,
            report=False,
        )
    assert not (tmp_path / "s").exists()


def test_another_scale_of_a_known_variable_is_refused(runs, tmp_path):
    known = runs.recipe["streams"]["fields"]
    recipe = {"streams": {"fields": {**known, "log_scale": {"msl": 10.0}}}} | {"task": {"kind": "masked", "slabs": 2}}
    with pytest.raises(ModelError, match=r"log_scale of 'msl' is 10\.0, the model learned it with None"):
        statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)


def test_answers_on_different_grids_do_not_fit_into_one_store(runs, fine_store, tmp_path):
    recipe = recipe_of(runs, fine_store)
    recipe["streams"] = {
        "fields": FINE | {"levels": [500], "first_guess": {}},
        "pressure": {"variables": ["msl"], "patch": [2, 2, 2]},
    }
    recipe["streams"]["fine"] = FINE | {"first_guess": {}}
    recipe |= {
        "task": {"kind": "translate", "to": ["pressure", "fine"], "slabs": 2},
        "data": {"stores": {"fine": fine_store}},
    }
    statecast.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)
    with pytest.raises(ModelError, match="answers streams on different grids"):
        statecast.complete(tmp_path / "run", runs.store, ("2000-02-10", "2000-02-12"), progress=False)
