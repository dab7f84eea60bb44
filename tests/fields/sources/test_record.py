"""Records: channels over a period, read a window at a time."""

import pickle

import numcodecs
import numpy as np
import pytest
import xarray as xr

from statecast.fields.sources import Record, StoreError, open_fields, record, stored
from statecast.fields.sources.dates import select_period
from statecast.fields.sources.local_chunks import LocalChunks
from statecast.fields.streams import Channel, Stream

MSL = Stream(variables=("msl",))
T = Stream(variables=("t",), levels=(500,))


def refused(pattern, function, *arguments) -> None:
    with pytest.raises(StoreError, match=pattern) as error:
        function(*arguments)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_channels_come_in_the_order_of_the_stream(global_record):
    assert list(map(str, global_record.channels)) == ["t@850", "t@500", "msl", "u@850", "u@500"]
    assert global_record.units == ("K", "K", "Pa", "m s-1", "m s-1")


def test_what_is_read_is_what_the_store_holds(global_store, global_record):
    values = global_record.read(slice(3, 7), slice(2, 5), np.arange(6, 10))
    assert values.shape == (4, 5, 3, 4) and values.dtype == np.float32
    part = global_store.isel(time=slice(3, 7), lat=slice(2, 5), lon=slice(6, 10))
    np.testing.assert_array_equal(values[:, 0], part["t"].sel(level=850))
    np.testing.assert_array_equal(values[:, 2], part["msl"])
    np.testing.assert_array_equal(values[:, 4], part["u"].sel(level=500))


@pytest.mark.parametrize("columns", [None, np.arange(5, 9), (np.arange(7) + 20) % 24, (np.arange(24) + 13) % 24])
@pytest.mark.parametrize("backed_by", ["memory", "zarr", "netcdf"])
def test_reading_lazily_gives_what_reading_from_memory_gives(
    global_store, layered_stream, monkeypatch, tmp_path, columns, backed_by
):
    kept = Record.open(global_store, layered_stream)
    monkeypatch.setattr(record, "IN_MEMORY_GIB", 0.0)
    south = global_store.isel(lat=slice(None, None, -1))  # stored from north to south, as many stores are
    if backed_by == "zarr":
        south.to_zarr(tmp_path / "store.zarr", zarr_format=3, consolidated=False)
        south = open_fields(tmp_path / "store.zarr")
    elif backed_by == "netcdf":
        south.to_netcdf(tmp_path / "store.nc")
        south = open_fields(tmp_path / "store.nc")
    lazy = Record.open(open_fields(south), layered_stream)
    assert kept.in_memory is not None and lazy.in_memory is None
    window = (slice(2, 9), slice(1, 7), columns)
    np.testing.assert_array_equal(lazy.read(*window), kept.read(*window))
    south.close()


def test_columns_across_the_date_line_are_neighbours(global_record):
    across = global_record.read(slice(0, 1), columns=np.array([22, 23, 0, 1]))
    whole = global_record.read(slice(0, 1))
    np.testing.assert_array_equal(across, np.concatenate([whole[..., 22:], whole[..., :2]], axis=-1))


@pytest.mark.parametrize(
    ("period", "steps"),
    [
        (("2001-01-31", "2001-02-01"), 8),
        (("2001-02", "2001-02"), 28),
        (("2001", "2001"), 36),
        (("2001-01-31T06:00", "2001-01-31T18"), 3),
    ],
)
def test_a_period_includes_its_last_day_month_or_year(make_store, period, steps):
    assert len(Record.open(open_fields(make_store(steps=36)), MSL, period)) == steps


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_periods_and_times_work_in_other_calendars(make_store, calendar):
    dataset = open_fields(make_store(steps=40, start="2001-02-26", calendar=calendar))
    days = 30 if calendar == "360_day" else 28
    part = Record.open(dataset, MSL, ("2001-02-26", f"2001-02-{days}"))
    assert len(part) == (days - 25) * 4
    whole = Record.open(dataset, MSL)
    np.testing.assert_allclose(whole.hours, 6.0 * np.arange(40))
    assert whole.step_h == 6
    first_of_march = (days - 25) * 4
    assert whole.month[first_of_march - 1 : first_of_march + 1].tolist() == [2, 3]
    expected = (60 / 360) if calendar == "360_day" else (59 / 365)
    assert whole.year_fraction[first_of_march] == pytest.approx(expected)


