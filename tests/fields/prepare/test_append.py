"""Later times at the end of a store: it holds the old ones or all, whenever the command is killed."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from statecast.fields.prepare import PrepareError, append, prepare, read_spec
from statecast.fields.sources import open_fields


class Killed(Exception):
    """Stands for the end of the process at a moment of the test's choice."""


LAT, LON = np.linspace(-75.0, 75.0, 6), np.arange(0.0, 360.0, 45.0)


def _month(
    path: Path, start: str, *, steps: int = 30, freq: str = "6h", units: str = "K", lat: np.ndarray = LAT
) -> np.ndarray:
    values = np.random.default_rng(pd.Timestamp(start).month).normal(280, 5, (steps, 6, 8)).astype("f4")
    times = pd.date_range(start, periods=steps, freq=freq)
    fields = {n: (("time", "lat", "lon"), values + i, {"units": units}) for i, n in enumerate(("t2m", "skt"))}
    xr.Dataset(fields, {"time": times, "lat": lat, "lon": LON}).to_netcdf(path)
    return values


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    old = _month(folder / "01.nc", "2001-01-01")
    spec = {"source": {"paths": str(folder / "01.nc")}, "store": {"window": [4, 3, 4], "steps_per_shard": 8}}
    return prepare(read_spec(spec), folder / "out.zarr"), old


@pytest.fixture
def store(prepared, tmp_path):
    path, old = prepared
    return shutil.copytree(path, tmp_path / "out.zarr"), old


def test_a_later_month_is_added_and_whole_shards_are_left_alone(tmp_path, store):
    path, old = store
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (path / "t2m" / "c").rglob("*") if p.is_file()}
    new = _month(tmp_path / "02.nc", "2001-01-08T12")
    statistics = xr.open_zarr(path, group="statistics").load()
    assert append(path, [str(tmp_path / "02.nc")]) == 30
    for consolidated in (True, False):
        found = xr.open_zarr(path, consolidated=consolidated)
        np.testing.assert_array_equal(found.t2m.values, np.concatenate([old, new]))
    assert len(before) == 4
    changed = {
        p.relative_to(path / "t2m" / "c").parts[0]
        for p, was in before.items()
        if (p.stat().st_ino, p.stat().st_mtime_ns) != was
    }
    assert changed == {"3"}  # the last shard was not full
    xr.testing.assert_identical(statistics, xr.open_zarr(path, group="statistics").load())
    later = _month(tmp_path / "03.nc", "2001-03-01")  # a gap before it
    append(path, [str(tmp_path / "03.nc")])
    np.testing.assert_array_equal(open_fields(path).t2m.values, np.concatenate([old, new, later]))


@pytest.mark.parametrize("at", range(14))
def test_killed_at_any_write_the_store_is_the_old_or_the_new_one(tmp_path, store, monkeypatch, at):
    path, old = store
    new = _month(tmp_path / "02.nc", "2001-01-08T12")
    calls, replace = iter(range(1000)), Path.replace

    def dying(self, target):
        if next(calls) == at:
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    killed = False
    try:
        append(path, [str(tmp_path / "02.nc")])
    except Killed:
        killed = True
    monkeypatch.undo()
    found = open_fields(path)
    whole = np.concatenate([old, new])
    assert len(found.time) in (30, 60)
    for name, plus in (("t2m", 0), ("skt", 1)):
        np.testing.assert_array_equal(found[name].values, (whole + np.float32(plus))[: len(found.time)])
    assert xr.open_zarr(path).sizes["time"] == len(found.time)
    assert killed
    if len(found.time) == 30:
        append(path, [str(tmp_path / "02.nc")])
    else:  # what was left undone is mended by the next
        with pytest.raises(PrepareError, match="not after its end"):
            append(path, [str(tmp_path / "02.nc")])
    np.testing.assert_array_equal(xr.open_zarr(path, consolidated=False).t2m.values, whole)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"start": "2001-01-05"}, "not after its end"),
        ({"start": "2001-02-01", "freq": "3h"}, "step of the new times is 3 h, expected 6 h"),
        ({"start": "2001-02-01T03"}, "on the same hours"),
        ({"start": "2001-02-01", "units": "m"}, "'m' in the new inputs, expected 'K'"),
        ({"start": "2001-02-01", "lat": LAT + 1}, "lat has 6 values from -74 to 76"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(tmp_path, store, changes, text):
    path, old = store
    _month(tmp_path / "02.nc", **changes)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()}
    with pytest.raises(PrepareError, match=text) as caught:
        append(path, [str(tmp_path / "02.nc")])
    assert "\n" not in str(caught.value)
    assert before == {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()}
    np.testing.assert_array_equal(open_fields(path).t2m.values, old)


def test_a_store_that_was_not_prepared_is_refused(tmp_path):
    _month(tmp_path / "01.nc", "2001-01-01")
    with xr.open_dataset(tmp_path / "01.nc") as dataset:
        dataset.load().to_zarr(tmp_path / "own.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(PrepareError, match="was not made by `statecast data prepare`"):
        append(tmp_path / "own.zarr", [str(tmp_path / "01.nc")])


def test_a_full_disk_leaves_the_old_store(tmp_path, store, monkeypatch):
    path, old = store
    _month(tmp_path / "02.nc", "2001-02-01")

    def full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(PrepareError, match="No space left on device"):
        append(path, [str(tmp_path / "02.nc")])
    monkeypatch.undo()
    np.testing.assert_array_equal(open_fields(path).t2m.values, old)
    assert zarr.open_group(path)["t2m"].shape[0] == 30
