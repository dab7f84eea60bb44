"""Scores of forecasts in files: against hand calculations, the package `scores`, and what `evaluate` says of the same cases."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scores as others
import xarray as xr

from statecast.config import read_recipe
from statecast.evaluation import ensemble_scores
from statecast.evaluation.differences import Difference
from statecast.evaluation.kept import read_statistics
from statecast.fields.evaluation import verify_forecast
from statecast.fields.forecasts import Choice, pairing, verify
from statecast.fields.forecasts import report as verify_report
from statecast.fields.inference import forecast, write_forecast
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import ModelOptions
from statecast.trained import TrainedModel, build

PAST = ("2000-01-01", "2000-01-31")


def scored(forecasts, analyses, out, **options) -> dict[tuple, dict]:
    """The records of `scores.json`, by forecast, metric, variable, level and lead time."""
    choice = Choice(**{key: options.pop(key) for key in list(options) if key in Choice.__dataclass_fields__})
    verify(forecasts, analyses, out, choice=choice, progress=False, report=options.pop("report", False), **options)
    records = json.loads((out / "scores.json").read_text())
    return {tuple(r[k] for k in ("forecast", "metric", "variable", "level_hpa", "lead_time_h")): r for r in records}


def difference_of(out) -> Difference:
    named = {v.forecast: v for v in read_statistics(out / "statistics.nc", ensemble_scores)[0] if v.task == "forecast"}
    return Difference.of(named["forecast"], named["beside"])


def aligned(forecasts: xr.Dataset, truth: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset, xr.DataArray]:
    """Forecasts, the analyses at their valid times, and weights, as a user of xarray pairs them."""
    forecasts = forecasts.rename(latitude="lat", longitude="lon").astype(float)
    at = forecasts.time + forecasts.prediction_timedelta
    return forecasts, truth.astype(float).sel(time=at).drop_vars("time"), np.cos(np.deg2rad(truth.lat))


def test_scores_of_the_layout_of_weatherbench_are_those_of_xarray_and_of_the_package_scores(
    make_forecasts, truth, analyses, write, tmp_path
):
    forecasts = make_forecasts()
    found = scored(write(forecasts, "f.zarr"), analyses, tmp_path / "out")
    mine, true, area = aligned(forecasts, truth)
    by_hand = ((mine - true) ** 2).weighted(area).mean(("lat", "lon", "time")) ** 0.5
    theirs = others.continuous.rmse(mine, true, reduce_dims=("lat", "lon", "time"), weights=area)
    mae = others.continuous.mae(mine, true, reduce_dims=("lat", "lon", "time"), weights=area)
    bias = others.continuous.additive_bias(mine, true, reduce_dims=("lat", "lon", "time"), weights=area)
    for i, lead in enumerate((6.0, 12.0, 24.0)):
        for level in (500.0, 850.0):
            at = {"prediction_timedelta": i}
            expected = float(by_hand.t.isel(at).sel(level=level))
            assert found["forecast", "rmse", "t", level, lead]["value"] == pytest.approx(expected, rel=1e-9)
            assert float(theirs.t.isel(at).sel(level=level)) == pytest.approx(expected, rel=1e-9)
            for metric, of in {"mae": mae, "bias": bias, "crps": mae}.items():
                expected = float(of.t.isel(at).sel(level=level))
                assert found["forecast", metric, "t", level, lead]["value"] == pytest.approx(expected, rel=1e-7)
        assert found["forecast", "rmse", "msl", None, lead]["value"] == pytest.approx(float(by_hand.msl[i]), rel=1e-9)
    assert {r["n"] for r in found.values()} == {6} and {key[0] for key in found} == {"forecast", "persistence"}


def test_scores_of_an_ensemble_are_those_of_the_package_scores_and_spread_is_that_of_its_members(
    make_forecasts, truth, analyses, write, tmp_path
):
    forecasts = make_forecasts(members=4)
    found = scored(write(forecasts, "f.nc"), analyses, tmp_path / "out")
    mine, true, area = aligned(forecasts, truth)
    crps = others.probability.crps_for_ensemble(
        mine.msl, true.msl, "number", method="fair", reduce_dims=("lat", "lon", "time"), weights=area
    )
    spread = (mine.msl.var("number", ddof=1).weighted(area).mean(("lat", "lon", "time")) * 5 / 4) ** 0.5
    for i, lead in enumerate((6.0, 12.0, 24.0)):
        assert found["forecast", "crps", "msl", None, lead]["value"] == pytest.approx(float(crps[i]), rel=1e-5)
        assert found["forecast", "spread", "msl", None, lead]["value"] == pytest.approx(float(spread[i]), rel=1e-9)
    assert found["forecast", "spread_skill", "msl", None, 24.0]["value"] > 0.5
    with xr.open_datatree(tmp_path / "out" / "scores.nc") as tree:
        counts = tree["forecast/forecast"]["rank_histogram"]
        assert (counts.sum("rank") == 6 * 8 * 16).all()


def test_persistence_and_climatology_come_from_the_analyses(make_forecasts, truth, analyses, write, tmp_path):
    found = scored(write(make_forecasts(), "f.zarr"), analyses, tmp_path / "out", climatology_period=PAST)
    forecasts, true, area = aligned(make_forecasts(), truth)
    last = truth.astype(float).sel(time=forecasts.time).drop_vars("time")
    expected = (((last - true) ** 2).weighted(area).mean(("lat", "lon", "time")) ** 0.5).msl
    for i, lead in enumerate((6.0, 12.0, 24.0)):
        assert found["persistence", "rmse", "msl", None, lead]["value"] == pytest.approx(float(expected[i]), rel=1e-6)
    record = Record.open(open_fields(analyses), Stream(variables=("msl",)), PAST)
    climatology, of_all = fit_climatology(record), Record.open(open_fields(analyses), Stream(variables=("msl",)))
    mean = climatology.at(of_all.months_passed, of_all.hour_utc)[:, 0]
    anomalies = truth.msl.astype(float) - mean
    at = (forecasts.time + forecasts.prediction_timedelta).isel(prediction_timedelta=2)
    theirs = forecasts.msl.isel(prediction_timedelta=2) - xr.DataArray(mean, truth.msl.coords).sel(time=at).drop_vars(
        "time"
    )
    ours = anomalies.sel(time=at).drop_vars("time")
    product = lambda a, b: (a * b).weighted(area).mean(("lat", "lon"))  # noqa: E731
    acc = product(theirs, ours) / np.sqrt(product(theirs, theirs) * product(ours, ours))
    assert found["forecast", "acc", "msl", None, 24.0]["value"] == pytest.approx(float(acc.mean()), rel=1e-6)
    rmse = float(np.sqrt(product(ours, ours).mean()))
    assert found["climatology", "rmse", "msl", None, 24.0]["value"] == pytest.approx(rmse, rel=1e-6)


@pytest.fixture
def make_model(analyses) -> Callable[..., TrainedModel]:
    """A model with random weights that forecasts a day."""
    stream = Stream(variables=("t", "msl"), levels=(500, 850), patch=(2, 4, 4))
    data = {"store": analyses, "train": PAST}
    task = {"kind": "forecast", "history": 1, "leads": 2}
    recipe = read_recipe({"data": data, "streams": {"air": stream.model_dump()}, "task": task})
    tokenizers = {"air": FieldTokenizer(stream, fit_climatology(Record.open(open_fields(analyses), stream, PAST)))}

    def make(**options) -> TrainedModel:
        options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, **options)
        return TrainedModel(build(options, tokenizers, 0), tokenizers, recipe)

    return make


@pytest.mark.parametrize(("head", "task", "metrics"), [("point", "forecast", 5 + 5 + 4), ("ensemble", "members", 7)])
def test_what_predict_writes_has_the_scores_that_evaluate_gives_for_the_same_cases(
    head, task, metrics, make_model, analyses, tmp_path
):
    """Of a deterministic model those of its one head; of an ensemble those of the members that are drawn. ACC of climatology is none."""
    model, store, members = make_model(head=head, members=4), open_fields(analyses), 1 if head == "point" else 3
    record = Record.open(store, model.codecs["air"].stream, ("2000-02-01", "2000-02-03"))
    asked = verify_forecast({"model": model}, record, every_h=24.0, members=3 if task == "members" else None)
    expected = {v.forecast: v for v in asked if v.task == task}
    starts = expected["model"].positions + 6.0  # the second of two shown steps is the initial time
    paths = []
    for hours in starts:
        init = str(record.times.index[0] + np.timedelta64(int(hours), "h"))
        paths.append(str(tmp_path / f"{int(hours)}.nc"))
        write_forecast(forecast(model, store, init, 4, members), Path(paths[-1]))
    found = scored(paths, analyses, tmp_path / "out", climatology_period=PAST)
    compared = 0
    for (name, metric, variable, level, lead), r in found.items():
        theirs = expected.get("model" if name == "forecast" else name)
        if theirs is None:
            continue
        c = [str(x) for x in theirs.labels("channel")].index(variable if level is None else f"{variable}@{level:g}")
        at = (theirs.labels("lead_time_h").index(lead), c)
        low, high = (x[at] for x in theirs.interval(metric))
        numbers = (float(theirs.value(metric)[at]), float(low), float(high), len(starts))
        assert (r["value"], r["low"], r["high"], r["n"]) == pytest.approx(numbers, rel=1e-6, abs=1e-9)
        compared += 1
    assert compared == 12 * metrics


def test_scores_do_not_depend_on_the_blocks_that_are_read(make_forecasts, analyses, write, tmp_path, monkeypatch):
    path = write(make_forecasts(members=2).isel(time=slice(0, 2)), "f.zarr")
    whole = scored(path, analyses, tmp_path / "whole", climatology_period=PAST)
    sizes, read = [], pairing.Forecaster.read

    def counted(*arguments):
        values = read(*arguments)
        sizes.append(values.size)
        return values

    monkeypatch.setattr(pairing, "BLOCK", 2 * 8 * 16)
    monkeypatch.setattr("statecast.fields.forecasts.scoring.BLOCK", 2 * 8 * 16)
    monkeypatch.setattr(pairing.Forecaster, "read", counted)
    parts = scored(path, analyses, tmp_path / "parts", climatology_period=PAST, threads=2)
    assert max(sizes) == 2 * 8 * 16 and len(sizes) == 2 * 3 * 3
    assert whole.keys() == parts.keys()
    for key, record in whole.items():
        assert parts[key]["value"] == pytest.approx(record["value"], rel=1e-12, abs=1e-14)


def test_what_is_missing_is_counted_and_told(make_forecasts, truth, write, tmp_path, capsys):
    forecasts = make_forecasts()
    forecasts.t[1, 0] = np.nan  # two fields, wholly
    forecasts.t[2, 1, 0, :3] = np.nan  # one in part
    gaps = truth.drop_sel(time=np.datetime64("2000-02-01T06"))
    found = scored(write(forecasts, "f.zarr"), write(gaps, "gaps.zarr"), tmp_path / "out")
    message = capsys.readouterr().err
    assert "analyses: 3 of 54 fields are missing, 0 have missing values" in message
    assert "forecast: 2 of 51 fields are missing, 1 have missing values" in message
    assert found["forecast", "rmse", "t", 500.0, 6.0]["n"] == 4 == found["persistence", "rmse", "t", 500.0, 6.0]["n"]
    assert found["forecast", "rmse", "msl", None, 6.0]["n"] == 5
    assert found["forecast", "rmse", "t", 500.0, 12.0]["n"] == 6


def test_an_initial_time_without_analysis_counts_not_for_persistence(make_forecasts, truth, write, tmp_path):
    gaps = write(truth.drop_sel(time=np.datetime64("2000-02-01T00")), "gaps.zarr")
    found = scored(write(make_forecasts(), "f.zarr"), gaps, tmp_path / "out")
    assert found["forecast", "rmse", "msl", None, 6.0]["n"] == 6
    assert found["persistence", "rmse", "msl", None, 6.0]["n"] == 5


def test_a_region_is_scored_with_the_areas_of_the_globe_also_across_greenwich(
    make_forecasts, truth, analyses, write, tmp_path
):
    found = scored(write(make_forecasts(), "f.zarr"), analyses, tmp_path / "out", region=(0.0, 90.0, -50.0, 30.0))
    mine, true, area = aligned(make_forecasts(), truth)
    part = {"lat": slice(0, 90), "lon": [315.0, 337.5, 0.0, 22.5]}
    expected = ((mine - true) ** 2).sel(part).weighted(area).mean(("lat", "lon", "time")).msl ** 0.5
    assert found["forecast", "rmse", "msl", None, 12.0]["value"] == pytest.approx(float(expected[1]), rel=1e-9)


def test_forecasts_on_other_points_are_interpolated_if_asked(make_forecasts, truth, analyses, write, tmp_path, capsys):
    """A field that is linear in latitude and constant along it is known exactly between the outermost rows."""
    plane = xr.zeros_like(make_forecasts()) + make_forecasts().latitude
    there = plane.interp(latitude=np.linspace(-70, 70, 15)).isel(longitude=slice(None, None, 2))
    path = write(there.astype(np.float32).assign({n: there[n].assign_attrs(truth[n].attrs) for n in there}), "f.zarr")
    found = scored(path, analyses, tmp_path / "out", regrid="bilinear", region=(-65.0, 65.0, 0.0, 360.0))
    _, true, area = aligned(make_forecasts(), truth)
    part = {"lat": slice(-65, 65)}
    expected = ((truth.lat - true).sel(part) ** 2).weighted(area).mean(("lat", "lon", "time")).msl ** 0.5
    assert found["forecast", "rmse", "msl", None, 12.0]["value"] == pytest.approx(float(expected[1]), rel=1e-6)
    assert "is interpolated from 15 x 8 to the 6 x 16 points" in capsys.readouterr().err


def test_variables_of_other_names_are_paired_and_units_converted_with_a_word(
    make_forecasts, analyses, write, tmp_path, capsys
):
    plain = make_forecasts()
    renamed = plain.assign(msl=(plain.msl.astype(float) / 100).assign_attrs(units="hPa")).rename(msl="mslp")
    expected = scored(write(plain, "f.zarr"), analyses, tmp_path / "plain", variables={"msl": "msl"})
    found = scored(write(renamed, "g.zarr"), analyses, tmp_path / "out", variables={"msl": "mslp"})
    assert "variable 'msl' is converted from 'hPa' to 'Pa', as the analyses are" in capsys.readouterr().err
    assert found.keys() == expected.keys()
    for key, record in expected.items():
        assert found[key]["value"] == pytest.approx(record["value"], abs=0.02)


def test_what_is_chosen_is_scored_and_nothing_else(make_forecasts, analyses, write, tmp_path):
    path = write(make_forecasts(), "f.zarr")
    chosen = {"variables": {"t": "t"}, "levels": (850.0,), "lead_times_h": (24.0, 6.0)}
    found = scored(path, analyses, tmp_path / "out", period=("2000-02-02", "2000-02-02"), **chosen)
    assert {key[2:] for key in found} == {("t", 850.0, 6.0), ("t", 850.0, 24.0)}
    assert {record["n"] for record in found.values()} == {2}


def test_another_forecast_is_compared_on_the_same_initial_times_and_values(make_forecasts, analyses, write, tmp_path):
    inits = np.datetime64("2000-01-05", "ns") + np.arange(36) * np.timedelta64(24, "h")
    better, worse = make_forecasts(inits=inits), make_forecasts(inits=inits[3:], seed=1, noise=0.35)
    better.t[5] = np.nan  # in one of them: no pair
    beside = write(worse, "worse.zarr")
    found = scored(write(better, "better.zarr"), analyses, tmp_path / "out", beside=beside, variables={"t": "t"})
    first, second, difference = (
        found[key]
        for key in (
            ("forecast", "rmse", "t", 500.0, 24.0),
            ("beside", "rmse", "t", 500.0, 24.0),
            ("forecast", "rmse_difference", "t", 500.0, 24.0),
        )
    )
    assert first["n"] == second["n"] == difference["n"] == 32
    assert difference["value"] == pytest.approx(first["value"] - second["value"], rel=1e-12)
    assert difference["low"] < difference["value"] < difference["high"] < 0
    title, rows = verify_report.difference_table(difference_of(tmp_path / "out"), [24.0])
    assert title == "forecast less beside" and rows[1][0] == "t@500" and rows[1][2].endswith(" *")
    assert rows[1][2].startswith(f"{difference['value']:+.4g} (")


def test_a_few_days_are_no_test_of_a_difference(make_forecasts, analyses, write, tmp_path, capsys):
    found = scored(
        write(make_forecasts(), "f.zarr"),
        analyses,
        tmp_path / "out",
        beside=write(make_forecasts(seed=1), "g.zarr"),
    )
    assert not any(key[1].endswith("_difference") for key in found)
    assert "too few to test the difference" in capsys.readouterr().err


def test_months_are_valid_when_the_store_says_so(truth, write, tmp_path):
    """Lead times in months, as `predict` of a monthly model writes them, have no fixed length."""
    months = np.array(["2000-01-01", "2000-02-01", "2000-03-01", "2000-04-01"], "M8[ns]")
    monthly = truth.isel(time=slice(0, 4)).assign_coords(time=months)
    given = xr.Dataset(
        {"msl": (("init_time", "lead_time", "lat", "lon"), monthly.msl.values[None, 1:] + 2, {"units": "Pa"})},
        {
            "init_time": ("init_time", months[:1], {"standard_name": "forecast_reference_time"}),
            "lead_time": ("lead_time", [1, 2, 3], {"units": "months", "standard_name": "forecast_period"}),
            "valid_time": (("init_time", "lead_time"), months[None, 1:], {"standard_name": "time"}),
            "lat": monthly.lat,
            "lon": monthly.lon,
        },
    )
    found = scored(write(given, "f.nc"), write(monthly, "m.nc"), tmp_path / "out")
    assert found["forecast", "rmse", "msl", None, 730.485]["value"] == pytest.approx(2, rel=1e-5)
    assert found["forecast", "bias", "msl", None, 3 * 730.485]["value"] == pytest.approx(2, rel=1e-5)


def test_a_choice_is_written_as_it_was_made():
    choice = replace(Choice(), region=(0.0, 1.0, 2.0, 3.0), variables={"t": "ta"})
    assert json.loads(json.dumps(choice.document()))["region"] == [0.0, 1.0, 2.0, 3.0]
