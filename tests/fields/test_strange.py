"""Planted faults in a small record: where they lie, what is written, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import statecast as sc
from statecast.fields.sources import Record, StoreError, open_fields
from statecast.fields.strange import TiledWindows, one_after_another, put_on_grid
from statecast.surprise.score import Surprised
from statecast.surprise.strange import Search
from statecast.trained import ModelError, load

FEW = Search(windows=4, parts=2)
PERIOD = ("2000-02-10", "2000-02-12")


@pytest.mark.parametrize(
    ("starts", "steps", "expected"),
    [(range(7), 4, [0, 4, 6]), (range(5), 4, [0, 4]), ([0, 1, 2, 9, 10], 4, [0, 2, 9, 10]), ([3], 4, [3])],
)
def test_windows_cover_a_record_also_before_gaps(starts, steps, expected):
    found = one_after_another(np.array(starts), steps)
    assert found == expected
    assert {s + k for s in found for k in range(steps)} == {s + k for s in starts for k in range(steps)}


@pytest.fixture(scope="module")
def faulty(runs):
    """The store with a spike in t, and a slab of msl in the wrong unit."""
    whole = open_fields(runs.store).load().drop_vars("nothing").sel(time=slice(*PERIOD)).copy(deep=True)
    whole["t"][5, 0, 2, 3] += 60.0
    whole["msl"][8:10] /= 100.0
    return whole


@pytest.fixture(scope="module")
def found(runs, faulty, tmp_path_factory):
    out = tmp_path_factory.mktemp("strange") / "out"
    return sc.anomalies(load(runs.pretrained), faulty, PERIOD, out, search=FEW, progress=False)


def test_faults_are_found_where_they_were_planted(found, faulty):
    with xr.open_dataset(found.written / "anomalies.nc") as written:
        place = faulty.t[5, 0, 2, 3]
        worst = written.t_excess.isel(written.t_excess.argmax(...))
        assert all(worst[name] == place[name] for name in ("time", "level", "lat", "lon"))
        assert float(worst) > float(written.t_threshold.sel(level=worst.level))
        is_wrong = (written.msl_excess > written.msl_threshold).mean(("lat", "lon")).values
        assert (is_wrong[8:10] == 1).all()
        assert written.t_excess.shape == faulty.t.sel(level=[500, 850]).shape
        assert written.t_excess.notnull().all() and written.attrs["Conventions"].startswith("CF")


def test_the_strangest_window_names_its_variable_time_and_place(found):
    samples = found.tables.samples
    first = found.tables.strangest()[0]
    assert samples["channel"][first] == "msl"
    assert "time 2000-02-12 03:00:00, latitude_deg " in samples["which"][first]
    page = (found.written / "report.html").read_text()
    assert page.count("<img") == 2 and samples["which"][first] in page


def test_the_excess_of_a_value_is_put_where_the_value_lies(runs, faulty):
    """The tokens' values in the place of their excess come out as the anomalies of the record."""
    trained = load(runs.pretrained)
    record = Record.open(faulty, trained.codecs["fields"].stream, PERIOD)
    cases = TiledWindows.of(trained, {"fields": record})
    source, field = cases.sources["fields"], np.full((12, 3, *record.grid.shape), np.nan)
    for number in range(len(cases)):
        values = np.pad(cases[number]["fields"].values.numpy(), ((0, 0), (0, 1)))
        put_on_grid(source, cases.places[number]["fields"], Surprised(values, values, values[:, :-1]), field)
    std = trained.codecs["fields"].climatology.anomaly_std[:, None, None]
    np.testing.assert_allclose(field * std, source.whole(0, 12).anomalies, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": "sample:storm1996"}, StoreError, "the store has no variable 't'"),
        ({"period": ("2010-01-01", "2010-01-02")}, StoreError, "2010"),
        ({"period": ("2000-02-10T00", "2000-02-10T06")}, StoreError, "no 4 consecutive ones without a gap"),
        ({"data": "sample:jets"}, StoreError, "no such sample"),
    ],
)
def test_what_can_not_be_searched_is_refused_and_leaves_nothing(runs, tmp_path, change, error, message):
    asked = {"data": runs.store, "period": PERIOD} | change
    with pytest.raises(error, match=message) as refused:
        sc.anomalies(runs.pretrained, asked["data"], asked["period"], tmp_path / "out", search=FEW, progress=False)
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())


def test_without_the_store_of_training_the_remedy_is_named(runs, tmp_path):
    trained = load(runs.pretrained)
    data = trained.recipe.data.model_copy(update={"store": str(tmp_path / "gone.zarr")})
    moved = replace(trained, recipe=trained.recipe.model_copy(update={"data": data}))
    with pytest.raises(ModelError, match=r"gone.zarr.*pass --windows 0 for scores without them"):
        sc.anomalies(moved, runs.store, PERIOD, tmp_path / "out", search=FEW, progress=False)


def test_the_command_prints_the_strangest_and_a_mistake_is_one_line(runs, tmp_path, statecast, capsys):
    command = ["anomalies", runs.pretrained, "--data", runs.store, "--period", *PERIOD, "--parts", "2", "--quiet"]
    assert statecast(*command, "--windows", "0", "--out", "strange")[0] == 0
    assert {path.name for path in (tmp_path / "strange").iterdir()} == {"anomalies.nc", "report.html"}
    code, message = statecast(*command, "--windows", "0", "--out", "strange")
    assert code == 2 and "already exists" in message and message.count("\n") == 1
    code, message = statecast(*command, "--false-alarms", "2", "--out", "other")
    assert code == 2 and message == "statecast: false alarms are 2, expected a share between 0 and 1.\n"
    assert not (tmp_path / "other").exists()


def test_a_forecast_is_asked_its_one_question(runs, tmp_path):
    """What comes first is never asked; what comes after it is, given what comes first."""
    out = tmp_path / "out"
    sc.anomalies(runs.forecast, runs.store, PERIOD, out, search=Search(windows=0), report=False, progress=False)
    with xr.open_dataset(out / "anomalies.nc") as written:
        asked = written.t_excess.notnull().all(("level", "lat", "lon")).values
    assert asked.tolist() == [False, False, True, True] * 3
