"""What a model has learned from is recognised by its contents: from any directory, through links, as a copy, packed, in part."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import statecast
from statecast.config import RecipeError
from statecast.fields.fingerprint import fingerprint, holds
from statecast.fields.held_out import are_of_training, model_stores
from statecast.fields.sources import StoreError, open_fields
from statecast.splits import open_training

LEARNED = ("2000-01-10", "2000-01-20")


def evaluated(runs, data, out):
    return statecast.evaluate(runs.pretrained, data, LEARNED, out, every_h=400, report=False, progress=False)


def packed(dataset: xr.Dataset, path: Path) -> None:
    packing = {"dtype": "i2", "scale_factor": 0.002, "add_offset": 250.0, "_FillValue": -(2**15)}
    dataset[["t", "msl"]].to_netcdf(path, encoding={"t": packing})


def copied(way: str, runs, path: Path) -> str:
    dataset = open_fields(runs.store)
    if way == "link":
        path.symlink_to(runs.store)
    elif way == "directory":
        shutil.copytree(runs.store, path)
    elif way == "netcdf":
        dataset.astype(np.float64).to_netcdf(path := path.with_suffix(".nc"))
    elif way == "packed":
        packed(dataset, path := path.with_suffix(".nc"))
    elif way == "part":
        dataset.sel(time=slice("2000-01-12", "2000-01-16")).to_netcdf(path := path.with_suffix(".nc"))
    return str(path)


@pytest.mark.parametrize("way", ["link", "directory", "netcdf", "packed", "part"])
def test_a_copy_of_what_was_learned_is_refused(runs, tmp_path, way):
    with pytest.raises(StoreError, match="overlaps the training period 2000-01-01 to 2000-01-31"):
        evaluated(runs, copied(way, runs, tmp_path / "copy"), tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_the_directory_of_the_command_does_not_matter(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spelling in (runs.store, f"../{Path(runs.store).relative_to(tmp_path.parent)}"):
        with pytest.raises(StoreError, match="overlaps the training period"):
            evaluated(runs, spelling, "scores")


def test_another_record_of_the_same_time_and_place_is_held_out(runs, tmp_path):
    other = open_fields(runs.store).load()
    other["t"] += np.float32(0.05) * np.random.default_rng(0).standard_normal(other.t.shape).astype(np.float32)
    other["msl"] += np.float32(50)
    assert evaluated(runs, other, tmp_path / "scores").verifications


def test_a_model_that_was_tuned_elsewhere_still_knows_what_its_base_learned(runs, tmp_path):
    other = open_fields(runs.store).load().drop_vars("nothing")
    later = other.assign_coords(time=other.time + np.timedelta64(3660, "D"))
    (later + np.float32(1)).assign(t=later.t + np.float32(1)).to_netcdf(tmp_path / "later.nc")
    data = {"store": str(tmp_path / "later.nc"), "train": ["2010-01-15", "2010-02-10"], "validate": None}
    statecast.finetune(runs.tuning | {"data": data}, runs.pretrained, tmp_path / "tuned", progress=False)
    tuned = statecast.load(tmp_path / "tuned")
    assert [seen["periods"] for seen in tuned.seen] == [[["2000-01-01", "2000-01-31"]], [["2010-01-15", "2010-02-10"]]]
    copy = copied("netcdf", runs, tmp_path / "copy")
    with pytest.raises(StoreError, match="overlaps the training period 2000-01-01"):
        statecast.evaluate(tuned, copy, LEARNED, tmp_path / "s", report=False, progress=False)


def test_baselines_that_learn_find_the_training_period_in_a_copy_but_not_in_a_part(runs, tmp_path):
    trained = statecast.load(runs.pretrained)
    for way, is_whole in (("directory", True), ("part", False)):
        path = copied(way, runs, tmp_path / way)
        assert are_of_training(trained, {"fields": path}, model_stores(trained, path)) == is_whole


def test_a_stream_with_a_store_of_its_own_is_found_from_another_directory(runs, tmp_path, monkeypatch):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir(), elsewhere.mkdir()
    dataset = open_fields(runs.store).load()
    dataset[["t"]].to_netcdf(home / "a.nc")
    dataset[["msl"]].to_netcdf(home / "b.nc")
    streams = {
        "air": {"variables": ["t"], "levels": [500, 850], "patch": [2, 2, 2]},
        "sea": {"variables": ["msl"], "patch": [2, 2, 2]},
    }
    data = runs.recipe["data"] | {"store": "a.nc", "stores": {"sea": "b.nc"}}
    monkeypatch.chdir(home)
    statecast.pretrain(runs.recipe | {"data": data, "streams": streams}, "run", progress=False)
    monkeypatch.chdir(elsewhere)
    trained = statecast.load("../home/run")
    assert list(model_stores(trained, "../home/a.nc")["sea"].data_vars) == ["msl"]
    with pytest.raises(StoreError, match="overlaps the training period"):
        statecast.evaluate(trained, "../home/a.nc", LEARNED, "scores", report=False, progress=False)


def test_a_field_without_weather_identifies_nothing(runs):
    """Two records of rain are both 0 where it's dry: that makes them no copies of each other."""
    recipe = statecast.load(runs.pretrained).recipe
    known = fingerprint(recipe, open_training(recipe, {}))["streams"]["fields"]
    assert len(known["fields"]["t@500"]) == 64 and holds(known, open_fields(runs.store), wholly=True)
    dry = open_fields(runs.store).load().map(lambda v: v * 0)
    assert not holds(known, dry)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["nc", "zarr2", "zarr3"]),
    dtype=st.sampled_from(["f4", "f8", "i2"]),
    order=st.permutations(["time", "level", "lat", "lon"]),
    since=st.sampled_from(["hours since 1900-01-01", "days since 1850-01-01"]),
    north_first=st.booleans(),
    is_renamed=st.booleans(),
)
def test_a_copy_in_any_form_is_recognised_and_another_record_is_not(
    runs, tmp_path_factory, kind, dtype, order, since, north_first, is_renamed
):
    known = statecast.load(runs.pretrained).seen[-1]["streams"]["fields"]
    copy = open_fields(runs.store)[["t", "msl"]].load().drop_encoding()
    copy = copy.sortby("lat", ascending=not north_first).transpose(*order)
    copy = copy.assign_coords(lon=("lon", (copy.lon.values + 180) % 360 - 180, copy.lon.attrs)).sortby("lon")
    copy["time"].encoding = {"units": since, "dtype": "f8"}
    packing = {"scale_factor": 0.002, "add_offset": 250.0, "_FillValue": -(2**15)} if dtype == "i2" else {}
    encoding = {"t": {"dtype": dtype, **packing}}
    names = {"lat": "latitude", "lon": "longitude"} if is_renamed else {}
    folder = tmp_path_factory.mktemp("copy")
    for name, dataset in (
        ("copy", copy),
        ("other", copy.assign(t=copy.t + 0.1 * copy.t.std(), msl=copy.msl[::-1].values + 0 * copy.msl)),
    ):
        written = dataset.rename(names)
        if kind == "nc":
            written.to_netcdf(folder / name, encoding=encoding)
        else:
            written.to_zarr(folder / name, zarr_format=int(kind[-1]), consolidated=False, encoding=encoding)
    assert holds(known, open_fields(folder / "copy"), wholly=True)
    assert not holds(known, open_fields(folder / "other"))


