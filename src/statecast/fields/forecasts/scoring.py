"""Scores of the forecasts from one initial time, block by block, on threads.

Axes: E member, L lead time, V channel, H row, W column.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import dask
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from statecast.evaluation import LabelAxis, Scored, Verification
from statecast.fields.evaluation.baselines import persistence
from statecast.fields.evaluation.labels import channel_axis, field_axes, lead_time_axis
from statecast.fields.evaluation.scores import area_mean
from statecast.fields.evaluation.verification import persisting, scored_forecast
from statecast.fields.forecasts.pairing import BLOCK, Group, Pairing
from statecast.fields.sources import Climatology, Record

TASK, AVAILABILITY = "forecast", "availability"
ANALYSES = "analyses"
MISSING = "missing"
"""Statistic of the task `AVAILABILITY`: the share of the area where forecasts or analyses have no value."""

WHOLE = 1 - 1e-9


@dataclass(frozen=True)
class Scoring:
    """Scores each forecast from an initial time, persistence, and, with a climatology, that.

    climatologies  of the groups of the pairing; none: no climatology
    threads        that score blocks at the same time; memory grows with them
    """

    pairing: Pairing
    climatologies: Sequence[Climatology]
    threads: int = 1

    def __call__(self, init: int) -> Iterator[Scored]:
        blocks = [(number, leads) for number, group in enumerate(self.pairing.groups) for leads in self._leads(group)]
        tasks = [dask.delayed(self._block, pure=False)(init, *block) for block in blocks]
        scored = dask.compute(*tasks, scheduler="threads", num_workers=self.threads)
        axes = (
            lead_time_axis(self.pairing.lead_time_h),
            channel_axis(self.pairing.channels, self.pairing.units),
        )
        for number in range(len(scored[0])):
            parts: dict[int, list[Scored]] = {}
            for (group, _), of_block in zip(blocks, scored, strict=True):
                parts.setdefault(group, []).append(of_block[number])
            yield _joined(list(parts.values()), axes)

    def _leads(self, group: Group) -> list[slice]:
        """Lead times that are scored together."""
        members = max(forecaster.members for forecaster in self.pairing.forecasters.values())
        size = members * len(group.record.channels) * self.pairing.points.grid.size
        most, leads = max(1, BLOCK // size), len(self.pairing.lead_time_h)
        return [slice(first, min(first + most, leads)) for first in range(0, leads, most)]

    def _block(self, init: int, number: int, leads: slice) -> list[Scored]:
        """Each forecast of one group of channels at some lead times, and what of it is missing."""
        pairing, group = self.pairing, self.pairing.groups[number]
        ticks = pairing.valid_ticks(init)
        analyses = group.truth(pairing.times, ticks[leads])
        members = {}
        for name, forecaster in pairing.forecasters.items():
            members[name] = forecaster.read(init, group.variable, group.levels, leads, pairing.points.grid.shape)
        climatology = self._climatology(number, ticks[leads])
        known = np.isfinite(analyses)
        shown = {name: np.isfinite(values).all(axis=0) for name, values in members.items()}
        is_scored = np.logical_and.reduce([known, *shown.values()])
        if climatology is not None:
            is_scored &= np.isfinite(climatology)
        truth = np.where(is_scored, analyses, np.nan)
        axes, area = field_axes(group.record, pairing.lead_time_h[leads]), pairing.points.area
        scored = []
        for name, values in members.items():
            there = np.where(is_scored, values, 0.0)
            scored.append(scored_forecast(TASK, name, axes, there, truth, climatology, area, drawn=True))
        last = persisting(group.truth(pairing.times, np.array([init]))[0], self._first(number, ticks))
        lasting = np.where(np.isfinite(last), truth, np.nan)
        persisted = persistence(np.nan_to_num(last), len(truth))
        scored.append(scored_forecast(TASK, "persistence", axes, persisted, lasting, climatology, area, drawn=False))
        if climatology is not None:
            mean = np.nan_to_num(climatology)[None]
            scored.append(scored_forecast(TASK, "climatology", axes, mean, truth, climatology, area, drawn=False))
        missing = {ANALYSES: area_mean(~known, area, np.ones_like(known))}
        missing |= {name: area_mean(~there, area, known) for name, there in shown.items()}
        return scored + [Scored(AVAILABILITY, name, axes, {MISSING: share}) for name, share in missing.items()]

    def _first(self, number: int, ticks: Int[np.ndarray, " L"]) -> Float[np.ndarray, "V H W"] | None:
        """The climatology at the first lead time, which persists where the initial state was not observed."""
        climatology = self._climatology(number, ticks[:1])
        return None if climatology is None else climatology[0]

    def _climatology(self, number: int, ticks: Int[np.ndarray, " L"]) -> Float[np.ndarray, "L V H W"] | None:
        if not self.climatologies:
            return None
        calendar = xr.Dataset(coords={"time": self.pairing.times.at(ticks.tolist())})
        at = Record(calendar, (), (), known_step=self.pairing.step)
        return self.climatologies[number].at(at.months_passed, at.hour_utc)


def _joined(groups: Sequence[Sequence[Scored]], axes: tuple[LabelAxis, LabelAxis]) -> Scored:
    """One forecast of all channels and lead times, from that of each group at some lead times."""
    first = groups[0][0]
    statistics = {}
    for name in first.statistics:
        of_groups = [np.concatenate([part.statistics[name] for part in parts]) for parts in groups]
        statistics[name] = np.concatenate(of_groups, axis=1)
    ranks = None
    if first.ranks is not None:
        counts = [[part.ranks for part in parts if part.ranks is not None] for parts in groups]
        ranks = np.concatenate([np.concatenate(of_group) for of_group in counts], axis=1)
    return replace(first, axes=axes, statistics=statistics, ranks=ranks)


def told(availability: Sequence[Verification]) -> list[tuple[str, str]]:
    """What is missing of analyses and of each forecast, in numbers of fields: a channel at a lead time from an initial time."""
    rows = []
    for verification in availability:
        missing = verification.statistics[MISSING]
        counted = missing[np.isfinite(missing)]
        wholly, partly = int((counted > WHOLE).sum()), int(((counted > 0) & (counted <= WHOLE)).sum())
        text = f"{wholly:,} of {counted.size:,} fields are missing, {partly:,} have missing values"
        rows.append((verification.forecast, text))
    return rows