def test_hour_and_share_of_the_year_are_those_of_the_calendar(make_store):
    half_hourly = make_store(steps=4, start="2000-12-31T22:30").assign_coords(
        time=np.array(["2000-12-31T22:30", "2000-12-31T23:00", "2001-01-01T00:00", "2001-01-01T12:00"], "M8[ns]")
    )
    times = Record.open(open_fields(half_hourly), MSL)
    assert times.hour_utc.tolist() == [22.5, 23, 0, 12]
    np.testing.assert_allclose(times.year_fraction, [1 - 1.5 / 24 / 366, 1 - 1 / 24 / 366, 0, 0.5 / 365])
    assert times.month.tolist() == [12, 12, 1, 1]
    np.testing.assert_allclose(times.months_passed, [12 - 1.5 / 24 / 31, 12 - 1 / 24 / 31, 0, 0.5 / 31])


def test_windows_never_cross_a_gap_in_time(make_store):
    store = open_fields(make_store(steps=20)).drop_isel(time=[5, 6, 13])
    gappy = Record.open(store, MSL)
    assert gappy.step_h == 6
    for steps in (1, 2, 3, 5):
        starts = gappy.starts(steps)
        for start in range(len(gappy) - steps + 1):
            expected = np.allclose(np.diff(gappy.hours[start : start + steps]), 6.0)
            assert (start in starts) == expected
    assert gappy.starts(6).tolist() == [5, 11]
    refused(r"17 time steps of 6 h, but no 7 consecutive ones without a gap", gappy.starts, 7)


def test_a_record_without_gaps_starts_anywhere_that_a_window_fits(global_record):
    assert global_record.starts(1).tolist() == list(range(40))
    assert global_record.starts(40).tolist() == [0]
    refused("no 41 consecutive ones without a gap.*Name a longer period", global_record.starts, 41)


def test_a_step_of_another_length_is_a_gap_too(make_store):
    dataset = open_fields(make_store(steps=6)).assign_coords(
        time=np.datetime64("2001-01-01", "ns") + np.array([0, 6, 12, 15, 21, 27]) * np.timedelta64(1, "h")
    )
    assert Record.open(dataset, MSL).starts(3).tolist() == [0, 3]


def test_one_time_step_has_no_step(make_store):
    single = Record.open(open_fields(make_store(steps=1)), MSL)
    with pytest.raises(StoreError, match=r"only one time step, expected at least two\. Name a longer period"):
        _ = single.step_h


def test_a_variable_that_the_store_lacks_is_refused(global_store):
    refused("no variable 'q'. Variables: t, u, msl", Record.open, global_store, Stream(variables=("q",)))


def test_a_level_that_the_store_lacks_is_refused(global_store):
    stream = Stream(variables=("t",), levels=(500, 550))
    refused("'t' has no level 550 hPa. Levels: 500, 700, 850. Name one", Record.open, global_store, stream)


def test_levels_must_be_named(global_store):
    refused("has levels, but the stream names none. Levels: 500", Record.open, global_store, Stream(variables=("t",)))


def test_a_static_variable_is_the_same_at_each_step(global_store):
    record = Record.open(global_store, Stream(variables=("lsm", "msl")))
    assert record.static == ("lsm",)
    mask = record.read(slice(3, 7), slice(2, 5), np.array([22, 23, 0]))[:, 0]
    np.testing.assert_array_equal(mask, np.broadcast_to(global_store.lsm.values[2:5][:, [22, 23, 0]], mask.shape))


def test_a_variable_without_places_is_refused(global_store):
    series = global_store.assign(index=("time", np.arange(40.0)))
    refused("'index' has no lat and no lon, expected", Record.open, series, Stream(variables=("index",)))


def test_a_further_dimension_is_refused(global_store):
    ensemble = global_store.expand_dims(member=2)
    refused("the dimension 'member', expected .* Select one value", Record.open, ensemble, MSL)


def test_levels_without_values_are_refused(global_store):
    refused("the dimension 'level', expected", Record.open, global_store.drop_vars("level"), T)


def test_a_surface_variable_cannot_have_a_token_for_each_level(global_store):
    stream = Stream(variables=("t", "msl"), levels=(500, 850), levels_share_token=False)
    refused("levels_share_token is false, but msl has no levels", Record.open, global_store, stream)


@pytest.mark.parametrize(
    ("period", "problem"),
    [
        (("1999-01-01", "1999-12-31"), "contains no data. The store covers 2001-01-30"),
        (("2001-02-05", "2001-02-01"), "ends before it begins"),
    ],
)
def test_an_empty_period_is_refused(global_store, period, problem):
    refused(f"period {period[0]} to {period[1]}: {problem}", select_period, global_store, period)


@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_a_period_that_is_no_time_is_refused(make_store, calendar):
    dataset = open_fields(make_store(steps=4, calendar=calendar))
    refused("is not a pair of times", select_period, dataset, ("spring", "summer"))


def test_units_that_are_not_given_are_unknown(global_store):
    bare = global_store.copy()
    bare["msl"].attrs = {}
    assert Record.open(bare, MSL).units == ("unknown",)


