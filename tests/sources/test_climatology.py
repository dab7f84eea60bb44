"""Climatology and spread, against xarray's groupby."""

import numpy as np
import pytest
import xarray as xr

from statecast.sources import Climatology, Record, StoreError, climatology, fit_climatology, open_fields
from statecast.streams import Stream


def brute_force(dataset: xr.Dataset, record: Record) -> tuple[xr.DataArray, np.ndarray]:
    """Mean by (month, hour) and area-weighted std of the departures from it, of all channels, in float64."""
    parts = [
        dataset[c.variable] if c.pressure_hpa is None else dataset[c.variable].sel(level=c.pressure_hpa)
        for c in record.channels
    ]
    fields = xr.concat([p.reset_coords(drop=True) for p in parts], dim="channel").astype(np.float64)
    by = fields.time.dt.month * 100 + fields.time.dt.hour
    mean = fields.groupby(by.rename("bin")).mean("time")
    anomalies = fields - mean.sel(bin=by.drop_vars("time")).drop_vars("bin")
    variance = (anomalies**2).mean("time")
    area = xr.DataArray(record.grid.cell_area, dims=("lat", "lon"))
    return mean, np.sqrt(variance.weighted(area).mean(("lat", "lon"))).values


@pytest.mark.parametrize("steps_per_chunk", [7, 64, 1000])
@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_climatology_and_spread_are_those_of_groupby(
    make_store, layered_stream, monkeypatch, steps_per_chunk, calendar
):
    monkeypatch.setattr(climatology, "STEPS_PER_CHUNK", steps_per_chunk)
    dataset = open_fields(make_store(steps=100, missing=0.15, calendar=calendar))
    dataset["msl"][:, 2, 3] = np.nan  # a point never seen
    record = Record.open(dataset, layered_stream)
    fitted = fit_climatology(record)
    mean, std = brute_force(dataset, record)
    months = sorted(set(record.month.tolist()))
    assert len(months) == 2
    for month in months:
        for number, hour in enumerate([0, 6, 12, 18]):
            expected = mean.sel(bin=month * 100 + hour).transpose("channel", "lat", "lon").values
            seen = np.isfinite(expected)
            np.testing.assert_allclose(fitted.mean[month - 1, number][seen], expected[seen], rtol=1e-6)
    np.testing.assert_allclose(fitted.anomaly_std, std, rtol=1e-6)
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
    by_month = fitted.mean[:, 0, 0, 0, 0].round(2).tolist()
    #                   J  F  M  A  M  J  J  A  S  O  N  D; September is as near to May as to January
    assert by_month == [1, 1, 4, 4, 5, 5, 5, 5, 3, 1, 1, 1]


def test_one_month_serves_for_all_twelve(make_store):
    fitted = fit_climatology(seasonal_record(make_store, [7]))
    np.testing.assert_allclose(fitted.mean, 7, atol=1e-6)


def test_hours_of_the_day_have_a_mean_each_and_the_nearest_serves(make_store):
    fitted = fit_climatology(seasonal_record(make_store, [3], hours=6))
    assert fitted.hours_utc.tolist() == [0, 6, 12, 18]
    window = fitted.at(np.array([3, 3, 3, 3]), np.array([6.0, 18, 20.5, 22]))
    np.testing.assert_allclose(window[:, 0, 0, 0], [3.06, 3.18, 3.18, 3.00], atol=1e-5)


def test_an_hour_missing_at_a_point_takes_the_mean_of_the_hours_that_were_seen(make_store):
    store = make_store(steps=80, lat=np.array([0.0, 10.0]))
    store["t2m"][:, 0, 0] = store.time.dt.hour / 6 + 0 * store["t2m"][:, 0, 0]
    store["t2m"][{"time": (store.time.dt.hour == 0).values, "lat": 0, "lon": 0}] = np.nan
    fitted = fit_climatology(Record.open(open_fields(store), Stream(variables=("t2m",))))
    np.testing.assert_allclose(fitted.mean[1, :, 0, 0, 0], [2, 1, 2, 3], atol=1e-6)


def test_a_window_of_the_climatology_is_cut_as_the_record_is(global_record, global_tokenizer):
    fitted = global_tokenizer.climatology
    columns = (np.arange(6) + 21) % 24
    month, hour = global_record.month[4:8], global_record.hour_utc[4:8]
    whole = fitted.at(month, hour)
    assert whole.shape == (4, 5, 12, 24)
    np.testing.assert_array_equal(fitted.at(month, hour, slice(2, 7), columns), whole[:, :, 2:7][..., columns])


def test_a_climatology_that_is_written_is_read_again_to_the_bit(global_tokenizer, tmp_path):
    fitted = global_tokenizer.climatology
    fitted.save(tmp_path / "climatology.nc")
    read = Climatology.load(tmp_path / "climatology.nc")
    np.testing.assert_array_equal(read.mean, fitted.mean)
    np.testing.assert_array_equal(read.anomaly_std, fitted.anomaly_std)
    np.testing.assert_array_equal(read.hours_utc, fitted.hours_utc)
    np.testing.assert_array_equal(read.grid.lat, fitted.grid.lat)
    np.testing.assert_array_equal(read.grid.lon, fitted.grid.lon)
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
    refused(store, "'msl' is constant .* expected it to vary. Leave it out")


def test_a_period_that_sees_each_hour_once_is_refused(make_store):
    refused(make_store(steps=4), "'t2m' has one value for each month and hour .* Name a longer period")


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
