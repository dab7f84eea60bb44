"""Stations beside fields: what they are at the steps of a record, their statistics, tokens and answers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import statecast as sc
from statecast.answer import answer
from statecast.config import RecipeError, read_recipe
from statecast.explain.tokens import explain_token
from statecast.fields import verbs
from statecast.fields.sizes import sizes as blank_sizes
from statecast.fields.source import FieldSource, open_source
from statecast.fields.sources import Grid, StoreError, open_fields
from statecast.fields.stations.points import around_points, at_points, interpolated
from statecast.fields.stations.simulate import simulate_stations
from statecast.fields.stations.statistics import fit_bias, harmonics
from statecast.fields.stations.table import StationError, read_table
from statecast.fields.tokenizers.first_guess import bilinear
from statecast.inspection import look_at_samples
from statecast.streams import stack_questions
from statecast.trained import ModelError, TrainedModel, build

HELD_OUT = ("2000-02-06", "2000-02-16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store with waves of t, msl and t2m, and a table of stations in it."""
    folder = tmp_path_factory.mktemp("stations")
    lat, lon, steps = np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5, np.arange(4 * 50)[:, None, None]
    time = np.datetime64("2000-01-01", "ns") + np.arange(4 * 50) * np.timedelta64(6, "h")
    wave = np.sin(np.deg2rad(2 * lon)[None, None] - steps * 0.3) * np.cos(np.deg2rad(lat))[None, :, None]
    wave = (wave + 0.1 * np.random.default_rng(0).standard_normal(wave.shape)).astype(np.float32)
    flat = ("time", "lat", "lon")
    xr.Dataset(
        {
            "t": (("time", "level", "lat", "lon"), 260 + 8 * wave[:, None], {"units": "K"}),
            "msl": (flat, 1e5 + 800 * wave, {"units": "Pa", "standard_name": "air_pressure_at_mean_sea_level"}),
            "t2m": (flat, 280 + 10 * wave, {"units": "K"}),
        },
        {
            "time": time,
            "level": ("level", [850.0], {"units": "hPa", "standard_name": "air_pressure"}),
            "lat": lat,
            "lon": lon,
        },
    ).to_zarr(folder / "store.zarr", zarr_format=3, consolidated=False)
    simulate_stations(str(folder / "store.zarr"), folder / "s.csv", count=40, seed=1, variables=["msl", "t2m"])
    return folder


def recipe_of(folder: Path, task: dict, **stations) -> dict:
    stream = {"table": str(folder / "s.csv"), "variables": ["msl"], "first_guess": {"msl": "fields.msl"}, **stations}
    return {
        "data": {"store": str(folder / "store.zarr"), "train": ["2000-01-01", "2000-01-31"], "validate": ["2000-02-01", "2000-02-05"]},
        "streams": {"stations": stream, "fields": {"variables": ["t", "msl"], "levels": [850], "patch": [2, 4, 4]}},
        "task": task,
        "model": {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "members": 4},
        "training": {"steps": 3, "batch_size": 2, "validate_every": 2, "validation_samples": 2, "footprint": False},
    }  # fmt: skip


TASKS = {
    "forecast": {"kind": "forecast", "history": 1, "leads": 1},
    "translate": {"kind": "translate", "to": ["stations"], "slabs": 1},
    "masked": {"kind": "masked", "slabs": 2},
}


def source_of(folder: Path, task: str = "translate", **stations) -> FieldSource:
    source = open_source(read_recipe(recipe_of(folder, TASKS[task], **stations)), "train", {})
    assert source is not None
    return source


@pytest.fixture(scope="module")
def models(folder) -> dict[str, Path]:
    """A new model of each task: its answers start from what statistics know."""
    for name, task in TASKS.items():
        recipe = read_recipe(recipe_of(folder, task))
        codecs = open_source(recipe, "train", {}).codecs
        TrainedModel(build(recipe.model, codecs, recipe.seed), codecs, recipe).save(folder / name / "model")
    return {name: folder / name for name in TASKS}


