"""Verification of what a task other than forecasting asks: the middle of a window, another stream, what lies between swaths.

Axes: E member, S start, L asked time, T time of a window, V channel, H row, W column, X shown value, N point.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from statecast.evaluation.baselines import interpolate_in_time, interpolate_shown
from statecast.evaluation.reconstruction import fold_time, on_grid
from statecast.evaluation.scores import statistics
from statecast.evaluation.verification import Verification, every, stack_starts
from statecast.inference.answer import answer
from statecast.sources import Record
from statecast.streams import Window
from statecast.tasks import Fill, Interpolate, Translate
from statecast.tokenizers import Place
from statecast.tokenizers.windows import whole_domain
from statecast.trained import ModelError, TrainedModel

TASKS: Mapping[str, type[Interpolate] | type[Translate] | type[Fill]] = {
    "interpolate": Interpolate,
    "translate": Translate,
    "fill": Fill,
}
RIDGE = 1e-3  # of the mean variance of what is shown, so that channels that repeat one another don't blow weights up
REGRESSION_WINDOWS = 400


@dataclass(frozen=True)
class Case:
    """One window of one asked stream: what came true, what is usual, where it was asked. Physical units."""

    truth: Float[np.ndarray, "T V H W"]
    usual: Float[np.ndarray, "T V H W"]
    asked: Bool[np.ndarray, "T V H W"]


Baseline = Callable[[Case, Window, Place], Float[np.ndarray, "T V H W"]]
"""A deterministic answer to a case, in physical units; it may look at the window's tokens as far as they were shown."""


def task_of(trained: TrainedModel) -> Interpolate | Translate | Fill:
    """The task that the model was fine-tuned for. Raises ModelError for one that is verified elsewhere."""
    task = trained.recipe["task"]
    if task["kind"] not in TASKS:
        raise ModelError(f"the model was trained for the task '{task['kind']}', expected one of {', '.join(TASKS)}.")
    return TASKS[task["kind"]].model_validate(task)


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
    fill         linear interpolation in time and space between what is shown
    translate    linear regression on the shown channels at the same place and time, fitted to `training`

    records   each stream of the models over the period to verify on, all on one grid
    Raises ModelError if a model was trained for another task, StoreError if the period has no window without a gap.
    """
    first = next(iter(models.values()))
    task = task_of(first)
    if any(task_of(model) != task for model in models.values()):
        raise ModelError("the models were trained for different questions. Verify them one by one.")
    steps = task.slabs * max(t.stream.patch[0] for t in first.tokenizers.values())
    record = next(iter(records.values()))
    starts = every(record, record.starts(steps), every_h)
    asked_streams = task.to if isinstance(task, Translate) else tuple(first.tokenizers)
    baselines = {name: _baselines(task, first, name, training) for name in asked_streams}
    collected: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    members: dict[str, int] = {}
    for done, start in enumerate(starts):
        place = whole_domain(record.grid, int(start), steps)
        window, cases, answers = ask(models, records, place)
        for name, case in cases.items():
            forecasts = answers[name] | {k: made(case, window, place)[None] for k, made in baselines[name].items()}
            for key, fields in forecasts.items():
                members[key] = len(fields)
                collected.setdefault((name, key), []).append(_score(case, fields, record, by_time=_has_leads(task)))
        progress((done + 1) / len(starts))
    return [
        Verification(
            key,
            task.kind if len(asked_streams) == 1 else f"{task.kind} {name}",
            records[name].channels,
            records[name].units,
            _lead_times(task, first, record),
            members[key],
            record.hours[starts],
            stack_starts(parts),
        )
        for (name, key), parts in collected.items()
    ]


def ask(
    models: Mapping[str, TrainedModel], records: Mapping[str, Record], place: Place
) -> tuple[Window, dict[str, Case], dict[str, dict[str, Float[np.ndarray, "E T V H W"]]]]:
    """Put the models' question about the window at `place`: its tokens, and for each asked stream the case and each model's members."""
    first = next(iter(models.values()))
    window = {name: first.tokenizers[name].tokenize(records[name], place) for name in first.tokenizers}
    question = task_of(first).complete(window, seed=place.start)
    values = {key: answer(model, question) for key, model in models.items()}
    cases, answers = {}, {}
    for name, queries in question.queries.items():
        tokenizer = first.tokenizers[name]
        usual = tokenizer.usual(records[name], place)
        on_grids = {k: on_grid(tokenizer, window[name], queries, v[name], place) for k, v in values.items()}
        answers[name] = {key: tokenizer.to_fields(anomalies, usual) for key, (anomalies, _) in on_grids.items()}
        truth = records[name].read(slice(place.start, place.start + place.steps))
        asked = next(iter(on_grids.values()))[1]
        cases[name] = Case(np.where(np.isfinite(usual), truth, np.nan), usual, asked)
    return window, cases, answers


def _has_leads(task: Interpolate | Translate | Fill) -> bool:
    return isinstance(task, Interpolate)


def _lead_times(
    task: Interpolate | Translate | Fill, trained: TrainedModel, record: Record
) -> tuple[float | None, ...]:
    """Hours after the last step that is shown before the gap; None where all times are one."""
    if not isinstance(task, Interpolate):
        return (None,)
    depth = max(t.stream.patch[0] for t in trained.tokenizers.values())
    return tuple(float(record.step_h * k) for k in range(1, task.between * depth + 1))


def _score(
    case: Case, fields: Float[np.ndarray, "E T V H W"], record: Record, *, by_time: bool
) -> dict[str, np.ndarray]:
    """Statistics where it was asked: of each time that was, or of all as one."""
    truth = np.where(case.asked, case.truth, np.nan)
    if by_time:
        times = case.asked.any(axis=(1, 2, 3))
        return statistics(fields[:, times], truth[times], case.usual[times], record.grid.cell_area)
    area = np.tile(record.grid.cell_area, (len(truth), 1))
    means = statistics(fold_time(fields), fold_time(truth), fold_time(case.usual), area)
    return {name: mean[None] for name, mean in means.items()}


def _baselines(
    task: Interpolate | Translate | Fill, trained: TrainedModel, name: str, training: Mapping[str, Record] | None
) -> dict[str, Baseline]:
    made: dict[str, Baseline] = {"climatology": lambda case, window, place: case.usual}
    if isinstance(task, Interpolate):
        made["linear"] = lambda case, window, place: (
            interpolate_in_time(_shown_anomalies(case), np.asarray(case.asked.any(axis=(1, 2, 3)))) + case.usual
        )
    elif isinstance(task, Fill):
        periodic = trained.tokenizers[name].climatology.grid.is_periodic
        made["interpolation"] = lambda case, window, place: (
            interpolate_shown(_shown_anomalies(case), ~case.asked[:, 0], periodic=periodic) + case.usual
        )
    elif training is not None:
        regression = Regression.fit(trained, task, name, training)
        made["regression"] = lambda case, window, place: regression(window, place) + case.usual
    return made


def _shown_anomalies(case: Case) -> Float[np.ndarray, "T V H W"]:
    """0 where nothing was observed or it was asked: a baseline can't peep."""
    return np.nan_to_num(np.where(case.asked, 0.0, case.truth - case.usual))


