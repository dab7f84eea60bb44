"""Answers on a finer grid that start from a first guess: through it, too, what is shown has its part in them."""

from itertools import product

import numpy as np
import pytest
import torch

from statecast.fields.anchors import identity_map
from statecast.fields.explain import QueryError, ask_point, explain
from statecast.fields.explain.forecast_sensitivity import forecast_sensitivity
from statecast.fields.explain.labelled import sensitivities
from statecast.fields.explain.report import write_explanation
from statecast.fields.streams import Stream
from statecast.trained import ModelError

from .conftest import AT

RAIN = {"log_scale": {"tprate": 2.0}}
STREAMS = {
    "air": Stream(variables=("t", "tprate"), levels=(500,), patch=(2, 3, 4), **RAIN),
    "relief": Stream(variables=("lsm",), patch=(2, 2, 2)),
    "fine": Stream(
        variables=("t", "tprate"), levels=(500,), patch=(2, 2, 2), first_guess={"t": "air.t", "tprate": "air.tprate"}, **RAIN
    ),
}  # fmt: skip
QUERY = (31.0, 50.0)


@pytest.fixture
def stores(store):
    """A coarse globe, a finer region that lies across Greenwich and that of its relief; rain where pressure is high, and none elsewhere."""
    rain = (store.msl - 1.0e5).clip(min=0).assign_attrs(units="mm")
    air = store.drop_vars(["msl", "tprate"], errors="ignore").assign(tprate=rain)
    lat, lon = np.linspace(20.0, 50.0, 8), np.linspace(-14.0, 70.0, 12)
    fine = air[["t", "tprate"]].reindex(lat=lat, lon=lon % 360, method="nearest").assign_coords(lat=lat, lon=lon)
    land = fine.tprate.isel(time=0, drop=True).notnull().astype("float32").assign_attrs(units="1")
    return {"air": air, "relief": fine.assign(lsm=land), "fine": fine}


@pytest.fixture
def trained(make_trained, stores):
    return make_trained(STREAMS, data=stores, kind="translate", to=("fine",))


@pytest.mark.parametrize("query", ["t@500", "tprate"])
def test_sensitivity_is_how_the_answer_changes_with_the_coarse_store(make_trained, stores, query):
    """The strongest of each channel against finite differences. Of one member: the mean of several fields of rain is not that of their logs."""
    trained = make_trained(STREAMS, data=stores, head="point", kind="translate", to=("fine",))
    explained = explain(trained, stores, AT, (*QUERY, query))
    (theirs,) = (field for field in sensitivities(explained) if "t@500" in field.channel)
    for channel in theirs.channel.values:
        field = theirs.sel(channel=channel)
        time, lat, lon = (
            field[a][i].values
            for a, i in zip(field.dims, np.unravel_index(np.nanargmax(np.abs(field)), field.shape), strict=True)
        )
        variable, std = channel.partition("@")[0], float(field.channel_std)
        here = {"time": time, "lat": lat, "lon": lon}
        is_rain = variable == "tprate"
        unit = std * (float(stores["air"].tprate.sel(here)) + 2.0) if is_rain else std  # of a logarithm's anomaly
        answers = []
        for sign in (1, -1):
            changed = stores["air"].copy(deep=True)
            changed[variable].loc[here] += sign * 0.02 * unit
            answers.append(float(explain(trained, stores | {"air": changed}, AT, (*QUERY, query)).answer.mean()))
        assert (answers[0] - answers[1]) / 0.04 == pytest.approx(float(field.sel(here)), rel=0.03, abs=2e-3)


@pytest.mark.parametrize("lon", [50.0, -8.0])
def test_an_answer_that_is_the_guess_has_the_weights_of_bilinear_interpolation(trained, stores, lon):
    """Of a model whose head says nothing, and whose map is still the guess itself."""
    for parameter in trained.model.heads.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        trained.model.anchors["fine"].guess_map.copy_(identity_map(trained.model.specs["fine"]))
    explained = explain(trained, stores, AT, (31.0, lon, "t@500"))
    field = explained.air_sensitivity.sel(air_channel="t@500").fillna(0)
    found = field.sel(time=AT) / field.air_channel_std
    row = (float(explained.query_lat) + 82.5) / 15.0  # of a grid of 15 degrees
    column = float(explained.query_lon) % 360 / 15.0
    expected = np.zeros((12, 24))
    for r, c in product((0, 1), (0, 1)):
        weight = (1 - abs(row - int(row) - r)) * (1 - abs(column - int(column) - c))
        expected[int(row) + r, (int(column) + c) % 24] = weight
    observed = stores["air"].t.sel(level=500, time=AT).notnull().values
    np.testing.assert_allclose(found, expected * observed, atol=1e-4)
    assert float(np.abs(field).sum()) == pytest.approx(
        float(np.abs(field.sel(time=AT)).sum())
    )  # nothing of other times