def edited(folder: Path, out: Path, change) -> str:
    """The table with a change to its rows."""
    frame = pd.read_csv(folder / "s.csv")
    change(frame).to_csv(out / "edited.csv", index=False)
    return str(out / "edited.csv")


def test_interpolation_to_points_is_that_to_a_grid():
    grid, random = Grid(np.linspace(-80, 80, 9), np.arange(16) * 22.5), np.random.default_rng(0)
    field, lat, lon = random.standard_normal((9, 16)), np.array([-89.0, 3.3, 40.0]), np.array([1.0, 359.0, 180.0])
    at = interpolated(field, at_points(grid, lat, lon))
    for i in range(3):
        one = Grid(lat[i : i + 1], lon[i : i + 1])
        np.testing.assert_allclose(at[i], bilinear(field, grid, one)[0, 0], atol=1e-12)
    around = interpolated(field, at_points(grid, *around_points(grid, lat, lon))).reshape(3, 9)
    np.testing.assert_allclose(around[:, 4], at)


def test_a_known_bias_with_height_and_of_single_stations_is_found():
    random = np.random.default_rng(0)
    stations, steps = 30, 400
    places = np.stack([np.ones(stations), random.uniform(-1, 1, stations), *np.zeros((4, stations))], axis=1)
    waves = harmonics(random.uniform(size=(steps, 1)), random.uniform(0, 24, (steps, 1)), np.zeros(stations))
    own = random.standard_normal(stations)
    own -= np.polyval(np.polyfit(places[:, 1], own, 1), places[:, 1])  # what no line in height explains
    away = 2.0 - 6.5 * places[:, 1] + own + 0.1 * random.standard_normal((steps, stations))
    moments = np.einsum("tsp,tsq->spq", waves, waves)[:, None]
    products = np.einsum("tsp,ts->sp", waves, away)[:, None]
    bias, found = fit_bias(moments, products, places, np.array([True]))
    np.testing.assert_allclose(bias[0, :2, 0], [2.0, -6.5], atol=0.05)
    np.testing.assert_allclose(found[:, 0, 0], own, atol=0.2)
    _, shrunk = fit_bias(moments / steps, products / steps, places, np.array([True]))
    assert np.abs(shrunk[:, 0, 0]).max() < 0.1 * np.abs(own).max()  # one report of a station says little of it


def test_simulated_stations_differ_from_the_fields_by_what_is_documented(folder, tmp_path):
    again = simulate_stations(
        str(folder / "store.zarr"), tmp_path / "s.csv", count=40, seed=1, variables=["msl", "t2m"]
    )
    assert again.read_bytes() == (folder / "s.csv").read_bytes()
    table, data = read_table(again), open_fields(str(folder / "store.zarr"))
    times = table.ticks - data.time.values.astype("M8[us]").astype(int)[:, None]
    apart_min = np.abs(times).min(axis=0) / 60e6
    assert apart_min.max() == 20
    assert len(np.unique(apart_min)) > 10
    assert 0.2 < len(table) / (40 * data.sizes["time"]) < 0.9
    places = table.stations
    grid = Grid(data.lat.values, data.lon.values)
    mean = data.t2m.mean("time").transpose("lat", "lon").values
    measured = np.array([table.values[table.station == s, table.variables.index("t2m")].mean() for s in range(40)])
    away = measured - interpolated(mean, at_points(grid, places.lat, places.lon))
    slope = np.polyfit(places.height_m / 1000, away, 1)[0]
    assert -9 < slope < -4


def test_each_step_has_the_nearest_report_of_a_station_and_gaps_stay_gaps(folder, tmp_path):
    rows = [("A", "05:45", 1.0), ("A", "06:10", 2.0), ("B", "06:40", 3.0), ("B", "11:50", 4.0)]
    frame = pd.DataFrame(rows, columns=["station", "time", "msl [hPa]"]).assign(lat=10.0, lon=20.0, height=0.0)
    frame["time"] = "2000-01-02T" + frame["time"] + "Z"
    frame.loc[2:, "lat"] = 40.0
    several = pd.concat([frame, frame.assign(time=frame["time"].str.replace("01-02", "01-03"))])
    several["msl [hPa]"] += 1000.0 + np.arange(len(several))
    several.to_csv(tmp_path / "few.csv", index=False)
    series = source_of(folder, table=str(tmp_path / "few.csv")).stations["stations"]
    window = series.of(slice(4, 8))
    values = window.values[:, 0, 0]
    assert values[1, 0] == pytest.approx(100300)  # 06:10 is nearer than 05:45, and 1003 hPa are as many Pa
    assert np.isnan(values[1, 1])  # 06:40 is too far from 06:00
    assert values[2, 1] == pytest.approx(100700)
    assert np.isnan(values[0]).all()


