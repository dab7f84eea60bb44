"""Verification of what a task other than forecasting asks: the middle of a window, another stream, what lies between swaths.

Axes: E member, S start, L lead time, G gap, T time of a window, V channel, H row, W column.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from statecast.evaluation import Scored, Verification
from statecast.evaluation.loop import Progress, unseen
from statecast.fields.evaluation.baselines import interpolate_in_time, interpolate_shown
from statecast.fields.evaluation.cases import Case, ask, scored_streams, task_of, window_steps
from statecast.fields.evaluation.events import Events
from statecast.fields.evaluation.labels import field_axes
from statecast.fields.evaluation.reconstruction import fold_time
from statecast.fields.evaluation.references import QuantileMapping, Regression, is_wholly_guessed
from statecast.fields.evaluation.scores import statistics
from statecast.fields.evaluation.verification import every, verify_windows
from statecast.fields.inference.forecast import check_record
from statecast.fields.inference.neighbourhoods import drawn_places, model_windows
from statecast.fields.recipe import FieldTask
from statecast.fields.sources import Grid, Record
from statecast.fields.tokenizers import Located, StreamSource, Windows, located, sources_of
from statecast.fields.tokenizers.first_guess import first_guess
from statecast.trained import ModelError, TrainedModel

SEASONS = ("DJF", "MAM", "JJA", "SON")

Baseline = Callable[[Case, Mapping[str, Located]], Float[np.ndarray, "T V H W"]]
"""A deterministic answer to a case, in physical units; it may use the visible streams of the window."""


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
    of_training = None if training is None else _sources(first, training)
    score = _TaskScores.of(models, _sources(first, records), of_training)
    leading = next(iter(records.values()))
    starts = every(leading, leading.starts(score.steps), every_h)
    verifications = verify_windows(starts.tolist(), leading.hours[starts], score, progress)
    return [*verifications, *_by_season(verifications, leading.month[starts])]


@dataclass(frozen=True)
class _TaskScores:
    """Scores every answer about the window that begins at a start, of each asked stream.

    baselines  of each asked stream
    events     of the streams that have some
    """

    models: Mapping[str, TrainedModel]
    sources: Mapping[str, StreamSource]
    windows: Windows
    steps: int
    baselines: Mapping[str, Mapping[str, Baseline]]
    events: Mapping[str, Events]

    @classmethod
    def of(
        cls,
        models: Mapping[str, TrainedModel],
        sources: Mapping[str, StreamSource],
        training: Mapping[str, StreamSource] | None,
    ) -> "_TaskScores":
        """Baselines that learn, and events, are fitted to `training`."""
        first = next(iter(models.values()))
        steps = window_steps(first)
        baselines: dict[str, Mapping[str, Baseline]] = {}
        events: dict[str, Events] = {}
        records = {name: source.record for name, source in sources.items()}
        for name in scored_streams(first, records):
            baselines[name] = _baselines(first, name, training)
            if training is not None and name in task_of(first).hidden_streams:
                events[name] = Events.of(models, training, name, steps)
        return cls(models, sources, model_windows(first), steps, baselines, events)

    def __call__(self, start: int) -> Iterator[Scored]:
        window = located(self.sources, drawn_places(self.windows, start, self.steps))
        cases, answers = ask(self.models, window)
        for name, baselines in self.baselines.items():
            forecasts = dict(answers[name])
            for key, baseline in baselines.items():
                forecasts[key] = baseline(cases[name], window)[None]
            for key, fields in forecasts.items():
                yield self._scored(name, key, cases[name], fields, window[name])

    def _scored(
        self, name: str, forecast: str, case: Case, fields: Float[np.ndarray, "E T V H W"], stream: Located
    ) -> Scored:
        task, record = task_of(next(iter(self.models.values()))), stream.record
        drawn = forecast in self.models and self.models[forecast].model.draws_states
        means = _statistics(case, fields, forecast, stream.cell_area, self.events.get(name), task, drawn=drawn)
        axes = field_axes(record, _lead_times(task, self.steps, record.step_h))
        label = task.kind if len(self.baselines) == 1 else f"{task.kind} {name}"
        return Scored(label, forecast, axes, means, len(fields))


def _sources(trained: TrainedModel, records: Mapping[str, Record]) -> dict[str, StreamSource]:
    """The streams of the model, in its order."""
    return sources_of(trained.codecs, {name: records[name] for name in trained.codecs})


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


def _lead_times(task: FieldTask, steps: int, step_h: float) -> tuple[float | None, ...]:
    """Hours after the last step that is shown before a gap; None where all times count as one."""
    gaps = task.gaps(steps)
    if not gaps:
        return (None,)
    return tuple(step_h * k for k in range(1, len(gaps[0]) + 1))


def _statistics(
    case: Case,
    fields: Float[np.ndarray, "E T V H W"],
    key: str,
    area: Float[np.ndarray, "H W"],
    events: Events | None,
    task: FieldTask,
    *,
    drawn: bool,
) -> dict[str, np.ndarray]:
    """Statistics where it was asked: of each lead time, a mean over the gaps of a window, or of all times as one."""
    truth = np.where(case.asked, case.truth, np.nan)
    gaps = task.gaps(len(truth))
    if gaps:
        times = task.asked_steps(len(truth))
        of_times = statistics(fields[:, times], truth[times], case.climatology[times], area, drawn=drawn)
        shape = (len(gaps), len(gaps[0]), -1)
        return {name: _mean_of_known(mean.reshape(shape)) for name, mean in of_times.items()}
    area = np.tile(area, (len(truth), 1))
    means = statistics(fold_time(fields), fold_time(truth), fold_time(case.climatology), area, drawn=drawn)
    if events is not None:
        means |= events.tables(key, fold_time(fields), fold_time(truth), area)
    return {name: mean[None] for name, mean in means.items()}


def _mean_of_known(values: Float[np.ndarray, "G L V"]) -> Float[np.ndarray, "L V"]:
    """Over the gaps of a window in which something was observed; NaN where in none."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(total.shape, np.nan), where=known.any(axis=0))


