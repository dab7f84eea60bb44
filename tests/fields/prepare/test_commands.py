"""The commands: bad specs are one line with exit code 2; what is refused names the spec that fits; a prepared store trains."""

import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from statecast import cli
from statecast.fields.prepare import read_spec, shipped_specs
from statecast.fields.prepare.fitting import fitting_spec


def _run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["statecast", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    lat, lon = np.linspace(75.0, -75.0, 6), np.arange(0.0, 360.0, 45.0)
    rng = np.random.default_rng(0)
    for month in ("2001-01", "2001-02"):
        times = pd.date_range(month, periods=pd.Period(month).days_in_month * 4, freq="6h")
        version = ("valid_time", np.full(len(times), "0001"))
        fields = {
            "t2m": (("valid_time", "latitude", "longitude"), rng.normal(280, 5, (len(times), 6, 8)), {"units": "K"})
        }
        coords = {"valid_time": times, "expver": version, "number": 0, "latitude": lat, "longitude": lon}
        xr.Dataset(fields, coords).to_netcdf(folder / f"{month}.nc")
    return folder


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["unit=K"], "unit is not an option of a spec"),
        (["source.path=x"], "source.path is not an option of source. Did you mean source.paths?"),
        (["variables={t2m: {unit: K}}"], "Did you mean variables.t2m.units?"),
        (
            ["grid={method: cubic, spacing: 1}"],
            "grid.method: input should be 'conservative', 'bilinear' or 'nearest', got 'cubic'",
        ),
        (["grid={method: nearest}"], "give spacing, or lat and lon"),
        (["region={lat: [60, 20]}"], "region.lat: expected south and north"),
        (["vertical=interpolate"], "no level is named"),
        (["every_h=-6"], "every_h"),
        (["store.window=[0,1,1]"], "1 to 1,000,000"),
    ],
)
def test_a_bad_spec_is_one_line(monkeypatch, capsys, files, tmp_path, overrides, text):
    code, _, err = _run(
        monkeypatch, capsys, "data", "prepare", "cf", *overrides, "--from", files, "--out", tmp_path / "o.zarr"
    )
    assert code == 2
    assert text in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("o.zarr*"))


@pytest.mark.parametrize("paths", [["none.nc"], ["no*.nc"], []])
def test_inputs_that_are_not_there_are_one_line(monkeypatch, capsys, tmp_path, paths):
    given = [part for path in paths for part in ("--from", tmp_path / path)]
    code, _, err = _run(monkeypatch, capsys, "data", "prepare", "cf", *given, "--out", tmp_path / "o.zarr")
    assert (code, err.count("\n")) == (2, 1)
    assert "input" in err


def test_a_spec_that_is_not_there_names_those_that_are(monkeypatch, capsys, tmp_path):
    code, _, err = _run(monkeypatch, capsys, "data", "prepare", "era6", "--out", tmp_path / "o.zarr")
    assert code == 2
    assert "spec era6: is neither a file nor a spec that ships with statecast (anemoi, arco-era5, cf, " in err


def test_a_file_inherits_from_a_spec_that_ships(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("like: era5-cds\nvariables: {rain: {from: tp, over: sum}}\nsource: {paths: a.nc}\n")
    spec = read_spec(path, ["every_h=6"])
    assert spec.source.selection == {"number": 0} and not spec.source.select
    assert spec.known["tp"].accumulation == "step"
    assert (spec.source.paths, spec.every_h) == (("a.nc",), 6)


def test_every_spec_that_ships_is_valid_and_has_a_line_about_it():
    for name in shipped_specs():
        assert read_spec(name).about


def test_a_directory_that_is_refused_names_the_spec_and_the_store_that_it_makes_trains(
    monkeypatch, capsys, files, tmp_path
):
    monkeypatch.chdir(files.parent)
    code, _, err = _run(monkeypatch, capsys, "data", "describe", files.name)
    assert code == 2
    command = f"statecast data prepare era5-cds --from {files.name} --out STORE"
    assert f"Spec era5-cds fits: `{command}`." in err
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"data: {{store: {files.name}, train: [2001-01-01, 2001-02-10]}}\n"
        "streams: {s: {variables: [t2m], patch: [1, 2, 2]}}\n"
        "task: {kind: masked, slabs: 2, hidden: [0.5, 0.9]}\n"
        "model: {width: 32, encoder_layers: 1, decoder_layers: 1, heads: 2}\n"
        "training: {steps: 2, batch_size: 2, footprint: false, loggers: [csv]}\n"
    )
    code, _, err = _run(monkeypatch, capsys, "pretrain", recipe, "--out", tmp_path / "run", "--quiet")
    assert code == 2
    assert command in err
    store = tmp_path / "out.zarr"
    code, out, err = _run(monkeypatch, capsys, *command.replace("STORE", str(store)).split()[1:], "--quiet")
    assert (code, out, err) == (0, f"store: {store}\n", "")
    code, out, _ = _run(monkeypatch, capsys, "data", "describe", store)
    assert code == 0
    assert "236 steps of 6 h" in out
    code, _, err = _run(
        monkeypatch, capsys, "pretrain", recipe, f"data.store={store}", "--out", tmp_path / "run", "--quiet"
    )
    assert code == 0, err
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("names", "spec"),
    [
        ({"RR": ("time", "y", "x"), "polar_stereographic": ()}, "radklim"),
        ({"T_2M": ("time", "rlat", "rlon"), "rotated_pole": ()}, "cosmo-rea6"),
        ({"t2m": ("valid_time", "expver", "lat", "lon")}, "era5-cds"),
        ({"tasmax": ("time", "y", "x")}, "cordex-ml-bench"),
        ({"whatever": ("time", "north", "east")}, None),
    ],
)
def test_the_spec_that_fits_is_known_by_names(tmp_path, names, spec):
    arrays = {name: (dims, np.zeros((1,) * len(dims))) for name, dims in names.items()}
    coords = {d: (d, [0.0]) for dims in names.values() for d in dims}
    xr.Dataset(arrays, coords).to_netcdf(tmp_path / "a.nc")
    assert fitting_spec(str(tmp_path / "a.nc")) == spec
