"""What a store holds, in words."""

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from scipy.special import roots_legendre

from statecast.fields.sources import describe as describe_module  # the module
from statecast.fields.sources import open_fields
from statecast.fields.sources.describe import describe


def by_name(dataset):
    return {v.name: v for v in describe(dataset).variables}


def test_variables_are_described_with_levels_units_and_what_varies(global_store):
    variables = by_name(global_store)
    assert list(variables) == ["t", "u", "msl", "t2m", "lsm"]
    assert variables["t"].levels_hpa == (500, 700, 850) and variables["t"].units == "K"
    assert variables["msl"].levels_hpa == () and variables["msl"].varies_in_time
    assert not variables["lsm"].varies_in_time


def test_numbers_of_a_small_store_are_exact(make_store):
    store = open_fields(make_store(steps=8, missing=0.2))
    t = by_name(store)["t"]
    assert t.missing == pytest.approx(float(store["t"].isnull().mean()))
    assert (t.lowest, t.highest) == (float(store["t"].min()), float(store["t"].max()))
    expected = store["t"].astype(float).weighted(np.cos(np.deg2rad(store.lat))).mean()
    assert t.mean == pytest.approx(float(expected), rel=1e-9)


def test_the_sample_is_bounded(make_store, monkeypatch):
    monkeypatch.setattr(describe_module, "SAMPLE_VALUES", 500)
    store = open_fields(make_store(steps=200))
    parts = list(describe_module._sample(store["t"]))
    assert len(parts) == describe_module.SAMPLE_STEPS
    assert sum(p.size for p in parts) <= 500
    assert {p.time.item() for p in parts} >= {store.time[0].item(), store.time[-1].item()}


def test_a_lazy_store_is_described_a_step_at_a_time(make_store, tmp_path):
    store = make_store(steps=30)
    store.to_zarr(
        tmp_path / "store.zarr", zarr_format=3, consolidated=False, encoding={"t": {"chunks": (1, 3, 12, 24)}}
    )
    for step in range(30):  # the sample looks at the times 0, 4, 8, 12, 17, 21, 25, 29
        if step not in (0, 4, 8, 12, 17, 21, 25, 29):
            (tmp_path / f"store.zarr/t/c/{step}/0/0/0").write_bytes(b"damaged")
    opened = open_fields(tmp_path / "store.zarr")
    assert by_name(opened)["t"].missing == 0
    with pytest.raises(Exception, match=r".+"):
        opened["t"].load()


def test_missing_and_other_than_numbers_have_no_mean(global_store):
    odd = global_store.assign(
        empty=global_store.msl * np.nan, name=("lon", ["a"] * 24), when=("lon", [np.timedelta64(1, "ns")] * 24)
    )
    variables = by_name(odd)
    assert variables["empty"].missing == 1 and variables["empty"].mean is None
    assert variables["name"].missing is None and variables["when"].highest is None


@pytest.mark.parametrize(
    ("lat", "lon", "expected"),
    [
        (
            np.linspace(-82.5, 82.5, 12),
            np.arange(24) * 15.0,
            ["12 rows × 24 columns", "15° × 15°", "regular", "global"],
        ),
        (np.rad2deg(np.arcsin(roots_legendre(16)[0])), np.arange(32) * 11.25, ["Gaussian", "global", "periodic"]),
        (np.array([1.0, 2, 4]), np.array([-5.0, 0, 5]), ["unequally", "regional", "1 to 4° north", "-5 to 5° east"]),
        (np.array([-5.0, 0, 5]), np.arange(24) * 15.0, ["all longitudes", "periodic"]),
        (np.zeros(1), np.zeros(1), ["1 rows × 1 columns", "regional"]),
    ],
)
def test_the_grid_is_told_in_words(make_store, lat, lon, expected):
    grid = describe(open_fields(make_store(steps=2, lat=lat, lon=lon))).grid
    for words in expected:
        assert words in grid


def test_gaps_are_listed(make_store):
    times = describe(open_fields(make_store(steps=20)).drop_isel(time=[5, 6, 13])).times
    assert times.count == 17 and times.step_h == 6
    assert times.gaps == (
        ("2001-01-31 00:00:00", "2001-01-31 18:00:00"),
        ("2001-02-02 00:00:00", "2001-02-02 12:00:00"),
    )


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_the_calendar_is_named(make_store, calendar):
    times = describe(open_fields(make_store(steps=4, calendar=calendar))).times
    assert times.calendar == calendar and times.first == "2001-01-30 00:00:00" and times.gaps == ()


def test_one_time_has_no_step_and_no_gap(make_store):
    times = describe(open_fields(make_store(steps=1))).times
    assert times.step_h is None and times.gaps == ()


def test_the_size_is_that_of_the_values(global_store):
    assert describe(global_store).size_bytes == global_store.nbytes
    assert describe_module._size(2.5e9) == "2.5 GB" and describe_module._size(3e15) == "3e+03 TB"


def test_it_prints_all_of_it_on_a_narrow_terminal_and_names_in_brackets(make_store):
    store = open_fields(make_store(steps=60)).drop_isel(time=range(1, 58, 4)).rename(t2m="[bold]t2m")
    description = describe(store)
    text = str(description)
    for words in (
        "[bold]t2m",
        "500, 700, 850",
        "static",
        "grid",
        "times",
        "gaps",
        "and 5 more",
        "in memory",
    ):
        assert words in text
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(description)
    assert "msl" in capture.get()


def test_a_store_without_variables_is_described():
    empty = xr.Dataset(coords={"time": np.array(["2001-01-01"], "M8[ns]"), "lat": [0.0, 1.0], "lon": [0.0, 1.0]})
    assert describe(open_fields(empty)).variables == ()