def test_tokens_of_stations_are_answers_again(folder):
    source = source_of(folder, steps=2)
    window = source.stations["stations"].of(slice(10, 14))
    fields = {name: stream.whole(10, 4) for name, stream in source.streams.items()}
    tokens = window.tokens(fields, hide_calendar=False)
    assert tokens.spec.ragged
    assert len(tokens) == 2 * len(window.stations)
    back = window.codec.to_values(tokens.values[None], window.climatology)[0]
    known = np.isfinite(window.values)
    assert 0.3 < known.mean() < 0.95
    np.testing.assert_allclose(back[known], window.values[known], rtol=1e-6)
    np.testing.assert_allclose(back[~known], window.climatology[~known], rtol=1e-6)
    assert tokens.coordinate("latitude_deg")[: len(window.stations)].numpy() == pytest.approx(window.stations.lat)
    assert tokens.coordinate("offset_h").unique().tolist() == [3.0, 15.0]
    low, high = window.stations.height_m.argmin(), window.stations.height_m.argmax()
    assert tokens.coordinate("pressure_hpa")[low] > tokens.coordinate("pressure_hpa")[high]


def test_the_first_guess_is_the_field_at_the_station_less_its_climatology(folder):
    source = source_of(folder)
    window = source.stations["stations"].of(slice(10, 12))
    fields = {name: stream.whole(10, 2) for name, stream in source.streams.items()}
    known = source.streams["fields"].tokenizer.climatology
    channel = [str(c) for c in known.channels].index("msl")
    at = window.guess(fields)[:, 0, :, 4]
    expected = window.interpolated(fields)[:, 0, 0] - interpolated(
        fields["fields"].climatology[:, channel], at_points(known.grid, window.stations.lat, window.stations.lon)
    )
    np.testing.assert_allclose(at, expected, atol=0.05)


def test_statistics_come_from_the_training_period_alone(folder, tmp_path):
    def change(frame):
        later = frame["time"] > "2000-02-01"
        frame.loc[later, "msl [Pa]"] += 500.0
        return frame

    before, after = (
        source_of(folder, table=table).codecs["stations"].statistics
        for table in (str(folder / "s.csv"), edited(folder, tmp_path, change))
    )
    for part in ("bias", "own", "anomaly_std", "correlation", "lowest"):
        np.testing.assert_array_equal(getattr(before, part), getattr(after, part))


def test_a_window_holds_the_stations_in_its_region(folder):
    options = read_recipe(recipe_of(folder, TASKS["masked"]) | {"window": {"extent": [4, 8]}})
    source = open_source(options, "train", {})
    counts = []
    for seed in range(6):
        window = source.draw(np.random.default_rng(seed))
        counts.append(len(window["stations"]))
        lat = window["fields"].coordinate("latitude_deg")
        inside = window["stations"].coordinate("latitude_deg")
        assert len(inside) == 0 or (inside.min() >= lat.min() - 46 and inside.max() <= lat.max() + 46)
    assert len(set(counts)) > 1
    assert max(counts) < len(source_of(folder).stations["stations"].reports.stations) * source.sampler.steps


def test_a_forecast_sees_no_report_after_its_start(folder):
    recipe = read_recipe(recipe_of(folder, TASKS["forecast"]))
    question = recipe.task.complete(open_source(recipe, "train", {}).draw(np.random.default_rng(0)))
    shown, asked = question.context["stations"], question.queries["stations"]
    assert shown.coordinate("offset_h").max() == 6.0
    assert asked.coordinate("offset_h").unique().tolist() == [12.0, 18.0]


