"""Verification of forecasts beside their baselines. Axes: S start, L lead time, V channel, E member, R rank, T time, H row, W column."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from statecast.evaluation import LabelAxis, Scored, Verification, rank_counts, verify_cases
from statecast.evaluation.loop import Case, Progress, unseen
from statecast.fields.evaluation.baselines import ClimatologicalEnsemble, persistence
from statecast.fields.evaluation.labels import field_axes
from statecast.fields.evaluation.scores import statistics
from statecast.fields.evaluation.states import scored_states, state_scores
from statecast.fields.inference.blocks import forecast_block
from statecast.fields.inference.forecast import check_record, forecast_task
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.inference.rollout import rolled_out
from statecast.fields.sources import Record
from statecast.fields.tokenizers import FieldTokenizer, Located, Place, StreamSource
from statecast.tasks import Forecast
from statecast.trained import ModelError, TrainedModel

DECORRELATION_H = 120.0  # the weather of two times is nearly independent after about five days
DISTRIBUTION = "climatology_distribution"


def verify_windows(
    cases: Sequence[Case],
    hours: Float[np.ndarray, " S"],
    score: Callable[[Case], Iterable[Scored]],
    progress: Progress = unseen,
) -> list[Verification]:
    """The verification loop over windows that begin at `hours` of a record, with intervals from blocks of five days."""
    return verify_cases(
        cases, score, positions=hours, decorrelation=DECORRELATION_H, scores=state_scores, progress=progress
    )


def scored_forecast(
    task: str,
    forecast: str,
    axes: tuple[LabelAxis, ...],
    members: Float[np.ndarray, "E T V H W"],
    truth: Float[np.ndarray, "T V H W"],
    climatology: Float[np.ndarray, "T V H W"] | None,
    area: Float[np.ndarray, "H W"],
    *,
    drawn: bool,
) -> Scored:
    """One forecast of one start, from a model or a file: see `scores.statistics`; the ranks of the truth among several members."""
    means = statistics(members, truth, climatology, area, drawn=drawn)
    ranks = rank_counts(members, truth, axis=(-1, -2)) if len(members) > 1 else None
    return Scored(task, forecast, axes, means, len(members), ranks)


def persisting(
    last: Float[np.ndarray, "V H W"], climatology: Float[np.ndarray, "V H W"] | None
) -> Float[np.ndarray, "V H W"]:
    """The state that persists: the last one; where it was not observed the climatology."""
    return last if climatology is None else np.where(np.isfinite(last), last, climatology)


@dataclass(frozen=True)
class ForecastCase:
    """One start: the truth (NaN where there is no climatology), the climatology, the last known state. Physical units."""

    truth: Float[np.ndarray, "T V H W"]
    climatology: Float[np.ndarray, "T V H W"]
    last: Float[np.ndarray, "V H W"]
    ahead: Place


def verify_forecast(
    models: Mapping[str, TrainedModel],
    records: Record | Mapping[str, Record],
    *,
    training: Record | Mapping[str, Record] | None = None,
    every_h: float = 12.0,
    members: int | None = None,
    progress: Progress = unseen,
) -> list[Verification]:
    """Verify models that answer the same forecast question, beside persistence, climatology and climatology's own distribution.

    records   each stream over the period to verify on, which no training may have seen; of a model of one stream its record will do
    training  the same over the training period, from which climatology's distribution is drawn; without it that baseline is left out
    every_h   hours between starts
    members   so many members of each model are scored too, drawn as `predict` writes them: as the task `members`, see `states`
    progress  called with the share that is done

    A model of several streams is verified on each that changes in time: their tasks are `forecast STREAM`. One that was trained on
    neighbourhoods is asked tile by tile. Raises ModelError if a model is for another task, stream or grid, StoreError if the period has no
    window without a gap.
    """
    first = next(iter(models.values()))
    names = tuple(first.codecs)
    of_streams = by_stream(records, names)
    _require_same_questions(models, of_streams)
    changing = {name: record for name, record in of_streams.items() if record.changes}
    if not changing:
        raise ModelError("the model's streams never change, expected one that does. Fine-tune it to forecast one.")
    learned = {} if training is None else by_stream(training, names)
    ensembles = {name: ClimatologicalEnsemble(record) for name, record in learned.items()}
    score = _ForecastScores(models, forecast_task(first), of_streams, changing, ensembles, members)
    leading = next(iter(of_streams.values()))
    starts = every(leading, leading.starts(score.steps), every_h)
    return verify_windows(starts.tolist(), leading.hours[starts], score, progress)


def by_stream(records: Record | Mapping[str, Record], names: Sequence[str]) -> dict[str, Record]:
    """The record of each stream; a single one is that of the first."""
    return {names[0]: records} if isinstance(records, Record) else {name: records[name] for name in names}


def every(record: Record, starts: Int[np.ndarray, " S"], every_h: float) -> Int[np.ndarray, " S"]:
    """Of `starts` those that are at least `every_h` hours apart."""
    kept = [starts[0]]
    for start in starts[1:]:
        if record.hours[start] - record.hours[kept[-1]] >= every_h - 1e-6:
            kept.append(start)
    return np.array(kept)


@dataclass(frozen=True)
class _ForecastScores:
    """Scores every forecast of the window that begins at a start, of each stream that changes in time."""

    models: Mapping[str, TrainedModel]
    task: Forecast
    records: Mapping[str, Record]
    changing: Mapping[str, Record]
    ensembles: Mapping[str, ClimatologicalEnsemble]
    members: int | None = None

    @property
    def tokenizers(self) -> Mapping[str, FieldTokenizer]:
        return next(iter(self.models.values())).codecs

    @property
    def depth(self) -> int:
        return slab_depth(next(iter(self.models.values())))

    @property
    def history(self) -> int:
        """Time steps that are shown."""
        return self.task.history * self.depth

    @property
    def steps(self) -> int:
        """Time steps of a window."""
        return self.task.window_slabs * self.depth

    def __call__(self, start: int) -> Iterator[Scored]:
        blocks = {}
        for key, model in self.models.items():
            blocks[key] = forecast_block(model, self.task, self.records, start)
        for name, record in self.changing.items():
            tokenizer = self.tokenizers[name]
            window = StreamSource(record, tokenizer).whole(start, self.steps)
            case = forecast_case(window, self.history)
            forecasts = {key: tokenizer.to_fields(block[name], case.climatology) for key, block in blocks.items()}
            forecasts |= _baselines(case, record, self.ensembles.get(name))
            for forecast, members in forecasts.items():
                yield self._scored(name, forecast, case, members)
            if self.members is not None:
                yield from self._scored_states(name, case, start, forecasts.get(DISTRIBUTION))

    def _scored_states(
        self, name: str, case: ForecastCase, start: int, distribution: Float[np.ndarray, "E T V H W"] | None
    ) -> Iterator[Scored]:
        """Of the members that `predict` writes, and of the states that the climatology's distribution holds."""
        assert self.members is not None
        record, tokenizer = self.changing[name], self.tokenizers[name]
        parts = {key: each.part(start, self.steps) for key, each in self.records.items()}
        forecasts = {}
        for key, model in self.models.items():
            anomalies = rolled_out(model, self.task, parts, 1, self.members)[name]
            forecasts[key] = tokenizer.to_fields(anomalies, case.climatology)
        if distribution is not None:
            forecasts[DISTRIBUTION] = distribution
        task = "members" if len(self.changing) == 1 else f"members {name}"
        for forecast, members in forecasts.items():
            yield from scored_states(task, forecast, record, members, case.truth, case.climatology)

    def _scored(self, name: str, forecast: str, case: ForecastCase, members: Float[np.ndarray, "E T V H W"]) -> Scored:
        record = self.changing[name]
        lead_times = record.step_h * np.arange(1, len(case.truth) + 1)
        return scored_forecast(
            "forecast" if len(self.changing) == 1 else f"forecast {name}",
            forecast,
            field_axes(record, [float(hours) for hours in lead_times]),
            members,
            case.truth,
            case.climatology,
            record.grid.cell_area,
            drawn=self._are_drawn(forecast),
        )

    def _are_drawn(self, forecast: str) -> bool:
        """Whether the members of a forecast are drawn at random; otherwise they stand for quantiles."""
        return forecast == DISTRIBUTION or (forecast in self.models and self.models[forecast].model.draws_states)


