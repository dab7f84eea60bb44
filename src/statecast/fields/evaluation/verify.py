"""Verification of models by what they were trained for, and of one model by the question of another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from statecast.evaluation import Verification
from statecast.evaluation.loop import Progress
from statecast.evaluation.progress import progress_bar
from statecast.fields.evaluation.reconstruction import verify_reconstruction
from statecast.fields.evaluation.tasks import verify_task
from statecast.fields.evaluation.verification import verify_forecast
from statecast.fields.sources import Record, StoreError, Stores
from statecast.trained import ModelError, TrainedModel


def verify(
    models: Mapping[str, TrainedModel],
    records: Mapping[str, Record],
    stores: Stores | None,
    *,
    every_h: float,
    progress: bool,
    members: int | None = None,
    title: str = "evaluation",
) -> list[Verification]:
    """Verify models of one task by what their task asks; `stores` hold their training period, for baselines that learn from it.

    `members`: so many members of a forecast are scored too, drawn as they are written.

    Raises StoreError for a variable that has no value in the records, ModelError for members of what is no forecast.
    """
    first = next(iter(models.values()))
    task = first.recipe.task
    if members is not None and not task.asks_ahead:
        raise ModelError(
            f"the model's task is {task.kind}, expected forecast: only members of forecasts are scored. Leave them out."
        )
    with progress_bar(title, progress) as show_progress:
        if task.kind == "masked":
            verifications = _verify_masked(models, records, every_h, show_progress)
        else:
            training = None if stores is None else _training_records(first, stores)
            common: dict[str, Any] = {"training": training, "every_h": every_h, "progress": show_progress}
            if task.asks_ahead:
                verifications = verify_forecast(models, records, members=members, **common)
            else:
                verifications = verify_task(models, records, **common)
    _require_scores(verifications, records)
    return verifications


def _require_scores(verifications: Sequence[Verification], records: Mapping[str, Record]) -> None:
    """Raises StoreError for a variable without any score: all its values are missing in the period."""
    scored: dict[str, bool] = {}
    for verification in verifications:
        position = next(i for i, axis in enumerate(verification.axes) if "variable" in axis.labels)
        for metric in verification.metrics:
            is_known = np.isfinite(np.moveaxis(verification.value(metric), position, 0))
            for variable, known in zip(verification.labels("variable"), is_known, strict=True):
                scored[str(variable)] = scored.get(str(variable), False) or bool(known.any())
    if missing := [variable for variable, is_scored in scored.items() if not is_scored]:
        times = next(iter(records.values())).dataset.indexes["time"]
        raise StoreError(
            f"variable '{missing[0]}' has no value to be scored by from {times[0]} to {times[-1]} (NaN everywhere), expected some. "
            "Name another period, or evaluate on a store that has it."
        )


def _verify_masked(
    models: Mapping[str, TrainedModel], records: Mapping[str, Record], every_h: float, progress: Progress
) -> list[Verification]:
    """Each model by itself: its own mask decides how long a window is. The baselines are those of the first."""
    verifications: dict[str, list[Verification]] = {}
    for name, model in models.items():
        verifications[name] = verify_reconstruction(
            model, records, every_h=max(every_h, 48.0), interpolation=not verifications, progress=progress
        )
    return _named(verifications)


def _training_records(trained: TrainedModel, stores: Stores) -> dict[str, Record]:
    period = trained.recipe.data.train
    return {name: Record.open(stores[name], t.stream, period) for name, t in trained.codecs.items()}


def _named(of_models: Mapping[str, list[Verification]]) -> list[Verification]:
    """Verifications of several models, each one's own under its name, and their baselines once, task by task."""
    first = next(iter(of_models))
    named = []
    for name, verifications in of_models.items():
        for verification in verifications:
            if verification.forecast == "model":
                named.append(replace(verification, forecast=name))
            elif name == first:
                named.append(verification)
    tasks = list(dict.fromkeys(verification.task for verification in named))
    return sorted(named, key=lambda verification: tasks.index(verification.task))


def asked_like(trained: TrainedModel, other: TrainedModel) -> TrainedModel:
    """The model with the question and the streams of another one, which it must know as that one does.

    Raises ModelError for a stream that it lacks or knows otherwise.
    """
    for name, tokenizer in other.codecs.items():
        if name not in trained.codecs or trained.codecs[name].stream != tokenizer.stream:
            raise ModelError(
                f"stream {name}: the model doesn't know it as the one that it is held against does, which is asked about it. "
                f"Its streams: {', '.join(trained.codecs)}."
            )
    return TrainedModel(trained.model, {name: trained.codecs[name] for name in other.codecs}, other.recipe)
