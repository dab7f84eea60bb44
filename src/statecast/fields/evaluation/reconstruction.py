"""Verification of masked reconstruction beside climatology and interpolation. Axes: S start, V channel, N token, P value, T H W window."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.evaluation import Scored, Verification
from statecast.evaluation.loop import Progress, unseen
from statecast.fields.evaluation.answers import answered, asked_points
from statecast.fields.evaluation.baselines import interpolate_shown
from statecast.fields.evaluation.labels import field_axes
from statecast.fields.evaluation.scores import statistics
from statecast.fields.evaluation.verification import by_stream, every, verify_windows
from statecast.fields.inference.forecast import check_record
from statecast.fields.inference.neighbourhoods import drawn_places, model_windows, slab_depth
from statecast.fields.sources import Record
from statecast.fields.tokenizers import Located, located, read_window, sources_of
from statecast.tasks import Masked
from statecast.trained import ModelError, TrainedModel

SHARES = (0.5, 0.75, 0.9)


def masked_task(trained: TrainedModel) -> Masked:
    """The masks that the model was pre-trained with. Raises ModelError if it was trained for something else."""
    task = trained.recipe.task
    if not isinstance(task, Masked):
        raise ModelError(
            f"the model was trained for the task '{task.kind}', expected masked: give the pre-trained model."
        )
    return task


@dataclass(frozen=True)
class Reconstruction:
    """One stream of a window: truth, climatology, where it was hidden, and the answer (the truth where it was visible). Physical units."""

    located: Located
    truth: Float[np.ndarray, "T V H W"]
    climatology: Float[np.ndarray, "T V H W"]
    hidden: Bool[np.ndarray, "T V H W"]
    members: Float[np.ndarray, "E T V H W"]


def reconstruct(
    trained: TrainedModel, records: Mapping[str, Record], start: int, task: Masked
) -> dict[str, Reconstruction]:
    """Hide a part of the window that begins at step `start` as `task` says, ask for all of it; each stream by its name.

    The window is the whole domain or, of a model that was trained on neighbourhoods, one of them, see `neighbourhoods.drawn_places`.
    """
    places = drawn_places(model_windows(trained), start, task.window_slabs * slab_depth(trained))
    streams = located(sources_of(trained.codecs, records), places)
    window = read_window(streams, hide_calendar=trained.recipe.window.hide_calendar)
    question = task.complete(window, seed=start)
    cases, anomalies = {}, answered(trained, streams, window, replace(question, seed=torch.tensor(start)))
    for name, queries in question.queries.items():
        stream = streams[name]
        hidden = asked_points(stream, window[name], queries)
        truth, climatology = stream.fields, stream.climatology
        members = np.where(hidden, stream.tokenizer.to_fields(anomalies[name], climatology), truth)
        cases[name] = Reconstruction(stream, truth, climatology, hidden, members)
    return cases


def plain_mask(share: float, slabs: int) -> Masked:
    """Single tokens of a window of so many slabs hidden at random, none of them shown as noise or climatology."""
    return Masked(slabs=slabs, hidden=(share, share), noise=0, climatology=0, later_slabs=0, blocks=0)


def fold_time(fields: Float[np.ndarray, "*B T V H W"]) -> Float[np.ndarray, "*B V TH W"]:
    """All times of a window as rows of one map: a score is then one mean over space and time."""
    *batch, steps, channels, rows, columns = fields.shape
    return np.moveaxis(fields, -4, -3).reshape(*batch, channels, steps * rows, columns)


def _interpolated(case: Reconstruction) -> Float[np.ndarray, "T V H W"]:
    """Channels that are hidden at the same places are interpolated together."""
    anomalies = np.nan_to_num(case.truth - case.climatology)
    groups: dict[bytes, list[int]] = {}
    for channel, hidden in enumerate(np.moveaxis(case.hidden, 1, 0)):
        groups.setdefault(hidden.tobytes(), []).append(channel)
    filled, periodic = np.empty_like(anomalies), case.located.grid.is_periodic
    for channels in groups.values():
        shown = ~case.hidden[:, channels[0]]
        filled[:, channels] = interpolate_shown(anomalies[:, channels], shown, periodic=periodic)
    return filled + case.climatology


def verify_reconstruction(
    trained: TrainedModel,
    records: Record | Mapping[str, Record],
    *,
    hidden: Sequence[float] = SHARES,
    every_h: float = 48.0,
    interpolation: bool = True,
    progress: Progress = unseen,
) -> list[Verification]:
    """Hide a share of single tokens at random, fully, and score what the model makes of them, for each share of `hidden`.

    A model that was trained on neighbourhoods is verified on one of them at each start, see `reconstruct`.
    The baselines are climatology and, if asked, linear interpolation in time and space between the shown points. Of a model of several
    streams the same share of each is hidden; their tasks are `masked SHARE STREAM`. Of one stream its record alone will do.
    Raises ModelError for another grid, StoreError if the period has no window without a gap.
    """
    of_streams = by_stream(records, tuple(trained.codecs))
    for name, record in of_streams.items():
        check_record(trained.codecs[name], record)
    slabs, leading = masked_task(trained).window_slabs, next(iter(of_streams.values()))
    starts = every(leading, leading.starts(slabs * slab_depth(trained)), every_h)
    cases = [(share, start) for share in hidden for start in starts.tolist()]
    hours = np.tile(leading.hours[starts], len(hidden))
    return verify_windows(cases, hours, _ReconstructionScores(trained, of_streams, interpolation), progress)


@dataclass(frozen=True)
class _ReconstructionScores:
    """Scores every answer about the window that begins at a start and of which a share is hidden, of each stream."""

    trained: TrainedModel
    records: Mapping[str, Record]
    interpolation: bool

    def __call__(self, share_and_start: tuple[float, int]) -> Iterator[Scored]:
        share, start = share_and_start
        mask = plain_mask(share, masked_task(self.trained).window_slabs)
        for name, case in reconstruct(self.trained, self.records, start, mask).items():
            record = self.records[name]
            forecasts = {"model": case.members, "climatology": case.climatology[None]}
            if self.interpolation:
                forecasts["interpolation"] = _interpolated(case)[None]
            task = f"masked {share:.0%}" + ("" if len(self.records) == 1 else f" {name}")
            for forecast, members in forecasts.items():
                axes = field_axes(record, [None])
                drawn = forecast == "model" and self.trained.model.draws_states
                yield Scored(task, forecast, axes, _statistics(case, members, drawn=drawn), len(members))


def _statistics(
    case: Reconstruction, members: Float[np.ndarray, "E T V H W"], *, drawn: bool
) -> dict[str, Float[np.ndarray, "1 V"]]:
    """Over all times as one, where it was hidden; where there is no climatology nothing is scored."""
    truth = np.where(case.hidden & np.isfinite(case.climatology), case.truth, np.nan)
    area = np.tile(case.located.cell_area, (len(truth), 1))
    means = statistics(fold_time(members), fold_time(truth), fold_time(case.climatology), area, drawn=drawn)
    return {name: mean[None] for name, mean in means.items()}
