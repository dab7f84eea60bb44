"""The command: what it writes, and one line for a user's mistake."""

import numpy as np
import pytest
import xarray as xr

from statecast.fields.explain import explain
from statecast.fields.explain.report import write_explanation

from .conftest import AT, QUERY


def test_the_command_writes_arrays_and_maps(runs, tmp_path, statecast):
    where = ["--data", runs.store, "--at", "2000-02-20T00", "--query", -40, 30, "t@850"]
    how = ["--season", "07-15", "--hour", 12, "--members", 1, "--chunk", 16]
    code, message = statecast("explain", runs.forecast, *where, *how, "--out", "out")
    assert code == 0, message
    with xr.open_dataset(tmp_path / "out" / "explain.nc") as explained:
        assert explained.sensitivity.dims == ("time", "channel", "lat", "lon")
        assert (
            explained.attrs["season"] == "07-15"
            and explained.attrs["hour_utc"] == 12
            and explained.attrs["members"] == "1"
        )
        assert float(explained.fields_rollout.sum()) == pytest.approx(1.0, abs=1e-5)
        for axis, name in {
            "lat": "latitude",
            "fields_lon": "longitude",
            "init_time": "forecast_reference_time",
        }.items():
            assert explained[axis].attrs["standard_name"] == name
        assert explained.attrs["Conventions"].startswith("CF-")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 5 and "Another α" in page and "°" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--query": (95, 0, "t@850")}, "query 95 0: lies outside the grid"),
        ({"--query": (0, 0, "q@850")}, "It answers t@500, t@850, msl"),
        ({"--query": (0, 0, "t@300")}, "It answers t@500, t@850, msl"),
        ({"--at": ("1999-01-01",)}, "at 1999-01-01: is not a time of the store"),
        ({"--lead-time-h": (96,)}, "lead time 96 h: is none that the model answers. Lead times: 6, 12 h"),
        ({"--members": ("median",)}, "members is median"),
        ({"--members": (4,)}, "members is 4, expected mean or the number of one, 0 to 3"),
        ({"--season": ("13-01",)}, "season 13-01"),
        ({"--hour": (30,)}, "hour 30"),
        ({"--chunk": (0,)}, "chunk is 0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(runs, tmp_path, statecast, options, message):
    usual = {"--data": (runs.store,), "--at": ("2000-02-20T00",), "--query": (-40, 30, "t@850"), "--out": ("out",)}
    arguments = [part for key, values in (usual | options).items() for part in (key, *values)]
    code, error = statecast("explain", runs.forecast, *arguments)
    assert code == 2 and message in error and error.count("\n") == 1 and error.startswith("statecast: ")
    assert not (tmp_path / "out").exists()


def test_an_explanation_survives_the_file(trained, store, tmp_path):
    explained = explain(trained, store, AT, QUERY, hour_utc=0)
    write_explanation(explained, "model", "store", tmp_path)
    with xr.open_dataset(tmp_path / "explain.nc") as read:
        xr.testing.assert_allclose(read.load(), explained)
        assert np.isfinite(read.answer).all() and read.channel_std.attrs["long_name"]
