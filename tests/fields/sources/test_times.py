"""Times as archives hold them: calendars, epochs, roundings and months; whatever is read is exact, or refused."""

from datetime import timedelta

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from statecast.fields.sources import Record, Step, StoreError, Times, open_fields, step_of
from statecast.fields.sources.dates import find_time, select_period
from statecast.fields.sources.times import DAY, HOUR, MINUTE, SECOND
from statecast.fields.streams import Stream

CALENDARS = ("standard", "proleptic_gregorian", "noleap", "all_leap", "360_day", "julian")
STREAM = Stream(variables=("t",))
FIXED = {"10min": 10 * MINUTE, "1h": HOUR, "3h": 3 * HOUR, "6h": 6 * HOUR, "12h": 12 * HOUR, "1D": DAY, "5D": 5 * DAY}
few = settings(max_examples=60, deadline=None, derandomize=True)


def dates(start: str, freq: str, calendar: str, periods: int = 30) -> xr.CFTimeIndex:
    return xr.date_range(start, periods=periods, freq=freq, calendar=calendar, use_cftime=True)


def of_times(times) -> xr.Dataset:
    values = np.arange(len(times) * 4.0).reshape(len(times), 2, 2)
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), values, {"units": "K"})}, {"time": times, "lat": [0.0, 1.0], "lon": [0.0, 1.0]}
    )


def written(path, times: xr.CFTimeIndex, unit: str, since: str, dtype: str, decimals: int) -> str:
    """A store whose times are numbers of some type and precision, as programs of all kinds write them."""
    numbers = netCDF4.date2num(list(times), f"{unit} since {since}", times.calendar)
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", len(times)), ("lat", 2), ("lon", 2)):
            file.createDimension(name, size)
        time = file.createVariable("time", dtype, ("time",))
        time.units, time.calendar = f"{unit} since {since}", times.calendar
        time[:] = np.round(np.asarray(numbers, float), decimals)
        for name in ("lat", "lon"):
            file.createVariable(name, "f8", (name,))[:] = [0.0, 1.0]
        file.createVariable("t", "f4", ("time", "lat", "lon"))[:] = np.arange(len(times) * 4).reshape(-1, 2, 2)
    return str(path)


def as_text(times) -> list[str]:
    return [time.strftime("%Y-%m-%d %H:%M:%S.%f") for time in times]


@few
@given(
    calendar=st.sampled_from(CALENDARS),
    freq=st.sampled_from([*FIXED, "MS", "QS"]),
    start=st.sampled_from(["1850-01-01", "1979-02-01", "2000-03-01"]),
    unit=st.sampled_from(["seconds", "minutes", "hours", "days"]),
    since=st.sampled_from(["0001-01-01", "1800-01-01", "1970-01-01 12:00:00"]),
    kind=st.sampled_from([("f8", 12), ("f8", 6), ("f8", 5), ("f4", 12), ("i8", 0)]),
)
def test_times_are_read_exactly_or_refused(tmp_path_factory, calendar, freq, start, unit, since, kind):
    dtype, decimals = kind
    true = dates(start, freq, calendar)
    path = written(tmp_path_factory.mktemp("times") / "a.nc", true, unit, since, dtype, decimals)
    try:
        record = Record.open(open_fields(path), STREAM)
        found = record.step
    except StoreError as error:
        assert dtype == "f4" or decimals < 6, error
        assert "evenly spaced" in str(error) or "twice" in str(error)
        return
    if len(set(np.diff(Times(true).ticks).tolist())) == 1 and dtype == "f8" and decimals >= 6 and freq in FIXED:
        assert found in (Step(FIXED[freq]), Step(months=1) if calendar == "360_day" else Step(FIXED[freq]))
    if dtype == "f8" and (decimals == 12 or unit != "hours" or FIXED.get(freq, DAY) % (HOUR / 2) == 0):
        assert as_text(record.times.index) == as_text(true)
        assert len(record.starts(3)) == len(true) - 2


