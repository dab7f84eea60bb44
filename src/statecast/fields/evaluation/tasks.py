"""Verification of what a task other than forecasting asks: the middle of a window, another stream, what lies between swaths.

Axes: E member, S start, L lead time, G gap, T time of a window, V channel, H row, W column.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from statecast.evaluation import Scored, Verification
from statecast.evaluation.loop import Progress, unseen
from statecast.fields.evaluation.baselines import interpolate_in_time, interpolate_shown
from statecast.fields.evaluation.cases import Asked, Case, ask, scored_streams, task_of, window_steps
from statecast.fields.evaluation.events import Events
from statecast.fields.evaluation.labels import field_axes
from statecast.fields.evaluation.reconstruction import fold_time
from statecast.fields.evaluation.references import Guess, Places, QuantileMapping, Regression, area_of
from statecast.fields.evaluation.scores import statistics
from statecast.fields.evaluation.verification import every, verify_windows
from statecast.fields.fill import Fill
from statecast.fields.inference.forecast import check_record
from statecast.fields.inference.neighbourhoods import drawn_places, model_windows
from statecast.fields.sources import Record
from statecast.fields.tokenizers import Place, Windows
from statecast.fields.tokenizers.first_guess import part_of
from statecast.tasks import Interpolate, Refine, Translate
from statecast.trained import ModelError, TrainedModel

SEASONS = ("DJF", "MAM", "JJA", "SON")

Baseline = Callable[[Case, Places], Float[np.ndarray, "T V H W"]]
"""A deterministic answer to a case, in physical units; it may use what was shown at these places."""


def verify_task(
    models: Mapping[str, TrainedModel],
    records: Mapping[str, Record],
    training: Mapping[str, Record] | None = None,
    *,
    every_h: float = 24.0,
    progress: Progress = unseen,
) -> list[Verification]:
    """Verify models that answer the same question, beside climatology and what a specialist would try first.

    interpolate  linear interpolation in time, at each asked time
    refine       the same; times that lie as long after a shown step count as one
    fill         linear interpolation in time and space between what is shown
    translate    linear regression on the shown channels at the same place and time; for channels with a first guess also bilinear
                 interpolation and quantile mapping. Both are fitted to `training`, from which the thresholds of events come too

    records   each stream of the models over the period to verify on, each on its grid, at the same times
    Models that were trained on neighbourhoods are verified on one of them at each start (`neighbourhoods.drawn_places`), and so are
    baselines; what these learn they learn from the whole domain.
    Raises ModelError if a model was trained for another task, grid or extent, StoreError if the period has no window without a gap.
    """
    _require_same_questions(models)
    first = next(iter(models.values()))
    for name, tokenizer in first.codecs.items():
        check_record(tokenizer, records[name])
    score = _TaskScores.of(models, records, training)
    leading = next(iter(records.values()))
    starts = every(leading, leading.starts(score.steps), every_h)
    verifications = verify_windows(starts.tolist(), leading.hours[starts], score, progress)
    return [*verifications, *_by_season(verifications, leading.month[starts])]


@dataclass(frozen=True)
class _TaskScores:
    """Scores every answer about the window that begins at a start, of each asked stream.

    baselines, events  of each asked stream; events is None where there are none
    """

    models: Mapping[str, TrainedModel]
    records: Mapping[str, Record]
    windows: Windows
    steps: int
    baselines: Mapping[str, Mapping[str, Baseline]]
    events: Mapping[str, Events | None]

    @classmethod
    def of(
        cls, models: Mapping[str, TrainedModel], records: Mapping[str, Record], training: Mapping[str, Record] | None
    ) -> "_TaskScores":
        """Baselines that learn, and events, are fitted to `training`."""
        first = next(iter(models.values()))
        task, steps = task_of(first), window_steps(first)
        learned = training if isinstance(task, Translate) else None
        baselines: dict[str, Mapping[str, Baseline]] = {}
        events: dict[str, Events | None] = {}
        for name in scored_streams(first, records):
            baselines[name] = _baselines(task, first, name, records, training)
            events[name] = None if learned is None else Events.of(models, learned, name, steps)
        return cls(models, records, model_windows(first), steps, baselines, events)

    def __call__(self, start: int) -> Iterator[Scored]:
        places = drawn_places(self.windows, start, self.steps)
        cases, answers = ask(self.models, self.records, places)
        for name, baselines in self.baselines.items():
            forecasts = dict(answers[name])
            for key, baseline in baselines.items():
                forecasts[key] = baseline(cases[name], places)[None]
            for key, fields in forecasts.items():
                yield self._scored(name, key, cases[name], fields, places[name])

    def _scored(
        self, name: str, forecast: str, case: Case, fields: Float[np.ndarray, "E T V H W"], place: Place
    ) -> Scored:
        task, record = task_of(next(iter(self.models.values()))), self.records[name]
        area = area_of(record.grid, place)
        means = _statistics(case, fields, forecast, area, self.events[name], task)
        axes = field_axes(record, _lead_times(task, self.steps, record.step_h))
        label = task.kind if len(self.baselines) == 1 else f"{task.kind} {name}"
        return Scored(label, forecast, axes, means, len(fields))


def _require_same_questions(models: Mapping[str, TrainedModel]) -> None:
    """Raises ModelError for a model of another task or extent than the first one."""
    first = next(iter(models.values()))
    if any(task_of(model) != task_of(first) for model in models.values()):
        raise ModelError("the models were trained for different questions. Verify them one by one.")
    for key, model in models.items():
        _require_same_windows(key, model_windows(model), model_windows(first))


def _require_same_windows(key: str, mine: Windows, first: Windows) -> None:
    for name, shape in mine.shapes.items():
        if name in first.shapes and shape != first.shapes[name]:
            raise ModelError(
                f"model {key}: was trained on windows of {shape[0]} x {shape[1]} points of {name}, the first model on "
                f"{first.shapes[name][0]} x {first.shapes[name][1]}. Verify them one by one."
            )


def _by_season(verifications: Sequence[Verification], months: Int[np.ndarray, " S"]) -> list[Verification]:
    """The same for the starts of each season, where there are several."""
    season = months % 12 // 3
    present = np.unique(season)
    if len(present) == 1:
        return []
    of_seasons = []
    for number in present:
        for verification in verifications:
            chosen = verification.of_cases(season == number)
            of_seasons.append(replace(chosen, task=f"{verification.task} {SEASONS[number]}"))
    return of_seasons


def _lead_times(task: Asked, steps: int, step_h: float) -> tuple[float | None, ...]:
    """Hours after the last step that is shown before the gap; None where all times are one."""
    match task:
        case Interpolate():
            between = task.between * steps // task.window_slabs
        case Refine():
            between = task.every - 1
        case _:
            return (None,)
    return tuple(step_h * k for k in range(1, between + 1))


def _gap(task: Interpolate | Refine, steps: int) -> Bool[np.ndarray, " T"]:
    """True for the steps of a window that are not shown."""
    if isinstance(task, Refine):
        return ~task.shown_steps(steps)
    slab = np.arange(steps) * task.window_slabs // steps
    return (slab >= task.before) & (slab < task.before + task.between)


def _statistics(
    case: Case,
    fields: Float[np.ndarray, "E T V H W"],
    key: str,
    area: Float[np.ndarray, "H W"],
    events: Events | None,
    task: Asked,
) -> dict[str, np.ndarray]:
    """Statistics where it was asked: of each lead time, a mean over the gaps of a window, or of all times as one."""
    truth = np.where(case.asked, case.truth, np.nan)
    if isinstance(task, Interpolate | Refine):
        steps = len(truth)
        times = task.asked_steps(steps) if isinstance(task, Refine) else _gap(task, steps)
        of_times = statistics(fields[:, times], truth[times], case.climatology[times], area)
        leads = len(_lead_times(task, steps, 1.0))
        return {name: _mean_of_known(mean.reshape(-1, leads, mean.shape[-1])) for name, mean in of_times.items()}
    area = np.tile(area, (len(truth), 1))
    means = statistics(fold_time(fields), fold_time(truth), fold_time(case.climatology), area)
    if events is not None:
        means |= events.tables(key, fold_time(fields), fold_time(truth), area)
    return {name: mean[None] for name, mean in means.items()}


def _mean_of_known(values: Float[np.ndarray, "G L V"]) -> Float[np.ndarray, "L V"]:
    """Over the gaps of a window in which something was observed; NaN where in none."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0))


