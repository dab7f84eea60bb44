"""A model that was trained on neighbourhoods is verified on neighbourhoods, and completes the whole: from Python, end to end."""

import json

import numpy as np
import pytest
import xarray as xr

import statecast
from statecast.fields.evaluation.tasks import verify_task
from statecast.fields.inference.neighbourhoods import drawn_places, model_windows
from statecast.fields.sources import Record, open_fields
from statecast.trained import ModelError

TRAINING = {"steps": 2, "batch_size": 2, "validation_samples": 2, "footprint": False}
HELD_OUT = ("2000-02-10", "2000-02-16")
PERIOD = ("2000-02-10", "2000-02-12")
LONGER = TRAINING | {"steps": 100, "validate_every": 100}
FINE = {"variables": ["t"], "levels": [850], "patch": [2, 3, 3], "first_guess": {"t": "fields.t"}}


@pytest.fixture(scope="module")
def base(runs, tmp_path_factory):
    """8 rows and 16 columns, neither a multiple of the patch."""
    fields = {"variables": ["t", "msl"], "levels": [500, 850], "patch": [2, 3, 3]}
    recipe = runs.recipe | {"streams": {"fields": fields}, "window": {"extent": [6, 6]}, "training": TRAINING}
    recipe["task"] = {"kind": "masked", "slabs": 3}
    out = tmp_path_factory.mktemp("neighbourhoods") / "base"
    statecast.pretrain(recipe, out, progress=False)
    return out


@pytest.fixture(scope="module")
def fine_store(runs, tmp_path_factory) -> str:
    """13 × 17 points of a region."""
    coarse = open_fields(runs.store).load()
    fine = coarse[["t"]].interp(lat=np.linspace(-50, 50, 13), lon=np.linspace(40, 200, 17))
    path = tmp_path_factory.mktemp("fine") / "fine.nc"
    fine.assign(t=fine.t.assign_attrs(coarse.t.attrs)).to_netcdf(path)
    return str(path)


@pytest.fixture(scope="module")
def filling(base, tmp_path_factory):
    recipe = {"task": {"kind": "fill", "slab_h": 12.0}, "training": LONGER | {"steps": 200}}
    statecast.finetune(recipe, base, out := tmp_path_factory.mktemp("filling") / "run", progress=False)
    return out


@pytest.fixture(scope="module")
def downscaling(base, fine_store, tmp_path_factory):
    fields = {"variables": ["t", "msl"], "levels": [500, 850], "patch": [2, 3, 3]}
    recipe = {
        "data": {"stores": {"fine": fine_store}},
        "streams": {"fields": fields, "fine": FINE},
        "task": {"kind": "translate", "to": ["fine"]},
        "training": LONGER,
    }
    statecast.finetune(recipe, base, out := tmp_path_factory.mktemp("downscaling") / "run", progress=False)
    return out


def forecasts_of(run, store, out, task, *, report: bool = True) -> dict[str, float]:
    """The RMSE of t of each forecast, the largest of its lead times, having checked that every score is a number and the report has maps."""
    statecast.evaluate(run, store, HELD_OUT, out, every_h=24.0, progress=False, report=report)
    records = json.loads((out / "scores.json").read_text())
    assert all(np.isfinite([r["value"], r["low"], r["high"]]).all() for r in records)
    assert not report or (out / "report.html").read_text().count("data:image/png;base64,") >= 2
    rmse = {}
    for r in records:
        if (r["task"], r["metric"], r["variable"]) == (task, "rmse", "t"):
            rmse[r["forecast"]] = max(r["value"], rmse.get(r["forecast"], 0.0))
    assert rmse["climatology"] == pytest.approx(10 / 3**0.5, rel=0.15)  # a wave of 10 K cos(lat), in any neighbourhood
    return rmse


def test_masked_reconstruction_is_verified_where_the_patch_does_not_divide_the_grid(runs, base, tmp_path):
    found = forecasts_of(base, runs.store, tmp_path / "scores", "masked 50%")
    assert set(found) == {"model", "climatology", "interpolation"}
    assert found["model"] < 0.75 * found["interpolation"]  # its anchor alone: the same place at other times is shown


def test_gaps_are_verified_on_neighbourhoods(runs, filling, tmp_path):
    found = forecasts_of(filling, runs.store, tmp_path / "fill", "fill")
    assert set(found) == {"model", "climatology", "interpolation"}
    assert found["model"] < 0.7 * found["interpolation"]


