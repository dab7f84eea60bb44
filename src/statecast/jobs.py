"""The jobs behind the commands: from a recipe and a store to a run directory."""

import gc
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from statecast.adaptation import NOTHING_TAKEN, Transferred, free, learning_rate_shares, trainable_parameters, transfer
from statecast.config import Recipe, RecipeError, read_recipe
from statecast.fields.evaluation import Verification, write_scores
from statecast.fields.evaluation.report import RunFacts, write_report
from statecast.fields.evaluation.verify import asked_like, progress_bar, verify
from statecast.fields.explain import explain as explain_point
from statecast.fields.explain.report import write_explanation
from statecast.fields.forgetting import may_forget, report_forgetting, tell_forgetting, tell_no_report, why_no_report
from statecast.fields.held_out import are_of_training, model_stores, own_stores, require_apart, require_unseen
from statecast.fields.inference import complete as fill_in
from statecast.fields.inference import forecast, write_forecast
from statecast.fields.preparation import make_questions, recipe_stores, stream_sources
from statecast.fields.sources import Record, Stores
from statecast.models import ModelOptions
from statecast.outputs import START, holds_checkpoint, is_finished, new_output, training_output
from statecast.trained import TrainedModel, build, load
from statecast.training import ONE_DEVICE, Devices, StreamSource, fit, is_first_process
from statecast.training.footprint import load_footprint


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
    """Train a new model by a recipe; write the run directory `out` (`model/`, `logs/`, `checkpoints/`, `run.yaml`).

    While it is trained the run stands at `OUT.unfinished`. `resume` goes on with it from its last checkpoint, to the weights of a run that
    was never stopped, or starts if there is none; a recipe that has changed is refused unless `allow_changes`.

    Raises RecipeError, StoreError or OutputError, each in one line, before anything is written; and what `training.fit` raises.
    """
    if resume and not overwrite and is_finished(out):
        return load(out)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides)
    if recipe.adaptation.change != "all":
        raise RecipeError(
            f"adaptation.change is {recipe.adaptation.change}, but a new model has to learn all of its weights. Leave it out."
        )
    with training_output(out, overwrite=overwrite, resume=resume) as directory:
        begun = _begun(directory, recipe, allow_changes=allow_changes) if resume else None
        stores = recipe_stores(recipe)
        require_apart(recipe, stores)
        sources = stream_sources(recipe, stores, known=begun.tokenizers if begun else {})
        tokenizers = {name: s.tokenizer for name, s in sources.items()}
        trained = TrainedModel(build(recipe.model, tokenizers, recipe.seed), tokenizers, recipe.as_dict())
        training = Training(directory, title, progress, resume=resume, devices=devices)
        _train(trained, recipe, stores, sources, training)
    return trained


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
    """Go on from a trained model with another task, other data or further streams; write the run directory `out`.

    What the recipe leaves out is inherited from the model's own: data, streams, window, model and seed. Streams that the model knows
    keep their statistics and weights, others are added with new ones; which is which is printed in `run.yaml`. If old weights may change
    where streams, variables or levels are added, `forgetting/scores.json` tells the skill in the old question before and after; if it can't
    be told, one line on standard error says why.

    Resumes as `pretrain` does. Raises as it does, and ModelError for a directory that holds no model.
    """
    if resume and not overwrite and is_finished(out):
        return load(out)
    base = start_from if isinstance(start_from, TrainedModel) else load(start_from)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, overrides, inherit=base.recipe)
    begun_with = ModelOptions.model_validate(base.recipe["model"]).model_dump()
    changed = [key for key, value in recipe.model.model_dump().items() if value != begun_with[key]]
    if changed:
        raise RecipeError(
            f"model.{changed[0]} differs from that of the model to start from. Leave out the section model: it is inherited."
        )
    with training_output(out, overwrite=overwrite, resume=resume) as directory:
        begun = _begun(directory, recipe, allow_changes=allow_changes) if resume else None
        stores = recipe_stores(recipe)
        require_apart(recipe, stores)
        sources = stream_sources(recipe, stores, known=begun.tokenizers if begun else base.tokenizers)
        tokenizers = {name: s.tokenizer for name, s in sources.items()}
        model = build(base.model.options, tokenizers, recipe.seed)
        taken = transfer(base, model, tokenizers)
        trained = TrainedModel(model, tokenizers, recipe.as_dict(), base.learned)
        asks_again = is_first_process() and may_forget(base, tokenizers, recipe)
        if asks_again and (reason := why_no_report(base, tokenizers, recipe)):
            asks_again = False
            tell_no_report(reason)
        training = Training(directory, title, progress, resume=resume, devices=devices, taken=taken)
        _train(trained, recipe, stores, sources, training)
        found = report_forgetting(base, trained, recipe, directory, progress=progress) if asks_again else []
    if found:
        tell_forgetting(found, Path(out))
    return trained


