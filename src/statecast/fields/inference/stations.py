"""Answers at stations, also at those that training has not seen, as CF time series.

Axes: E member, T time, V variable, S station.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from statecast.answer import answer
from statecast.evaluation.loop import Progress, unseen
from statecast.fields.inference.complete import period_sources
from statecast.fields.inference.forecast import forecast_task, history_record, times_around
from statecast.fields.inference.neighbourhoods import model_windows, slab_depth
from statecast.fields.recipe import FieldRecipe
from statecast.fields.sources import Stores
from statecast.fields.sources.times import TimeIndex
from statecast.fields.stations.codec import StationCodec
from statecast.fields.stations.netcdf import time_series
from statecast.fields.stations.reports import Reports
from statecast.fields.stations.series import StationSeries, StationWindow, plausible, require_same_places
from statecast.fields.stations.table import Stations, read_table
from statecast.fields.tokenizers import StreamSource, read_window, sources_of, whole_window
from statecast.trained import ModelError, TrainedModel

Answers = Float[np.ndarray, "E T V 1 S"]


def without_stations(trained: TrainedModel) -> TrainedModel:
    """The model with its streams of fields alone, for what is asked of them on their grids."""
    recipe: FieldRecipe = trained.recipe
    if not recipe.stations:
        return trained
    task = recipe.task
    if task.hidden_streams:
        task = task.model_copy(update={"to": tuple(n for n in task.hidden_streams if n not in recipe.stations)})
    streams = {name: stream for name, stream in recipe.streams.items() if name not in recipe.stations}
    codecs = {name: codec for name, codec in trained.codecs.items() if name in streams}
    return replace(trained, codecs=codecs, recipe=recipe.model_copy(update={"streams": streams, "task": task}))


def station_stream(trained: TrainedModel) -> str:
    """The one stream of stations of a model. Raises ModelError if it has none or several."""
    names = list(trained.recipe.stations)
    if len(names) != 1:
        have = f"the streams of stations {', '.join(names)}" if names else "no stream of stations"
        raise ModelError(f"the model has {have}, expected one. Train a model with one.")
    if not model_windows(without_stations(trained)).is_whole:
        raise ModelError(
            "the model was trained on neighbourhoods (window.extent), which are not tiled for stations. Train a model on whole domains, or "
            "use `statecast evaluate`."
        )
    return names[0]


def forecast_stations(trained: TrainedModel, stores: Stores, table: str, init: str, steps: int) -> xr.Dataset:
    """Forecast `steps` time steps from `init` at the stations of a table.

    Reports of the table up to `init` are visible beside the fields, later ones are not; a station needs none. Raises ModelError for a
    model that does not forecast stations, or not as far, StoreError for an `init` without its history, StationError for the table.
    """
    name, task = station_stream(trained), forecast_task(trained)
    of_fields = without_stations(trained)
    depth, codec = slab_depth(of_fields), trained.codecs[name]
    history, leads = task.history * depth, task.leads * depth
    if not 1 <= steps <= leads:
        raise ModelError(f"steps is {steps}, expected 1 to the {leads} of the model: stations are not rolled out.")
    step = codec.statistics.step
    times = times_around(next(iter(stores.values())), init, range(1 - history, leads + 1), step)
    records = {n: history_record(stores[n], known, times, history) for n, known in of_fields.codecs.items()}
    sources = sources_of(of_fields.codecs, records)
    series = _series(codec, table, sources, last=history)
    reported = series.of(slice(0, history + leads))
    found = _asked(trained, name, sources, reported)[:, history : history + steps]
    ahead, title = times[history : history + steps], f"Forecast from {times[history - 1]}"
    series_ahead = _labelled(codec, reported.stations, found, ahead, title, sources)
    start = ((), times.values[history - 1], {"standard_name": "forecast_reference_time"})
    return series_ahead.assign_coords(forecast_reference_time=start)


def translate_stations(
    trained: TrainedModel, stores: Stores, table: str, period: tuple[str, str], *, progress: Progress = unseen
) -> xr.Dataset:
    """What the stations of a table would report in a period, from the fields of the same times. Raises as `forecast_stations` does."""
    name = station_stream(trained)
    if name not in trained.recipe.task.hidden_streams:
        raise ModelError(
            f"the model was trained for the task '{trained.recipe.task.kind}', expected translate to {name}. Ask one that forecasts by "
            "`statecast predict`."
        )
    of_fields, codec = without_stations(trained), trained.codecs[name]
    sources, times = period_sources(of_fields, stores, period)
    steps = trained.recipe.task.window_slabs * slab_depth(of_fields)
    if len(times) < steps:
        raise ModelError(f"period {period[0]} to {period[1]}: has {len(times)} steps, expected {steps} of a window.")
    series = _series(codec, table, sources, last=0)
    firsts = sorted({*range(0, len(times) - steps + 1, steps), len(times) - steps})
    found: Answers | None = None
    for done, first in enumerate(firsts):
        window = slice(first, first + steps)
        of_window = _asked(trained, name, sources, series.of(window))
        if found is None:
            found = np.full((len(of_window), len(times), *of_window.shape[2:]), np.nan, np.float32)
        found[:, window] = of_window
        progress((done + 1) / len(firsts))
    assert found is not None
    title = f"{period[0]} to {period[1]} at stations"
    return _labelled(codec, series.reports.stations, found, times, title, sources)


def _series(codec: StationCodec, table: str, sources: Mapping[str, StreamSource], last: int) -> StationSeries:
    """The stations of a table, with the reports of the first `last` steps."""
    stream, record = codec.stream, next(iter(sources.values())).record
    read = read_table(table, units=stream.units, zone=stream.zone, needs_reports=False)
    known = codec.statistics
    of_variables = read.of_variables(dict(zip(known.variables, known.units, strict=True)), may_lack=True)
    require_same_places(of_variables, known.stations)
    reports = Reports.of(of_variables, record, stream.within_min).before(last)
    return StationSeries(codec, plausible(reports, codec))


def _asked(trained: TrainedModel, name: str, sources: Mapping[str, StreamSource], reported: StationWindow) -> Answers:
    """The answers about all tokens of a window that are asked, in the units of the reports; elsewhere the climatology."""
    start, hide = reported.steps.start, trained.recipe.window.hide_calendar
    fields = whole_window(sources, start, reported.steps.stop - start)
    window = read_window(fields, hide_calendar=hide)
    window[name] = reported.tokens(fields, hide_calendar=hide)
    question = replace(trained.recipe.task.complete(window), seed=torch.tensor(start))
    return reported.members(window[name], question.queries[name], answer(trained, question)[name])


def _labelled(
    codec: StationCodec,
    stations: Stations,
    found: Answers,
    times: TimeIndex,
    title: str,
    sources: Mapping[str, StreamSource],
) -> xr.Dataset:
    """The mean of each variable and, of an ensemble, its members, which stand for quantiles."""
    variables: dict[str, Any] = {}
    for v, variable in enumerate(codec.stream.variables):
        attributes = {"units": codec.statistics.units[v], **_standard_name(codec, variable, sources)}
        values = np.moveaxis(found[:, :, v, 0], -1, 1)  # E S T
        variables[variable] = (("station", "time"), values.mean(axis=0).astype(np.float32), attributes)
        if len(found) > 1:
            note = {"long_name": f"members of {variable}, which stand for quantiles at each station and time"}
            quantiles = np.moveaxis(np.sort(values, axis=0), 0, -1).astype(np.float32)
            variables[f"{variable}_members"] = (("station", "time", "number"), quantiles, {**attributes, **note})
    return time_series(stations, xr.DataArray(times, dims="time"), variables, title)


def _standard_name(codec: StationCodec, variable: str, sources: Mapping[str, StreamSource]) -> dict[str, str]:
    if variable not in codec.stream.first_guess:
        return {}
    name, channel = codec.stream.first_guess[variable].split(".")
    attributes = sources[name].record.dataset[channel.partition("@")[0]].attrs
    return {"standard_name": attributes["standard_name"]} if "standard_name" in attributes else {}