def test_an_answer_is_the_same_alone_and_beside_a_sample_with_more_stations(models):
    trained = sc.load(models["forecast"])
    source = open_source(trained.recipe, "train", trained.codecs)
    windows = [source.draw(np.random.default_rng(seed)) for seed in range(2)]
    windows[0]["stations"] = windows[0]["stations"][::3]  # one of three stations
    questions = [trained.recipe.task.complete(window) for window in windows]
    nothing = replace(questions[0], context={**questions[0].context, "stations": questions[0].context["stations"][:0]})
    with torch.no_grad():
        together = trained.model.answer(stack_questions([*questions, nothing]))
        for number, question in enumerate((*questions, nothing)):
            alone = trained.model.answer(stack_questions([question]))
            for name, asked in question.queries.items():
                one, beside = alone[name].members[0, : len(asked)], together[name].members[number, : len(asked)]
                assert one.isfinite().all()
                torch.testing.assert_close(one, beside)


@pytest.mark.parametrize("task", TASKS)
def test_gradients_of_ragged_samples_are_finite(models, task):
    from statecast.rollout import training_losses

    trained = sc.load(models[task])
    source = open_source(trained.recipe, "train", trained.codecs)
    windows = [source.draw(np.random.default_rng(seed)) for seed in range(2)]
    windows[0]["stations"] = windows[0]["stations"][:0]  # nobody reports
    questions = stack_questions([trained.recipe.task.complete(window) for window in windows])
    losses = training_losses(trained.model.attempt, trained.model, questions, trained.recipe.task)
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in trained.model.parameters())


def records(path: Path) -> pd.DataFrame:
    return pd.DataFrame(json.loads((path / "scores.json").read_text()))


def test_evaluation_has_a_record_of_each_baseline(models, folder, tmp_path):
    store = str(folder / "store.zarr")
    for task in TASKS:
        evaluation = verbs.evaluate(
            models[task], store, HELD_OUT, tmp_path / task, every_h=96, report=False, progress=False
        )
        assert evaluation.tables()
    scores = {task: records(tmp_path / task) for task in TASKS}
    known = set(scores["translate"].forecast)
    assert known == {"model", "climatology", "persistence", "interpolation", "mos"}
    assert set(scores["translate"].task) == {"translate"}
    assert set(scores["translate"].variable) == {"msl"}
    assert scores["translate"].level_hpa.isna().all()
    assert scores["translate"].lead_time_h.isna().all()
    ahead = scores["forecast"][scores["forecast"].task == "forecast stations"]
    assert set(ahead.forecast) == known
    assert set(ahead.lead_time_h) == {6.0, 12.0}
    assert "forecast" in set(scores["forecast"].task)
    masked = scores["masked"]
    assert {"masked 50% stations", "masked 50%"} <= set(masked.task)
    assert set(masked[masked.task == "masked 90% stations"].forecast) == {"model", "climatology", "persistence"}
    rmse = scores["translate"].query("metric == 'rmse'").set_index("forecast").value
    assert rmse["mos"] < rmse["interpolation"] < rmse["climatology"]  # the field says most, its bias the rest


def test_new_stations_are_scored_with_what_all_stations_have_in_common(models, folder, tmp_path):
    store = str(folder / "store.zarr")
    new = simulate_stations(store, tmp_path / "new.csv", count=10, seed=7, variables=["msl"])
    verbs.evaluate(
        models["translate"], store, HELD_OUT, tmp_path / "e", stores={"stations": str(new)}, every_h=96, progress=False
    )
    rmse = records(tmp_path / "e").query("metric == 'rmse'").set_index("forecast").value
    assert rmse["mos"] < rmse["climatology"]


