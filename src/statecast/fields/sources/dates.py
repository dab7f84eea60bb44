"""Dates as people write them, as spans of time in the calendar of a record: `2000` is a year, `2000-01-15` a day, `2000-01-15T06` an hour.

A time without a zone is UTC, as the times of a record are; `Z` and offsets such as `+02:00` are understood.
"""

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.times import DAY, HOUR, MINUTE, SECOND, Times

ZONE = r"\s*(?P<zone>z|utc|[+-]\d{2}(?::?\d{2})?)?"
FORMS = (
    re.compile(
        r"(?P<year>\d{4}|[+-]\d{4,6})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2})(?:[t ]\s*"
        r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?)?)?)?" + ZONE
    ),
    re.compile(
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:[t ]?(?P<hour>\d{2})(?P<minute>\d{2})?(?P<second>\d{2})?)?"
        r"(?P<fraction>(?!))?" + ZONE
    ),
)
EXPECTED = "a date such as 2001-01-31, or a time such as 2001-01-31T06:00"


class DateError(ValueError):
    """A text that is no date, or a day that no calendar has."""


@dataclass(frozen=True)
class Span:
    """First and last tick of what a date means; a day that the calendar of the record lacks, such as the 31st, has none: first > last."""

    first: int
    last: int


def read_span(text: str, times: Times) -> Span:
    """The span of a date in the calendar of `times`.

    A day that the standard calendar has and that of the record lacks, such as 31 December in one of 360 days, is the moment at which
    its month ends. Raises DateError for any other day that the calendar lacks, and for a text that is no date.
    """
    parts = next((found.groupdict() for form in FORMS if (found := form.fullmatch(text.strip().lower()))), None)
    if parts is None:
        raise DateError(f"'{text}' is no date, expected {EXPECTED}")
    year, month, day, hour, minute, second = (
        int(parts[key]) if parts[key] else None for key in ("year", "month", "day", "hour", "minute", "second")
    )
    assert year is not None
    if not 1 <= (month or 1) <= 12 or (hour or 0) > 23 or (minute or 0) > 59 or (second or 0) > 59:
        raise DateError(f"'{text}' is no date: its month, hour, minute or second does not exist")
    try:
        whole = _days(text, times, year, month, day)
    except DateError:
        raise
    except (ValueError, OverflowError):
        raise DateError(f"'{text}': the year lies outside the {times.calendar} calendar") from None
    if hour is not None and whole.first <= whole.last:
        whole = _within_day(whole.first, hour, minute, second, parts["fraction"])
    offset = _offset(parts["zone"])
    return Span(whole.first - offset, whole.last - offset)


def read_time(text: str, times: Times) -> int:
    """The tick at which a date begins. Raises DateError as `read_span` does, and for a day that the calendar lacks."""
    span = read_span(text, times)
    if span.last < span.first:
        raise DateError(f"'{text}' is no day of the {times.calendar} calendar")
    return span.first


def _days(text: str, times: Times, year: int, month: int | None, day: int | None) -> Span:
    """The whole year, month or day."""
    if month is None:
        return Span(times.tick_of(year), times.tick_of(year + 1) - 1)
    begin, end = (times.month_begins(year * 12 + month - 1 + later) for later in (0, 1))
    if day is None:
        return Span(begin, end - 1)
    if 1 <= day <= (end - begin) // DAY:
        return Span(begin + (day - 1) * DAY, begin + day * DAY - 1)
    if 1 <= day <= calendar.monthrange(year, month)[1]:
        return Span(end, end - 1)
    raise DateError(f"'{text}' is no day of the {times.calendar} calendar")


def _within_day(midnight: int, hour: int, minute: int | None, second: int | None, fraction: str | None) -> Span:
    first = midnight + hour * HOUR + (minute or 0) * MINUTE + (second or 0) * SECOND
    if fraction:
        tick = first + int(f"{fraction:0<6}"[:6])
        return Span(tick, tick)
    length = HOUR if minute is None else MINUTE if second is None else SECOND
    return Span(first, first + length - 1)


def _offset(zone: str | None) -> int:
    """Ticks by which a zone is ahead of UTC."""
    if zone in (None, "z", "utc"):
        return 0
    digits = f"{zone[1:].replace(':', ''):0<4}"
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * HOUR + int(digits[2:]) * MINUTE)


def select_period(dataset: xr.Dataset, period: Sequence[str]) -> xr.Dataset:
    """Times from the first to the last of `period`, both inclusive; a date means the whole day, a year the whole year.

    Raises StoreError if the period is empty or cannot be parsed as times.
    """
    first, last = (str(t) for t in period)
    times = Times.of(dataset)
    try:
        begins, ends = read_span(first, times).first, read_span(last, times).last
        if ends < begins and first == last:
            raise DateError(f"'{first}' is no day of the {times.calendar} calendar")
    except DateError as error:
        raise StoreError(
            f"period {first} to {last}: is not a pair of times ({error}). Write, for example, 2001-01-01 2001-02-28."
        ) from None
    if ends < begins:
        raise StoreError(f"period {first} to {last}: ends before it begins. Name its first time first.")
    steps = slice(times.before(begins), times.up_to(ends))
    if steps.start == steps.stop:
        raise StoreError(
            f"period {first} to {last}: contains no data. The store covers {times.index[0]} to {times.index[-1]}. "
            "Name a period inside it."
        )
    return dataset.isel(time=steps)


def find_time(name: str, text: str, times: Times) -> int:
    """Position of the first time within a date, such as the only one of a day. Raises StoreError, with the nearest time, if there is none.

    name  of the option, for the message
    """
    covers = f"which has {times.index[0]} to {times.index[-1]}"
    try:
        span = read_span(text, times)
    except DateError as error:
        raise StoreError(f"{name} {text}: is not a time of the store, {covers} ({error}).") from None
    if span.last < span.first:
        raise StoreError(
            f"{name} {text}: is not a time of the store, {covers}; its calendar, {times.calendar}, has no such day. Name one of its times."
        )
    position = times.before(span.first)
    if position < times.up_to(span.last):
        return position
    around = [i for i in (position - 1, position) if 0 <= i < len(times)]
    nearest = min(around, key=lambda i: abs(times.ticks[i] - span.first))
    raise StoreError(
        f"{name} {text}: is not a time of the store, {covers}; the nearest is {times.index[nearest]}. Name one of its times."
    )
