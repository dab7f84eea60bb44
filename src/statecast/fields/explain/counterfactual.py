"""The same state under another α: another season, another hour of the day.

The visible values, as normalised anomalies, all places, levels and offsets in time, and the queries stay the same. The coordinates
`year_fraction`, `hour_utc` and `solar_time_rad` of all tokens change by the same amount, so that tokens six hours apart stay six hours
apart. The climatology of the anomalies is not changed: the result is a difference of anomalies.

Axes: N token, C coordinate.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import xarray as xr

from statecast.axes import column_names
from statecast.fields.explain.point import QueryError
from statecast.streams import Question, Window

PERIODS = {"year_fraction": 1.0, "hour_utc": 24.0}


def another_alpha(at: Any, index: Any, season: str | None, hour_utc: float | None) -> dict[str, float]:
    """The changes of the coordinates that move the time `at`, in the calendar of `index`, to another season or hour.

    season    MONTH-DAY
    hour_utc  0 to 24

    Raises QueryError for a day or an hour that doesn't exist.
    """
    changes = {}
    if hour_utc is not None:
        if not 0 <= hour_utc < 24:
            raise QueryError(f"hour {hour_utc:g}: is not an hour of the day, expected 0 to 24 (excluded).")
        changes["hour_utc"] = hour_utc - (at.hour + at.minute / 60)
        changes["solar_time_rad"] = changes["hour_utc"] * (2 * math.pi / 24)
    if season is not None:
        changes["year_fraction"] = _year_fraction(_on_day(at, season), index) - _year_fraction(at, index)
    return changes


def under(question: Question, changes: Mapping[str, float]) -> Question:
    """The question with changed coordinates."""
    return replace(question, context=_shifted(question.context, changes), queries=_shifted(question.queries, changes))


def _shifted(window: Window, changes: Mapping[str, float]) -> Window:
    shifted = {}
    for name, tokens in window.items():
        coords = tokens.coords.clone()
        for axis, change in changes.items():
            c = column_names(tokens.spec.axes).index(axis)
            moved = coords[..., c] + change
            coords[..., c] = moved % PERIODS[axis] if axis in PERIODS else moved
        shifted[name] = replace(tokens, coords=coords)
    return shifted


def _on_day(at: Any, season: str) -> Any:
    try:
        month, day = map(int, season.split("-"))
        return at.replace(month=month, day=day)
    except ValueError as error:
        raise QueryError(
            f"season {season}: is not a day of the year {at.year} of the record's calendar, expected MONTH-DAY, for example 07-15."
        ) from error


def _year_fraction(time: Any, index: Any) -> float:
    date = xr.DataArray(type(index)([time]), dims="time").dt
    return float(((date.dayofyear - 1 + (date.hour + date.minute / 60) / 24) / date.days_in_year)[0])