def test_learned_reports_are_not_scored(models, folder, tmp_path):
    fields = open_fields(str(folder / "store.zarr"))
    moved = fields.map(
        lambda field: (field + 0.01 * field.std()).assign_attrs(field.attrs)
    )  # another record of the same times
    moved.drop_encoding().to_zarr(tmp_path / "other.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(StoreError, match="overlaps the training period"):
        verbs.evaluate(
            models["translate"],
            str(tmp_path / "other.zarr"),
            ("2000-01-20", "2000-01-25"),
            tmp_path / "e",
            progress=False,
        )
    assert not (tmp_path / "e").exists()


def test_a_forecast_at_new_stations_is_a_cf_time_series_and_sees_their_reports(models, folder, tmp_path):
    store, new = str(folder / "store.zarr"), tmp_path / "new.csv"
    pd.DataFrame(
        {"id": ["X", "Y"], "latitude": [10.0, -40.0], "longitude": [-5.0, 100.0], "elevation": [0, 900]}
    ).to_csv(new, index=False)
    out = tmp_path / "f.nc"
    forecast = verbs.predict(models["forecast"], store, "2000-02-10T06", 2, stations=str(new), out=out)
    assert forecast.msl.dims == ("station", "time")
    assert str(forecast.time.values[0]) == "2000-02-10T12:00:00.000000000"
    with xr.open_dataset(out) as written:
        assert written.attrs["featureType"] == "timeSeries"
        assert written.station.attrs["cf_role"] == "timeseries_id"
        assert np.isfinite(written.msl).all()
        assert written.msl_members.dims == ("station", "time", "number")
        assert written.lat.attrs["standard_name"] == "latitude"
    assert read_table(out).of_variables({"msl": "hPa"}).values.shape == (4, 1)  # what is written can be read
    reported = (
        pd.read_csv(new).loc[[0, 0]].assign(**{"msl [Pa]": 1.004e5, "time": ["2000-02-10T06:00Z", "2000-02-10T12:00Z"]})
    )
    reported.to_csv(new, index=False)
    seen = verbs.predict(models["forecast"], store, "2000-02-10T06", 2, stations=str(new))
    later = reported.assign(**{"msl [Pa]": [1.004e5, 1.1e5]})
    later.to_csv(new, index=False)
    peeped = verbs.predict(models["forecast"], store, "2000-02-10T06", 2, stations=str(new))
    assert abs(float(seen.msl.sel(station="X")[0] - forecast.msl.sel(station="X")[0])) > 1.0
    xr.testing.assert_equal(seen, peeped)


def test_a_translation_at_stations_covers_the_period(models, folder, tmp_path):
    new = tmp_path / "new.csv"
    pd.DataFrame({"id": ["X"], "lat": [10.0], "lon": [-5.0], "height": [0]}).to_csv(new, index=False)
    said = verbs.complete(
        models["translate"],
        str(folder / "store.zarr"),
        ("2000-02-10", "2000-02-11T06"),
        stations=str(new),
        progress=False,
    )
    assert said.sizes["time"] == 6
    fields = open_fields(str(folder / "store.zarr")).msl.sel(time=said.time)
    at = [
        bilinear(f.values, Grid(fields.lat.values, fields.lon.values), Grid(np.array([10.0]), np.array([355.0])))[0, 0]
        for f in fields
    ]
    assert np.corrcoef(said.msl.values[0], at)[0, 1] > 0.9  # an untrained answer starts from the field  # fmt: skip


@pytest.mark.parametrize(
    ("task", "ask", "message"),
    [
        ("forecast", lambda m, s, n: verbs.predict(m, s, "2000-02-10", 3, stations=n), "steps is 3, expected 1 to the 2 of the model"),
        ("forecast", lambda m, s, n: verbs.predict(m, s, "2000-02-10", 2, stations=n, out="a.zarr"), "a.zarr: time series .* in .nc"),
        ("translate", lambda m, s, n: verbs.predict(m, s, "2000-02-10", 2, stations=n), "'translate', expected forecast"),
        ("forecast", lambda m, s, n: verbs.predict(m, s, "2000-02-10", 2, members=3, stations=n), "members and lattices are of answers on"),
        ("forecast", lambda m, s, n: verbs.complete(m, s, HELD_OUT, stations=n, progress=False), "'forecast', expected translate to st"),
        ("translate", lambda m, s, n: verbs.complete(m, s, HELD_OUT, progress=False), "the model answers stations, which lie on no grid"),
    ],
)  # fmt: skip
def test_what_a_model_of_stations_does_not_answer_is_refused(models, folder, tmp_path, task, ask, message):
    with pytest.raises(ModelError, match=message):
        ask(models[task], str(folder / "store.zarr"), str(folder / "s.csv"))


def test_fields_are_forecast_as_before_without_stations(models, folder):
    fields = verbs.predict(models["forecast"], str(folder / "store.zarr"), "2000-02-10T06", 2, members=1)
    assert set(fields.data_vars) == {"t", "msl"}
    assert np.isfinite(fields.msl).all()


def far(frame):
    return frame.rename(columns={"msl [Pa]": "msl [hPa]"})


def elsewhere(frame):
    return frame.assign(lat=-frame["lat"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (far, StationError, r"variable 'msl' runs from .* Pa, far from the field beside it in 100% of the reports"),
        (lambda f: f[f["time"] > "2000-02-10"], StationError, "has no report near a time step from 2000-01-01"),
        (lambda f: f.assign(**{"msl [Pa]": -9999.0}), StationError, "has the value -9999 in .* reports"),
    ],
)
def test_reports_that_are_none_are_refused_in_training(folder, tmp_path, change, error, message):
    with pytest.raises(error, match=message) as refused:
        source_of(folder, table=edited(folder, tmp_path, change))
    assert "\n" not in str(refused.value)


def test_single_gross_errors_count_as_missing(folder, tmp_path, capsys):
    def change(frame):
        frame.loc[3, "msl [Pa]"] = 5e4
        return frame

    series = source_of(folder, table=edited(folder, tmp_path, change)).stations["stations"]
    assert "1 values of 'msl' are far from the field beside it and count as missing" in capsys.readouterr().err
    assert np.isnan(series.reports.table.values).sum() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [(far, "far from what the model learned in 100%"), (elsewhere, "station S1-0000 is at .* the model learned it at")],
)
def test_reports_that_are_not_what_the_model_learned_are_refused(models, folder, tmp_path, change, message):
    table = edited(folder, tmp_path, change)
    with pytest.raises(StationError, match=message):
        verbs.evaluate(
            models["translate"],
            str(folder / "store.zarr"),
            HELD_OUT,
            tmp_path / "e",
            stores={"stations": table},
            progress=False,
        )
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("task", "stations", "message"),
    [
        ("masked", {"first_guess": {"msl": "air.msl"}}, r"streams.stations: there is no stream of fields 'air'"),
        ("masked", {"first_guess": {"q": "fields.q"}}, "first_guess names 'q', which is none of the variables"),
        ("masked", {"steps": 3}, "steps is 3, which does not divide the 2 steps"),
        ("masked", {"zone": "Nowhere"}, "'Nowhere' is no time zone"),
        ("masked", {"tabel": "x"}, "streams.stations.tabel is not an option of a stream"),
        ("forecast", {"rollout": 2}, "task.rollout is 2, but stations"),
    ],
)
def test_a_recipe_of_stations_that_can_not_be_is_refused(folder, task, stations, message):
    rollout = {"rollout": stations.pop("rollout")} if "rollout" in stations else {}
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe_of(folder, {**TASKS[task], **rollout}, **stations))