def _baselines(trained: TrainedModel, name: str, training: Mapping[str, StreamSource] | None) -> dict[str, Baseline]:
    """Of one asked stream, by their names."""
    task = task_of(trained)
    baselines: dict[str, Baseline] = {"climatology": lambda case, window: case.climatology}
    if name in task.hidden_streams:
        return baselines | _baselines_from_others(trained, name, training)
    if task.gaps(window_steps(trained)):
        baselines["linear"] = lambda case, window: _linear_in_time(case, task)
        return baselines
    baselines["interpolation"] = lambda case, window: _interpolated(case, window[name].grid)
    return baselines


def _linear_in_time(case: Case, task: FieldTask) -> Float[np.ndarray, "T V H W"]:
    """Between the steps that are shown."""
    is_hidden = ~task.visible_steps(len(case.truth))
    return interpolate_in_time(_shown_anomalies(case), is_hidden) + case.climatology


def _interpolated(case: Case, grid: Grid) -> Float[np.ndarray, "T V H W"]:
    """Between the points at which the first channel is shown."""
    shown = ~case.asked[:, 0]
    return interpolate_shown(_shown_anomalies(case), shown, periodic=grid.is_periodic) + case.climatology


def _baselines_from_others(
    trained: TrainedModel, name: str, training: Mapping[str, StreamSource] | None
) -> dict[str, Baseline]:
    """Of a stream that is never visible: estimates from the visible streams."""
    baselines: dict[str, Baseline] = {}
    is_guessed = is_wholly_guessed(name, trained.codecs)
    if is_guessed:
        baselines["bilinear"] = lambda case, window: first_guess(name, window)
    if training is not None:
        visible = tuple(other for other in trained.codecs if other not in task_of(trained).hidden_streams)
        regression = Regression.fit(visible, name, training, window_steps(trained))
        baselines["regression"] = lambda case, window: regression(window) + case.climatology
        if is_guessed:
            mapping = QuantileMapping.fit(name, training, window_steps(trained))
            baselines["quantile_mapping"] = lambda case, window: mapping(window)
    return baselines


def _shown_anomalies(case: Case) -> Float[np.ndarray, "T V H W"]:
    """0 where nothing was observed or it was asked: a baseline can't peep."""
    return np.nan_to_num(np.where(case.asked, 0.0, case.truth - case.climatology))
