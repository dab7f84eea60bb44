"""Runs: pre-training and fine-tuning from a recipe into a run directory. A run is resumable."""

import gc
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from statecast.adaptation import (
    NOTHING_NEW,
    TransferReport,
    all_but_the_encoder,
    learning_rate_shares,
    trainable_only,
    trainable_parameters,
    transfer,
)
from statecast.config import Recipe, RecipeError, read_recipe
from statecast.costs import MemoryNeedError, require_memory
from statecast.domain import Source, find_domain
from statecast.models import ModelOptions
from statecast.models.hugging_face import EncoderError
from statecast.outputs import START, holds_checkpoint, is_finished, training_output
from statecast.splits import open_training
from statecast.trained import TrainedModel, build, identity, load
from statecast.training import ONE_DEVICE, Devices, QuestionDataset, is_first_process
from statecast.training.fit import fit, require_devices
from statecast.training.footprint import load_footprint

OF_HEADS = ("head", "members", "fairness", "flow_layers", "flow_path", "flow_skip", "noise_members", "noise_local")
"""Options of the model that a fine-tuning may change: the head is then new, encoder and decoder are those of the base."""


def pretrain(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    allow_changes: bool = False,
    devices: Devices = ONE_DEVICE,
    progress: bool = True,
    title: str = "pre-training",
) -> TrainedModel:
    """Train a new model from a recipe and write the run directory `out` (`model/`, `logs/`, `checkpoints/`, `run.yaml`).

    During training the run is at `OUT.unfinished`. `resume` continues from its last checkpoint, or starts a new run if there is none; the
    final weights equal those of an uninterrupted run. A changed recipe is refused unless `allow_changes` is set.

    Raises RecipeError, StoreError or OutputError, each with a message of one line, before anything is written; and whatever
    `training.fit` raises.
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    require_devices(devices, recipe.training)
    if resume and not overwrite and is_finished(out):
        return load(out)
    if recipe.adaptation.change != "all" and recipe.model.has_own_encoder:
        raise RecipeError(
            f"adaptation.change is {recipe.adaptation.change}, but a new model has to learn all of its weights. Remove this key."
        )
    with training_output(out, overwrite=overwrite, resume=resume) as directory:
        begun = _begun(directory, recipe, allow_changes=allow_changes) if resume else None
        options = _as_in(begun, recipe.model)
        source = _open(recipe, begun.codecs if begun else {}, devices, options)
        seen = _seen(recipe, source, begun, allow_changes=allow_changes)
        model = build(options, source.codecs, recipe.seed)
        trained = TrainedModel(model, source.codecs, recipe, seen=seen)
        transferred = NOTHING_NEW if model.pretrained is None else all_but_the_encoder(model)
        training = Training(directory, title, progress, resume=resume, devices=devices, transferred=transferred)
        return _train(trained, source, training)


def finetune(
    recipe: str | Path | Recipe,
    start_from: str | Path | TrainedModel,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    allow_changes: bool = False,
    devices: Devices = ONE_DEVICE,
    progress: bool = True,
    title: str = "fine-tuning",
) -> TrainedModel:
    """Fine-tune a trained model for another task, other data or additional streams, and write the run directory `out`.

    Where the recipe does not set them, data, streams, window, model and seed are inherited from the recipe of the model. Streams known to
    the model keep their statistics and weights; other streams are added with new ones. `run.yaml` lists the new weights. If streams,
    variables or levels are added while old weights may change, `forgetting/scores.json` records the skill in the old question before and
    after; if this skill can't be computed, one line on standard error gives the reason.

    `resume` and the exceptions are those of `pretrain`; also raises ModelError if `start_from` contains no model.
    """
    base = load(start_from, device="cpu")
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides, inherit=base.recipe)
    require_devices(devices, recipe.training)
    if resume and not overwrite and is_finished(out):
        return load(out)
    keys = type(recipe.model).model_fields
    changed = [key for key in keys if getattr(recipe.model, key) != getattr(base.recipe.model, key)]
    if sized := [key for key in changed if key not in OF_HEADS]:
        raise RecipeError(
            f"model.{sized[0]} differs from that of the model to start from. Remove it: it is inherited. A fine-tuning may change "
            f"{', '.join(OF_HEADS)}."
        )
    with training_output(out, overwrite=overwrite, resume=resume) as directory:
        begun = _begun(directory, recipe, allow_changes=allow_changes) if resume else None
        options = _as_in(base, recipe.model)
        source = _open(recipe, begun.codecs if begun else base.codecs, devices, options)
        model = build(options, source.codecs, recipe.seed, base.model.axes)
        transferred = transfer(base.model, base.codecs, model, source.codecs)
        own = _seen(recipe, source, begun, allow_changes=allow_changes)
        seen = (*(known for known in base.seen if known not in own), *own)
        trained = TrainedModel(model, source.codecs, recipe, base.learned, seen)
        measure_forgetting = None
        if is_first_process() and "forgetting" in trained.domain.verbs:
            measure_forgetting = trained.domain.verbs["forgetting"](base, trained, progress=progress)
        training = Training(directory, title, progress, resume=resume, devices=devices, transferred=transferred)
        trained = _train(trained, source, training)
        print_forgetting = measure_forgetting(directory) if measure_forgetting else None
    if print_forgetting:
        print_forgetting(Path(out))
    return trained


def _as_in(earlier: TrainedModel | None, options: ModelOptions) -> ModelOptions:
    """The options with the Hugging Face encoder, if any, of the directory of an earlier model: its origin need not be there any more."""
    if earlier is None or options.has_own_encoder:
        return options
    return options.model_copy(update={"encoder": earlier.model.options.encoder})


def _open(recipe: Recipe, known: Mapping[str, Any], devices: Devices, options: ModelOptions) -> Source:
    """The training split, for which there is memory enough. Raises RecipeError if the attention heads are too small for the axes."""
    source = open_training(recipe, known)
    size = recipe.training.batch_size
    question = QuestionDataset(source, recipe.task, recipe.seed, size, size)[0]
    specs = {name: codec.spec for name, codec in source.codecs.items()}
    try:
        require_memory(options, specs, question, recipe.training, devices.processes)
    except (MemoryNeedError, EncoderError):
        raise
    except ValueError as error:
        raise RecipeError(f"model: {error}") from None
    return source


def _begun(directory: Path, recipe: Recipe, *, allow_changes: bool) -> TrainedModel | None:
    """The model that the run at `directory` started from; None if there is no run. Raises RecipeError if its recipe differs."""
    if not holds_checkpoint(directory):
        return None
    start = directory / START  # gone where the run was killed at its very end
    begun = load(start if start.exists() else directory / "model", device="cpu")
    before, now = flat(begun.recipe.as_dict()), flat(recipe.as_dict())
    differing = [key for key in now | before if now.get(key) != before.get(key)]
    if differing and not allow_changes:
        changes = ", ".join(f"{key} ({before.get(key)} before, {now.get(key)} now)" for key in differing)
        raise RecipeError(
            f"the run to resume had another recipe: {changes}. Use the original recipe, or pass --allow-changes."
        )
    return begun


def _seen(
    recipe: Recipe, source: Source, begun: TrainedModel | None, *, allow_changes: bool
) -> tuple[Mapping[str, Any], ...]:
    """What identifies the record, if the domain tells it. Raises RecipeError if it has changed since the run to resume began."""
    tell = find_domain(recipe.data.domain).verbs.get("fingerprint")
    if tell is None:
        return ()
    found = tell(recipe, source)
    if begun and begun.seen and not allow_changes:
        before, now = flat(begun.seen[-1]), flat(found)
        if differing := [key for key in now | before if now.get(key) != before.get(key)]:
            key = differing[0]
            raise RecipeError(
                f"the record has changed since the run to resume began: {key} ({before.get(key)} before, {now.get(key)} now). Restore it, "
                "start again with --overwrite, or pass --allow-changes."
            )
    return (found,)


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one mapping with dotted keys: `{"training.steps": 500, ...}`."""
    values: dict[str, Any] = {}
    for key, value in recipe.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


