"""Preparing a store: what it holds, and what interruptions, broken inputs and a full disk leave behind."""

import errno
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from statecast.fields.prepare import PrepareError, prepare, read_spec
from statecast.fields.prepare import prepare as package
from statecast.fields.prepare import store as stores
from statecast.fields.sources import Record, fit_climatology, open_fields
from statecast.fields.streams import Stream
from statecast.outputs import OutputError


class Killed(Exception):
    """Stands for the end of the process at a moment of the test's choice."""


LAT, LON = np.linspace(-75.0, 75.0, 6), np.arange(0.0, 360.0, 45.0)
SMALL = {"window": [4, 3, 4], "steps_per_shard": 8}
modules = import_module("statecast.fields.prepare.prepare")  # the package has a function of this name


def _month(path: Path, start: str, steps: int = 30, seed: int = 0, **more) -> np.ndarray:
    times = pd.date_range(start, periods=steps, freq="6h")
    values = np.random.default_rng(seed).normal(280, 5, (steps, 6, 8)).astype("f4")
    upper = np.stack([values - 30, values - 10], axis=1)
    variables = {
        "t2m": (("time", "lat", "lon"), values, {"units": "K"}),
        "t": (("time", "level", "lat", "lon"), upper, {"units": "K"}),
        "orog": (("lat", "lon"), np.arange(48.0).reshape(6, 8), {"units": "m"}),
        **more,
    }
    coords = {"time": times, "level": ("level", [500.0, 850.0], {"units": "hPa"}), "lat": LAT, "lon": LON}
    path.parent.mkdir(exist_ok=True)
    xr.Dataset(variables, coords).to_netcdf(path)
    return values


@pytest.fixture
def months(tmp_path):
    values = [_month(tmp_path / "in" / f"{m}.nc", f"2001-{m}-01", seed=int(m)) for m in ("01", "02")]
    return np.concatenate(values)


def _spec(tmp_path, **more):
    return read_spec({"source": {"paths": [str(tmp_path / "in" / "*.nc")]}, "store": SMALL, **more})


def test_values_are_those_of_the_inputs_and_gaps_stay_gaps(tmp_path, months):
    found = open_fields(prepare(_spec(tmp_path), tmp_path / "out.zarr"))
    np.testing.assert_array_equal(found.t2m.values, months)
    np.testing.assert_array_equal(found.t.sel(level=850).values, months - 10)
    np.testing.assert_array_equal(found.orog.values, np.arange(48.0).reshape(6, 8))
    assert len(found.time) == 60  # the rest of January is in no input: no time of it is made up


def test_a_variable_that_lacks_a_month_is_missing_there(tmp_path, months):
    extra = (("time", "lat", "lon"), np.ones((30, 6, 8), "f4"), {"units": "1"})
    _month(tmp_path / "in" / "03.nc", "2001-03-01", cloud=extra)
    found = open_fields(prepare(_spec(tmp_path), tmp_path / "out.zarr"))
    assert np.isnan(found.cloud.values[:60]).all()
    assert (found.cloud.values[60:] == 1).all()


def test_arrays_are_cut_for_windows_and_gathered_in_shards(tmp_path, months):
    out = prepare(_spec(tmp_path), tmp_path / "out.zarr")
    array = zarr.open_group(out)["t"]
    assert (array.chunks, array.shards) == ((4, 2, 3, 4), (8, 2, 6, 8))
    assert len(list((out / "t" / "c").rglob("0"))) > 0


@pytest.mark.parametrize("bits", [7, 12])
def test_rounding_keeps_its_promise_and_missing_values(bits):
    values = np.random.default_rng(0).normal(0, 1e4, 5000).astype("f4")
    values[7] = np.nan
    kept = stores.rounded(values, bits)
    assert np.isnan(kept[7])
    error = np.abs(kept / values - 1)
    assert np.nanmax(error) <= 2.0 ** -(bits + 1)
    assert np.nanmax(error) > 2.0 ** -(bits + 2)  # no more bits are kept than asked
    assert (np.where(np.isnan(kept), 0, kept).view(np.uint32) & ((1 << (23 - bits)) - 1) == 0).all()


def test_the_precision_is_told(tmp_path, months):
    spec = _spec(tmp_path, variables={"t2m": {"keep_bits": 9}, "t": {}})
    found = open_fields(prepare(spec, tmp_path / "out.zarr"))
    assert found.t2m.precision == "float32 rounded to 9 bits of the mantissa, relative error at most 0.00098"
    assert found.t.precision == "float32"
    np.testing.assert_allclose(found.t2m.values, months, rtol=0.00098)
    assert (found.t2m.values != months).any()