def test_a_surface_channel_has_no_level(regional_store: xr.Dataset):
    assert Record.open(regional_store, MSL).channels == (Channel("msl", None),)


def north_to_south(store):
    return store.isel(lat=slice(None, None, -1))


def from_minus_180(store):
    return store.assign_coords(lon=(store.lon + 180) % 360 - 180).sortby("lon")


def transposed(store):
    return store.transpose("time", "level", "lon", "lat")


def with_gaps(store):
    return store.isel(time=np.r_[0:9, 12:24])


LAYOUTS = {
    "as it is": ({}, lambda store: store),
    "north to south": ({}, north_to_south),
    "from -180": ({}, from_minus_180),
    "transposed": ({}, transposed),
    "with gaps": ({}, with_gaps),
    "format 2": ({"zarr_format": 2}, lambda store: north_to_south(from_minus_180(transposed(store)))),
    "packed": ({"encoding": {"t": {"dtype": "int16", "scale_factor": 0.01, "_FillValue": -9999}}}, lambda s: s),
    "double": ({"encoding": {"t": {"dtype": "float64"}}}, lambda store: store),
    "a number for missing": ({"encoding": {"t": {"_FillValue": -9999.0}}}, lambda store: store),
    "shards": ({"encoding": {"t": {"chunks": (4, 1, 4, 8), "shards": (8, 1, 12, 24)}}}, lambda store: store),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("straight", [True, False])
def test_windows_are_those_that_xarray_reads_to_the_bit(
    make_store, layered_stream, monkeypatch, tmp_path, layout, straight
):
    """Reading them straight from Zarr changes no training."""
    if not straight:
        monkeypatch.setattr(LocalChunks, "of", lambda array: None)  # zarr-python reads
    options, change = LAYOUTS[layout]
    store = change(make_store(missing=0.1).drop_encoding())
    store.to_zarr(tmp_path / "store.zarr", **{"zarr_format": 3, "consolidated": False} | options)
    monkeypatch.setattr(record, "IN_MEMORY_GIB", 0.0)
    whole = Record.open(open_fields(tmp_path / "store.zarr"), layered_stream, ("2001-01-31", "2001-02-10"))
    whole = pickle.loads(pickle.dumps(whole))
    told = {name: found is not None for name, found in whole._stored.items()}
    assert told == {"t": layout not in ("packed", "double", "a number for missing"), "msl": True, "u": True}
    assert (whole._stored["msl"].local is not None) == straight
    random = np.random.default_rng(0)
    for _ in range(3):
        steps, rows = slice(t := int(random.integers(0, 8)), t + 5), slice(h := int(random.integers(0, 6)), h + 5)
        columns = (np.arange(7) + random.integers(0, 24)) % 24
        window = whole.dataset.isel(time=steps, lat=rows, lon=columns)
        by_xarray = np.concatenate(
            [record._contiguous(window.isel(lon=[n]), whole.channels) for n in range(7)], axis=-1
        )
        found = whole.read(steps, rows, columns)
        assert found.dtype == np.float32 and found.tobytes() == np.ascontiguousarray(by_xarray).tobytes()


def test_pieces_span_no_chunk_that_is_not_needed():
    far = stored.pieces(np.array([0, 1, 2, 9, 8, 40, 42]), chunk=8)
    assert [(p.stored, p.out) for p in far] == [(slice(0, 10), slice(0, 5)), (slice(40, 43), slice(5, 7))]
    assert stored.pieces(np.array([3, 2, 1]), chunk=8)[0].taken == slice(None, None, -1)
    assert stored.pieces(np.array([3, 4]), chunk=1)[0].taken == slice(None)


@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("damage", ["cut", "absent"])
def test_a_chunk_that_is_damaged_is_told_however_it_is_read(make_store, monkeypatch, tmp_path, straight, damage):
    if not straight:
        monkeypatch.setattr(LocalChunks, "of", lambda array: None)  # zarr-python reads
    encoding = {"t": {"chunks": (6, 1, 12, 24), "compressors": numcodecs.Blosc()}}
    make_store().drop_encoding().to_zarr(tmp_path / "store.zarr", zarr_format=2, encoding=encoding, consolidated=False)
    metadata, chunk = (tmp_path / "store.zarr" / "t" / name for name in (".zarray", "1.0.0.0"))
    chunk.write_bytes(chunk.read_bytes()[:-9])
    if damage == "absent":
        chunk.unlink()
        metadata.write_text(metadata.read_text().replace('"fill_value": "NaN"', '"fill_value": 0.0'))
    monkeypatch.setattr(record, "IN_MEMORY_GIB", 0.0)
    opened = Record.open(open_fields(tmp_path / "store.zarr"), T)
    refused(r"variable 't': chunk 1.0.0.0 is .* It is needed at 2001-01-31T12:00:00.", opened.read, slice(3, 9))
