"""Verification of models by what they were trained for, and of one model by the question of another."""

from collections.abc import Mapping
from dataclasses import replace

from statecast.fields.evaluation.reconstruction import verify_reconstruction
from statecast.fields.evaluation.tasks import TASKS, verify_task
from statecast.fields.evaluation.verification import Verification, verify_forecast
from statecast.fields.sources import Record, Stores
from statecast.outputs import progress_bar
from statecast.trained import ModelError, TrainedModel


def verify(
    models: Mapping[str, TrainedModel],
    records: Mapping[str, Record],
    stores: Stores | None,
    *,
    every_h: float,
    progress: bool,
    title: str = "evaluation",
) -> list[Verification]:
    """Verify models of one task by what their task asks; `stores` hold their training period, for baselines that learn from it."""
    first = next(iter(models.values()))
    kind = first.recipe.task.kind
    with progress_bar(title, progress) as tell:
        if kind == "masked":
            found = [
                verify_reconstruction(m, records, every_h=max(every_h, 48.0), progress=tell) for m in models.values()
            ]
            return _named(dict(zip(models, found, strict=True)))
        training = _training_records(first, stores) if stores is not None else None
        if kind in TASKS:
            return verify_task(models, records, training, every_h=every_h, progress=tell)
        return verify_forecast(models, records, training=training, every_h=every_h, progress=tell)


def _training_records(trained: TrainedModel, stores: Stores) -> dict[str, Record]:
    period = trained.recipe.data.train
    return {name: Record.open(stores[name], t.stream, period) for name, t in trained.codecs.items()}


def _named(found: Mapping[str, list[Verification]]) -> list[Verification]:
    """Verifications of several models, each one's own under its name, and their baselines once, task by task."""
    first = next(iter(found))
    named = [
        replace(v, forecast=name) if v.forecast == "model" else v
        for name, verifications in found.items()
        for v in verifications
        if v.forecast == "model" or name == first
    ]
    return sorted(named, key=lambda v: [*dict.fromkeys(v.task for v in named)].index(v.task))


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
