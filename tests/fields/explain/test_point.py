"""Which question is asked about a point, of each task, and what is refused in one line."""

import numpy as np
import pytest

from statecast.fields.explain import QueryError, ask_point, explain
from statecast.fields.explain.point import find_channel, find_point, value_in_token
from statecast.fields.sources import Grid, StoreError, open_fields
from statecast.fields.streams import Stream
from statecast.tasks import Translate
from statecast.trained import ModelError

from .conftest import AT, QUERY, STREAMS

TASKS = {
    "masked": {"slabs": 2},
    "interpolate": {"before": 1, "between": 1, "after": 1},
    "refine": {"every": 3, "slabs": 4},
    "fill": {"slabs": 2},
    "translate": {"to": ("air",)},
}


@pytest.mark.parametrize(("kind", "options"), TASKS.items())
def test_every_task_can_be_explained(make_trained, store, kind, options):
    explained = explain(make_trained(kind=kind, **options), store, AT, QUERY, season="07-15")
    shown = [stream for stream in STREAMS if f"{stream}_rollout" in explained]
    assert float(sum(explained[f"{stream}_rollout"].sum() for stream in shown)) == pytest.approx(1.0, abs=1e-5)
    assert len(shown) == (1 if kind == "translate" else 2)
    assert explained.lead_time == (12.0 if kind in ("interpolate", "refine") else 0.0)
    assert float(np.abs(explained.sensitivity).max()) > 0


@pytest.mark.parametrize("lead_time_h", [6, 12, 24])
@pytest.mark.parametrize("query", [(47.0, -33.0, "t@500"), (-80.0, 350.0, "u@850"), (3.0, 179.0, "msl")])
def test_the_asked_token_holds_the_point_and_its_value_is_the_one_asked(trained, make_store, lead_time_h, query):
    store = open_fields(make_store(steps=60))
    asked = ask_point(trained, store, AT, query, lead_time_h)
    (tokens,) = asked.question.queries.values()
    std, climatology = asked.located.tokenizer.climatology.anomaly_std, asked.located.climatology[asked.index]
    value = tokens.values[0, value_in_token(asked)].item() * std[asked.index[1]] + climatology
    variable, _, level = query[2].partition("@")
    where = {"lat": query[0], "lon": query[1] % 360, "time": asked.valid} | ({"level": float(level)} if level else {})
    assert value == pytest.approx(float(store[variable].sel(where, method="nearest")), rel=1e-5)
    assert asked.lead_time_h == lead_time_h and str(asked.channel) == query[2]
    assert asked.valid - asked.at == np.timedelta64(lead_time_h, "h")


def test_tokens_of_single_levels_are_told_apart(make_trained, store):
    streams = {"air": Stream(variables=("t", "u"), levels=(850, 500), patch=(2, 3, 4), levels_share_token=False)}
    trained = make_trained(streams)
    explained = explain(trained, store, AT, QUERY)
    assert explained.air_rollout.dims == ("air_level", "air_time", "air_lat", "air_lon")
    np.testing.assert_array_equal(explained.air_level, [850, 500])
    assert ask_point(trained, store, AT, QUERY).question.queries["air"].coordinate("pressure_hpa").item() == 500


def test_a_calendar_of_360_days_is_understood(make_trained, make_store):
    streams = {"surface": STREAMS["surface"]}
    store = open_fields(make_store(steps=60, calendar="360_day"))
    trained = make_trained(streams)
    explained = explain(trained, store, "2001-02-05T06", (47.0, -33.0, "msl"), season="02-30", hour_utc=3)
    assert str(explained.init_time.values).startswith("2001-02-05 06")


def test_the_explanation_does_not_see_the_future(trained, store):
    past = store.sel(time=slice(None, AT))
    np.testing.assert_array_equal(
        explain(trained, past, AT, QUERY).sensitivity, explain(trained, store, AT, QUERY).sensitivity
    )


@pytest.mark.parametrize(
    ("at", "query", "lead_time_h", "error", "message"),
    [
        (AT, (91.0, 0.0, "t@500"), None, QueryError, "lies outside the grid, which has latitudes -82.5 to 82.5"),
        (AT, (0.0, 400.0, "t@500"), None, QueryError, "lies outside the grid"),
        (AT, (0.0, 0.0, "z@500"), None, QueryError, "query z@500: is nothing that the model answers. It answers t@850, t@500, u@850"),
        (AT, (0.0, 0.0, "t@700"), None, QueryError, "query t@700: is nothing that the model answers"),
        (AT, (0.0, 0.0, "t"), None, QueryError, "query t: lies on several levels"),
        (AT, (0.0, 0.0, "msl@500"), None, QueryError, "query msl@500: is nothing that the model answers"),
        ("2001-02-05T05", QUERY, None, StoreError, "at 2001-02-05T05: is not a time of the store, which has 2001-01-30"),
        ("yesterday", QUERY, None, StoreError, "at yesterday: is not a time of the store"),
        ("2001-01-30T06", QUERY, None, StoreError, "Name a later time"),
        (AT, QUERY, 30.0, QueryError, "lead time 30 h: is none that the model answers. Lead times: 6, 12, 18, 24 h"),
        (AT, QUERY, 0.0, QueryError, "lead time 0 h"),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_is_refused(trained, store, at, query, lead_time_h, error, message):
    with pytest.raises(error) as raised:
        ask_point(trained, store, at, query, lead_time_h)
    assert message in str(raised.value)


def test_a_point_off_a_regional_grid_is_refused(regional_store):
    grid = Grid(regional_store.lat.values, regional_store.lon.values)
    assert find_point(grid, 30.1, 102.4) == (0, 1)
    assert find_point(grid, 28.8, 121.2) == (0, 8)
    for lat, lon in ((28.7, 110.0), (35.0, 121.3), (35.0, -110.0), (44.0, 110.0)):
        with pytest.raises(QueryError, match="lies outside the grid"):
            find_point(grid, lat, lon)


def test_a_pole_belongs_to_the_outermost_row_of_a_global_grid(global_store):
    grid = Grid(global_store.lat.values, global_store.lon.values)
    assert find_point(grid, 90.0, -180.0) == (11, 12) and find_point(grid, -90.0, 0.0) == (0, 0)


def test_what_is_shown_is_not_asked(make_trained):
    trained = make_trained(kind="translate", to=("air",))
    with pytest.raises(QueryError, match="msl: is nothing that the model answers"):
        find_channel(trained, Translate(to=("air",)), "msl")


def test_another_grid_is_refused(trained, make_store):
    with pytest.raises(ModelError, match="the model's grid is 12 x 24"):
        ask_point(trained, open_fields(make_store(steps=60, lat=np.linspace(-75, 75, 6))), AT, QUERY)


def test_a_place_beyond_the_outermost_column_of_a_grid_of_narrow_cells_is_refused():
    grid = Grid(np.arange(30.0, 50.0, 5.0), np.arange(10.0, 20.0, 1.0))
    assert find_point(grid, 32.4, 19.4) == (0, 9)
    with pytest.raises(QueryError, match="lies outside the grid"):
        find_point(grid, 30.0, 20.4)
