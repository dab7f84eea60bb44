"""Ensembles, lead times and versions: one value is selected, versions are merged, nothing is lost without a word."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statecast.fields.sources import Record, StoreError, open_fields
from statecast.fields.sources.describe import describe
from statecast.fields.streams import Stream

SOME = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
T2M = Stream(variables=("t2m",))


def values(opened: xr.Dataset) -> np.ndarray:
    return opened["t2m"].transpose("time", "lat", "lon").values


@SOME
@given(
    name=st.sampled_from(["number", "realization", "member", "ensemble_member"]),
    numbers=st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True),
    axis=st.integers(0, 3),
    data=st.data(),
)
def test_one_member_is_selected_and_several_are_refused(make_store, name, numbers, axis, data):
    store = make_store(steps=2)[["t2m"]]
    members = xr.concat([store + 10 * n for n in numbers], dim=pd.Index(numbers, name=name))
    dims = list(store["t2m"].dims)
    dims.insert(axis, name)
    members = members.transpose(*dims)
    chosen = data.draw(st.sampled_from(numbers))
    np.testing.assert_array_equal(values(open_fields(members, {name: chosen})), store["t2m"] + 10 * chosen)
    if len(numbers) > 1:
        with pytest.raises(
            StoreError, match=f"the dimension '{name}'.*data.select: {{{name}: ...}}, of {numbers[0]}, {numbers[1]}"
        ):
            Record.open(open_fields(members), T2M)
        assert f"one value of {name} ({numbers[0]}, {numbers[1]}" in str(describe(members))
    with pytest.raises(StoreError, match=f"{name} has no value 99. Values: {numbers[0]}"):
        open_fields(members, {name: 99})


@SOME
@given(st.integers(1, 7), st.sampled_from(["i8", "U4"]), st.booleans(), st.booleans())
def test_versions_of_era5_are_merged(tmp_path_factory, make_store, first_of_era5t, kind, is_packed, is_reversed):
    store = make_store(steps=8)[["t2m"]]
    is_late = xr.DataArray(np.arange(8) >= first_of_era5t, dims="time")
    names = [1, 5] if kind == "i8" else ["0001", "0005"]
    both = xr.concat([store.where(~is_late), store.where(is_late)], dim=pd.Index(names, name="expver")).transpose(
        "time", "expver", ...
    )
    both = both.isel(expver=[1, 0]) if is_reversed else both
    path = tmp_path_factory.mktemp("expver") / "store.nc"
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
    both.to_netcdf(path, encoding={"t2m": packing} if is_packed else {})
    with open_fields(path) as opened:
        assert opened["t2m"].attrs["units"] == "K"
        np.testing.assert_allclose(
            Record.open(opened, T2M).in_memory[:, 0], store["t2m"], atol=0.006 if is_packed else 0
        )


def test_where_both_versions_have_a_value_era5_counts(make_store):
    store = make_store(steps=2)[["t2m"]]
    both = xr.concat([store, store + 1], dim=pd.Index([5, 1], name="expver"))
    np.testing.assert_array_equal(values(open_fields(both)), store["t2m"] + 1)


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("has_valid_time", [True, False])
@pytest.mark.parametrize("hours", [np.array([6, 12]).astype("m8[h]").astype("m8[ns]"), np.array([6.0, 12.0])])
def test_a_lead_time_that_is_selected_moves_the_time(make_store, hours, has_valid_time, says_so):
    store = make_store(steps=3)[["t2m"]]
    forecasts = xr.concat([store, store + 1], dim="step").assign_coords(
        step=("step", hours, {"units": "hours"} if hours.dtype.kind == "f" else {})
    )
    forecasts["time"].attrs = {"standard_name": "forecast_reference_time"} if says_so or has_valid_time else {}
    if has_valid_time:
        valid = store.time.values[None] + np.array([6, 12]).astype("m8[h]")[:, None]
        forecasts = forecasts.assign_coords(valid_time=(("step", "time"), valid, {"standard_name": "time"}))
    opened = open_fields(forecasts, {"step": 12})
    np.testing.assert_array_equal(opened.time, store.time + np.timedelta64(12, "h"))
    np.testing.assert_array_equal(values(opened), store["t2m"] + 1)
