"""Verification at stations beside climatology, persistence, interpolation and model output statistics.

Axes: E member, T time, V variable, S station, L lead time, N token, P value in a token, H, W grid.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.answer import answer
from statecast.evaluation import LabelAxis, Scored, Verification, rank_counts
from statecast.evaluation.loop import Progress, unseen
from statecast.fields.evaluation.answers import asked_points, on_grid
from statecast.fields.evaluation.labels import channel_axis, lead_time_axis
from statecast.fields.evaluation.mos import Mos, last_of
from statecast.fields.evaluation.reconstruction import SHARES, fold_time, plain_mask
from statecast.fields.evaluation.scores import statistics
from statecast.fields.evaluation.verification import every, verify_windows
from statecast.fields.recipe import FieldTask
from statecast.fields.source import FieldSource
from statecast.fields.stations.points import at_points, interpolated
from statecast.fields.stations.series import StationWindow
from statecast.fields.stations.table import StationError
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import Located, located
from statecast.streams import Question, Window
from statecast.tasks import Masked
from statecast.trained import TrainedModel

MOST_PERSISTENT = 40  # steps before the first asked one in which the last report is looked for

Values = Float[np.ndarray, "T V 1 S"]


def verify_stations(
    models: Mapping[str, TrainedModel],
    source: FieldSource,
    training: FieldSource | None = None,
    *,
    every_h: float = 12.0,
    progress: Progress = unseen,
) -> list[Verification]:
    """Verify models that answer the same question on each asked stream of stations; all reports count alike.

    climatology    of the station
    persistence    the last report before the first asked step, of at most `MOST_PERSISTENT` steps before
    interpolation  bilinear, of the field beside the variable: the visible one or, in a forecast, the one that the first model forecasts
    mos            see `Mos`; only with `training`, the reports and fields of the training period

    Where stations and fields are hidden together (masked), only the first two are scored: what lies beside is hidden too. There a share of
    single tokens is hidden, as of fields. Raises StationError for a variable without a report that can be scored.
    """
    score = _StationScores.of(models, source, training)
    record = source.record
    starts = every(record, source.sampler.starts, max(every_h, 48.0) if score.is_masked else every_h)
    cases = [(name, int(start)) for name in score.tasks for start in starts]
    found = verify_windows(cases, np.tile(record.hours[starts], len(score.tasks)), score, progress)
    _require_scores(found)
    return found


@dataclass(frozen=True)
class _StationScores:
    """Scores every answer about the window that begins at a start, at the stations that report in it."""

    models: Mapping[str, TrainedModel]
    source: FieldSource
    tasks: Mapping[str, FieldTask]
    mos: Mapping[str, Mos]

    @classmethod
    def of(
        cls, models: Mapping[str, TrainedModel], source: FieldSource, training: FieldSource | None
    ) -> "_StationScores":
        task = next(iter(models.values())).recipe.task
        if isinstance(task, Masked):
            tasks = {f"masked {share:.0%}": plain_mask(share, task.window_slabs) for share in SHARES}
            return cls(models, source, tasks, {})
        score = cls(models, source, {task.kind: task}, {})
        return score if training is None else replace(score, mos=score._fitted(training))

    @property
    def is_masked(self) -> bool:
        return isinstance(next(iter(self.tasks.values())), Masked)

    @property
    def steps(self) -> int:
        return self.source.sampler.steps

    def _fitted(self, training: FieldSource) -> dict[str, Mos]:
        """For each asked stream, where fields are visible at the asked or at an earlier step."""
        task = next(iter(self.tasks.values()))
        fields = tuple(n for n, s in training.streams.items() if s.record.changes and n not in task.hidden_streams)
        history = self._history(task)
        if not fields or not (task.asks_ahead or task.hidden_streams):
            return {}
        return {
            name: Mos.fit(fields, history, training.stations[name], training.streams, self.steps)
            for name in self._asked(task)
        }

    def _history(self, task: FieldTask) -> int | None:
        """Steps that are visible before all others are asked; None if a task asks otherwise."""
        return int(task.visible_steps(self.steps).sum()) if task.asks_ahead else None

    def _asked(self, task: FieldTask) -> list[str]:
        return [name for name in task.asked_streams(self.source.codecs) if name in self.source.stations]

    def __call__(self, case: tuple[str, int]) -> Iterator[Scored]:
        title, start = case
        task, source = self.tasks[title], self.source
        places = source.windows.drawn(start, self.steps)
        place = places[source.windows.drawn_on]
        window, fields = source.read(place, places), located(source.streams, places)
        question = replace(task.complete(window, seed=start), seed=torch.tensor(start))
        answers = {key: answer(model, question) for key, model in self.models.items()}
        several = len(task.asked_streams(source.codecs)) > 1
        for name, reported in source.reported(place).items():
            if name in question.queries and len(reported.chosen):
                asked = reported.asked(window[name], question.queries[name])
                forecasts = {
                    k: reported.members(window[name], question.queries[name], said[name]) for k, said in answers.items()
                }
                first = next(iter(answers.values()))
                forecasts |= self._baselines(
                    name, task, reported, fields, _forecast_fields(fields, window, question, first)
                )
                for key, members in forecasts.items():
                    yield self._scored(f"{title} {name}" if several else title, key, task, reported, asked, members)

    def _baselines(
        self,
        name: str,
        task: FieldTask,
        reported: StationWindow,
        fields: Mapping[str, Located],
        ahead: Mapping[str, Float[np.ndarray, "T V H W"]],
    ) -> dict[str, Float[np.ndarray, "1 T V 1 S"]]:
        history = self._history(task)
        first = reported.steps.start + (history or 0)
        found = {"climatology": reported.climatology, "persistence": self._persistence(reported, first)}
        if history is not None:
            found["interpolation"] = _interpolated(reported, fields, ahead)
        elif task.hidden_streams:
            found["interpolation"] = reported.interpolated(fields)
        if name in self.mos:
            before = np.full_like(reported.climatology[: history or 0], np.nan)
            found["mos"] = np.concatenate([before, self.mos[name](reported, fields)])
        return {key: values[None] for key, values in found.items()}

    def _persistence(self, reported: StationWindow, first: int) -> Values:
        """The climatology where nothing was reported before."""
        earlier = reported.reports.read(slice(max(0, first - MOST_PERSISTENT), first), reported.chosen)
        last = last_of(earlier)
        return np.where(np.isfinite(last), last, reported.climatology)

    def _scored(
        self,
        title: str,
        key: str,
        task: FieldTask,
        reported: StationWindow,
        asked: Bool[np.ndarray, "T V 1 S"],
        members: Float[np.ndarray, "E T V 1 S"],
    ) -> Scored:
        truth = np.where(asked, reported.values, np.nan)
        climatology, history = reported.climatology, self._history(task)
        drawn = key in self.models and self.models[key].model.draws_states
        if history is None:
            parts = (fold_time(members)[:, None], fold_time(truth)[None], fold_time(climatology)[None])
            leads: list[float | None] = [None]
        else:
            parts = (members[:, history:], truth[history:], climatology[history:])
            leads = [float(h) for h in reported.reports.record.step_h * np.arange(1, len(truth) - history + 1)]
        area = np.ones(parts[1].shape[-2:])
        return Scored(
            title,
            key,
            station_axes(reported, leads),
            statistics(*parts, area, drawn=drawn),
            len(members),
            rank_counts(parts[0], parts[1], axis=(-1, -2)) if len(members) > 1 else None,
        )


def station_axes(reported: StationWindow, leads: list[float | None]) -> tuple[LabelAxis, LabelAxis]:
    """As of fields: lead time and variable, which has no level."""
    channels = [Channel(variable, None) for variable in reported.codec.stream.variables]
    return lead_time_axis(leads), channel_axis(channels, reported.codec.statistics.units)


def _forecast_fields(
    fields: Mapping[str, Located], window: Window, question: Question, said: Mapping[str, torch.Tensor]
) -> dict[str, Float[np.ndarray, "T V H W"]]:
    """The mean answer about each asked stream of fields; the fields themselves at other steps."""
    found = {}
    for name, field in fields.items():
        if name in question.queries:
            asked = asked_points(field, window[name], question.queries[name])
            anomalies = on_grid(field, window[name], question.queries[name], said[name])
            answered = field.tokenizer.to_fields(anomalies, field.climatology).mean(axis=0)
            found[name] = np.where(asked, answered, field.fields)
    return found


def _interpolated(
    reported: StationWindow, fields: Mapping[str, Located], ahead: Mapping[str, Float[np.ndarray, "T V H W"]]
) -> Values:
    """The forecast field beside each variable at the stations; NaN for a variable without one that is forecast."""
    values = np.full(reported.climatology.shape, np.nan, np.float32)
    for variable, (name, channel) in reported.beside.items():
        if name in ahead:
            matrix = at_points(fields[name].grid, reported.stations.lat, reported.stations.lon)
            number = reported.codec.stream.variables.index(variable)
            values[:, number, 0] = interpolated(ahead[name][:, channel], matrix)
    return values


def _require_scores(verifications: list[Verification]) -> None:
    """Raises StationError for a variable without any score."""
    for verification in verifications:
        if verification.forecast == "climatology":
            scored = np.isfinite(verification.value("rmse")).any(axis=0)
            if not scored.all():
                variable = verification.labels("variable")[int((~scored).argmax())]
                raise StationError(
                    f"variable '{variable}' has no report to be scored by in the period. Name another period, or leave it out of the table."
                )
    if not verifications:
        raise StationError("no station reports in a window of the period, so nothing is scored. Name another period.")
