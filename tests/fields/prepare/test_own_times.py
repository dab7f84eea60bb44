"""Variables that have other times than others in the inputs: each is read at its own, and what is missing then is told or refused."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from statecast.fields.prepare import PrepareError, read_spec
from statecast.fields.prepare.fields import fields_of
from statecast.fields.prepare.inputs import open_inputs

LAT, LON = np.array([-45.0, 0.0, 45.0]), np.arange(0.0, 360.0, 90.0)
HOURS = 72


def _write(path, name: str, hours: np.ndarray, values: np.ndarray, units: str = "K") -> None:
    times = pd.Timestamp("2001-01-01") + pd.to_timedelta(hours, "h")
    coords = {"time": times, "lat": ("lat", LAT, {"units": "degrees_north"}), "lon": ("lon", LON, {"units": "degrees_east"})}  # fmt: skip
    field = np.broadcast_to(np.asarray(values, float)[:, None, None], (len(hours), 3, 4))
    xr.Dataset({name: (("time", "lat", "lon"), field, {"units": units})}, coords).to_netcdf(path / f"{name}.nc")


def _fields(path, **options) -> xr.Dataset:
    spec = read_spec({"source": {"paths": [str(path)]}, **options})
    return fields_of(open_inputs(spec.source, spec.period), spec).load()


def test_variables_without_a_common_time_are_refused_in_one_line(tmp_path):
    _write(tmp_path, "t", np.arange(0, HOURS, 6), np.ones(12))
    _write(tmp_path, "tp", np.arange(3, HOURS, 6), np.ones(12), "mm")
    with pytest.raises(PrepareError, match="'t' and 'tp' have no time in common: one is at 2001-01-01T00:00, 2001"):
        _fields(tmp_path)
    with pytest.raises(
        PrepareError, match=r"no time of 'tp' is a multiple of 6 h from 00 UTC .*give variables.tp.over"
    ):
        _fields(tmp_path, every_h=6)


def test_means_of_the_middle_of_a_step_are_brought_to_its_end(tmp_path, capsys):
    """As MERRA-2 has them, and CMIP6: states at 00, 06, ..., means of the same steps at 03, 09, ..."""
    _write(tmp_path, "t", np.arange(0, HOURS + 1, 6), np.arange(13))
    _write(tmp_path, "tp", np.arange(3, HOURS, 6), np.arange(12) + 0.5, "kg m-2 s-1")
    found = _fields(tmp_path, every_h=6, variables={"t": {}, "tp": {"over": "mean"}})
    assert found.time.dt.hour.values[:4].tolist() == [0, 6, 12, 18] and found.sizes["time"] == 13
    np.testing.assert_array_equal(found.t[:, 0, 0], np.arange(13))
    np.testing.assert_array_equal(found.tp[1:, 0, 0], np.arange(12) + 0.5)
    assert "of the 13 times of the store some have no value of a variable: 'tp' at 7.7%" in capsys.readouterr().err


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    step=st.sampled_from([1, 2, 3, 6]),
    own_step=st.sampled_from([1, 2, 3, 6, 12]),
    accumulation=st.sampled_from(["step", "start"]),
    every_h=st.sampled_from([None, 12]),
    seed=st.integers(0, 99),
)
def test_a_rate_is_that_of_the_variables_own_step(tmp_path_factory, step, own_step, accumulation, every_h, seed):
    folder = tmp_path_factory.mktemp("own")
    hourly = np.random.default_rng(seed).uniform(0, 1, HOURS + 1)  # of the hour before each time, per hour
    hours = np.arange(0, HOURS + 1, own_step)
    since = np.array([hourly[1 : h + 1][(h - 1) // 24 * 24 :].sum() if h else 0.0 for h in hours])
    steps = np.array([hourly[max(1, h - own_step + 1) : h + 1].sum() if h else np.nan for h in hours])
    _write(folder, "t", np.arange(0, HOURS + 1, step), np.arange(0, HOURS + 1, step))
    _write(folder, "tp", hours, steps if accumulation == "step" else since, "mm")
    options = {"accumulation": accumulation, "over": "mean", "units": "mm h-1"}
    found = _fields(folder, variables={"t": {}, "tp": options}, every_h=every_h)
    np.testing.assert_array_equal(found.t[:, 0, 0].dropna("time"), [h for h in range(0, HOURS + 1, step) if h % (every_h or 1) == 0])  # fmt: skip
    known = found.tp[:, 0, 0].dropna("time")
    at = ((known.time.values - np.datetime64("2001-01-01")) / np.timedelta64(1, "h")).astype(int)
    length = every_h or own_step
    assert len(at) == HOURS // length and (at % length == 0).all()
    np.testing.assert_allclose(known, [hourly[h - length + 1 : h + 1].mean() for h in at], rtol=1e-5)
