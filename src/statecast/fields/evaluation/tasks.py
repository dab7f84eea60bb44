"""Verification of what a task other than forecasting asks: the middle of a window, another stream, what lies between swaths.

Axes: E member, S start, L asked time, T time of a window, V channel, H row, W column, K threshold.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from statecast.answer import answer
from statecast.fields.evaluation.baselines import interpolate_in_time, interpolate_shown
from statecast.fields.evaluation.reconstruction import fold_time, on_grid
from statecast.fields.evaluation.references import (
    Guess,
    Places,
    QuantileMapping,
    Regression,
    area_of,
    read_place,
    spread_starts,
)
from statecast.fields.evaluation.scores import contingency, statistics
from statecast.fields.evaluation.verification import Verification, every, stack_starts
from statecast.fields.fill import Fill
from statecast.fields.inference.forecast import check_record
from statecast.fields.inference.neighbourhoods import drawn_places, model_windows
from statecast.fields.sources import Record
from statecast.fields.tokenizers import Windows, read_window
from statecast.fields.tokenizers.first_guess import part_of
from statecast.tasks import Interpolate, Refine, Translate
from statecast.trained import ModelError, TrainedModel

Asked = Interpolate | Refine | Translate | Fill
TASKS: Mapping[str, type[Asked]] = {
    "interpolate": Interpolate,
    "refine": Refine,
    "translate": Translate,
    "fill": Fill,
}
EVENTS = (0.9, 0.99)  # quantiles of the training period above which a value is an event: often, and extreme
EVENT_WINDOWS = 60  # of the training period, that thresholds are told from
SEASONS = ("DJF", "MAM", "JJA", "SON")


@dataclass(frozen=True)
class Case:
    """One window of one asked stream: what came true, what is usual, where it was asked. Physical units."""

    truth: Float[np.ndarray, "T V H W"]
    usual: Float[np.ndarray, "T V H W"]
    asked: Bool[np.ndarray, "T V H W"]


Baseline = Callable[[Case, Places], Float[np.ndarray, "T V H W"]]
"""A deterministic answer to a case, in physical units; it may look at what was shown at these places."""


def task_of(trained: TrainedModel) -> Asked:
    """The task that the model was fine-tuned for. Raises ModelError for one that is verified elsewhere."""
    task = trained.recipe.task
    if not isinstance(task, Asked):
        raise ModelError(f"the model was trained for the task '{task.kind}', expected one of {', '.join(TASKS)}.")
    return task


def scored_streams(trained: TrainedModel, records: Mapping[str, Record]) -> tuple[str, ...]:
    """The streams that the model's task asks and that change in time: what never does is no question."""
    task = task_of(trained)
    return task.to if isinstance(task, Translate) else tuple(n for n in trained.codecs if records[n].changes)


def verify_task(
    models: Mapping[str, TrainedModel],
    records: Mapping[str, Record],
    training: Mapping[str, Record] | None = None,
    *,
    every_h: float = 24.0,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Verification]:
    """Verify models that answer the same question, beside climatology and what a specialist would try first.

    interpolate  linear interpolation in time, at each asked time
    refine       the same; times that lie as long after a shown step count as one
    fill         linear interpolation in time and space between what is shown
    translate    linear regression on the shown channels at the same place and time; for channels with a first guess also bilinear
                 interpolation and quantile mapping. Both are fitted to `training`, from which the thresholds of events come too

    records   each stream of the models over the period to verify on, each on its grid, at the same times
    Models that were trained on neighbourhoods are verified on one of them at each start (`neighbourhoods.drawn_places`), and so are baselines;
    what these learn they learn of the whole domain.
    Raises ModelError if a model was trained for another task, grid or extent, StoreError if the period has no window without a gap.
    """
    first = next(iter(models.values()))
    task = task_of(first)
    if any(task_of(model) != task for model in models.values()):
        raise ModelError("the models were trained for different questions. Verify them one by one.")
    windows = model_windows(first)
    for key, model in models.items():
        _require_same_windows(key, model_windows(model), windows)
    for name, tokenizer in first.codecs.items():
        check_record(tokenizer, records[name])
    steps = task.window_slabs * max(t.stream.patch[0] for t in first.codecs.values())
    record = next(iter(records.values()))
    starts = every(record, record.starts(steps), every_h)
    asked_streams = scored_streams(first, records)
    baselines = {name: _baselines(task, first, name, records, training) for name in asked_streams}
    learned = training if isinstance(task, Translate) else None
    events = {name: None if learned is None else Events.of(models, learned, name, steps) for name in asked_streams}
    collected: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    members: dict[str, int] = {}
    for done, start in enumerate(starts):
        places = drawn_places(windows, int(start), steps)
        cases, answers = ask(models, records, places)
        for name, case in ((name, cases[name]) for name in asked_streams):
            forecasts = answers[name] | {k: made(case, places)[None] for k, made in baselines[name].items()}
            for key, fields in forecasts.items():
                members[key] = len(fields)
                area = area_of(records[name].grid, places[name])
                collected.setdefault((name, key), []).append(_score(case, fields, key, area, events[name], task))
        progress((done + 1) / len(starts))
    found = [
        Verification(
            key,
            task.kind if len(asked_streams) == 1 else f"{task.kind} {name}",
            records[name].channels,
            records[name].units,
            _lead_times(task, steps, record.step_h),
            members[key],
            record.hours[starts],
            stack_starts(parts),
        )
        for (name, key), parts in collected.items()
    ]
    return [*found, *_by_season(found, record.month[starts])]