def test_statistics_are_those_of_the_values_and_the_climatology_that_of_training(tmp_path, months):
    out = prepare(_spec(tmp_path), tmp_path / "out.zarr")
    statistics = xr.open_zarr(out, group="statistics")
    record = Record.open(open_fields(out), Stream(variables=("t", "t2m"), levels=(500.0, 850.0), patch=(1, 2, 2)))
    area = record.grid.cell_area / record.grid.cell_area.sum()
    mean = (months * area).sum((1, 2)).mean()
    np.testing.assert_allclose(statistics.t2m_mean, mean, rtol=1e-7)
    np.testing.assert_allclose(
        statistics.t2m_std, np.sqrt((((months - mean) ** 2) * area).sum((1, 2)).mean()), rtol=1e-6
    )
    assert (float(statistics.t2m_lowest), float(statistics.t2m_highest)) == (months.min(), months.max())
    fitted = fit_climatology(record).mean
    np.testing.assert_allclose(statistics.t_climatology.values, fitted[:, :, :2], rtol=1e-6)
    np.testing.assert_allclose(statistics.t2m_climatology.values, fitted[:, :, 2], rtol=1e-6)


def test_statistics_of_a_period_leave_the_rest_out(tmp_path, months):
    spec = _spec(tmp_path, statistics={"period": ["2001-01-01", "2001-01-31"]})
    statistics = xr.open_zarr(prepare(spec, tmp_path / "out.zarr"), group="statistics")
    assert float(statistics.t2m_highest) == months[:30].max()


