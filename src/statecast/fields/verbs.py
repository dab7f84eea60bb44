"""What one does with a trained model of fields: verify it, forecast, fill gaps, explain an answer."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from statecast.costs import require_room
from statecast.evaluation import Verification, write_scores
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
from statecast.fields.inference.stations import (
    forecast_stations,
    station_stream,
    translate_stations,
    without_stations,
)
from statecast.fields.sources import Record
from statecast.fields.station_scores import StationData, evaluate_stations
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
    stores   stores of streams that are not in `data`, by stream; a stream that is not named is read from its store in training. Of a stream
             of stations its table
    every_h  hours between the starts
    lattices  1, 2 or 4 token lattices that each answer is the average of (`inference.lattices`), N cost N times; None: as in the recipe
    members  so many members of a forecast are scored too, drawn as `predict` writes them, see `evaluation.states`
    report   False: only the scores are written; drawing the report's figures takes some seconds

    A model answers the question that it was trained for: a pre-trained model fills in hidden tokens, a model fine-tuned to forecast makes
    forecasts. Raises StoreError if the period holds no data, or overlaps the training period, in the same store, of this model or of a
    model that it was fine-tuned from.
    """
    trained = asked_on(load(run), lattices)
    if set(trained.recipe.labels) & set(trained.recipe.task.asked_streams(trained.recipe.streams)):
        return _evaluate_labels(trained, data, period, out, against=against, overwrite=overwrite, progress=progress)
    models = {"model": trained}
    if against is not None:
        before = asked_on(load(against), lattices)
        models = {"model": asked_like(trained, before), "before": before}
    tables = {name: store for name, store in (stores or {}).items() if name in trained.recipe.stations}
    stores = {name: store for name, store in (stores or {}).items() if name not in tables}
    of_fields = {name: without_stations(model) for name, model in models.items()}
    plain = without_stations(trained)
    opened, named = model_stores(plain, data, stores), dict.fromkeys(plain.codecs, data)
    named |= stream_stores(plain, stores)
    for each in (plain, *of_fields.values()):
        require_unseen(each, named, opened, period)
    trained = models["model"]
    records = {name: Record.open(opened[name], t.stream, period) for name, t in of_fields["model"].codecs.items()}
    asked = trained.recipe.task.asked_streams(tuple(trained.codecs))
    verifications: list[Verification] = []
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        began = time.monotonic()
        learned = opened if are_of_training(of_fields["model"], named, opened) else None
        asks_fields = any(name in records for name in asked)
        if asks_fields:
            verifications += verify(of_fields, records, learned, every_h=every_h, members=members, progress=progress)
        seconds = {"evaluation": time.monotonic() - began}
        of_stations: list[Verification] = []
        if any(name in trained.recipe.stations for name in asked):
            where = StationData(data, period, {**stores, **tables}, is_of_training=learned is not None)
            of_stations = evaluate_stations(models, where, every_h=every_h, progress=progress)
        write_scores([*verifications, *of_stations], directory)
        if report and asks_fields:
            facts = RunFacts("Evaluation", of_fields["model"], str(data), period, seconds, run_directories(run))
            write_report(facts, records, verifications, directory / "report.html")
    return Evaluation(Path(out), [*verifications, *of_stations])


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
    stations: str | None = None,
    lattices: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> xr.Dataset:
    """Forecast `steps` time steps from `init`; write it to `out` (Zarr, or NetCDF if it ends in .nc) if given.

    stations  a table of stations at which the forecast is made in place of the grid, see `inference.stations`; they need no reports
    `stores` are those of streams that lie elsewhere than `data`; what it doesn't name lies where it lay in training. `lattices`: 1, 2 or 4
    token lattices that each answer is the average of, N cost N times; None: as in the model's recipe.
    See `inference.forecast` for what comes back and what is raised; OutputError if `out` exists.
    """
    trained = _load_without_labels(run)
    if stations is not None:
        opened = _for_stations(trained, data, stores, out, (members, lattices))
        series = forecast_stations(trained, opened, stations, init, steps)
        return _written(series, out, overwrite=overwrite)
    trained = asked_on(_on_grids(trained), lattices)
    members = trained.model.head.members if members is None else members
    values = sum(len(codec.climatology.channels) * codec.climatology.grid.size for codec in trained.codecs.values())
    require_room(f"a forecast of {steps} steps and {members} members", max(0, steps) * max(0, members) * values)
    fields = forecast(trained, model_stores(trained, data, stores), init, steps, members)
    return _written(fields, out, overwrite=overwrite)


def complete(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset,
    period: tuple[str, str],
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    members: int | None = None,
    stations: str | None = None,
    lattices: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Fill what a period of a store lacks; write it to `out` (Zarr, or NetCDF if it ends in .nc) if given.

    stations  a table of stations at which a model that translates to stations answers; they need no reports
    lattices  1, 2 or 4 token lattices that each answer is the average of, N cost N times; None: as in the model's recipe
    See `inference.complete` for what comes back and what is raised; OutputError if `out` exists.
    """
    trained = _load_without_labels(run)
    if stations is not None:
        opened = _for_stations(trained, data, stores, out, (members, lattices))
        with progress_bar("stations", progress) as show_progress:
            series = translate_stations(trained, opened, stations, period, progress=show_progress)
        return _written(series, out, overwrite=overwrite)
    trained = asked_on(_on_grids(trained), lattices)
    members = trained.model.head.members if members is None else members
    with progress_bar("filling", progress) as show_progress:
        fields = fill_in(
            trained, model_stores(trained, data, stores, needs_asked=False), period, members, progress=show_progress
        )
    return _written(fields, out, overwrite=overwrite)


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
    trained = _on_grids(_load_without_labels(run))
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
    trained = load(run)
    if trained.recipe.labels:
        raise ModelError(
            f"the model has the label stream {next(iter(trained.recipe.labels))}, which has no place on the grid. Use `statecast "
            "evaluate`, or `statecast explain --token`, or fine-tune a model of its streams of fields alone."
        )
    return trained


def _on_grids(trained: TrainedModel) -> TrainedModel:
    """The model without its stations. Raises ModelError if it answers nothing else."""
    if set(trained.recipe.task.hidden_streams) & set(trained.recipe.stations):
        raise ModelError(
            "the model answers stations, which lie on no grid. Use `statecast complete --stations TABLE`, or `statecast explain --token`."
        )
    return without_stations(trained)


def _for_stations(
    trained: TrainedModel,
    data: str | xr.Dataset,
    stores: Mapping[str, str | xr.Dataset] | None,
    out: str | Path | None,
    of_grids: tuple[int | None, int | None],
) -> dict[str, xr.Dataset]:
    """The stores of the fields. Raises ModelError for a model without stations, an output that is no NetCDF, and options of grids."""
    station_stream(trained)
    if of_grids != (None, None):
        raise ModelError(
            "members and lattices are of answers on a grid: stations have all members of the head. Leave them out."
        )
    if out is not None and Path(out).suffix != ".nc":
        raise ModelError(f"{out}: time series of stations are written as NetCDF, expected a name that ends in .nc.")
    return model_stores(without_stations(trained), data, stores)


def _written(fields: xr.Dataset, out: str | Path | None, *, overwrite: bool) -> xr.Dataset:
    if out is not None:
        with new_output(out, overwrite=overwrite) as path:
            write_forecast(fields, path)
    return fields


def run_directories(run: str | Path | TrainedModel) -> dict[str, Path]:
    """The run directory whose training curves a report can draw, by its name."""
    return {} if isinstance(run, TrainedModel) else {Path(run).name: Path(run)}
