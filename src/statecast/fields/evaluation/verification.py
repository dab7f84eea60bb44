"""Verification of forecasts beside their baselines. Axes: S start, L lead time, V channel, E member, R rank, H row, W column."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.fields.evaluation.baselines import ClimatologicalEnsemble, persistence
from statecast.fields.evaluation.scores import METRICS, OF_EVENTS, block_bootstrap, rank_counts, score, statistics
from statecast.fields.inference.blocks import forecast_block
from statecast.fields.inference.forecast import check_record, forecast_task
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.sources import Record
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import FieldTokenizer, Place
from statecast.fields.tokenizers.windows import whole_domain
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel

BOOTSTRAP_SAMPLES = 1000
BLOCK_H = 120.0  # weather forgets itself in about five days
INTERVAL = (2.5, 97.5)
SEED = 0  # of the resamplings: the same interval in every run


@dataclass(frozen=True)
class Verification:
    """Statistics of one forecast at each start; see `scores.statistics`."""

    forecast: str
    task: str
    channels: tuple[Channel, ...]
    units: tuple[str, ...]
    lead_time_h: tuple[float | None, ...]
    members: int
    starts_h: Float[np.ndarray, " S"]
    statistics: Mapping[str, Float[np.ndarray, "S L V"]]
    ranks: Float[np.ndarray, "L V R"] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        has_members = ("spread", "spread_skill")
        events = [key.removeprefix("hits_") for key in self.statistics if key.startswith("hits_")]
        of_events = [f"{kind}_{event}" for event in events for kind in OF_EVENTS]
        return (*(m for m in METRICS if self.members > 1 or m not in has_members), *of_events)

    def value(self, metric: str, starts: np.ndarray | slice = slice(None)) -> Float[np.ndarray, "L V"]:
        """The score over all starts, or over some."""
        means = {
            name: _weighted_mean(np.ones((1, len(s[starts]))), s[starts])[0] for name, s in self.statistics.items()
        }
        return score(metric, means, self.members)

    def interval(self, metric: str) -> tuple[Float[np.ndarray, "L V"], Float[np.ndarray, "L V"]]:
        """95 % interval by resampling starts in blocks of five days."""
        scores = score(metric, self._resampled, self.members)
        unknown = np.isnan(scores).all(axis=0)
        low, high = np.nanpercentile(np.where(unknown, 0.0, scores), INTERVAL, axis=0)
        return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)

    @cached_property
    def _resampled(self) -> dict[str, Float[np.ndarray, "B L V"]]:
        """The mean of each statistic over each resampling of the starts, the same resamplings for every metric."""
        starts = len(self.starts_h)
        step_h = float(np.diff(self.starts_h).min()) if starts > 1 else BLOCK_H
        draws = block_bootstrap(starts, round(BLOCK_H / step_h), BOOTSTRAP_SAMPLES, np.random.default_rng(SEED))
        counts = np.stack([np.bincount(d, minlength=starts) for d in draws])
        return {name: _weighted_mean(counts, s) for name, s in self.statistics.items()}

    def records(self) -> list[dict[str, Any]]:
        """The scores as `scores.json` holds them: a record for each metric, channel and lead time."""
        records = []
        for metric in self.metrics:
            value, (low, high) = self.value(metric), self.interval(metric)
            for lead, v in np.ndindex(value.shape):
                if np.isfinite(value[lead, v]):
                    numbers = {"value": value[lead, v], "low": low[lead, v], "high": high[lead, v]}
                    records.append(
                        self._record(metric, lead, v)
                        | {k: float(x) for k, x in numbers.items()}
                        | {"n": len(self.starts_h)}
                    )
        return records

    def _record(self, metric: str, lead: int, v: int) -> dict[str, Any]:
        channel = self.channels[v]
        return {
            "forecast": self.forecast,
            "task": self.task,
            "variable": channel.variable,
            "level_hpa": channel.pressure_hpa,
            "lead_time_h": self.lead_time_h[lead],
            "metric": metric,
        }

    def dataset(self) -> xr.Dataset:
        """The scores as labelled arrays on (lead_time, channel), and the rank histogram."""
        dims: tuple[str, ...] = ("lead_time", "channel")
        scores = {metric: (dims, self.value(metric)) for metric in self.metrics}
        if self.ranks is not None:
            scores["rank_histogram"] = ((*dims, "rank"), self.ranks)
        leads = [math.nan if lead is None else lead for lead in self.lead_time_h]
        coords = {
            "lead_time": ("lead_time", leads, {"units": "hours"}),
            "channel": list(map(str, self.channels)),
            "units": ("channel", list(self.units)),
        }
        return xr.Dataset(scores, coords=coords)


def _weighted_mean(
    weights: Float[np.ndarray, "B S"], statistic: Float[np.ndarray, "S L V"]
) -> Float[np.ndarray, "B L V"]:
    """Means over the starts at which something was observed; NaN where nothing ever was."""
    total = np.einsum("bs,slv->blv", weights, np.isfinite(statistic))
    summed = np.einsum("bs,slv->blv", weights, np.nan_to_num(statistic))
    return np.divide(summed, total, out=np.full(total.shape, np.nan), where=total > 0)


@dataclass(frozen=True)
class ForecastCase:
    """One start: what came true (NaN where nothing is usual), what is usual, what was last known. Physical units."""

    truth: Float[np.ndarray, "T V H W"]
    usual: Float[np.ndarray, "T V H W"]
    last: Float[np.ndarray, "V H W"]
    ahead: Place


def verify_forecast(
    models: Mapping[str, TrainedModel],
    records: Record | Mapping[str, Record],
    *,
    training: Record | Mapping[str, Record] | None = None,
    every_h: float = 12.0,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Verification]:
    """Verify models that answer the same forecast question, beside persistence, climatology and climatology's own distribution.

    records   each stream over the period to verify on, which no training may have seen; of a model of one stream its record will do
    training  the same over the training period, from which climatology's distribution is drawn; without it that baseline is left out
    every_h   hours between starts
    progress  is told the share that is done

    A model of several streams is verified on each that changes in time: their tasks are `forecast STREAM`. One that was trained on
    neighbourhoods is asked tile by tile. Raises ModelError if a model is for another task, stream or grid, StoreError if the period has no
    window without a gap.
    """
    first = next(iter(models.values()))
    task = forecast_task(first)
    names = tuple(first.codecs)
    of_streams = by_stream(records, names)
    learned = {} if training is None else by_stream(training, names)
    for name, record in of_streams.items():
        for key, other in models.items():
            _require_same_question(key, other, task, name, first.codecs[name])
        check_record(first.codecs[name], record)
    depth = slab_depth(first)
    history, steps = task.history * depth, task.window_slabs * depth
    changing = {name: record for name, record in of_streams.items() if record.changes}
    if not changing:
        raise ModelError("the model's streams never change, expected one that does. Fine-tune it to forecast one.")
    leading = next(iter(of_streams.values()))
    starts = every(leading, leading.starts(steps), every_h)
    ensembles = {name: ClimatologicalEnsemble(record) for name, record in learned.items()}
    collected: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    ranks: dict[tuple[str, str], np.ndarray] = {}
    sizes: dict[tuple[str, str], int] = {}
    for done, start in enumerate(starts):
        blocks = {key: forecast_block(model, task, of_streams, int(start)) for key, model in models.items()}
        for name, record in changing.items():
            case = forecast_case(first.codecs[name], record, whole_domain(record.grid, int(start), steps), history)
            answers = {key: first.codecs[name].to_fields(block[name], case.usual) for key, block in blocks.items()}
            for key, members in (answers | _baselines(case, record, ensembles.get(name))).items():
                drawn = key == "climatology_distribution"
                found = statistics(members, case.truth, case.usual, record.grid.cell_area, drawn=drawn)
                collected.setdefault((name, key), []).append(found)
                sizes[name, key] = len(members)
                if len(members) > 1:
                    ranks[name, key] = ranks.get((name, key), 0) + rank_counts(members, case.truth)
        progress((done + 1) / len(starts))
    return [
        Verification(
            key,
            "forecast" if len(changing) == 1 else f"forecast {name}",
            changing[name].channels,
            changing[name].units,
            tuple(float(h) for h in leading.step_h * np.arange(1, steps - history + 1)),
            sizes[name, key],
            leading.hours[starts],
            stack_starts(parts),
            ranks.get((name, key)),
        )
        for (name, key), parts in collected.items()
    ]


def by_stream(records: Record | Mapping[str, Record], names: Sequence[str]) -> dict[str, Record]:
    """The record of each stream; a single one is that of the first."""
    return {names[0]: records} if isinstance(records, Record) else {name: records[name] for name in names}


def _require_same_question(key: str, model: TrainedModel, task: Forecast, name: str, tokenizer: FieldTokenizer) -> None:
    other = forecast_task(model)
    if (other.history, other.leads) != (task.history, task.leads):
        raise ModelError(
            f"model {key}: forecasts {other.leads} slabs from {other.history}, the first model {task.leads} from "
            f"{task.history}. Verify them one by one."
        )
    theirs = model.codecs.get(name)
    if theirs is None or theirs.stream != tokenizer.stream:
        raise ModelError(f"model {key}: has no stream {name} like that of the first model. Verify them one by one.")
    same = (np.array_equal(getattr(theirs.climatology, k), getattr(tokenizer.climatology, k), equal_nan=True)
            for k in ("mean", "anomaly_std"))  # fmt: skip
    if not all(same):
        raise ModelError(
            f"model {key}: was trained with another climatology than the first model. Verify them one by one."
        )


def forecast_case(tokenizer: FieldTokenizer, record: Record, place: Place, history: int) -> ForecastCase:
    ahead = Place(place.start + history, place.steps - history, place.rows, place.columns)
    state = record.read(slice(place.start, place.start + place.steps))
    usual = tokenizer.usual(record, ahead)
    return ForecastCase(np.where(np.isfinite(usual), state[history:], np.nan), usual, state[history - 1], ahead)


def every(record: Record, starts: np.ndarray, every_h: float) -> np.ndarray:
    """Of `starts` those that are at least `every_h` hours apart."""
    kept = [starts[0]]
    for start in starts[1:]:
        if record.hours[start] - record.hours[kept[-1]] >= every_h - 1e-6:
            kept.append(start)
    return np.array(kept)


def _baselines(case: ForecastCase, record: Record, ensemble: ClimatologicalEnsemble | None) -> dict[str, np.ndarray]:
    steps = slice(case.ahead.start, case.ahead.start + case.ahead.steps)
    last = np.where(np.isfinite(case.last), case.last, case.usual[0])  # what was not observed persists as usual
    forecasts = {"persistence": persistence(last, case.ahead.steps), "climatology": case.usual[None]}
    if ensemble is not None:
        members = ensemble.for_times(record.month[steps], record.hour_utc[steps])
        forecasts["climatology_distribution"] = np.where(np.isfinite(members), members, case.usual)
    return forecasts


def stack_starts(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.stack([part[key] for part in parts]) for key in parts[0]}


def write_scores(verifications: Sequence[Verification], out: Path) -> None:
    """Write `scores.json` and `scores.nc` into the directory `out`."""
    records = [record for verification in verifications for record in verification.records()]
    (out / "scores.json").write_text(json.dumps(records, indent=1, allow_nan=False))
    groups = {f"/{v.task}/{v.forecast}".replace(" ", "_"): v.dataset() for v in verifications}
    xr.DataTree.from_dict(groups).to_netcdf(out / "scores.nc")