def _same(one: Path, two: Path) -> None:
    for group in (None, "statistics"):
        found = [
            xr.open_zarr(path, group=group).load().drop_attrs(deep=False) for path in (one, two)
        ]  # these name the inputs
        xr.testing.assert_identical(*found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for month in ("01", "02"):
        _month(folder / "in" / f"{month}.nc", f"2001-{month}-01", seed=int(month))
    return prepare(_spec(folder), folder / "whole.zarr")


@pytest.mark.parametrize("at", [0, 17, 34, 51])
def test_a_preparation_killed_anywhere_goes_on_and_ends_with_the_same_store(tmp_path, months, whole, monkeypatch, at):
    calls = iter(range(10**6))
    kinds = {"replace": Path.replace, "unlink": Path.unlink, "rename": Path.rename}

    def dying(kind):
        def call(self, *args, **options):
            if next(calls) == at:
                raise Killed
            return kinds[kind](self, *args, **options)

        return call

    for kind in kinds:
        monkeypatch.setattr(Path, kind, dying(kind))
    with pytest.raises(Killed):
        prepare(_spec(tmp_path), tmp_path / "out.zarr")
        raise Killed  # it was done before the count
    monkeypatch.undo()
    if not (tmp_path / "out.zarr").exists():
        prepare(_spec(tmp_path), tmp_path / "out.zarr")
    _same(whole, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr.unfinished").exists()


def test_a_broken_input_is_named_with_its_index_and_what_came_before_stays(tmp_path, months):
    broken = tmp_path / "in" / "02.nc"
    with xr.open_dataset(broken) as dataset:
        dataset.load().to_netcdf(tmp_path / "packed.nc", encoding={"t2m": {"zlib": True, "chunksizes": (6, 6, 8)}})
    broken.write_bytes((tmp_path / "packed.nc").read_bytes())
    data = bytearray(broken.read_bytes())
    import h5py  # the place of the third chunk of t2m

    with h5py.File(broken) as file:
        place = file["t2m"].id.get_chunk_info(2)
    data[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    whole = broken.read_bytes()
    broken.write_bytes(bytes(data))
    with pytest.raises(PrepareError) as caught:
        prepare(_spec(tmp_path), tmp_path / "out.zarr")
    message = str(caught.value)
    assert "02.nc: variable 't2m' cannot be read at time[12]" in message
    assert "\n" not in message
    assert "The 24 steps before are kept" in message
    done = json.loads((tmp_path / "out.zarr.unfinished" / "journal.json").read_text())["done"]
    assert done == 3  # blocks of 8 steps; the input begins in the fourth
    assert not (tmp_path / "out.zarr").exists()
    broken.write_bytes(whole)  # the input is mended
    found = open_fields(prepare(_spec(tmp_path), tmp_path / "out.zarr"))
    np.testing.assert_array_equal(found.t2m.values, months)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, months, monkeypatch):
    calls = iter(range(10**6))
    write = modules.write_part

    def full(*args, **options):
        if next(calls) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args, **options)

    monkeypatch.setattr(modules, "write_part", full)
    with pytest.raises(PrepareError, match=r"^[^\n]*No space left on device[^\n]*goes on\.$"):
        prepare(_spec(tmp_path), tmp_path / "out.zarr")
    monkeypatch.undo()
    np.testing.assert_array_equal(open_fields(prepare(_spec(tmp_path), tmp_path / "out.zarr")).t2m.values, months)


def test_an_unfinished_store_of_another_spec_is_left_alone(tmp_path, months, monkeypatch):
    monkeypatch.setattr(modules, "_put_in_place", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        prepare(_spec(tmp_path), tmp_path / "out.zarr")
    monkeypatch.undo()
    with pytest.raises(PrepareError, match="another spec"):
        prepare(_spec(tmp_path, levels=[500]), tmp_path / "out.zarr")
    prepare(_spec(tmp_path, levels=[500]), tmp_path / "out.zarr", overwrite=True)
    with pytest.raises(OutputError, match="already exists"):
        prepare(_spec(tmp_path), tmp_path / "out.zarr")


def test_a_cluster_does_the_same_work(tmp_path, months):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        found = open_fields(prepare(_spec(tmp_path), tmp_path / "out.zarr", cluster=cluster.scheduler_address))
    np.testing.assert_array_equal(found.t2m.values, months)


def test_region_across_the_date_line_and_period_and_step(tmp_path, months):
    spec = _spec(tmp_path, region={"lat": [-20, 50], "lon": [300, 50]}, period=["2001-01-02", "2001-01-04"], every_h=12)
    found = open_fields(prepare(spec, tmp_path / "out.zarr"))
    assert list(found.lon) == [-45.0, 0.0, 45.0]
    assert list(found.lat) == [-15.0, 15.0, 45.0]
    np.testing.assert_array_equal(found.t2m.values, months[4:16:2, 2:5][:, :, [7, 0, 1]])


def test_levels_between_those_of_the_inputs_are_interpolated_in_log_pressure(tmp_path, months):
    spec = _spec(tmp_path, levels=[500, 700, 900], vertical="interpolate")
    found = open_fields(prepare(spec, tmp_path / "out.zarr")).t
    share = np.log(700 / 500) / np.log(850 / 500)
    np.testing.assert_allclose(found.sel(level=700).values, months - 30 + 20 * share, rtol=1e-6)
    assert np.isnan(found.sel(level=900).values).all()  # below the lowest level nothing is known


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"levels": [550]}, "no level 550 hPa. Levels: 500, 850"),
        ({"variables": ["q"]}, "have no 'q'. Variables: orog, t, t2m"),
        ({"region": {"lat": [80, 85]}}, "region: holds no point"),
        ({"every_h": 7}, "no multiple of the step"),
        ({"period": ["1950", "1951"]}, "contains no data"),
        ({"variables": {"t2m": {"units": "m"}}}, "can't be converted to 'm'"),
        ({"grid": {"method": "nearest", "lat": [89, 89.5, 0.1], "lon": [0, 1, 0.5]}}, None),
    ],
)
def test_a_spec_that_does_not_fit_the_inputs_is_one_line(tmp_path, months, change, text):
    if text is None:
        prepare(_spec(tmp_path, **change), tmp_path / "out.zarr")
        return
    with pytest.raises(ValueError, match=text) as caught:
        prepare(_spec(tmp_path, **change), tmp_path / "out.zarr")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.zarr").exists()


def test_inputs_that_overlap_or_differ_are_named(tmp_path, months):
    _month(tmp_path / "in" / "03.nc", "2001-02-03")
    with pytest.raises(PrepareError, match=r"02.nc and .*03.nc: both hold 't' at 2001-02-03"):
        prepare(_spec(tmp_path), tmp_path / "out.zarr")
    with xr.open_dataset(tmp_path / "in" / "03.nc") as dataset:
        moved = dataset.load().assign_coords(lat=LAT + 1, time=dataset.time + np.timedelta64(90, "D"))
    (tmp_path / "in" / "03.nc").unlink()
    moved.to_netcdf(tmp_path / "in" / "04.nc")
    with pytest.raises(PrepareError, match=r"04.nc: has other values of lat"):
        prepare(_spec(tmp_path), tmp_path / "out.zarr")


