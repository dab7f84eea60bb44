"""Rates from amounts, and coarser steps."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from statecast.fields.prepare import PrepareError
from statecast.fields.prepare.accumulations import as_rate, at_every, rate_of_steps
from statecast.fields.prepare.spec import VariableOptions

RATE = np.random.default_rng(0).gamma(1, 1, 72)  # of each hour


def _hourly(values, start="2020-01-01T01"):
    times = pd.date_range(start, periods=len(values), freq="1h")
    return xr.DataArray(values, {"time": times}, ["time"], "tp", {"units": "m"})


def test_amounts_of_each_step_divide_by_its_length():
    found = as_rate(_hourly(RATE * 3600), VariableOptions(accumulation="step"))
    np.testing.assert_allclose(found, RATE)
    assert (found.units, found.cell_methods) == ("m s-1", "time: mean")


def test_amounts_since_midnight_are_differences_that_start_again():  # ERA5-Land: the value of 00 is that of the day before
    day = np.arange(72) // 24
    since = np.concatenate([np.cumsum(RATE[day == d]) for d in range(3)]) * 3600
    found = as_rate(_hourly(since), VariableOptions(accumulation="start"))
    np.testing.assert_allclose(found, RATE)


def test_a_difference_across_a_gap_is_missing():
    since = np.cumsum(RATE[:24]) * 3600
    array = _hourly(since).isel(time=[0, 1, 2, 5, 6])
    found = as_rate(array, VariableOptions(accumulation="start"))
    np.testing.assert_allclose(found, [RATE[0], RATE[1], RATE[2], np.nan, RATE[6]])


def test_amounts_since_the_start_of_a_forecast_are_differences_along_its_steps():  # ERA-Interim, forecasts
    steps = pd.to_timedelta([3, 6, 12], "h")
    amounts = np.cumsum([[3.0, 6.0, 18.0], [6.0, 0.0, 6.0]], axis=1) * 3600
    array = xr.DataArray(amounts, {"step": steps}, ["time", "step"], "tp", {"units": "m"})
    found = rate_of_steps(array, VariableOptions(accumulation="start"))
    np.testing.assert_allclose(found, [[1, 2, 3], [2, 0, 1]])


def test_small_negative_differences_become_zero_only_if_asked():
    array = _hourly(np.array([1.0, 1.0 - 1e-9, 2.0]) * 3600)
    found = [as_rate(array, VariableOptions(accumulation="start", not_negative=flag)).values for flag in (False, True)]
    assert found[0][1] < 0
    assert found[1][1] == 0


def test_a_single_amount_needs_its_length():
    with pytest.raises(PrepareError, match="Give accumulation_h"):
        as_rate(_hourly(RATE[:1]), VariableOptions(accumulation="step"))


@pytest.mark.parametrize(
    ("over", "function"), [("mean", np.mean), ("sum", np.sum), ("maximum", np.max), ("minimum", np.min)]
)
def test_a_coarser_step_holds_what_is_asked_of_the_hours_before(over, function):
    dataset = _hourly(RATE).to_dataset()
    found = at_every(dataset, 6, {"tp": over}).tp
    assert list(found.time.dt.hour[:3]) == [6, 12, 18]
    np.testing.assert_allclose(found.values[1], function(RATE[6:12]))
    broken = at_every(dataset.isel(time=np.delete(np.arange(72), 8)), 6, {"tp": over}).tp
    assert np.isnan(broken.values[1])
    np.testing.assert_allclose(broken.values[2], found.values[2])


def test_an_instant_is_the_value_at_the_step():
    found = at_every(_hourly(RATE).to_dataset(), 6, {}).tp
    np.testing.assert_array_equal(found.values, RATE[5::6])