@few
@given(
    calendar=st.sampled_from(CALENDARS),
    months=st.sampled_from([1, 3, 12]),
    stamp=st.sampled_from(["first", "middle", "end", "fifteenth"]),
    first=st.integers(min_value=1600 * 12, max_value=2200 * 12),
    missing=st.sets(st.integers(min_value=1, max_value=22), max_size=4),
)
def test_months_are_months_wherever_in_them_a_time_lies(calendar, months, stamp, first, missing):
    reference = Times(dates("2000-01-01", "1D", calendar, 2))
    numbers = first + months * np.arange(24)
    begins = np.array([reference.month_begins(int(month)) for month in numbers])
    ends = np.array([reference.month_begins(int(month) + 1) for month in numbers])
    ticks = {"first": begins, "middle": (begins + ends) // 2, "end": ends - DAY, "fifteenth": begins + 14 * DAY}[stamp]
    whole = reference.at(ticks)
    kept = [k for k in range(24) if k not in missing]
    times = Times(whole[kept])
    step = step_of(times)
    if missing == set():
        assert step == Step(months=months)
    assert step.months % months == 0 and step.months  # every other month may be missing
    ahead = Step(months=months).around(times, 0, range(26))
    assert list(ahead[:24]) == list(whole)
    assert np.diff(Times(ahead).months).tolist() == [months] * 25
    assert [t.day == 1 for t in ahead] == [stamp == "first"] * 26


def test_a_record_of_months_has_no_hour_of_the_day_and_starts_in_every_month():
    first = pd.date_range("1980-01-01", periods=36, freq="MS")
    for times in (first, first + (first + pd.offsets.MonthBegin(1) - first) / 2, first + pd.offsets.MonthEnd(1)):
        record = Record.open(open_fields(of_times(times)), STREAM)
        assert record.step == Step(months=1) and len(record.starts(3)) == 34
        assert record.hour_utc.tolist() == [0.0] * 36
        np.testing.assert_array_equal(record.months_passed, np.tile(np.arange(12) + 0.5, 3))
        np.testing.assert_allclose(np.diff(record.hours), 730.485)


@pytest.mark.parametrize("count", [2, 3])
def test_two_months_of_31_days_are_months(count):
    assert step_of(Times(pd.date_range("2001-07-01", periods=count, freq="MS"))) == Step(months=1)
    assert step_of(Times(pd.date_range("2001-03-02", periods=count, freq="30D"))) == Step(30 * DAY)


def test_noise_of_an_encoding_goes_and_true_seconds_stay():
    hourly = pd.date_range("2002-01-01", periods=48, freq="1h")
    noise = pd.to_timedelta(np.random.default_rng(0).integers(-40, 40, 48), "ms")
    assert open_fields(of_times(hourly + noise)).indexes["time"].equals(hourly)
    offset = hourly + pd.Timedelta("7s")
    assert open_fields(of_times(offset)).indexes["time"].equals(offset)
    irregular = hourly + pd.to_timedelta(np.random.default_rng(0).integers(-900, 900, 48), "s")
    assert open_fields(of_times(irregular)).indexes["time"].equals(irregular)
    with pytest.raises(
        StoreError, match=r"not evenly spaced; .*Select a part with one step, or write its times rounded"
    ):
        _ = Record.open(open_fields(of_times(irregular)), STREAM).step


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            (("2000-01-01", "6h", 40), ("2000-02-01", "12h", 20)),
            "its step changes: 6 h elsewhere, 12 h from 2000-02-01 00:00:00 on",
        ),
        ((("2000-01-01", "6h", 40), ("2000-02-01", "1h", 20)), "its step changes: 6 h elsewhere, 1 h from"),
        ((("2000-01-01", "1h", 90), ("2000-02-01", "1D", 40)), "its step changes: 1 h elsewhere, 24 h from"),
        (
            (("1990-01-01", "MS", 120), ("2000-01-01", "1D", 600)),
            "its step changes: 24 h elsewhere, 744 h from 1990-01-01 00:00:00 on",
        ),
    ],
)
def test_a_step_that_changes_is_told(parts, told):
    times = [time for start, freq, periods in parts for time in pd.date_range(start, periods=periods, freq=freq)]
    with pytest.raises(StoreError, match=told):
        step_of(Times(pd.DatetimeIndex(times)))