def _begun(directory: Path, recipe: Recipe, *, allow_changes: bool) -> TrainedModel | None:
    """What the run at `directory` started from, None if there is none. Raises RecipeError if it had another recipe."""
    if not holds_checkpoint(directory):
        return None
    begun = load(directory / START if (directory / START).exists() else directory / "model")  # killed at the very end
    before, now = flat(begun.recipe), flat(recipe.as_dict())
    if differing := [key for key in now | before if now.get(key) != before.get(key)]:
        changes = ", ".join(f"{key} ({before.get(key)} before, {now.get(key)} now)" for key in differing)
        if not allow_changes:
            raise RecipeError(
                f"the run to resume had another recipe: {changes}. Use the one it had, or pass --allow-changes."
            )
    return begun


def flat(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"training.steps": 500, ...}` of nested sections."""
    values: dict[str, Any] = {}
    for key, value in recipe.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


@dataclass(frozen=True)
class Training:
    """Where and how a run is trained, beside its recipe."""

    directory: Path
    title: str
    progress: bool
    resume: bool = False
    devices: Devices = ONE_DEVICE
    taken: Transferred = NOTHING_TAKEN


def _train(
    trained: TrainedModel, recipe: Recipe, stores: Stores, sources: dict[str, StreamSource], training: Training
) -> None:
    options, directory, is_first = recipe.training, training.directory, is_first_process()
    questions = make_questions(recipe, sources, options.steps * options.batch_size, recipe.seed)
    validation = None
    if recipe.data.validate_on is not None:
        held_out = {
            name: StreamSource(Record.open(stores[name], s.tokenizer.stream, recipe.data.validate_on), s.tokenizer)
            for name, s in sources.items()
        }
        whole_batches = -(-options.validation_samples // options.batch_size) * options.batch_size
        validation = make_questions(recipe, held_out, whole_batches, recipe.seed + 1, held_out=True)
    if is_first and not (directory / START).exists():
        trained.save(directory / START)
    parameters = trained.parameters
    with free(trained.model, recipe.adaptation, training.taken, recipe.seed):
        changing = trainable_parameters(trained.model)
        if is_first:
            print(f"{training.title}: {changing:,} weights may change, of a model of {parameters:,}", file=sys.stderr)
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
            title=training.title,
            progress=training.progress,
        )
    cpu_s = time.process_time() - began
    gc.collect()  # Lightning's parts refer to one another, and through them to the record in memory
    if is_first:
        footprint = load_footprint(directory)
        if (directory / "model").exists():  # of a process that was killed right after it
            shutil.rmtree(directory / "model")
        trained.save(directory / "model", str(footprint or "not measured"))
        facts = {
            "wall_time_s": round(seconds, 1),
            "cpu_time_s": round(cpu_s, 1),  # of this process
            "parameters": parameters,
            "changed_parameters": changing,
            "new_parameters": [*training.taken.new, *training.taken.mixed],
            "footprint": str(footprint or "not measured"),
        }
        (directory / "run.yaml").write_text(yaml.safe_dump(facts))
        shutil.rmtree(directory / f"{START}.part", ignore_errors=True)
        removed = (directory / START).rename(directory / f"{START}.part")  # at once: a half of it would not load
        shutil.rmtree(removed)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation leaves: its directory and what was verified."""

    out: Path
    verifications: list[Verification] = field(default_factory=list)


def evaluate(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset,
    period: tuple[str, str],
    out: str | Path,
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    against: str | Path | TrainedModel | None = None,
    every_h: float = 12.0,
    overwrite: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Verify a model on a period that its training did not see; write `scores.json`, `scores.nc` and `report.html` into `out`.

    The model is asked what it was trained for: a pre-trained one to fill in what is hidden, one fine-tuned to forecast, to forecast.
    With a model to hold it `against`, both are asked what that one was trained for: has fine-tuning forgotten what it knew?
    `stores` are those of streams that lie elsewhere than `data`; what it doesn't name lies where it lay in training.
    Raises StoreError if the period overlaps the training period of one of the same stores, also of a model that this one was fine-tuned
    from, or holds no data.
    """
    trained = run if isinstance(run, TrainedModel) else load(run)
    models = {"model": trained}
    if against is not None:
        before = against if isinstance(against, TrainedModel) else load(against)
        models = {"model": asked_like(trained, before), "before": before}
    opened, named = model_stores(trained, data, stores), dict.fromkeys(trained.tokenizers, data)
    named |= own_stores(trained, stores)
    for each in (trained, *models.values()):
        require_unseen(each, named, opened, period)
    trained = models["model"]
    records = {name: Record.open(opened[name], t.stream, period) for name, t in trained.tokenizers.items()}
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        began = time.monotonic()
        learned = opened if are_of_training(trained, named) else None
        verifications = verify(models, records, learned, every_h=every_h, progress=progress)
        write_scores(verifications, directory)
        facts = RunFacts(
            "Evaluation", trained, str(data), period, {"evaluation": time.monotonic() - began}, run_directories(run)
        )
        write_report(facts, records, verifications, directory / "report.html")
    return Evaluation(Path(out), verifications)


def predict(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset,
    init: str,
    steps: int,
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    members: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> xr.Dataset:
    """Forecast `steps` time steps from `init`; write it to `out` (Zarr, or NetCDF if it ends in .nc) if given.

    `stores` are those of streams that lie elsewhere than `data`; what it doesn't name lies where it lay in training.
    See `inference.forecast` for what comes back and what is raised; OutputError if `out` exists.
    """
    trained = run if isinstance(run, TrainedModel) else load(run)
    members = trained.model.head.members if members is None else members
    fields = forecast(trained, model_stores(trained, data, stores), init, steps, members)
    if out is not None:
        with new_output(out, overwrite=overwrite) as path:
            write_forecast(fields, path)
    return fields


def complete(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset,
    period: tuple[str, str],
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    members: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Fill what a period of a store lacks; write it to `out` (Zarr, or NetCDF if it ends in .nc) if given.

    See `inference.complete` for what comes back and what is raised; OutputError if `out` exists.
    """
    trained = run if isinstance(run, TrainedModel) else load(run)
    members = trained.model.head.members if members is None else members
    with progress_bar("filling", progress) as tell:
        fields = fill_in(
            trained, model_stores(trained, data, stores, needs_asked=False), period, members, progress=tell
        )
    if out is not None:
        with new_output(out, overwrite=overwrite) as path:
            write_forecast(fields, path)
    return fields


def explain(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset,
    at: str,
    query: tuple[float, float, str],
    out: str | Path | None = None,
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> xr.Dataset:
    """What an answer at one point comes from; write `explain.nc`, `report.html` and its figures into the directory `out` if given.

    See `explain.explain` for the options, what comes back and what is raised; OutputError if `out` exists.
    """
    trained = run if isinstance(run, TrainedModel) else load(run)
    explained = explain_point(trained, model_stores(trained, data, stores, needs_asked=False), at, query, **options)
    if out is not None:
        with new_output(out, overwrite=overwrite) as directory:
            directory.mkdir()
            write_explanation(
                explained, str(run) if not isinstance(run, TrainedModel) else "given", str(data), directory
            )
    return explained


def run_directories(run: str | Path | TrainedModel) -> dict[str, Path]:
    """The run directory whose training curves a report can draw, by its name."""
    return {} if isinstance(run, TrainedModel) else {Path(run).name: Path(run)}