def _require_same_windows(key: str, mine: Windows, first: Windows) -> None:
    for name, shape in mine.shapes.items():
        if name in first.shapes and shape != first.shapes[name]:
            raise ModelError(
                f"model {key}: was trained on windows of {shape[0]} x {shape[1]} points of {name}, the first model on "
                f"{first.shapes[name][0]} x {first.shapes[name][1]}. Verify them one by one."
            )


def _by_season(found: list[Verification], months: Int[np.ndarray, " S"]) -> list[Verification]:
    """The same for the starts of each season, where there are several."""
    season = months % 12 // 3
    if len(np.unique(season)) == 1:
        return []
    return [
        replace(
            v,
            task=f"{v.task} {SEASONS[number]}",
            starts_h=v.starts_h[season == number],
            statistics={name: values[season == number] for name, values in v.statistics.items()},
        )
        for number in np.unique(season)
        for v in found
    ]


@dataclass(frozen=True)
class Events:
    """Values that are rare in the training period, and when an ensemble is taken to forecast one.

    thresholds  quantiles `EVENTS` of each channel
    least       for each model the share of its members above the threshold from which it says so: the one with which it did so as often
                as it came about in the training period. One that forecasts a single value says so if that is above
    """

    thresholds: Float[np.ndarray, "K V"]
    least: Mapping[str, Float[np.ndarray, "K V"]]

    @classmethod
    def of(cls, models: Mapping[str, TrainedModel], training: Mapping[str, Record], name: str, steps: int) -> "Events":
        """Told from windows that are spread evenly over the training period."""
        truths, answers = [], []
        windows = model_windows(next(iter(models.values())))
        for start in spread_starts(training, steps, EVENT_WINDOWS):
            cases, found = ask(models, training, drawn_places(windows, int(start), steps))
            truths.append(cases[name].truth)
            answers.append(found[name])
        truth = np.moveaxis(np.concatenate(truths), 1, -1)  # T H W V
        observed = np.isfinite(truth)
        thresholds = np.nanquantile(truth.reshape(-1, truth.shape[-1]), EVENTS, axis=0)
        least = {}
        for key in models:
            members = np.moveaxis(np.concatenate([a[key] for a in answers], axis=1), 2, -1)  # E T H W V
            least[key] = np.stack([_least(members > limit, truth > limit, observed) for limit in thresholds])
        return cls(thresholds, least)

    def tables(
        self,
        key: str,
        members: Float[np.ndarray, "E V H W"],
        truth: Float[np.ndarray, "V H W"],
        area: Float[np.ndarray, "H W"],
    ) -> dict[str, Float[np.ndarray, " V"]]:
        """Contingency tables of all events, see `scores.contingency`."""
        found: dict[str, np.ndarray] = {}
        for k, quantile in enumerate(EVENTS):
            least = self.least[key][k] if key in self.least else 0.5
            found |= contingency(members, truth, self.thresholds[k], area, f"q{100 * quantile:g}", least)
        return found