@dataclass(frozen=True)
class Training:
    """Where and how a run is trained, apart from its recipe."""

    directory: Path
    title: str
    progress: bool
    resume: bool = False
    devices: Devices = ONE_DEVICE
    transferred: TransferReport = NOTHING_NEW


def _train(trained: TrainedModel, source: Source, training: Training) -> TrainedModel:
    """The trained model, with what its domain adds at the end (`after_training`), which the first process writes."""
    recipe, directory, is_first = trained.recipe, training.directory, is_first_process()
    options = recipe.training
    questions = QuestionDataset(
        source, recipe.task, recipe.seed, options.batch_size, options.steps * options.batch_size
    )
    validation = None
    held_out = trained.domain.open(recipe, "validate", source.codecs)
    if held_out is not None:
        whole_batches = -(-options.validation_samples // options.batch_size) * options.batch_size
        validation = QuestionDataset(held_out, recipe.task, recipe.seed + 1, options.batch_size, whole_batches)
    if is_first and not (directory / START).exists():
        trained.save(directory / START)
    parameters = trained.parameters
    with trainable_only(trained.model, recipe.adaptation, training.transferred, recipe.seed):
        changing = trainable_parameters(trained.model)
        if is_first:
            print(f"{training.title}: {changing:,} of {parameters:,} weights are trainable", file=sys.stderr)
        began = time.process_time()
        seconds = fit(
            trained.model,
            questions,
            validation,
            options,
            directory,
            shares=learning_rate_shares(trained.model, recipe.adaptation.layer_decay),
            devices=training.devices,
            resume=training.resume,
            run=identity(directory / START) if is_first else None,
            title=training.title,
            progress=training.progress,
        )
    cpu_s = time.process_time() - began
    gc.collect()  # Lightning's objects refer to one another, and through them to the record in memory
    if is_first:
        if "after_training" in trained.domain.verbs:
            trained = trained.domain.verbs["after_training"](trained, source)
        _finish(trained, training, seconds, cpu_s, changing)
        trained.to()
    return trained


def _finish(trained: TrainedModel, training: Training, seconds: float, cpu_s: float, changing: int) -> None:
    """Write the model and the cost of its training; remove the model that the run started from."""
    directory = training.directory
    footprint = load_footprint(directory)
    if (directory / "model").exists():  # left by a process that was killed after writing it
        shutil.rmtree(directory / "model")
    trained.save(directory / "model", str(footprint or "not measured"))
    facts = {
        "wall_time_s": round(seconds, 1),
        "cpu_time_s": round(cpu_s, 1),  # of this process only
        "parameters": trained.parameters,
        "changed_parameters": changing,
        "new_parameters": [*training.transferred.new, *training.transferred.mixed],
        "footprint": str(footprint or "not measured"),
    }
    (directory / "run.yaml").write_text(yaml.safe_dump(facts), encoding="utf-8")
    shutil.rmtree(directory / f"{START}.part", ignore_errors=True)
    removed = (directory / START).rename(directory / f"{START}.part")  # atomic: half a directory would not load
    shutil.rmtree(removed)
