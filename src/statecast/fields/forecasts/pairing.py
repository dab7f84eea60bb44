"""Forecasts and the analyses that they are verified against, paired exactly by valid time.

Axes: E member, L lead time, V channel, H row, W column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from scipy import sparse

from statecast.fields.forecasts.channels import (
    Levels,
    Points,
    common_channels,
    cut,
    in_units_of,
    on_points,
    scored_points,
)
from statecast.fields.forecasts.choice import Choice
from statecast.fields.sources import Record, Step, StoreError, Times, open_fields
from statecast.fields.sources.dates import select_period
from statecast.fields.sources.forecasts import Forecasts, open_forecasts, require_unique
from statecast.fields.sources.reading import values_of
from statecast.fields.sources.times import HOUR
from statecast.fields.sources.units import tell
from statecast.fields.streams import Channel, Stream
from statecast.fields.tokenizers.first_guess import interpolation

FORECAST, BESIDE = "forecast", "beside"
"""Names of the forecasts that are verified, as `scores.json` has them."""
BLOCK = 2**22  # values that are scored at once, all members counted: some 300 MB with what is computed from them
DIMS = ("number", "lead_time", "level", "lat", "lon")
CLIMATOLOGY = 2**26  # values of a climatology that is estimated at once: 0.5 GB an array


@dataclass(frozen=True)
class Forecaster:
    """The forecasts of one system, in one store or several.

    leads   of each store, the positions of the scored lead times
    onto    from the points of each store to the scored ones; None: they are the same
    """

    stores: tuple[Forecasts, ...]
    leads: tuple[Int[np.ndarray, " L"], ...]
    onto: tuple[sparse.csr_array | None, ...]

    @property
    def members(self) -> int:
        return self.stores[0].members

    @cached_property
    def places(self) -> dict[int, tuple[int, int]]:
        """The store and the position in it of each initial time."""
        found: dict[int, tuple[int, int]] = {}
        for number, store in enumerate(self.stores):
            found |= {tick: (number, position) for position, tick in enumerate(store.init.ticks.tolist())}
        return found

    def valid_ticks(self, init: int) -> Int[np.ndarray, " L"]:
        number, position = self.places[init]
        return np.asarray(self.stores[number].valid_ticks[position, self.leads[number]])

    def read(
        self, init: int, variable: str, levels: Levels, leads: slice, shape: tuple[int, int]
    ) -> Float[np.ndarray, "E L V H W"]:
        """All members from one initial time, at the scored points. Raises StoreError in one line for what can't be read."""
        number, position = self.places[init]
        array = self.stores[number].dataset[variable]
        other = {str(dim): 0 for dim in array.dims if dim not in (*DIMS, "init_time")}
        array = array.isel(
            {"init_time": position, "lead_time": self.leads[number][leads], **other}, missing_dims="ignore"
        )
        array = array.sel(level=list(levels)) if levels else array
        values = values_of(array.transpose(*DIMS, missing_dims="ignore"), along="init_time").astype(np.float32)
        values = np.expand_dims(values, [axis for axis, dim in enumerate(DIMS) if dim not in array.dims])
        matrix = self.onto[number]
        if matrix is None:
            return values
        flat = values.reshape(-1, values.shape[-2] * values.shape[-1])
        return (matrix @ flat.T).T.reshape(*values.shape[:-2], *shape).astype(np.float32)


@dataclass(frozen=True)
class Group:
    """Channels that are read together: a variable on some of its levels."""

    variable: str
    levels: Levels
    record: Record

    def truth(self, times: Times, ticks: Int[np.ndarray, " L"]) -> Float[np.ndarray, "L V H W"]:
        """The analyses at exactly these times; NaN where there is none. `times` are those of the record."""
        positions = np.searchsorted(times.ticks, ticks).clip(0, len(times) - 1)
        known = times.ticks[positions] == ticks
        values = np.full((len(ticks), len(self.record.channels), *self.record.grid.shape), np.nan, np.float32)
        for lead in np.flatnonzero(known):
            step = int(positions[lead])
            values[lead] = self.record.read(slice(step, step + 1))[0]
        return values


@dataclass(frozen=True)
class Pairing:
    """Forecasts, analyses, and what of them is scored.

    inits        initial times, ascending, in ticks of `times`, those of the analyses
    lead_time_h  the scored lead times
    """

    forecasters: Mapping[str, Forecaster]
    truth: xr.Dataset
    times: Times
    groups: tuple[Group, ...]
    points: Points
    inits: tuple[int, ...]
    lead_time_h: tuple[float, ...]

    @property
    def channels(self) -> list[Channel]:
        return [channel for group in self.groups for channel in group.record.channels]

    @property
    def units(self) -> list[str]:
        return [units for group in self.groups for units in group.record.units]

    @cached_property
    def step(self) -> Step:
        """Of the analyses: months, or else it does not matter."""
        record = self.groups[0].record
        return record.step if record.is_monthly else Step(HOUR)

    def valid_ticks(self, init: int) -> Int[np.ndarray, " L"]:
        """Of all forecasters."""
        return next(iter(self.forecasters.values())).valid_ticks(init)

    @property
    def hours(self) -> Float[np.ndarray, " S"]:
        """Of the initial times, since 1970."""
        return np.array(self.inits) / HOUR