@dataclass(frozen=True)
class Regression:
    """Linear regression of one stream's anomalies on those of the shown streams at the same place and time.

    One set of weights for each band of latitude and each asked channel, by least squares with a small ridge.
    """

    trained: TrainedModel
    shown: tuple[str, ...]
    weights: Float[np.ndarray, "H X V"]

    @classmethod
    def fit(cls, trained: TrainedModel, task: Translate, name: str, training: Mapping[str, Record]) -> "Regression":
        """From windows that are spread evenly over the training period."""
        shown = tuple(n for n in trained.tokenizers if n not in task.to)
        steps = task.slabs * max(t.stream.patch[0] for t in trained.tokenizers.values())
        starts = training[name].starts(steps)
        chosen = starts[np.unique(np.linspace(0, len(starts) - 1, REGRESSION_WINDOWS).astype(int))]
        products: np.ndarray | float = 0.0
        moments: np.ndarray | float = 0.0
        for start in chosen:
            place = whole_domain(training[name].grid, int(start), steps)
            window = {n: trained.tokenizers[n].tokenize(training[n], place) for n in trained.tokenizers}
            x = cls._channels(trained, shown, window, place)
            y = trained.tokenizers[name].to_anomalies(window[name].values, place)
            seen = trained.tokenizers[name].to_anomalies(window[name].observed.float(), place) > 0
            x = np.where(seen.all(axis=1, keepdims=True), x, 0.0)
            products = products + np.einsum("txhw,tvhw->hxv", x, np.where(seen, y, 0.0))
            moments = moments + np.einsum("txhw,tyhw->hxy", x, x)
        size = np.asarray(moments).shape[-1]
        ridge = RIDGE * np.trace(moments, axis1=1, axis2=2)[:, None, None] / size * np.eye(size)
        return cls(trained, shown, np.linalg.solve(moments + ridge, products))

    def __call__(self, window: Window, place: Place) -> Float[np.ndarray, "T V H W"]:
        """Anomalies of the asked stream."""
        x = self._channels(self.trained, self.shown, window, place)
        return np.einsum("txhw,hxv->tvhw", x, self.weights)

    @staticmethod
    def _channels(
        trained: TrainedModel, shown: tuple[str, ...], window: Window, place: Place
    ) -> Float[np.ndarray, "T X H W"]:
        parts = [trained.tokenizers[n].to_anomalies(window[n].values, place) for n in shown]
        scaled = [
            part / trained.tokenizers[n].climatology.anomaly_std[:, None, None]
            for part, n in zip(parts, shown, strict=True)
        ]
        return np.concatenate(scaled, axis=1)
