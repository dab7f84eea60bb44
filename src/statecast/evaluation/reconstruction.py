"""Verification of masked reconstruction beside climatology and interpolation. Axes: S start, V channel, N token, P value, T H W window."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from statecast.evaluation.baselines import interpolate_shown
from statecast.evaluation.scores import statistics
from statecast.evaluation.verification import Verification, every, stack_starts
from statecast.inference.answer import answer
from statecast.inference.forecast import check_grid
from statecast.sources import Record
from statecast.streams import Tokens, positions
from statecast.tasks import Masked
from statecast.tokenizers import FieldTokenizer, Place
from statecast.tokenizers.windows import whole_domain
from statecast.trained import ModelError, TrainedModel

SHARES = (0.5, 0.75, 0.9)


def masked_task(trained: TrainedModel) -> Masked:
    """The masks that the model was pre-trained with. Raises ModelError if it was trained for something else."""
    task = trained.recipe["task"]
    if task["kind"] != "masked":
        raise ModelError(
            f"the model was trained for the task '{task['kind']}', expected masked: give the pre-trained model."
        )
    return Masked.model_validate(task)


@dataclass(frozen=True)
class Reconstruction:
    """One window: the truth, what is usual, what was hidden, and the answer (the truth where it was shown). Physical units."""

    truth: Float[np.ndarray, "T V H W"]
    usual: Float[np.ndarray, "T V H W"]
    hidden: Bool[np.ndarray, "T V H W"]
    members: Float[np.ndarray, "E T V H W"]


def reconstruct(trained: TrainedModel, record: Record, place: Place, task: Masked) -> Reconstruction:
    """Hide a part of the window at `place` as `task` says, ask for all of it."""
    name, tokenizer = next(iter(trained.tokenizers.items()))
    window = tokenizer.tokenize(record, place)
    question = task.complete({name: window}, seed=place.start)
    anomalies, hidden = on_grid(tokenizer, window, question.queries[name], answer(trained, question)[name], place)
    truth, usual = record.read(slice(place.start, place.start + place.steps)), tokenizer.usual(record, place)
    return Reconstruction(truth, usual, hidden, np.where(hidden, tokenizer.to_fields(anomalies, usual), truth))


def plain_mask(share: float) -> Masked:
    """Single tokens hidden at random, none of them shown as noise or climatology."""
    return Masked(hidden=(share, share), noise=0, climatology=0, later_slabs=0, blocks=0)


def fold_time(fields: Float[np.ndarray, "*B T V H W"]) -> Float[np.ndarray, "*B V TH W"]:
    """All times of a window as rows of one map: a score is then one mean over space and time."""
    *batch, steps, channels, rows, columns = fields.shape
    return np.moveaxis(fields, -4, -3).reshape(*batch, channels, steps * rows, columns)


def _interpolated(record: Record, case: Reconstruction) -> Float[np.ndarray, "T V H W"]:
    """Channels that are hidden at the same places are interpolated together."""
    anomalies = np.nan_to_num(case.truth - case.usual)
    _, group = np.unique(np.moveaxis(case.hidden, 1, 0).reshape(case.hidden.shape[1], -1), axis=0, return_inverse=True)
    filled = np.empty_like(anomalies)
    for number in range(group.max() + 1):
        channels = np.flatnonzero(group == number)
        shown = ~case.hidden[:, channels[0]]
        filled[:, channels] = interpolate_shown(anomalies[:, channels], shown, periodic=record.grid.is_periodic)
    return filled + case.usual


def verify_reconstruction(
    trained: TrainedModel,
    record: Record,
    *,
    hidden: Sequence[float] = SHARES,
    every_h: float = 48.0,
    interpolation: bool = True,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Verification]:
    """Hide a share of single tokens at random, fully, and score what the model makes of them, for each share of `hidden`.

    The baselines are climatology and, if asked, linear interpolation in time and space between the shown points.
    Raises ModelError for another grid, StoreError if the period has no window without a gap.
    """
    tokenizer = next(iter(trained.tokenizers.values()))
    check_grid(tokenizer, record)
    steps = masked_task(trained).slabs * tokenizer.stream.patch[0]
    starts = every(record, record.starts(steps), every_h)
    verifications = []
    for number, share in enumerate(hidden):
        task = plain_mask(share)
        collected: dict[str, list[dict[str, np.ndarray]]] = {}
        for done, start in enumerate(starts):
            place = whole_domain(record.grid, int(start), steps)
            case = reconstruct(trained, record, place, task)
            forecasts = {"model": case.members, "climatology": case.usual[None]}
            if interpolation:
                forecasts["interpolation"] = _interpolated(record, case)[None]
            scored = case.hidden & np.isfinite(case.usual)  # where nothing is usual nothing can be said
            truth, usual = fold_time(np.where(scored, case.truth, np.nan)), fold_time(case.usual)
            area = np.tile(record.grid.cell_area, (steps, 1))
            for key, values in forecasts.items():
                means = statistics(fold_time(values), truth, usual, area)
                collected.setdefault(key, []).append({name: mean[None] for name, mean in means.items()})
            progress((number + (done + 1) / len(starts)) / len(hidden))
        sizes = {key: len(values) for key, values in forecasts.items()}
        verifications += [
            Verification(
                key,
                f"masked {share:.0%}",
                record.channels,
                record.units,
                (None,),
                sizes[key],
                record.hours[starts],
                stack_starts(parts),
            )
            for key, parts in collected.items()
        ]
    return verifications


def on_grid(
    tokenizer: FieldTokenizer, window: Tokens, queries: Tokens, members: Float[torch.Tensor, "E N P"], place: Place
) -> tuple[Float[np.ndarray, "E T V H W"], Bool[np.ndarray, "T V H W"]]:
    """Answers to some of the tokens of `window` as anomalies on its grid (0 elsewhere), and where they were asked."""
    index = positions(queries, window)
    filled = torch.zeros(len(members), *window.values.shape)
    filled[:, index] = members
    asked = torch.zeros(1, *window.values.shape)
    asked[:, index] = 1.0
    return tokenizer.to_anomalies(filled, place), tokenizer.to_anomalies(asked, place)[0] > 0