def test_times_between_are_verified_on_neighbourhoods(runs, base, tmp_path):
    statecast.finetune({"task": {"kind": "interpolate"}, "training": TRAINING}, base, tmp_path / "run", progress=False)
    found = forecasts_of(tmp_path / "run", runs.store, tmp_path / "interpolate", "interpolate", report=False)
    assert set(found) == {"model", "climatology", "linear"} and found["linear"] < 0.12 * found["climatology"]
    assert found["model"] < 0.5 * found["linear"]  # its anchor goes on with the tendency


def test_a_finer_grid_is_verified_on_neighbourhoods_beside_baselines_that_know_their_place(runs, downscaling, tmp_path):
    found = forecasts_of(downscaling, runs.store, tmp_path / "scores", "translate")
    for forecast in ("bilinear", "regression", "quantile_mapping", "model"):
        assert found[forecast] < 0.06 * found["climatology"], found  # the finer grid is an interpolation of the coarse
    assert found["model"] < 0.85 * found["bilinear"]  # which ends at the borders of a neighbourhood


def test_where_a_model_is_verified_depends_on_the_start_alone_and_differs_between_starts(downscaling):
    windows = model_windows(statecast.load(downscaling))
    drawn = [drawn_places(windows, start, 2) for start in range(20)]
    for start, places in enumerate(drawn):
        again = drawn_places(model_windows(statecast.load(downscaling)), start, 2)
        assert all(places[name].rows == again[name].rows for name in places)
        for name, place in places.items():
            assert (place.rows.stop - place.rows.start, len(place.columns)) == windows.shapes[name]
        fine, coarse = (windows.grids[name].lat[places[name].rows].mean() for name in ("fine", "fields"))
        assert abs(fine - coarse) <= 11.25  # half a coarse row
    assert len({(places["fine"].rows.start, places["fine"].columns[0]) for places in drawn}) > 5


def test_gaps_are_filled_all_over_a_grid_that_the_patch_does_not_divide(runs, filling):
    gappy = open_fields(runs.store).load().drop_vars("nothing")
    gappy["t"] = gappy.t.where(np.random.default_rng(0).uniform(size=gappy.t.shape) > 0.3).assign_attrs(gappy.t.attrs)
    gappy["t"].loc[{"time": "2000-02-11T06"}] = np.nan
    filled = statecast.complete(filling, gappy, PERIOD, members=2, progress=False)
    known = gappy.t.sel(time=filled.time).transpose(*filled.t.dims[1:])
    assert bool(np.isfinite(filled.t).all())
    np.testing.assert_array_equal(filled.t[1].where(known.notnull()), known)


def test_a_finer_grid_is_answered_all_over_from_neighbourhoods_of_the_coarse_one(runs, downscaling):
    found = statecast.complete(downscaling, runs.store, PERIOD, members=2, progress=False).t
    assert found.shape == (2, 12, 1, 13, 17) and bool(np.isfinite(found).all())
    truth = open_fields(runs.store).t.sel(level=[850.0], time=found.time).interp(lat=found.lat, lon=found.lon)
    error = np.sqrt(((found.mean("number") - truth) ** 2).mean())
    assert error < 0.06 * truth.std()


def test_a_neighbourhood_in_which_nothing_was_observed_is_left_to_the_others(runs, filling):
    gappy = open_fields(runs.store).load().drop_vars("nothing")
    gappy = gappy.where((gappy.lat < -40) | (gappy.lon < 90))
    filled = statecast.complete(filling, gappy, PERIOD, members=1, progress=False)
    known = filled.t.isel(number=0, time=0, level=0)
    assert bool(
        np.isfinite(known.sel(lat=slice(None, 40))).all()
    )  # as far as tiles reach that begin where something was observed
    assert bool(known.sel(lat=slice(40, None), lon=slice(200, 220)).isnull().all())


def test_models_of_different_windows_are_not_held_side_by_side(runs, filling, tmp_path):
    recipe = {
        "task": {"kind": "fill", "slab_h": 12.0},
        "window": {"extent": [6, 9]},
        "training": TRAINING,
    }
    other = statecast.finetune(recipe, filling, tmp_path / "run", progress=False)
    first = statecast.load(filling)
    records = {"fields": Record.open(open_fields(runs.store), first.codecs["fields"].stream, HELD_OUT)}
    with pytest.raises(ModelError, match="model other: was trained on windows of 6 x 9 points of fields, the first"):
        verify_task({"first": first, "other": other}, records)


