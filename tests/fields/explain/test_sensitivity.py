"""Sensitivities against finite differences, through the whole path from fields in the units of the store."""

import numpy as np
import pytest
import torch
import xarray as xr

from statecast.explain.sensitivity import as_batch
from statecast.fields.explain import ask_point, explain
from statecast.fields.explain.forecast_sensitivity import forecast_sensitivity
from statecast.fields.explain.labelled import point_fields, slope_at
from statecast.fields.inference import forecast, rollout
from statecast.fields.streams import Stream
from statecast.trained import ModelError

from .conftest import AT, QUERY


@pytest.fixture(autouse=True)
def heads_are_members(monkeypatch):
    """What is explained is the mean of the heads; drawn members have it on average alone."""

    def of_its_own_head(heads, normal):
        members = torch.arange(len(normal))
        return heads.expand(len(normal), -1, -1, -1)[members, :, members]

    monkeypatch.setattr(rollout, "quantiles", of_its_own_head)


def place(found) -> dict[str, float]:
    return {"lat": float(found.query_lat), "lon": float(found.query_lon)}


def bumped(store, variable, level, time, lat, lon, by):
    changed = store.copy(deep=True)
    where = {"time": time, "lat": lat, "lon": lon} | ({"level": level} if level else {})
    changed[variable].loc[where] += by
    return changed


@pytest.mark.parametrize(("variable", "level"), [("t", 850.0), ("msl", None)])
def test_sensitivity_in_physical_units_is_how_the_forecast_changes(trained, store, variable, level):
    """A bump in the store changes the mean of the forecast's heads by the sensitivity times the bump."""
    explained = explain(trained, store, AT, QUERY, lead_time_h=18)
    name = variable if level is None else f"{variable}@{level:g}"
    field = explained.sensitivity.sel(channel=name)
    time, lat, lon = (
        field[a][i].values
        for a, i in zip(field.dims, np.unravel_index(np.nanargmax(np.abs(field)), field.shape), strict=True)
    )
    std = float(field.channel_std)
    answers = []
    for sign in (1, -1):
        fields = forecast(trained, bumped(store, variable, level, time, lat, lon, sign * 0.05 * std), AT, 3, 4)
        point = fields.t.sel(level=500, lead_time=18, **place(explained))
        answers.append(float(point.mean()))
    expected = float(field.sel(time=time, lat=lat, lon=lon))
    assert (answers[0] - answers[1]) / 0.1 == pytest.approx(expected, rel=0.02, abs=2e-3)


def test_the_path_of_the_anchor_is_included(make_trained, store):
    """Of a model whose head says nothing the answer is the damped last value: its weight is all the sensitivity, but for rounding."""
    trained, store = make_trained(), store.fillna(store.mean("time"))
    for parameter in trained.model.heads.parameters():
        torch.nn.init.zeros_(parameter)
    correlation = trained.model.anchors["air"].of_lag
    correlation.copy_(0.9 ** torch.arange(correlation.shape[1]))
    explained = explain(trained, store, AT, QUERY, lead_time_h=6)
    field = explained.sensitivity.fillna(0)
    here = field.sel(channel="t@500", time=np.datetime64(AT), **place(explained))
    std = float(field.channel_std.sel(channel="t@500"))
    assert float(here) == pytest.approx(0.9 * std, rel=1e-3)
    assert float(np.abs(field).sum()) == pytest.approx(float(here), rel=2e-3)


def test_the_slope_of_a_logarithmic_variable_is_that_of_its_field(make_trained, store):
    """∂y / ∂z of y = s (exp(std z + log(1 + climatology / s)) - 1), by finite differences."""
    wet = store.assign(msl=(store.msl - 9.0e4).clip(min=0).assign_attrs(units="mm"))
    streams = {"surface": Stream(variables=("msl",), patch=(1, 6, 6), log_scale={"msl": 500.0})}
    trained = make_trained(streams, data=wet)
    asked = ask_point(trained, wet, AT, (47.0, -33.0, "msl"))
    low, high = point_fields(asked, np.array([0.495, 0.505])).astype(float)
    assert slope_at(asked, 0.5) == pytest.approx((high - low) / 0.01, rel=1e-3)
    assert explain(trained, wet, AT, (47.0, -33.0, "msl"), hour_utc=0).msl_difference.attrs["units"] == "1"


def test_a_chain_within_reach_is_the_sensitivity_of_one_question(trained, store):
    chained = forecast_sensitivity(trained, store, AT, QUERY, 18.0)
    np.testing.assert_allclose(chained, explain(trained, store, AT, QUERY, lead_time_h=18).sensitivity)


@pytest.mark.parametrize("task", [{"history": 2, "leads": 1}, {"history": 1, "leads": 2}])
def test_a_chain_agrees_with_finite_differences_of_the_roll_out(make_trained, store, task):
    """Of a model with one member, whose roll-out goes on from the mean. The store's own future must not matter."""
    trained = make_trained(head="point", kind="forecast", **task)
    lead_h, steps = 54.0, 9
    chained = forecast_sensitivity(trained, store, AT, QUERY, lead_h).sel(channel="t@850")
    assert chained.lead_time == lead_h and chained.time.values[-1] == np.datetime64(AT)
    time, lat, lon = (
        chained[a][i].values
        for a, i in zip(chained.dims, np.unravel_index(np.nanargmax(np.abs(chained)), chained.shape), strict=True)
    )
    std, answers = float(chained.channel_std), []
    for sign in (1, -1):
        changed = bumped(store, "t", 850.0, time, lat, lon, sign * 0.2 * std)
        fields = forecast(trained, changed.sel(time=slice(None, AT)), AT, steps, 1)
        answers.append(float(fields.t.sel(level=500, lead_time=lead_h, **place(chained))[0, 0]))
    assert (answers[0] - answers[1]) / 0.4 == pytest.approx(
        float(chained.sel(time=time, lat=lat, lon=lon)), rel=0.01, abs=2e-3
    )


def test_a_chain_needs_no_store_beyond_its_start(make_trained, store):
    trained = make_trained(kind="forecast", history=2, leads=1)
    whole, past = (
        forecast_sensitivity(trained, known, AT, QUERY, 54.0) for known in (store, store.sel(time=slice(None, AT)))
    )
    xr.testing.assert_identical(whole, past)


def test_nothing_that_was_not_observed_has_a_sensitivity(trained, store):
    explained = explain(trained, store, AT, QUERY)
    seen = store.msl.sel(time=explained.time).notnull()
    np.testing.assert_array_equal(explained.sensitivity.sel(channel="msl").notnull(), seen)
    assert explained.sizes["time"] == 4


def test_a_member_that_the_model_has_not_is_refused(trained, store):
    with pytest.raises(ModelError, match="members is 4, expected mean or the number of one, 0 to 3"):
        explain(trained, store, AT, QUERY, members=4)


def test_an_answer_to_one_token_is_that_to_all(trained, store, asked):
    fields = forecast(trained, store, AT, 4, 4)
    members = fields.t.sel(level=500, lead_time=24, lat=47, lon=327, method="nearest")[0]
    np.testing.assert_allclose(explain(trained, store, AT, QUERY).answer, members, rtol=1e-5)
    question = as_batch(ask_point(trained, store, AT, QUERY).question, trained.model)
    assert question.queries["air"].values.shape[1] == 1