CHANGES = {
    "units": lambda d: d.assign(msl=d.msl.assign_attrs(units="hPa")),
    "standard_name": lambda d: d.assign(t=d.t.assign_attrs(standard_name="sea_water_temperature")),
    "times": lambda d: d.assign_coords(time=d.time + np.timedelta64(6, "h")),
    "grid": lambda d: d.assign_coords(lat=d.lat + 1e-4),
    "values": lambda d: d.assign(t=d.t.where(d.time != d.time[17], d.t + 1)),
}


class Begun(NamedTuple):
    """A run as if killed at its very end, and the record that it began with, whose store is rewritten."""

    verb: str
    unfinished: Path
    whole: xr.Dataset
    store: Path
    recipe: dict
    base: Path

    def train(self, out: Path, *, resume: bool):
        options = {"progress": False, "resume": resume}
        if self.verb == "pretrain":
            return statecast.pretrain(self.recipe, out, **options)
        return statecast.finetune(self.recipe, self.base, out, **options)

    def write(self, dataset: xr.Dataset) -> None:
        new = self.store.with_name("new.nc")
        dataset.to_netcdf(new)
        new.replace(self.store)

    def resume_with(self, dataset: xr.Dataset, folder: Path):
        """Goes on with a copy of the run in `folder`, with another record in its store; afterwards the record is as it was."""
        if not (folder / "run.unfinished").exists():
            shutil.copytree(self.unfinished, folder / "run.unfinished")
        self.write(dataset)
        try:
            return self.train(folder / "run", resume=True)
        finally:
            self.write(self.whole)


@pytest.fixture(scope="module", params=["pretrain", "finetune"])
def begun(request, runs, tmp_path_factory) -> Begun:
    folder = tmp_path_factory.mktemp("begun")
    whole = open_fields(runs.store).load()
    data = {"data": runs.recipe["data"] | {"store": str(folder / "store.nc")}}
    training = {"training": runs.recipe["training"] | {"checkpoint_every": 1, "steps": 2}}
    recipe = (runs.recipe if request.param == "pretrain" else runs.tuning) | data | training
    run = Begun(request.param, folder / "run.unfinished", whole, folder / "store.nc", recipe, runs.pretrained)
    run.write(whole)
    run.train(folder / "run", resume=False)
    (folder / "run").rename(run.unfinished)
    return run


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_that_changed_before_a_run_is_resumed_is_noticed(begun, tmp_path, change):
    if change == "units":
        with pytest.raises(ValueError, match="far from the"):  # the statistics already tell
            begun.resume_with(CHANGES[change](begun.whole), tmp_path)
        return
    with pytest.raises(
        RecipeError, match=f"the record has changed since the run to resume began: .*{change}.* before, .* now"
    ):
        begun.resume_with(CHANGES[change](begun.whole), tmp_path)
    files = (sorted(path.name for path in run.rglob("*")) for run in (begun.unfinished, tmp_path / "run.unfinished"))
    assert next(files) == next(files)


def test_a_run_goes_on_once_its_record_is_restored(begun, tmp_path):
    with pytest.raises(RecipeError, match="the record has changed"):
        begun.resume_with(CHANGES["values"](begun.whole), tmp_path)
    assert begun.resume_with(begun.whole, tmp_path).seen
