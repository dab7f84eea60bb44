"""What one does with a trained model of fields: verify it, forecast, fill gaps, explain an answer."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from statecast.costs import require_room
from statecast.evaluation import write_scores
from statecast.evaluation.progress import progress_bar
from statecast.evaluation.samples import SampleEvaluation, evaluate_samples
from statecast.fields.evaluation.report import RunFacts, write_report
from statecast.fields.evaluation.skill import Evaluation
from statecast.fields.evaluation.verification import DECORRELATION_H
from statecast.fields.evaluation.verify import asked_like, verify
from statecast.fields.explain import explain as explain_point
from statecast.fields.explain.report import write_explanation
from statecast.fields.held_out import are_of_training, model_stores, require_unseen, stream_stores
from statecast.fields.inference import complete as fill_in
from statecast.fields.inference import forecast, write_forecast
from statecast.fields.inference.lattices import asked_on
from statecast.fields.sources import Record
from statecast.outputs import new_output
from statecast.trained import ModelError, TrainedModel, load


def evaluate(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset,
    period: tuple[str, str],
    out: str | Path,
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    against: str | Path | TrainedModel | None = None,
    every_h: float = 12.0,
    lattices: int | None = None,
    members: int | None = None,
    report: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> Evaluation | SampleEvaluation:
    """Verify a model on a period that its training did not see; write `scores.json`, `scores.nc` and `report.html` into `out`.

    against  another model; both models then answer the question that this one was trained for: has fine-tuning forgotten it?
    stores   stores of streams that are not in `data`, by stream; a stream that is not named is read from its store in training
    every_h  hours between the starts
    lattices  1, 2 or 4 token lattices that each answer is the average of (`inference.lattices`), N cost N times; None: as in the recipe
    members  so many members of a forecast are scored too, drawn as `predict` writes them, see `evaluation.states`
    report   False: only the scores are written; drawing the report's figures takes some seconds

    A model answers the question that it was trained for: a pre-trained model fills in hidden tokens, a model fine-tuned to forecast makes
    forecasts. Raises StoreError if the period holds no data, or overlaps the training period, in the same store, of this model or of a
    model that it was fine-tuned from.
    """
    trained = asked_on(run if isinstance(run, TrainedModel) else load(run), lattices)
    if set(trained.recipe.labels) & set(trained.recipe.task.asked_streams(trained.recipe.streams)):
        return _evaluate_labels(trained, data, period, out, against=against, overwrite=overwrite, progress=progress)
    models = {"model": trained}
    if against is not None:
        before = asked_on(against if isinstance(against, TrainedModel) else load(against), lattices)
        models = {"model": asked_like(trained, before), "before": before}
    opened, named = model_stores(trained, data, stores), dict.fromkeys(trained.codecs, data)
    named |= stream_stores(trained, stores)
    for each in (trained, *models.values()):
        require_unseen(each, named, opened, period)
    trained = models["model"]
    records = {name: Record.open(opened[name], t.stream, period) for name, t in trained.codecs.items()}
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        began = time.monotonic()
        learned = opened if are_of_training(trained, named, opened) else None
        verifications = verify(models, records, learned, every_h=every_h, members=members, progress=progress)
        write_scores(verifications, directory)
        if report:
            seconds = {"evaluation": time.monotonic() - began}
            facts = RunFacts("Evaluation", trained, str(data), period, seconds, run_directories(run))
            write_report(facts, records, verifications, directory / "report.html")
    return Evaluation(Path(out), verifications)


def _evaluate_labels(
    trained: TrainedModel,
    data: str | xr.Dataset,
    period: tuple[str, str],
    out: str | Path,
    *,
    against: str | Path | TrainedModel | None,
    overwrite: bool,
    progress: bool,
) -> SampleEvaluation:
    """The answers of a model that was tuned to labels: each window of the period that has one."""
    if not isinstance(data, str):
        raise ModelError(
            "a model of labels is evaluated on a store with a path, got a dataset. Write it to a Zarr store first."
        )
    opened = model_stores(trained, data)
    named = dict.fromkeys(trained.recipe.fields, data) | stream_stores(trained)
    require_unseen(trained, named, opened, period)
    return evaluate_samples(
        trained,
        data,
        period,
        out,
        against=against,
        decorrelation=DECORRELATION_H,
        overwrite=overwrite,
        progress=progress,
    )


def predict(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset,
    init: str,
    steps: int,
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    members: int | None = None,
    lattices: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> xr.Dataset:
    """Forecast `steps` time steps from `init`; write it to `out` (Zarr, or NetCDF if it ends in .nc) if given.

    `stores` are those of streams that lie elsewhere than `data`; what it doesn't name lies where it lay in training. `lattices`: 1, 2 or 4
    token lattices that each answer is the average of, N cost N times; None: as in the model's recipe.
    See `inference.forecast` for what comes back and what is raised; OutputError if `out` exists.
    """
    trained = asked_on(_load_without_labels(run), lattices)
    members = trained.model.head.members if members is None else members
    values = sum(len(codec.climatology.channels) * codec.climatology.grid.size for codec in trained.codecs.values())
    require_room(f"a forecast of {steps} steps and {members} members", max(0, steps) * max(0, members) * values)
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
    lattices: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Fill what a period of a store lacks; write it to `out` (Zarr, or NetCDF if it ends in .nc) if given.

    lattices  1, 2 or 4 token lattices that each answer is the average of, N cost N times; None: as in the model's recipe
    See `inference.complete` for what comes back and what is raised; OutputError if `out` exists.
    """
    trained = asked_on(_load_without_labels(run), lattices)
    members = trained.model.head.members if members is None else members
    with progress_bar("filling", progress) as show_progress:
        fields = fill_in(
            trained, model_stores(trained, data, stores, needs_asked=False), period, members, progress=show_progress
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

    See `explain.explain` for the options, what comes back and what is raised; OutputError if `out` exists. What the answer about a label
    comes from says `explain.tokens.explain_token`.
    """
    trained = _load_without_labels(run)
    explained = explain_point(trained, model_stores(trained, data, stores, needs_asked=False), at, query, **options)
    if out is not None:
        with new_output(out, overwrite=overwrite) as directory:
            directory.mkdir()
            write_explanation(
                explained, str(run) if not isinstance(run, TrainedModel) else "given", str(data), directory
            )
    return explained


def _load_without_labels(run: str | Path | TrainedModel) -> TrainedModel:
    """Raises ModelError for a model of label streams, which have no place on a grid."""
    trained = run if isinstance(run, TrainedModel) else load(run)
    if trained.recipe.labels:
        raise ModelError(
            f"the model has the label stream {next(iter(trained.recipe.labels))}, which has no place on the grid. Use `statecast "
            "evaluate`, or `statecast explain --token`, or fine-tune a model of its streams of fields alone."
        )
    return trained


def run_directories(run: str | Path | TrainedModel) -> dict[str, Path]:
    """The run directory whose training curves a report can draw, by its name."""
    return {} if isinstance(run, TrainedModel) else {Path(run).name: Path(run)}