def test_streams_on_several_grids_have_arrays_of_their_own(trained, stores, tmp_path):
    explained = explain(trained, stores, AT, (*QUERY, "tprate"), season="07-15")
    assert explained.sensitivity.dims == ("time", "channel", "lat", "lon")
    assert explained.channel.values.tolist() == ["lsm"] and explained.sizes["lat"] == 8  # the relief, on the finer grid
    assert explained.air_sensitivity.dims == ("time", "air_channel", "air_grid_lat", "air_grid_lon")
    assert explained.air_sensitivity.shape[1:] == (2, 12, 24)
    assert [len(field.channel) for field in sensitivities(explained)] == [2, 1]
    shares = explained.air_rollout.sum() + explained.relief_rollout.sum()
    assert float(shares) == pytest.approx(1.0, abs=1e-5)
    assert explained.tprate_difference.dims == ("lat", "lon") and explained.tprate_difference.attrs["units"] == "1"
    write_explanation(explained, "model", "store", tmp_path)
    assert (tmp_path / "sensitivity.png").is_file()


def test_the_asked_stream_needs_no_store(trained, stores):
    """What was measured on the finer grid is never read: a coarse store alone is explained alike."""
    alone = stores | {"fine": stores["air"].drop_vars(["t", "tprate"])}
    one, other = (explain(trained, each, AT, (*QUERY, "t@500")) for each in (stores, alone))
    np.testing.assert_array_equal(one.air_sensitivity, other.air_sensitivity)
    np.testing.assert_array_equal(one.answer, other.answer)


def test_a_point_of_the_globe_beyond_the_region_is_refused(trained, stores):
    with pytest.raises(QueryError, match="lies outside the grid, which has latitudes 20 to 50"):
        ask_point(trained, stores, AT, (-31.0, 50.0, "t@500"))


def test_a_channel_of_several_streams_is_asked_by_the_name_of_one(make_trained, stores):
    """What is gapped on two grids: t@500 alone could be either."""
    streams = {name: Stream(variables=("t",), levels=(500,), patch=(2, 2, 2)) for name in ("air", "fine")}
    trained = make_trained(streams, data=stores, kind="fill", slabs=2)
    stores = {name: stores[name] for name in streams}
    with pytest.raises(QueryError, match=r"query t@500: is in several streams. Name one of air.t@500, fine.t@500"):
        ask_point(trained, stores, AT, (*QUERY, "t@500"))
    spacing = {}
    for name in streams:
        explained = explain(trained, stores, AT, (*QUERY, f"{name}.t"))
        spacing[name] = float(explained.lat.diff("lat").mean())
        assert len(sensitivities(explained)) == 2 and explained.attrs["query"] == "t@500"
    assert spacing["air"] == 15.0 and spacing["fine"] < 5


def test_axes_that_differ_by_rounding_are_one(trained, stores):
    relief = stores["relief"].assign_coords(lat=stores["relief"].lat.astype("float32") + 1e-4)
    explained = explain(trained, stores | {"relief": relief}, AT, (*QUERY, "t@500"), season="07-15")
    assert explained.sizes["lat"] == 8 and explained.t_anomaly.notnull().all()
    assert explained.sensitivity.sel(lat=explained.query_lat).sizes["lon"] == 12


def test_a_chain_of_streams_on_several_grids_is_refused(make_trained, stores):
    streams = {name: Stream(variables=("t",), levels=(500,), patch=(2, 2, 2)) for name in ("air", "fine")}
    trained = make_trained(streams, data=stores, kind="forecast", history=1, leads=1)
    with pytest.raises(ModelError, match="lie on several grids"):
        forecast_sensitivity(trained, {n: stores[n] for n in streams}, AT, (*QUERY, "fine.t"), 24.0)
