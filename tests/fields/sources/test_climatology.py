"""Climatology and spread, against xarray's groupby."""

import numpy as np
import pytest
import xarray as xr

from statecast.fields.sources import (
    Climatology,
    Record,
    StoreError,
    anomalies,
    fit_climatology,
    monthly,
    open_fields,
)
from statecast.fields.streams import Stream


def brute_force(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """What is usual at each step, and the area-weighted std of the departures from it, in float64.

    Written out for each hour and point: means with weights of a triangle of two months, months with little data filled from the
    nearest, linear between the middles of months.
    """
    values, middles = record.read(slice(None)).astype(np.float64), np.arange(12) + 0.5
    away = np.abs((record.months_passed[:, None] - middles + 6) % 12 - 6)
    triangle = np.maximum(1 - away, 0)
    usual = np.full(values.shape, np.nan)
    for hour in np.unique(record.hour_utc):
        steps = np.flatnonzero(record.hour_utc == hour)
        for point in np.ndindex(values.shape[1:]):
            series = values[(steps, *point)]
            seen = np.isfinite(series)
            if not seen.any():
                continue
            weight = triangle[steps][seen].sum(axis=0)
            enough = np.flatnonzero((weight >= min(weight.max() / 2, 15)) & (weight > 0))
            means = (triangle[steps][seen] * series[seen, None]).sum(axis=0)[enough] / weight[enough]
            far = np.abs((middles[:, None] - middles[enough] + 6) % 12 - 6).round(3)
            nearest = far == far.min(axis=1, keepdims=True)
            nodes = (nearest * means).sum(axis=1) / nearest.sum(axis=1)
            usual[(steps, *point)] = np.interp(record.months_passed[steps], middles, nodes, period=12)
    area = record.grid.cell_area * np.isfinite(values)
    squared = np.where(np.isfinite(values), values - usual, 0) ** 2
    return usual, np.sqrt((squared * area).sum(axis=(0, 2, 3)) / area.sum(axis=(0, 2, 3)))


@pytest.mark.parametrize("steps_per_chunk", [7, 64, 1000])
@pytest.mark.parametrize(("calendar", "steps"), [("standard", 300), ("360_day", 100)])
def test_climatology_and_spread_are_those_of_a_loop_over_points(
    make_store, layered_stream, monkeypatch, steps_per_chunk, calendar, steps
):
    monkeypatch.setattr(anomalies, "STEPS_PER_CHUNK", steps_per_chunk)
    dataset = open_fields(make_store(steps=steps, missing=0.15, calendar=calendar)).isel(
        lat=slice(0, 5), lon=slice(0, 6)
    )
    dataset["msl"][:, 2, 3] = np.nan  # a point never seen
    record = Record.open(dataset, layered_stream)
    fitted = fit_climatology(record)
    usual, std = brute_force(record)
    np.testing.assert_allclose(fitted.at(record.months_passed, record.hour_utc), usual, rtol=1e-6)
    np.testing.assert_allclose(fitted.anomaly_std, std, rtol=1e-5)
    assert fitted.mean.dtype == fitted.anomaly_std.dtype == np.float32
    assert np.isnan(fitted.mean[:, :, 2, 2, 3]).all()
    assert np.isnan(fitted.mean).sum() == 12 * 4


def test_the_spread_of_a_large_value_survives(make_store):
    store = make_store(steps=80)
    store["msl"] = store["msl"].astype(np.float64) * 0 + 5e6 + np.random.default_rng(1).integers(-1, 2, store.msl.shape)
    fitted = fit_climatology(Record.open(open_fields(store), Stream(variables=("msl",))))
    assert 0.6 < fitted.anomaly_std[0] < 0.9  # sqrt(2/3), less what the mean takes


def seasonal_record(make_store, months: list[int], hours: int = 24) -> Record:
    """Two days in each of `months`; every value is the month plus the hour / 100, give or take 0.001."""
    parts = []
    for month in months:
        store = make_store(steps=48 // hours, step_h=hours, start=f"2001-{month:02d}-10", lat=np.array([0.0, 10.0]))
        wobble = 0.001 * (-1.0) ** store.time.dt.day
        parts.append(store[["t2m"]] * 0 + month + store.time.dt.hour / 100 + wobble)
    dataset = xr.concat(parts, dim="time", join="exact")
    return Record.open(open_fields(dataset), Stream(variables=("t2m",)))


def test_months_never_seen_take_the_nearest_month(make_store):
    fitted = fit_climatology(seasonal_record(make_store, [1, 4, 5]))
    by_month = fitted.mean[:, 0, 0, 0, 0].tolist()
    april = (4 * 0.8 + 5 * 0.2) / (0.8 + 0.2)  # of 10 April and 10 May; there is less in reach of the middle of March
    months = [1, 1, april, april, 5, 5, 5, 5, 3, 1, 1, 1]  # September is as near to May as to January
    assert by_month == pytest.approx(months, abs=0.02)


def test_one_month_serves_for_all_twelve(make_store):
    fitted = fit_climatology(seasonal_record(make_store, [7]))
    np.testing.assert_allclose(fitted.mean, 7, atol=1e-4)


def test_hours_of_the_day_have_a_mean_each_and_the_nearest_serves(make_store):
    fitted = fit_climatology(seasonal_record(make_store, [3], hours=6))
    assert fitted.hours_utc.tolist() == [0, 6, 12, 18]
    window = fitted.at(np.full(4, 2.3), np.array([6.0, 18, 20.5, 22]))
    np.testing.assert_allclose(window[:, 0, 0, 0], [3.06, 3.18, 3.18, 3.00], atol=1e-4)


def test_the_climatology_goes_smoothly_through_the_year(make_store):
    fitted = fit_climatology(seasonal_record(make_store, list(range(1, 13))))
    position = np.linspace(0, 12, 1000)  # a third of a day
    usual = fitted.at(position, np.zeros(1000))[:, 0, 0, 0]
    nodes = fitted.mean[:, 0, 0, 0, 0]
    np.testing.assert_allclose(usual, np.interp(position, np.arange(12) + 0.5, nodes, period=12), rtol=1e-6)
    assert np.abs(np.diff(usual)).max() < 1.01 * np.abs(np.diff(nodes, append=nodes[0])).max() * 12 / 999


def test_anomalies_of_a_smooth_year_do_not_jump_at_the_end_of_a_month(make_store):
    store = make_store(steps=366 * 4, start="2001-01-01", lat=np.array([0.0, 10.0]))
    angle = 2 * np.pi * store.time.dt.dayofyear / 365
    store["t2m"] = store["t2m"] * 0 + 10 * np.cos(angle) + (-1.0) ** store.time.dt.dayofyear
    record = Record.open(open_fields(store), Stream(variables=("t2m",)))
    fitted = fit_climatology(record)
    anomalies = (record.read(slice(None)) - fitted.at(record.months_passed, record.hour_utc))[:, 0, 0, 0]
    ends = np.flatnonzero(np.diff(record.month) > 0)
    steps = np.abs(np.diff(anomalies)[ends])  # the daily wobble, 2; the means of months differ by up to 5
    np.testing.assert_allclose(steps, 2, atol=0.2)


def test_an_hour_missing_at_a_point_takes_the_mean_of_the_hours_that_were_seen(make_store):
    store = make_store(steps=80, lat=np.array([0.0, 10.0]))
    store["t2m"][:, 0, 0] = store.time.dt.hour / 6 + 0 * store["t2m"][:, 0, 0]
    store["t2m"][{"time": (store.time.dt.hour == 0).values, "lat": 0, "lon": 0}] = np.nan
    fitted = fit_climatology(Record.open(open_fields(store), Stream(variables=("t2m",))))
    np.testing.assert_allclose(fitted.mean[1, :, 0, 0, 0], [2, 1, 2, 3], atol=1e-6)


def test_a_window_of_the_climatology_is_cut_as_the_record_is(global_record, global_tokenizer):
    fitted = global_tokenizer.climatology
    columns = (np.arange(6) + 21) % 24
    times = global_record.months_passed[4:8], global_record.hour_utc[4:8]
    whole = fitted.at(*times)
    assert whole.shape == (4, 5, 12, 24)
    np.testing.assert_array_equal(fitted.at(*times, slice(2, 7), columns), whole[:, :, 2:7][..., columns])


def test_a_climatology_that_is_written_is_read_again_to_the_bit(global_tokenizer, tmp_path):
    fitted = global_tokenizer.climatology
    fitted.save(tmp_path / "climatology.nc")
    with xr.open_dataset(tmp_path / "climatology.nc") as written:  # as CF has it
        assert not any("_FillValue" in coordinate.encoding for coordinate in written.coords.values())
        assert all("long_name" in v.attrs or "standard_name" in v.attrs for v in written.variables.values())
    read = Climatology.load(tmp_path / "climatology.nc")
    np.testing.assert_array_equal(read.mean, fitted.mean)
    np.testing.assert_array_equal(read.anomaly_std, fitted.anomaly_std)
    np.testing.assert_array_equal(read.hours_utc, fitted.hours_utc)
    np.testing.assert_array_equal(read.grid.lat, fitted.grid.lat)
    np.testing.assert_array_equal(read.grid.lon, fitted.grid.lon)
    np.testing.assert_array_equal(read.correlation, fitted.correlation)
    assert (read.channels, read.units, read.step_h) == (fitted.channels, fitted.units, fitted.step_h)
    assert read.mean.dtype == np.float32


def refused(store: xr.Dataset, pattern: str) -> None:
    with pytest.raises(StoreError, match=pattern) as error:
        fit_climatology(Record.open(open_fields(store), Stream(variables=("t2m", "msl"))))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_variable_without_any_value_is_refused(make_store):
    store = make_store(steps=40)
    store["msl"] = store["msl"] * np.nan
    refused(store, "'msl' has no value in the training period .* Leave it out or name another period")


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_constant_variable_is_refused(make_store, missing):
    store = make_store(steps=40, missing=missing)
    store["msl"] = store["msl"] * 0 + np.float32(101325.7)
    refused(store, "'msl' never departs .* expected it to vary. Leave it out")


def test_a_period_that_sees_each_hour_once_is_refused(make_store):
    refused(make_store(steps=4), "'t2m' never departs .* name a longer period")


def test_infinite_values_count_as_missing(make_store):
    store = make_store(steps=40)
    with_nan, with_inf = store.copy(deep=True), store.copy(deep=True)
    with_nan["t2m"][0, 3, 4], with_inf["t2m"][0, 3, 4] = np.nan, np.inf
    a, b = (fit_climatology(Record.open(open_fields(s), Stream(variables=("t2m",)))) for s in (with_nan, with_inf))
    np.testing.assert_array_equal(a.mean, b.mean)
    np.testing.assert_array_equal(a.anomaly_std, b.anomaly_std)


def test_what_is_missing_of_a_static_variable_has_no_part_in_its_mean(make_store):
    store = make_store()
    height = store.lsm.where(store.lon >= 90) + 100.0
    known = fit_climatology(Record.open(open_fields(store.assign(orog=height)), Stream(variables=("orog",))))
    assert 100 <= np.nanmin(known.mean) <= np.nanmax(known.mean) <= 101
    assert np.isnan(known.mean[..., :6]).all() and np.isfinite(known.mean[..., 6:]).all()


def rain_with(make_store, values: dict[int, float], dry: float = 0.6) -> Record:
    """Rain in m at 40 steps, some of whose values are replaced, by their number."""
    store = make_store(steps=40)
    random = np.random.default_rng(0)
    shape = store["t2m"].shape
    rain = np.where(random.random(shape) < dry, 0.0, random.gamma(0.5, 2e-3, shape)).ravel()
    rain[list(values)] = list(values.values())
    return Record.open(
        open_fields(store.assign(tp=store["t2m"].copy(data=rain.reshape(shape).astype(np.float32)))),
        Stream(variables=("tp",)),
    )


@pytest.mark.parametrize("below", [{5: -1e-9}, {5: -1e-6, 700: -2e-6}, {5: -1e-4}, dict.fromkeys(range(1000), -1e-8)])
def test_rounding_below_zero_does_not_make_rain_negative(make_store, below):
    assert fit_climatology(rain_with(make_store, below)).lowest == 0


def test_what_is_often_below_zero_is(make_store):
    assert fit_climatology(rain_with(make_store, dict.fromkeys(range(2000), -1e-4))).lowest == np.float32(-1e-4)
    wind = Record.open(open_fields(make_store(steps=40)), Stream(variables=("u",), levels=(500,)))
    assert fit_climatology(wind).lowest == wind.in_memory.min()


def test_rare_frost_is_no_rounding(make_store):
    store = make_store(steps=40)
    celsius = store.assign(t2m=np.abs(store["t2m"] - 273.15) + 0.01)
    celsius["t2m"][3, 2, 2] = -2.0
    assert fit_climatology(Record.open(open_fields(celsius), Stream(variables=("t2m",)))).lowest == -2


@pytest.mark.parametrize("number", [-9999.0, -999.0, 1e20, 9.96921e36])
def test_numbers_that_stand_for_missing_are_no_measurements(make_store, number):
    store = make_store(steps=40)
    store["t2m"][3, 2, 2] = number
    with pytest.raises(StoreError, match=r"'t2m' has the value .*, which archives write where nothing was measured"):
        fit_climatology(Record.open(open_fields(store), Stream(variables=("t2m",))))


@pytest.mark.parametrize(
    ("units", "number", "is_one"), [("degC", -1000.0, False), ("K", -300.0, False), ("K", -30.0, True)]
)
def test_what_no_temperature_has_is_no_measurement(make_store, units, number, is_one):
    """-1000 under ice, as HadISST has it; a difference of temperatures in K may lie below 0."""
    store = make_store(steps=40)
    store["t2m"] = (store["t2m"] - store["t2m"].mean("time")).assign_attrs(units=units)
    store["t2m"][3, 2, 2] = number
    record = Record.open(open_fields(store), Stream(variables=("t2m",)))
    if is_one:
        fit_climatology(record)
        return
    with pytest.raises(StoreError, match=f"'t2m' has the value {number:g}, which no temperature in {units} has"):
        fit_climatology(record)


@pytest.mark.parametrize("variables", [("msl", "t2m", "lsm"), ("t2m",)])
def test_blocks_of_channels_and_rows_give_what_the_whole_gives(make_store, monkeypatch, variables):
    record = Record.open(open_fields(make_store(steps=40, missing=0.2)), Stream(variables=variables))
    whole = fit_climatology(record)
    one_row_of_a_channel = 8 * monthly.ARRAYS * 12 * 4 * record.grid.shape[1]
    for rows in (1, 5):
        monkeypatch.setattr(monthly, "MEMORY_GIB", rows * one_row_of_a_channel / 2**30)
        parts = list(monthly.parts_of(record, 4))
        assert len(parts) == len(variables) * -(-12 // rows)
        fitted = fit_climatology(record)
        for name in ("mean", "anomaly_std", "correlation", "lowest"):
            np.testing.assert_array_equal(getattr(fitted, name), getattr(whole, name))


def test_smaller_chunks_give_what_larger_ones_give(make_store, layered_stream, monkeypatch):
    record = Record.open(open_fields(make_store(steps=40, missing=0.2)), layered_stream)
    whole = fit_climatology(record)
    monkeypatch.setattr(anomalies, "CHUNK_BYTES", 0)
    assert [chunk.stop for chunk in anomalies.chunks(record)] == [8, 16, 24, 32, 40]
    fitted = fit_climatology(record)
    np.testing.assert_array_equal(fitted.mean, whole.mean)
    np.testing.assert_allclose(fitted.anomaly_std, whole.anomaly_std, rtol=1e-6)
    np.testing.assert_allclose(fitted.correlation, whole.correlation, atol=1e-6)


def test_the_memory_of_a_large_climatology_is_bounded():
    """Hourly, at 0.25 degrees: one channel whole would take eight arrays and more of 2.4 GB."""
    for rows in monthly.row_blocks(12 * 24 * 1440, 721):
        assert 8 * monthly.ARRAYS * 12 * 24 * 1440 * (rows.stop - rows.start) <= monthly.MEMORY_GIB * 2**30