def test_numbers_of_model_levels_are_no_pressures(tmp_path, months):
    for path in (tmp_path / "in").iterdir():
        with xr.open_dataset(path) as dataset:
            numbered = dataset.load().assign_coords(level=[100, 137])
        numbered.to_netcdf(path)
    with pytest.raises(PrepareError, match=r"input .*01.nc: levels 'level' have no units and run up to 137"):
        prepare(_spec(tmp_path), tmp_path / "out.zarr")


def test_coordinates_that_differ_by_rounding_are_the_same(tmp_path, months):
    path = tmp_path / "in" / "02.nc"
    with xr.open_dataset(path) as dataset:
        dataset = dataset.load().assign_coords(lat=LAT.astype("f4") + np.float32(1e-5))
    dataset.to_netcdf(path)
    np.testing.assert_array_equal(open_fields(prepare(_spec(tmp_path), tmp_path / "out.zarr")).t2m.values, months)


@pytest.mark.parametrize(
    ("write", "paths"),
    [
        (lambda d, p: d.to_zarr(p / "a.zarr", zarr_format=2), ["a.zarr"]),
        (lambda d, p: d.to_zarr(p / "a.zarr", zarr_format=3, consolidated=False), ["a.zarr"]),
        (lambda d, p: d.to_netcdf(p / "a.nc", group="Grid"), ["a.nc"]),
        (lambda d, p: d.to_netcdf(p / "deep.nc", format="NETCDF3_CLASSIC"), ["."]),
    ],
)
def test_kinds_of_inputs(tmp_path, write, paths):
    folder = tmp_path / "kinds"
    folder.mkdir()
    values = _month(tmp_path / "in" / "a.nc", "2001-01-01")
    with xr.open_dataset(tmp_path / "in" / "a.nc") as dataset:
        write(dataset.load(), folder)
    spec = {
        "source": {"paths": [str(folder / p) for p in paths], "group": "Grid" if (folder / "a.nc").exists() else None}
    }
    np.testing.assert_array_equal(open_fields(prepare(read_spec(spec), tmp_path / "out.zarr")).t2m.values, values)


def test_an_icechunk_repository_is_read(tmp_path):
    icechunk = pytest.importorskip("icechunk")
    values = _month(tmp_path / "in" / "a.nc", "2001-01-01")
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "repo")))
    session = repository.writable_session("main")
    with xr.open_dataset(tmp_path / "in" / "a.nc") as dataset:
        dataset.load().to_zarr(session.store, zarr_format=3, consolidated=False)
    session.commit("first")
    spec = read_spec({"source": {"paths": str(tmp_path / "repo")}})
    np.testing.assert_array_equal(open_fields(prepare(spec, tmp_path / "out.zarr")).t2m.values, values)


def test_a_group_that_is_not_named_is_told(tmp_path):
    _month(tmp_path / "in" / "a.nc", "2001-01-01")
    with xr.open_dataset(tmp_path / "in" / "a.nc") as dataset:
        dataset.load().to_netcdf(tmp_path / "g.nc", group="Grid")
    with pytest.raises(PrepareError, match=r"groups: Grid\. Name one by source\.group"):
        prepare(read_spec({"source": {"paths": str(tmp_path / "g.nc")}}), tmp_path / "out.zarr")


def test_only_the_times_near_the_period_are_in_the_graph(tmp_path):
    inputs = import_module("statecast.fields.prepare.inputs")
    _month(tmp_path / "in" / "a.nc", "2001-01-01", 1000)
    opened = inputs.open_inputs(_spec(tmp_path).source, ("2001-05-01", "2001-05-02"))[0].dataset
    assert opened.sizes["time"] == 8 + 2 * inputs.MARGIN
    assert opened.t2m.data.npartitions == 1
    guarded = next(v for v in opened.t2m.data.dask.values() if isinstance(v, inputs.Guarded))
    assert guarded.first == 480 - inputs.MARGIN


def test_opening_reads_no_values(tmp_path, months, monkeypatch):
    inputs = import_module("statecast.fields.prepare.inputs")
    read = []
    monkeypatch.setattr(inputs.Guarded, "__getitem__", lambda self, key: read.append(self.variable))
    monkeypatch.setattr(xr.Variable, "__dask_tokenize__", lambda self: read.append("token"))
    inputs.open_inputs(_spec(tmp_path).source)
    assert read == []


def test_the_package_exports_the_command(tmp_path):
    assert package is prepare
