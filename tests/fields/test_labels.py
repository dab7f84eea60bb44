"""Labels of a record from a table: reading it in the record's calendar, which step they belong to, and a model of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import statecast as sc
from statecast.axes import unit_vectors
from statecast.config import RecipeError
from statecast.explain.tokens import explain_token
from statecast.fields.labels import LabelSeries, LabelStream, read_labels
from statecast.fields.sources import open_fields
from statecast.fields.tokenizers import Place
from statecast.labels import LabelCodec, LabelError
from statecast.streams import stack_questions
from statecast.trained import ModelError

TRAINING = {"steps": 2, "batch_size": 2, "validation_samples": 2, "footprint": False}


def times_of(make_store, calendar: str = "standard", steps: int = 6, start: str = "2001-02-27"):
    return open_fields(make_store(steps=steps, calendar=calendar, start=start)).indexes["time"]


def stream(path, **options) -> LabelStream:
    return LabelStream(labels=str(path), column="weather", **options)


def table(path: Path, times, values, **columns) -> Path:
    pd.DataFrame({"time": times, "weather": values} | columns).to_csv(path, index=False)
    return path


def test_labels_of_a_csv_file_are_found_by_their_time_in_any_order(make_store, tmp_path):
    times = times_of(make_store)
    path = table(tmp_path / "l.csv", ["2001-02-27T18:00", "2001-02-27 00:00:00", "2001-02-28"], ["wet", "dry", "storm"])
    assert read_labels(stream(path), times) == ["dry", None, None, "wet", "storm", None]


def test_an_empty_cell_is_no_label_and_times_beside_the_record_are_left_out(make_store, tmp_path):
    times = times_of(make_store)
    path = table(tmp_path / "l.csv", ["2001-02-27T00", "2001-02-27T06", "1999-01-01"], ["dry", None, "wet"])
    assert read_labels(stream(path), times) == ["dry", None, None, None, None, None]


def test_columns_may_have_other_names(make_store, tmp_path):
    path = tmp_path / "l.csv"
    pd.DataFrame({"when": ["2001-02-27"], "speed": [3.5]}).to_csv(path, index=False)
    options = LabelStream(labels=str(path), column="speed", time="when", target="number")
    assert read_labels(options, times_of(make_store)) == [3.5, *[None] * 5]


@pytest.mark.parametrize(
    ("calendar", "start", "written"),
    [
        ("360_day", "2001-02-29", ["2001-02-30T06:00", "2001-02-29"]),
        ("noleap", "2000-02-28", ["2000-03-01 06:00:00", "2000-02-28"]),
    ],
)
def test_times_are_read_in_the_calendar_of_the_record(make_store, tmp_path, calendar, start, written):
    times = times_of(make_store, calendar, start=start)
    found = read_labels(stream(table(tmp_path / "l.csv", written, ["wet", "dry"])), times)
    assert found == ["dry", None, None, None, None, "wet"]


def test_a_day_that_a_calendar_lacks_is_refused(make_store, tmp_path):
    path = table(tmp_path / "l.csv", ["2000-02-29"], ["wet"])
    with pytest.raises(LabelError, match=r"its times can't be read .*Write 2001-02-03T06:00"):
        read_labels(stream(path), times_of(make_store, "noleap"))


def netcdf(path: Path, times, values) -> Path:
    xr.Dataset({"weather": ("time", values)}, {"time": times}).to_netcdf(path)
    return path


@pytest.mark.parametrize("calendar", ["standard", "360_day", "noleap"])
def test_labels_of_a_netcdf_file_have_the_calendar_of_the_file(make_store, tmp_path, calendar):
    times = times_of(make_store, calendar)
    path = netcdf(tmp_path / "l.nc", times[[3, 0]], ["wet", "dry"])
    assert read_labels(stream(path), times) == ["dry", None, None, "wet", None, None]


def test_numbers_of_a_netcdf_file_may_be_missing(make_store, tmp_path):
    times = times_of(make_store)
    path = netcdf(tmp_path / "l.nc", times[:3], [1.5, np.nan, -2.0])
    assert read_labels(stream(path, target="number"), times) == [1.5, None, -2.0, None, None, None]


def test_parquet_is_read_if_pandas_can(make_store, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "l.parquet"
    pd.DataFrame({"time": ["2001-02-27T06:00"], "weather": ["dry"]}).to_parquet(path)
    assert read_labels(stream(path), times_of(make_store))[:2] == [None, "dry"]


def write_two(path):
    table(path, ["2001-02-27", "2001-02-28", "2001-02-27T00:00"], ["a", "b", "a"])


def write_other_dims(path):
    xr.Dataset({"weather": (("time", "x"), [[1.0, 2.0]])}, {"time": [np.datetime64("2001-02-27", "ns")]}).to_netcdf(
        path
    )


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("l.csv", lambda path: None, "there is no such file. Give a CSV, Parquet or NetCDF file"),
        ("l.txt", lambda path: path.write_text("time,weather"), r"ends in '.txt', expected .csv, .parquet or .nc"),
        ("l.csv", write_two, "the time 2001-02-27 00:00:00 has several labels, expected one"),
        ("l.csv", lambda path: table(path, ["1990-01-01"], ["a"]), r"none of its times, 1990-01-01 00:00:00 to 1990-01-01"),
        ("l.csv", lambda path: table(path, ["soon"], ["a"]), r"its times can't be read .*Write 2001-02-03T06:00"),
        ("l.csv", lambda path: path.write_text("time,wether\n"), r"has no column 'weather'. Columns: time, wether"),
        ("l.csv", lambda path: path.write_text("when,weather\n"), r"has no column 'time'. Columns: when, weather"),
        ("l.csv", lambda path: path.write_text(""), "can't be read"),
        ("l.csv", lambda path: path.write_text("time,weather\n"), "holds no label"),
        ("l.parquet", lambda path: path.write_text("no parquet"), "can't be read"),
        ("l.nc", lambda path: path.write_text("no netcdf"), "can't be read"),
        ("l.nc", lambda path: xr.Dataset({"time": [0.0]}).to_netcdf(path), "has no variable 'weather'. Variables: time"),
        ("l.nc", write_other_dims, r"'weather' is on \('time', 'x'\), expected \('time',\)"),
    ],
)  # fmt: skip
def test_a_table_that_is_none_is_refused_in_one_line(make_store, tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(LabelError, match=message) as refused:
        read_labels(stream(tmp_path / name), times_of(make_store))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("at", "step"), [("first", 0), ("middle", 2), ("last", 3)])
def test_a_window_has_the_label_of_its_first_middle_or_last_step(at, step):
    options = LabelStream(labels="l.csv", column="weather", at=at)
    values = ["a", "b", "a", "c", "b", None]
    series = LabelSeries(LabelCodec.fit(options, values, is_class=True), values)
    place = Place(1, 4, slice(0, 1), np.arange(1))
    assert series.of(place) == values[1 + step]
    assert series.tokens(place).codes.tolist() == [["a", "b", "c"].index(values[1 + step])]
    assert series.is_known(np.array([0, 1, 2]), 4).tolist() == [True, True, at != "last"]


@pytest.fixture(scope="module")
def labels(runs, tmp_path_factory) -> Path:
    """A table for the store of the runs: whether the wave stands in one half of its cycle, and a number that goes with it."""
    with xr.open_zarr(runs.store, consolidated=False) as store:
        times = store.indexes["time"]
    phase = np.arange(len(times)) * 6.0 / 20
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    table(path, times, np.where(np.sin(phase) > 0, "ridge", "trough"), speed=10 + 3 * np.cos(phase))
    return path


def tuning(runs, labels: Path, target: str, **options) -> dict:
    column = {"class": "weather", "number": "speed"}[target]
    of_label = {"labels": str(labels), "column": column, "target": target} | options
    return {
        "streams": runs.recipe["streams"] | {"label": of_label},
        "task": {"kind": "translate", "to": ["label"]},
        "training": TRAINING,
    }


@pytest.fixture(scope="module", params=["class", "number"])
def tuned(request, runs, labels, tmp_path_factory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("tuned") / request.param
    sc.finetune(tuning(runs, labels, request.param), runs.pretrained, out, progress=False)
    return request.param, out


def test_a_model_of_labels_is_evaluated_on_each_window_that_has_one(tuned, runs, labels, tmp_path):
    target, out = tuned
    sc.evaluate(out, runs.store, runs.held_out, tmp_path / "e", progress=False)
    records = json.loads((tmp_path / "e" / "scores.json").read_text())
    metrics = {"class": {"log_score", "accuracy"}, "number": {"rmse", "crps"}}[target]
    assert metrics <= {record["metric"] for record in records}
    assert {record["forecast"] for record in records} == {"model", "marginal"}
    with xr.open_dataset(tmp_path / "e" / "answers.nc") as answers:
        held_out = pd.read_csv(labels, parse_dates=["time"]).set_index("time").loc[runs.held_out[0] : runs.held_out[1]]
        assert len(answers["sample"]) == len(held_out) - 1  # windows of two steps
        assert pd.Timestamp(answers["sample"].values[0]) == held_out.index[0]
        if target == "class":
            assert answers["label_class"].values.tolist() == ["ridge", "trough"]
            np.testing.assert_allclose(answers["label_probability"].sum("label_class"), 1, rtol=1e-6)
            truth = held_out["weather"].values[1:]  # of the last step
            probability = np.where(truth == "ridge", *answers["label_probability"].values.T)
            of_model = {r["metric"]: r["value"] for r in records if r["forecast"] == "model"}
            assert of_model["log_score"] == pytest.approx(-np.log(probability).mean(), rel=1e-5)
            assert of_model["accuracy"] == pytest.approx((probability > 0.5).mean(), rel=1e-5)
        else:
            assert answers["label"].dims == ("sample", "number") and answers.sizes["number"] == 4
            errors = answers["label"].mean("number").values - held_out["speed"].values[1:]
            of_model = {r["metric"]: r["value"] for r in records if r["forecast"] == "model"}
            assert of_model["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-4)


def test_statistics_of_labels_are_those_of_the_training_period(tuned, runs, labels):
    target, out = tuned
    codec = sc.load(out).codecs["label"]
    values = pd.read_csv(labels, parse_dates=["time"]).set_index("time")["speed"].loc["2000-01-01":"2000-01-31"]
    if target == "number":
        assert codec.mean == pytest.approx(values.mean()) and codec.std == pytest.approx(values.std(ddof=0))
    else:
        assert codec.classes == ("ridge", "trough")


def test_fields_are_not_predicted_by_a_model_of_labels(tuned, runs, statecast):
    command = ["predict", tuned[1], "--data", runs.store, "--init", "2000-02-12", "--steps", 1, "--out", "f.nc"]
    code, error = statecast(*command)
    assert code == 2 and "the model has the label stream label, which has no place on the grid" in error
    assert error.count("\n") == 1 and not Path("f.nc").exists()


def test_windows_without_a_label_are_not_trained_on(runs, labels, tmp_path):
    sparse = pd.read_csv(labels)
    sparse.loc[sparse.index % 4 != 1, "weather"] = None
    sparse.to_csv(tmp_path / "sparse.csv", index=False)
    trained = sc.load(runs.pretrained)
    recipe = trained.recipe.model_validate(runs.recipe | tuning(runs, tmp_path / "sparse.csv", "class"))
    source = trained.domain.open(recipe, "train", trained.codecs)
    windows = [source.draw(np.random.default_rng(number)) for number in range(20)]
    assert all(window["label"].is_known().all() for window in windows)
    assert {int(hour) for hour in pd.DatetimeIndex(source.cases().labels).hour} == {
        0
    }  # the last of two steps is at 6 h


def few(labels: Path, path: Path, known: dict[int, str]) -> Path:
    """The table with the labels of these rows alone."""
    rows = pd.read_csv(labels)
    rows["weather"] = [known.get(row) for row in range(len(rows))]
    rows.to_csv(path, index=False)
    return path


def test_a_record_of_which_no_window_has_a_label_is_refused(runs, labels, tmp_path):
    path = few(labels, tmp_path / "few.csv", {0: "trough", 1: "ridge"})  # no window of four steps ends there
    recipe = tuning(runs, path, "class") | {"task": {"kind": "translate", "to": ["label"], "slabs": 2}}
    with pytest.raises(LabelError, match="stream label: no window of 4 time steps has a label at its last step"):
        sc.finetune(recipe, runs.pretrained, tmp_path / "run", progress=False)


def test_labels_beyond_the_training_period_are_not_learned(runs, labels, tmp_path):
    path = few(labels, tmp_path / "few.csv", {5: "trough", 4 * 40: "ridge"})
    with pytest.raises(LabelError, match="the training split has the single label trough"):
        sc.finetune(tuning(runs, path, "class"), runs.pretrained, tmp_path / "run", progress=False)


def test_a_class_that_the_model_does_not_know_is_refused(tuned, runs, labels, tmp_path):
    target, out = tuned
    if target == "number":
        pytest.skip("numbers have no classes")
    other = pd.read_csv(labels)
    other["weather"] = other["weather"].replace("ridge", "blocking")
    other.to_csv(tmp_path / "other.csv", index=False)
    trained = sc.load(out)
    streams = trained.recipe.streams | {
        "label": trained.recipe.streams["label"].model_copy(update={"labels": str(tmp_path / "other.csv")})
    }
    asked = replace(trained, recipe=trained.recipe.model_copy(update={"streams": streams}))
    with pytest.raises(LabelError, match="label blocking: the model learned the classes ridge, trough"):
        sc.evaluate(asked, runs.store, runs.held_out, tmp_path / "e", progress=False)


def test_labels_of_a_dataset_without_a_path_are_refused(tuned, runs, tmp_path):
    with (
        xr.open_zarr(runs.store, consolidated=False) as store,
        pytest.raises(ModelError, match="is evaluated on a store with a path"),
    ):
        sc.evaluate(tuned[1], store, runs.held_out, tmp_path / "e", progress=False)


@pytest.fixture(scope="module")
def placed(runs, labels, tmp_path_factory) -> Path:
    """A model of a label that has a place."""
    out = tmp_path_factory.mktemp("placed") / "run"
    sc.finetune(tuning(runs, labels, "class", place=[40.0, -30.0]), runs.pretrained, out, progress=False)
    return out


def test_a_label_of_a_place_shares_the_axis_of_the_fields(placed, runs):
    trained = sc.load(placed)
    assert trained.model.axes == sc.load(runs.pretrained).model.axes
    (axis,) = trained.codecs["label"].axes
    assert axis == trained.model.axes[0] and axis.kind == "sphere"
    source = trained.domain.open(trained.recipe, "validate", trained.codecs)
    assert source.cases()[0]["label"].coords.tolist() == [[40.0, 330.0]]


def test_attention_of_a_label_starts_at_its_place(placed, runs):
    """Without anything learned of the label, what the fields say near its place counts for more than what they say on the other side."""
    trained = sc.load(placed)
    source = trained.domain.open(trained.recipe, "validate", trained.codecs)
    question = trained.recipe.task.complete(source.cases()[0])
    fields = question.context["fields"]
    values = fields.values.clone().requires_grad_()
    asked = stack_questions([replace(question, context={"fields": fields.replace(values)})])
    trained.model.answer(asked)["label"].logits.square().sum().backward()
    share = values.grad.square().sum(dim=-1)
    near = unit_vectors(fields.along("place")) @ unit_vectors(question.queries["label"].along("place"))[0]
    assert share[near > 0.8].mean() > 2 * share[near < -0.8].mean()


def test_a_label_of_a_place_is_evaluated_and_explained(placed, runs, tmp_path):
    sc.evaluate(placed, runs.store, runs.held_out, tmp_path / "e", progress=False)
    records = json.loads((tmp_path / "e" / "scores.json").read_text())
    assert {record["metric"] for record in records} == {"log_score", "accuracy"}
    explained = explain_token(placed, runs.store, runs.held_out, token="label")
    towards = explained["fields_decoder_attention"].sum("fields_token")
    np.testing.assert_allclose(towards, 1, rtol=1e-5)


@pytest.mark.parametrize("place", [[95.0, 0.0], [0.0, 400.0], [-30.0, 400.0]])
def test_a_place_that_is_none_is_refused(runs, labels, tmp_path, place):
    with pytest.raises(RecipeError, match=r"streams\.label\.place: .* is no place, .*Give the latitude first\.$"):
        sc.finetune(tuning(runs, labels, "class", place=place), runs.pretrained, tmp_path / "run", progress=False)


def test_a_place_outside_the_record_is_refused(runs, labels, tmp_path):
    with xr.open_zarr(runs.store, consolidated=False) as store:
        store.sel(lat=slice(0, 90)).drop_encoding().to_zarr(tmp_path / "north.zarr", zarr_format=3, consolidated=False)
    recipe = runs.recipe | tuning(runs, labels, "class", place=[-40.0, 0.0])
    recipe["data"] = recipe["data"] | {"store": str(tmp_path / "north.zarr")}
    with pytest.raises(
        LabelError, match=r"streams\.label\.place: \[-40\.0, 0\.0\] lies outside the record.*Name a place in it"
    ):
        sc.pretrain(recipe, tmp_path / "run", progress=False)
