"""How far anomalies stray and how long they last, against loops over pairs."""

import numpy as np
import pytest

from statecast.fields.sources import Record, anomalies, fit_anomalies, open_fields
from statecast.fields.streams import Stream

STREAM = Stream(variables=("t2m", "msl"))


def brute_force(record: Record, values: np.ndarray, longest: int) -> np.ndarray:
    """(1 - k / T) <x_t x_(t-k)> / <x_t²> over all observed pairs with k steps, and no gap, from one to the other."""
    area, found = record.grid.cell_area, np.zeros((values.shape[1], longest + 1))
    products, pairs = np.zeros_like(found), np.zeros_like(found)
    for later in range(len(values)):
        for earlier in range(later + 1):
            lag = later - earlier
            if lag <= longest and record.hours[later] - record.hours[earlier] == lag * record.step_h:
                product = values[later].astype(float) * values[earlier]
                seen = np.isfinite(product)
                products[:, lag] += np.where(seen, product * area, 0).sum(axis=(1, 2))
                pairs[:, lag] += (seen * area).sum(axis=(1, 2))
    mean = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    return mean / mean[:, :1] * np.clip(1 - np.arange(longest + 1) / len(values), 0, 1)


@pytest.mark.parametrize("steps_per_chunk", [3, 17, 64])
def test_the_correlation_is_that_of_all_observed_pairs_not_across_gaps(make_store, monkeypatch, steps_per_chunk):
    monkeypatch.setattr(anomalies, "STEPS_PER_CHUNK", steps_per_chunk)
    monkeypatch.setattr(anomalies, "LONGEST_LAG", 9)
    store = make_store(steps=50, missing=0.1).isel(time=[*range(20), *range(26, 50)])  # six steps are lacking
    record = Record.open(open_fields(store), STREAM)
    values = record.read(slice(None)) - np.array([285.0, 1e5], np.float32)[:, None, None]
    found = fit_anomalies(record, lambda steps: values[steps])
    np.testing.assert_allclose(found.correlation, brute_force(record, values, 9), atol=2e-5)
    assert found.correlation[:, 0].tolist() == [1, 1]
    area = record.grid.cell_area * np.isfinite(values)
    variance = (np.nan_to_num(values.astype(float)) ** 2 * area).sum(axis=(0, 2, 3)) / area.sum(axis=(0, 2, 3))
    np.testing.assert_allclose(found.std, np.sqrt(variance), rtol=1e-5)


def test_a_process_with_memory_is_told_by_it(make_store):
    store = make_store(steps=600)
    noise = np.random.default_rng(0).standard_normal(store.t2m.shape)
    for t in range(1, 600):
        noise[t] = 0.8 * noise[t - 1] + 0.6 * noise[t]
    record = Record.open(open_fields(store.assign(t2m=store.t2m.copy(data=noise))), Stream(variables=("t2m",)))
    correlation = fit_anomalies(record, record.read).correlation[0]
    np.testing.assert_allclose(correlation[:6], 0.8 ** np.arange(6), atol=0.02)


def test_the_correlation_of_a_record_without_gaps_is_positive_definite_however_short_it_is(make_store):
    record = Record.open(open_fields(make_store(steps=12, lat=np.array([0.0, 10.0]), lon=np.array([0.0, 9.0]))), STREAM)
    trend = record.read(slice(None)) - 280
    correlation = fit_anomalies(record, lambda steps: trend[steps]).correlation
    lags = np.abs(np.subtract.outer(np.arange(30), np.arange(30)))
    assert all(np.linalg.eigvalsh(of_channel[lags]).min() > -1e-6 for of_channel in correlation)
    assert not correlation[:, 12:].any()


def test_a_large_grid_is_thinned_to_a_few_hundred_points(make_store):
    lat, lon = np.linspace(-88, 88, 89), np.arange(180) * 2.0
    record = Record.open(open_fields(make_store(steps=8, lat=lat, lon=lon)), STREAM)
    values = record.read(slice(None))
    assert anomalies._stride(record) == 6
    thinned, thin = values.copy(), np.zeros((89, 180), bool)
    thin[::6, ::6] = True
    thinned[..., ~thin] = 0
    whole, part = (fit_anomalies(record, lambda t, v=v: v[t]) for v in (values, thinned))
    np.testing.assert_array_equal(whole.correlation, part.correlation)
    assert (whole.std > part.std).all()