def test_a_field_that_is_not_there_is_refused(folder):
    with pytest.raises(ValueError, match=r"there is no field fields\.t2m\. Fields: fields\.t@850, fields\.msl"):
        source_of(folder, first_guess={"msl": "fields.t2m"})


def test_a_run_that_was_stopped_goes_on_to_the_same_bits_and_notices_another_table(folder, tmp_path, monkeypatch):
    recipe = recipe_of(folder, TASKS["masked"])
    recipe["training"] |= {"steps": 3, "checkpoint_every": 1}
    recipe["data"] |= {"validate": None}
    sc.pretrain(recipe, tmp_path / "whole", progress=False)
    draw, drawn = FieldSource.draw, []

    def failing(self, sample):
        drawn.append(1)
        if len(drawn) > 5:
            raise InterruptedError("stopped")
        return draw(self, sample)

    monkeypatch.setattr(FieldSource, "draw", failing)
    with pytest.raises(InterruptedError):
        sc.pretrain(recipe, tmp_path / "run", progress=False)
    assert list((tmp_path / "run.unfinished" / "checkpoints").iterdir())
    monkeypatch.undo()
    table = edited(folder, tmp_path, lambda frame: frame.assign(height=frame["height"] + 1))
    changed = {
        **recipe,
        "streams": {**recipe["streams"], "stations": {**recipe["streams"]["stations"], "table": table}},
    }
    with pytest.raises(RecipeError, match="stations"):
        sc.pretrain(changed, tmp_path / "run", resume=True, progress=False)
    sc.pretrain(recipe, tmp_path / "run", resume=True, progress=False)
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert weights[0] == weights[1]


