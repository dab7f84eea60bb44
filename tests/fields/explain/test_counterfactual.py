"""The same state under another α."""

import numpy as np
import pytest
import torch

from statecast.answer import answer
from statecast.axes import column_names
from statecast.fields.explain import QueryError, ask_point, explain
from statecast.fields.explain.counterfactual import another_alpha, under
from statecast.fields.explain.point import value_in_token

from .conftest import AT, QUERY


def changes_of(asked, store, season=None, hour_utc=None):
    return another_alpha(asked.at, store.indexes["time"], season, hour_utc)


def test_season_and_hour_move_all_coordinates_by_as_much_and_nothing_else(asked, store):
    other = under(asked.whole, changes_of(asked, store, "08-06", 21.0))
    moved = {"hour_utc": 15.0, "solar_time_rad": 15 * np.pi / 12, "year_fraction": 182 / 365}
    periods = {"hour_utc": 24.0, "solar_time_rad": 2 * np.pi, "year_fraction": 1.0}
    for before, after in ((asked.whole.context, other.context), (asked.whole.queries, other.queries)):
        for name, tokens in before.items():
            assert torch.equal(tokens.values, after[name].values) and torch.equal(tokens.observed, after[name].observed)
            for column in column_names(tokens.spec.axes):
                change = after[name].coordinate(column) - tokens.coordinate(column)
                change = change % periods[column] if column in periods else change
                expected = torch.full_like(change, moved.get(column, 0.0))
                torch.testing.assert_close(change, expected, atol=1e-5, rtol=0)


def test_the_day_and_hour_that_it_is_change_nothing(trained, store):
    explained = explain(trained, store, AT, QUERY, season="02-05", hour_utc=6)
    assert not any(explained[f"{name}_difference"].any() for name in ("t", "u", "msl"))


def test_the_difference_is_that_of_two_answers(trained, store):
    explained = explain(trained, store, AT, QUERY, season="08-06")
    assert explained.t_difference.dims == ("level", "lat", "lon") and explained.t_difference.attrs["units"] == "K"
    assert explained.msl_difference.attrs["units"] == "Pa" and float(np.abs(explained.t_difference).max()) > 1e-3
    asked = ask_point(trained, store, AT, QUERY)
    other = under(asked.question, changes_of(asked, store, "08-06"))
    members = [answer(trained, q)["air"][:, 0, value_in_token(asked)].mean() for q in (other, asked.question)]
    std = trained.codecs["air"].climatology.anomaly_std[asked.index[1]]
    point = {"lat": float(explained.query_lat), "lon": float(explained.query_lon), "level": 500}
    assert float(explained.t_difference.sel(point)) == pytest.approx(float(members[0] - members[1]) * std, abs=1e-4)


@pytest.mark.parametrize(
    ("season", "hour", "message"),
    [
        ("02-30", None, "season 02-30: is not a day of the year 2001"),
        ("July", None, "season July"),
        (None, 24.0, "hour 24"),
    ],
)
def test_no_day_and_no_hour_is_refused(asked, store, season, hour, message):
    with pytest.raises(QueryError, match=message):
        changes_of(asked, store, season, hour)