def _baselines(
    task: Asked,
    trained: TrainedModel,
    name: str,
    records: Mapping[str, Record],
    training: Mapping[str, Record] | None,
) -> dict[str, Baseline]:
    made: dict[str, Baseline] = {"climatology": lambda case, places: case.climatology}
    if isinstance(task, Interpolate | Refine):
        made["linear"] = lambda case, places: (
            interpolate_in_time(_shown_anomalies(case), _gap(task, len(case.truth))) + case.climatology
        )
        return made
    if isinstance(task, Fill):
        grid = trained.codecs[name].climatology.grid
        made["interpolation"] = lambda case, places: (
            interpolate_shown(
                _shown_anomalies(case), ~case.asked[:, 0], periodic=part_of(grid, places[name]).is_periodic
            )
            + case.climatology
        )
        return made
    guess = Guess(trained.codecs, name)
    if guess.is_whole:
        made["bilinear"] = lambda case, places: guess(records, places)
    if training is not None:
        shown = tuple(n for n in trained.codecs if n not in task.to)
        steps = window_steps(trained)
        regression = Regression.fit(trained.codecs, shown, name, training, steps)
        made["regression"] = lambda case, places: regression(records, places) + case.climatology
        if guess.is_whole:
            mapping = QuantileMapping.fit(guess, training, steps)
            made["quantile_mapping"] = lambda case, places: mapping(records, places)
    return made


def _shown_anomalies(case: Case) -> Float[np.ndarray, "T V H W"]:
    """0 where nothing was observed or it was asked: a baseline can't peep."""
    return np.nan_to_num(np.where(case.asked, 0.0, case.truth - case.climatology))