def test_costs_count_the_stations_of_the_table_or_assume_some(folder):
    known = blank_sizes(read_recipe(recipe_of(folder, TASKS["translate"])))
    spec = source_of(folder).codecs["stations"].spec
    assert (known.specs["stations"].layout, known.specs["stations"].guess_size) == (spec.layout, spec.guess_size)
    assert len(known.window["stations"]) == 40 * 2
    assert any("all 40 stations" in line for line in known.assumed)
    assumed = blank_sizes(read_recipe(recipe_of(folder, TASKS["masked"], table="nowhere.csv")))
    assert any("assumed to have 100 stations" in line for line in assumed.assumed)


def test_answers_of_a_loaded_model_are_those_of_the_saved_one(models, folder):
    trained, again = sc.load(models["translate"]), sc.load(models["translate"])
    source = open_source(trained.recipe, "train", trained.codecs)
    question = trained.recipe.task.complete(source.draw(np.random.default_rng(3)))
    torch.testing.assert_close(
        answer(trained, question)["stations"], answer(again, question)["stations"], rtol=0, atol=0
    )
    assert trained.codecs.keys() == {"stations", "fields"}


@pytest.mark.parametrize(("task", "token"), [("forecast", 100), ("translate", 3)])
def test_samples_representations_and_tokens_of_stations(models, folder, task, token):
    store = str(folder / "store.zarr")
    looked = look_at_samples(models[task], 1)
    assert {facts.stream for facts in looked} >= {"stations"}
    assert all(np.isfinite(facts.loss) for facts in looked)
    features = sc.embed(models[task], store, ("2000-02-06", "2000-02-07"), streams=("fields",), progress=False)
    assert np.isfinite(features.fields).all()
    explained = explain_token(models[task], store, ("2000-02-06", "2000-02-07"), token=f"stations:{token}")
    assert explained.sizes


def test_a_model_that_knows_stations_is_fine_tuned_to_translate_and_remembers_the_fields(
    models, folder, tmp_path, capsys
):
    tuning = {
        "task": TASKS["translate"],
        "training": {"steps": 1, "batch_size": 1, "footprint": False},
        "data": {"validate": None},
    }
    tuned = sc.finetune(tuning, models["masked"], tmp_path / "tuned", progress=False)
    before, after = sc.load(models["masked"]).codecs["stations"], tuned.codecs["stations"]
    assert (before.guessed, after.guessed) == (False, True)
    np.testing.assert_array_equal(before.statistics.own, after.statistics.own)
    assert sc.load(tmp_path / "tuned").codecs["stations"].spec == after.spec
    plain = recipe_of(folder, TASKS["masked"])
    plain["streams"].pop("stations")
    plain["data"]["validate"] = ["2000-02-01", "2000-02-01"]
    recipe = read_recipe(plain)
    codecs = open_source(recipe, "train", {}).codecs
    base = TrainedModel(build(recipe.model, codecs, 0), codecs, recipe)
    whole = recipe_of(folder, TASKS["translate"])
    added = {"streams": whole["streams"], "task": whole["task"], "training": tuning["training"]}
    sc.finetune(added, base, tmp_path / "added", progress=False)
    assert (tmp_path / "added" / "model").is_dir()