def paired(forecasts: Sequence[str], beside: Sequence[str], against: str, choice: Choice) -> Pairing:
    """Open stores of forecasts, and of analyses, and pair what they have in common.

    What is left out is told on standard error. Raises StoreError where nothing is in common: variables, levels, lead times, points, times
    or calendar.
    """
    truth = open_fields(against, absent=choice.absent)
    times = Times.of(truth)
    opened = {FORECAST: [open_forecasts(store, choice.absent) for store in forecasts]}
    if beside:
        opened[BESIDE] = [open_forecasts(store, choice.absent) for store in beside]
    stores = [store for of in opened.values() for store in of]
    channels = common_channels(truth, stores, choice)
    names = {name: choice.variables.get(name, name) for name in channels}
    points = scored_points(truth, choice.region)
    lead_keys = _common_leads(stores, choice)
    forecasters = {}
    for name, of in opened.items():
        on = [in_units_of(truth, on_points(store, points, choice), names) for store in of]
        forecasters[name] = _forecaster(on, lead_keys, points, name)
    truth = cut(truth, choice.region)
    most = max(forecaster.members for forecaster in forecasters.values())
    groups = _groups(truth, channels, most, points)
    inits = _inits(forecasters, times, choice)
    hours = tuple(key / HOUR for key in lead_keys)
    return Pairing(forecasters, truth, times, groups, points, inits, hours)


def _keys(store: Forecasts) -> list[int]:
    """Lead times in ticks; of months, their mean length."""
    return [round(hours * HOUR) for hours in store.lead_time_h]


def _common_leads(stores: Sequence[Forecasts], choice: Choice) -> list[int]:
    """Lead times in ticks, that all stores have."""
    common = sorted(set.intersection(*(set(_keys(store)) for store in stores)))
    have = ", ".join(f"{key / HOUR:g}" for key in common[:12]) or "none"
    wanted = [round(hours * HOUR) for hours in choice.lead_times_h]
    if missing := [key for key in wanted if key not in common]:
        raise StoreError(
            f"lead time {missing[0] / HOUR:g} h: is not in all forecasts. In common: {have} h. Name one of these."
        )
    if not common:
        raise StoreError("the forecasts have no lead time in common, expected some. Verify them one by one.")
    return sorted(wanted) or common


def _forecaster(stores: Sequence[Forecasts], lead_keys: Sequence[int], points: Points, name: str) -> Forecaster:
    require_unique([store.name for store in stores], stores)
    if len({store.members for store in stores}) > 1:
        counts = ", ".join(f"{store.members} in {store.name}" for store in stores)
        raise StoreError(f"the members of {name} differ ({counts}), expected the same. Verify the stores one by one.")
    leads = tuple(np.array([_keys(store).index(key) for key in lead_keys]) for store in stores)
    onto = []
    for store in stores:
        is_like = store.grid.is_like(points.grid)
        onto.append(None if is_like else interpolation(store.grid, points.grid))
    return Forecaster(tuple(stores), leads, tuple(onto))


def _groups(truth: xr.Dataset, channels: Mapping[str, Levels], members: int, points: Points) -> tuple[Group, ...]:
    """Each variable, on as many levels as fit into a block."""
    size = points.grid.size
    hours = len(np.unique(truth["time"].dt.hour.values))
    most = max(1, min(BLOCK // (size * members), CLIMATOLOGY // (size * 12 * hours)))
    groups = []
    for variable, levels in channels.items():
        parts = [levels[first : first + most] for first in range(0, len(levels), most)] if levels else [None]
        for part in parts:
            stream = Stream(variables=(variable,), levels=part or ())
            record = Record.open(truth[[variable]], stream, in_memory_gib=0.0)
            groups.append(Group(variable, part, record))
    return tuple(groups)


def _inits(forecasters: Mapping[str, Forecaster], times: Times, choice: Choice) -> tuple[int, ...]:
    """Initial times of all forecasters, in the period, at which some valid time has an analysis."""
    _require_calendar(forecasters, times)
    per_forecaster = [set(forecaster.places) for forecaster in forecasters.values()]
    ticks = sorted(set.intersection(*per_forecaster))
    if not ticks:
        raise StoreError("the forecasts have no initial time in common, expected some that both have.")
    if alone := len(set.union(*per_forecaster)) - len(ticks):
        tell(f"{alone} initial times are left out, which only one of the forecasts has.")
    if choice.period is not None:
        inside = select_period(xr.Dataset(coords={"time": times.at(ticks)}), choice.period)
        ticks = Times.of(inside).ticks.tolist()
    first = next(iter(forecasters.values()))
    _require_same_valid_times(forecasters, ticks, times)
    verified = tuple(tick for tick in ticks if np.isin(first.valid_ticks(tick), times.ticks).any())
    if not verified:
        begin, end = (
            times.at([int(at)])[0] for at in (first.valid_ticks(ticks[0])[0], first.valid_ticks(ticks[-1])[-1])
        )
        raise StoreError(
            f"no forecast is valid at a time of the analyses: forecasts are valid from {begin} to {end}, the analyses are from "
            f"{times.index[0]} to {times.index[-1]}. Times are compared exactly. Give the analyses of that time."
        )
    if left := len(ticks) - len(verified):
        tell(f"{left} of {len(ticks)} initial times are left out: no analysis is valid at any of their lead times.")
    return verified


def _require_same_valid_times(forecasters: Mapping[str, Forecaster], ticks: Sequence[int], times: Times) -> None:
    """Months, of which a store says when they are valid, may differ."""
    first, *others = forecasters.values()
    for tick in ticks:
        if any(not np.array_equal(first.valid_ticks(tick), other.valid_ticks(tick)) for other in others):
            raise StoreError(
                f"the forecasts from {times.at([tick])[0]} have other valid times at the same lead times. Verify them one by one."
            )


def _require_calendar(forecasters: Mapping[str, Forecaster], times: Times) -> None:
    for forecaster in forecasters.values():
        for store in forecaster.stores:
            if store.init.calendar != times.calendar:
                raise StoreError(
                    f"store {store.name}: has the calendar {store.init.calendar}, the analyses have {times.calendar}, expected the same."
                )