def _least(
    above: Bool[np.ndarray, "E T H W V"], true: Bool[np.ndarray, "T H W V"], observed: Bool[np.ndarray, "T H W V"]
) -> Float[np.ndarray, " V"]:
    """The share of members with which an event is forecast as often as it is true, or as nearly as can be."""
    places = (0, 1, 2)
    share = above.mean(axis=0)
    shares = np.arange(1, len(above) + 1) / len(above)
    often = np.stack([((share >= s - 1e-6) & observed).sum(axis=places) for s in shares])
    return shares[np.abs(often - (true & observed).sum(axis=places)).argmin(axis=0)]


def ask(
    models: Mapping[str, TrainedModel], records: Mapping[str, Record], places: Places
) -> tuple[dict[str, Case], dict[str, dict[str, Float[np.ndarray, "E T V H W"]]]]:
    """Put the models' question about the window at `places`: for each asked stream the case and each model's members."""
    first = next(iter(models.values()))
    window = read_window(first.codecs, records, {name: places[name] for name in first.codecs})
    question = task_of(first).complete(window, seed=next(iter(places.values())).start)
    values = {key: answer(model, question) for key, model in models.items()}
    cases, answers = {}, {}
    for name, queries in question.queries.items():
        tokenizer, place = first.codecs[name], places[name]
        usual = tokenizer.usual(records[name], place)
        on_grids = {k: on_grid(tokenizer, window[name], queries, v[name], place) for k, v in values.items()}
        answers[name] = {key: tokenizer.to_fields(anomalies, usual) for key, (anomalies, _) in on_grids.items()}
        truth = read_place(records[name], place)
        asked = next(iter(on_grids.values()))[1]
        if isinstance(task := task_of(first), Refine):  # steps of a token that are shown are not asked
            asked = asked & task.asked_steps(place.steps)[:, None, None, None]
        cases[name] = Case(np.where(np.isfinite(usual), truth, np.nan), usual, asked)
    return cases, answers


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


def _score(
    case: Case,
    fields: Float[np.ndarray, "E T V H W"],
    key: str,
    area: Float[np.ndarray, "H W"],
    events: "Events | None",
    task: Asked,
) -> dict[str, np.ndarray]:
    """Statistics where it was asked: of each lead time, a mean over the gaps of a window, or of all times as one."""
    truth = np.where(case.asked, case.truth, np.nan)
    if isinstance(task, Interpolate | Refine):
        steps = len(truth)
        times = task.asked_steps(steps) if isinstance(task, Refine) else _gap(task, steps)
        of_times = statistics(fields[:, times], truth[times], case.usual[times], area)
        leads = len(_lead_times(task, steps, 1.0))
        return {name: _mean_of_known(mean.reshape(-1, leads, mean.shape[-1])) for name, mean in of_times.items()}
    area = np.tile(area, (len(truth), 1))
    means = statistics(fold_time(fields), fold_time(truth), fold_time(case.usual), area)
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
    made: dict[str, Baseline] = {"climatology": lambda case, places: case.usual}
    if isinstance(task, Interpolate | Refine):
        made["linear"] = lambda case, places: (
            interpolate_in_time(_shown_anomalies(case), _gap(task, len(case.truth))) + case.usual
        )
        return made
    if isinstance(task, Fill):
        grid = trained.codecs[name].climatology.grid
        made["interpolation"] = lambda case, places: (
            interpolate_shown(
                _shown_anomalies(case), ~case.asked[:, 0], periodic=part_of(grid, places[name]).is_periodic
            )
            + case.usual
        )
        return made
    guess = Guess(trained.codecs, name)
    if guess.is_whole:
        made["bilinear"] = lambda case, places: guess(records, places)
    if training is not None:
        shown = tuple(n for n in trained.codecs if n not in task.to)
        steps = task.window_slabs * max(t.stream.patch[0] for t in trained.codecs.values())
        regression = Regression.fit(trained.codecs, shown, name, training, steps)
        made["regression"] = lambda case, places: regression(records, places) + case.usual
        if guess.is_whole:
            mapping = QuantileMapping.fit(guess, training, steps)
            made["quantile_mapping"] = lambda case, places: mapping(records, places)
    return made


def _shown_anomalies(case: Case) -> Float[np.ndarray, "T V H W"]:
    """0 where nothing was observed or it was asked: a baseline can't peep."""
    return np.nan_to_num(np.where(case.asked, 0.0, case.truth - case.usual))