@few
@given(share=st.floats(0, 0.5), seed=st.integers(0, 1000))
def test_missing_times_are_gaps_and_no_other_step(share, seed):
    whole = pd.date_range("2000-01-01", periods=120, freq="6h")
    kept = np.random.default_rng(seed).uniform(size=120) >= share
    times = Times(whole[kept])
    if Step(6 * HOUR).is_next(times).sum() > len(times) / 3:
        assert step_of(times) == Step(6 * HOUR)


def test_a_time_without_a_value_is_refused():
    times = pd.DatetimeIndex(["2000-01-01", "NaT", "2000-01-03"])
    with pytest.raises(
        StoreError, match=r"time has no value \(NaT\) at 1 of 3 steps, the first of them step 1\. Write these times"
    ):
        open_fields(of_times(times))


@pytest.mark.parametrize("name", ["valid_time", "time"])
def test_forecasts_with_two_axes_of_time_are_refused_with_a_remedy_that_works(name):
    starts, leads = pd.date_range("2000-01-01", periods=4, freq="12h"), np.arange(1, 13)
    valid = starts.values[:, None] + leads[None] * np.timedelta64(1, "h")
    dataset = xr.Dataset(
        {"t": (("start", "lead", "lat", "lon"), np.random.default_rng(0).random((4, 12, 2, 2)))},
        {"start": starts, "lead": leads, name: (("start", "lead"), valid), "lat": [0.0, 1.0], "lon": [0.0, 1.0]},
    )
    with pytest.raises(StoreError, match="lies on 2 axes, start and lead, as in forecasts") as error:
        open_fields(dataset)
    remedy = str(error.value).partition("after the other: ")[2].rstrip(".")
    unfolded = open_fields(eval(remedy, {"dataset": dataset}))
    assert Record.open(unfolded, STREAM).step == Step(HOUR) and unfolded.sizes["time"] == 48
    np.testing.assert_array_equal(unfolded.t.transpose("time", ...)[13], dataset.t[1, 1])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2000-11-15", "2000-11-15 12:00:00"),
        ("2000-11-15T12Z", "2000-11-15 12:00:00"),
        ("2000-11-15t12:00z", "2000-11-15 12:00:00"),
        ("2000-11-15 12:00 UTC", "2000-11-15 12:00:00"),
        ("2000-11-15T14:00+02:00", "2000-11-15 12:00:00"),
        ("2000-11-15T08:30-0330", "2000-11-15 12:00:00"),
        ("20001115", "2000-11-15 12:00:00"),
        ("20001115T12", "2000-11-15 12:00:00"),
        ("2000111512", "2000-11-15 12:00:00"),
        ("2000-11-15T12:00:00.000", "2000-11-15 12:00:00"),
        ("2000-11", "2000-11-01 12:00:00"),
    ],
)
@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_starts_are_understood_as_people_write_them(text, found, calendar):
    times = Times(dates("2000-01-01T12", "1D", calendar, 360))
    assert str(times.index[find_time("init", text, times)]) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2000-11-15T06", "the nearest is 2000-11-15 12:00:00"),
        ("2031-01-01", "the nearest is 2000-12-25 12:00:00"),
        ("15/11/2000", "'15/11/2000' is no date, expected a date such as"),
        ("today", "'today' is no date"),
        ("2000-11-31", "'2000-11-31' is no day of the proleptic_gregorian calendar"),
        ("2000-13-01", "its month, hour, minute or second does not exist"),
        ("2000-11-15T25", "its month, hour, minute or second does not exist"),
        ("200011", "is no date"),
        ("-1", "is no date"),
    ],
)
def test_a_start_that_is_no_time_is_refused_in_words(text, told):
    times = Times(pd.date_range("2000-01-01T12", periods=360, freq="1D"))
    with pytest.raises(StoreError, match=told) as error:
        find_time("init", text, times)
    assert str(error.value).startswith(f"init {text}: is not a time of the store, which has 2000-01-01 12:00:00 to")