def _require_same_questions(models: Mapping[str, TrainedModel], records: Mapping[str, Record]) -> None:
    """Raises ModelError for a model of another task, stream, climatology or grid than the first one."""
    first = next(iter(models.values()))
    for name, record in records.items():
        for key, other in models.items():
            _require_same_question(key, other, forecast_task(first), name, first.codecs[name])
        check_record(first.codecs[name], record)


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
    for part in ("mean", "anomaly_std"):
        their_part, our_part = (getattr(known.climatology, part) for known in (theirs, tokenizer))
        if not np.array_equal(their_part, our_part, equal_nan=True):
            raise ModelError(
                f"model {key}: was trained with another climatology than the first model. Verify them one by one."
            )


def forecast_case(window: Located, history: int) -> ForecastCase:
    """Of a window whose first `history` steps are visible."""
    ahead = window.from_step(history)
    truth = np.where(np.isfinite(ahead.climatology), window.fields[history:], np.nan)
    return ForecastCase(truth, ahead.climatology, window.fields[history - 1], ahead.place)


def _baselines(
    case: ForecastCase, record: Record, ensemble: ClimatologicalEnsemble | None
) -> dict[str, Float[np.ndarray, "E T V H W"]]:
    last = persisting(case.last, case.climatology[0])
    forecasts = {"persistence": persistence(last, case.ahead.steps), "climatology": case.climatology[None]}
    if ensemble is not None:
        steps = case.ahead.time_steps
        members = ensemble.for_times(record.month[steps], record.hour_utc[steps])
        forecasts[DISTRIBUTION] = np.where(np.isfinite(members), members, case.climatology)
    return forecasts
