"""Continual learning: a model goes on with data that were appended to its record, and is held against what it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from statecast.config import RecipeError, read_recipe
from statecast.evaluation import Verification, write_scores
from statecast.fields.evaluation.verify import verify
from statecast.fields.held_out import model_stores, stream_stores
from statecast.fields.recipe import FieldRecipe, Period
from statecast.fields.source import learned_from
from statecast.fields.sources import Record, StoreError, Stores, Times
from statecast.fields.sources.dates import DateError, read_span, select_period
from statecast.fields.sources.times import TimeIndex
from statecast.runs import finetune
from statecast.trained import TrainedModel, load
from statecast.training import ONE_DEVICE, Devices, is_first_process

HELD_OUT = 0.2  # of the new data, at their end: from which skill on the new period is estimated
GENTLE = (
    0.1  # of the learning rate that the model was trained at: the whole of it undoes more than a short update learns
)
PERIODS = ("old", "new")


@dataclass(frozen=True)
class Update:
    """A model that went on, and its skill beside what it was: verifications of each period, `before` among them."""

    trained: TrainedModel
    verifications: dict[str, list[Verification]]


def update(
    run: str | Path | TrainedModel,
    data: str,
    since: str,
    out: str | Path,
    *,
    stores: Mapping[str, str] | None = None,
    replay: float = 0.5,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    devices: Devices = ONE_DEVICE,
    progress: bool = True,
) -> Update:
    """Train on the record from `since` on, with a share `replay` of windows from what was learned before; write the run directory `out`.

    `stores` are those of streams that lie elsewhere than `data`; what it doesn't name lies where it lay in training. With a share of 0
    only the new data are learned from, and a later update replays no more than those.
    What was learned before is the old training period and what that training replayed itself: the periods of all updates. The last fifth
    of the new data is held out. On it, and on the old validation period if there is one and nothing of it is learned from now, the model is
    verified before and after: `out/update/new/scores.json` and `out/update/old/scores.json`. The statistics of the streams stay what they
    were. The rest of the recipe is the model's own, but for a tenth of its learning rate, unless `overrides` say otherwise.
    Raises StoreError if nothing of the record lies after `since`, RecipeError if `since` lies in the old training period, or for a `since`
    that is no time or a `replay` that is no share.
    """
    if not 0 <= replay < 1:
        raise RecipeError(f"--replay {replay:g}: expected a share of the windows, 0 (no replay) or more and below 1.")
    base = load(run)
    if beside := [name for name in base.recipe.streams if name not in base.recipe.fields]:
        raise RecipeError(
            f"the model has the stream {beside[0]}, which is none of fields and can't be compared before and after. Fine-tune it by a "
            "recipe with the new period instead."
        )
    opened = model_stores(base, data, stores)
    values = _recipe(base, data, next(iter(opened.values())), since, replay)
    values["data"]["stores"] = stream_stores(base, stores)
    recipe = read_recipe(values, overrides)
    assert isinstance(recipe, FieldRecipe)
    trained = finetune(
        recipe, base, out, overwrite=overwrite, resume=resume, devices=devices, progress=progress, title="update"
    )
    verifications: dict[str, list[Verification]] = {}
    if is_first_process():
        verifications = _before_and_after(base, trained, recipe, opened, progress=progress)
        for period, of_period in verifications.items():
            (Path(out) / "update" / period).mkdir(parents=True, exist_ok=True)
            write_scores(of_period, Path(out) / "update" / period)
    return Update(trained, verifications)


def _recipe(base: TrainedModel, data: str, dataset: xr.Dataset, since: str, replay: float) -> dict[str, Any]:
    """The base's own recipe with the new period to learn from and to be held out, and the old one to be replayed."""
    known = base.recipe.as_dict()
    index = _since(dataset, since)
    learned = base.recipe.data.learned_periods
    last = max(select_period(dataset, period).indexes["time"][-1] for period in learned)
    if index[0] <= last:
        raise RecipeError(
            f"--since {since}: the model has learned from the record up to {last}. Name a later time, from which it is new."
        )
    first_held_out = int(len(index) * (1 - HELD_OUT))
    if first_held_out < 2:
        raise StoreError(
            f"--since {since}: holds {len(index)} time steps, too few to learn from. Name an earlier time."
        )
    ends = (index[0], index[first_held_out - 1], index[first_held_out], index[-1])
    text = [time.isoformat() for time in ends]
    replayed = {"replay": learned, "replayed": replay} if replay else {"replay": None}
    period = {"train": text[:2], "validate": text[2:], **replayed}
    gentle = {**known["training"], "learning_rate": GENTLE * known["training"]["learning_rate"]}
    return {**known, "data": {**known["data"], "store": data, **period}, "training": gentle}


def _since(dataset: xr.Dataset, since: str) -> TimeIndex:
    """The times of the record from `since` on."""
    times = Times.of(dataset)
    try:
        index = times.index[times.before(read_span(since, times).first) :]
    except DateError as error:
        raise RecipeError(f"--since {since}: expected a date such as 2001-01-01 ({error}).") from None
    if len(index) == 0:
        raise StoreError(
            f"--since {since}: nothing of the record lies after it, which ends at {times.index[-1]}. Name an earlier time."
        )
    return index


def _before_and_after(
    base: TrainedModel, trained: TrainedModel, recipe: FieldRecipe, stores: Stores, *, progress: bool
) -> dict[str, list[Verification]]:
    models = {"model": TrainedModel(trained.model, trained.codecs, base.recipe), "before": base}
    dataset = next(iter(stores.values()))
    periods = dict(zip(PERIODS, (_old_validation(base, recipe, dataset), recipe.data.validate_on), strict=True))
    verifications = {}
    for name, period in periods.items():
        if period is not None:
            records = {n: Record.open(stores[n], t.stream, period) for n, t in base.codecs.items()}
            title = f"{name} period, before and after"
            verifications[name] = verify(models, records, None, every_h=24.0, progress=progress, title=title)
    return verifications


def _old_validation(base: TrainedModel, recipe: FieldRecipe, dataset: xr.Dataset) -> Period | None:
    """The period that the base's training held out; none if there was none, or if this one has learned from some of it."""
    period = base.recipe.data.validate_on
    if period is None:
        return None
    learned = learned_from(dataset, recipe).indexes["time"]
    return None if select_period(dataset, period).indexes["time"].isin(learned).any() else period