def test_days_that_only_other_calendars_have():
    """31 December ends a year of 360 days too; a window can't begin there; 30 February is a day of that year and of no other."""
    days = open_fields(of_times(dates("2000-01-01", "1D", "360_day", 720)))
    assert select_period(days, ("2000-01-01", "2000-12-31")).sizes["time"] == 360
    assert select_period(days, ("2000-12-31", "2001-01-31")).sizes["time"] == 30
    assert select_period(days, ("2000-02-30", "2000-02-30")).sizes["time"] == 1
    with pytest.raises(StoreError, match="its calendar, 360_day, has no such day"):
        find_time("init", "2000-12-31", Times.of(days))
    with pytest.raises(StoreError, match="is no day of the 360_day calendar"):
        select_period(days, ("2000-12-31", "2000-12-31"))
    noleap = open_fields(of_times(dates("2000-01-01", "1D", "noleap", 720)))
    assert select_period(noleap, ("2000-02-01", "2000-02-29")).sizes["time"] == 28
    for calendar, day in (("noleap", "2001-02-30"), ("standard", "2001-02-29"), ("360_day", "2001-02-31")):
        with pytest.raises(StoreError, match="is no day of the"):
            select_period(open_fields(of_times(dates("2000-01-01", "1D", calendar))), ("2000-01-01", day))


@few
@given(
    calendar=st.sampled_from(CALENDARS),
    hours=st.integers(0, 24 * 700),
    length=st.integers(0, 24 * 300),
)
def test_a_period_holds_the_times_that_lie_in_it(calendar, hours, length):
    index = dates("1999-12-01", "5h", calendar, 4000)
    first, last = (index[0] + timedelta(hours=h) for h in (hours, hours + length))
    expected = [time for time in index if first <= time <= last]
    period = (first.strftime("%Y-%m-%dT%H:%M:%S"), last.strftime("%Y-%m-%dT%H:%M:%S"))
    if expected:
        assert list(select_period(of_times(index), period).indexes["time"]) == expected


def test_steps_are_written_and_named():
    assert [str(Step(t)) for t in (30 * SECOND, 10 * MINUTE, 6 * HOUR, DAY)] == ["30 s", "10 min", "6 h", "24 h"]
    assert (str(Step(months=1)), str(Step(months=12))) == ("1 month", "12 months")
    assert Step.of_hours(0.166667) == Step(10 * MINUTE)  # as older models wrote it
    for step in (Step(6 * HOUR), Step(10 * MINUTE), Step(90 * SECOND), Step(100_000)):
        assert Step.of_hours(step.hours) == step
    assert Step.of_hours(Step(months=3).hours, 3) == Step(months=3)
    assert [Step(t).counted_in() for t in (90 * MINUTE, 6 * HOUR, 90 * SECOND)] == [
        ("minutes", 90),
        ("hours", 6),
        ("seconds", 90),
    ]


@pytest.mark.parametrize(
    ("name", "is_one"), [("XTIME", True), ("time_counter", True), ("init", False), ("reftime", False)]
)
def test_the_only_times_are_found_by_their_type_but_for_starts_of_forecasts(make_store, name, is_one):
    store = make_store(steps=3).rename(time=name)
    store[name].attrs = {}
    if is_one:
        assert open_fields(store).sizes["time"] == 3
        store = store.assign_coords(lead=((), np.timedelta64(24, "h").astype("m8[ns]")))
    with pytest.raises(StoreError, match="found no time among its coordinates"):
        open_fields(store)