LEVELS = (500, 700, 850, 925, 1000)
SMALL = [
    "training.steps=2",
    "training.batch_size=1",
    "training.validation_samples=1",
    "training.validate_every=2",
    "training.precision=32-true",
    "training.compile=false",
    "training.workers=0",
    "training.footprint=false",
    "window.extent=[9, 9]",
    "task.slabs=2",
    'data.train=["2000-01-01", "2000-01-02"]',
    'data.validate=["2000-01-03", "2000-01-03"]',
]
TINY_MODEL = ["model.width=32", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=1", "model.members=4"]


def archive(variables: dict[str, str], levels, lat, lon) -> xr.Dataset:
    """Four days of hours of noise that is never negative."""
    time = np.datetime64("2000-01-01", "ns") + np.arange(96) * np.timedelta64(1, "h")
    random = np.random.default_rng(0)
    axes = {"time": time, "level": ("level", list(levels), {"units": "hPa"}), "lat": lat, "lon": lon}
    found = {}
    for variable, units in variables.items():
        dims = ("time", "level", "lat", "lon") if units.endswith("@") else ("time", "lat", "lon")
        shape = (96, *([len(levels)] if "level" in dims else []), len(lat), len(lon))
        found[variable] = (dims, random.gamma(1.0, 1.0, shape).astype(np.float32), {"units": units.rstrip("@")})
    return xr.Dataset(found, axes)


@pytest.fixture(scope="module")
def era5(tmp_path_factory) -> str:
    """17 x 25 points at 0.25 degrees."""
    units = {"u": "m s-1@", "v": "m s-1@", "w": "Pa s-1@", "t": "K@", "q": "kg kg-1@", "tp": "m"}
    units |= {"t2m": "K", "u10": "m s-1", "v10": "m s-1"}
    path = tmp_path_factory.mktemp("era5") / "era5.nc"
    archive(units, LEVELS, 46 + np.arange(17) * 0.25, 5 + np.arange(25) * 0.25).to_netcdf(path)
    return str(path)


@pytest.fixture(scope="module")
def of_era5(era5, tmp_path_factory):
    out = tmp_path_factory.mktemp("base") / "run"
    statecast.pretrain("base", out, overrides=[*SMALL, *TINY_MODEL, f"data.store={era5}"], progress=False)
    return out


@pytest.mark.parametrize(
    ("name", "stream", "units"),
    [
        ("cosmo-rea6", "cosmo", {"t2m": "K", "u10": "m s-1", "v10": "m s-1", "orog": "m", "lsm": "1"}),
        ("radklim", "radklim", {"tp": "m"}),
    ],
)
def test_the_recipes_of_atmoreps_finer_data_run_from_training_to_an_answer(
    era5, of_era5, tmp_path, name, stream, units
):
    """37 x 49 points: no multiple of the patch of 12."""
    fine = archive(units, LEVELS, 47 + np.arange(37) / 16, 6 + np.arange(49) / 16).drop_vars("level")
    for static in {"orog", "lsm"} & set(units):
        fine[static] = fine[static].isel(time=0, drop=True).assign_attrs(units=units[static])
    if stream == "radklim":
        in_range = (fine.lat < 49) | (fine.lon < 8)  # of the radars
        fine["tp"] = fine.tp.where(in_range).assign_attrs(units="m")
    fine.to_netcdf(path := str(tmp_path / "fine.nc"))
    stores = {"cosmo": path, "relief": path} if stream == "cosmo" else {stream: path}
    own = [f"data.stores={json.dumps(stores)}", f"data.store={era5}", "adaptation.change=new"]  # nothing to forget
    run = tmp_path / "run"
    statecast.finetune(f"atmorep-{name}", of_era5, run, overrides=[*SMALL, *own], progress=False)
    period = ("2000-01-04", "2000-01-04")
    statecast.evaluate(run, era5, period, tmp_path / "scores", every_h=1000, progress=False, report=False)
    records = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert {r["forecast"] for r in records} == {"model", "climatology", "bilinear", "regression", "quantile_mapping"}
    assert np.isfinite([r["value"] for r in records]).all()
    given = {"relief": path} if stream == "cosmo" else {}
    found = statecast.complete(run, era5, ("2000-01-04T06", "2000-01-04T11"), stores=given, members=2, progress=False)
    assert set(found.data_vars) == {v for v in units if v not in ("orog", "lsm")}
    for variable in found.data_vars.values():
        assert variable.shape == (2, 6, 37, 49) and bool(
            (np.isfinite(variable) == fine[variable.name].notnull().any("time")).all()
        )
