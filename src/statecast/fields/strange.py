"""Strange values of fields: sensor faults, errors of units, weather that the model did not expect.

Axes: T time, V channel, H row, W column, N token, P value in a token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from statecast.costs import require_room
from statecast.evaluation.progress import progress_bar
from statecast.evaluation.report import section
from statecast.fields.held_out import model_stores
from statecast.fields.inference.forecast import check_record, labelled, with_attributes
from statecast.fields.inference.neighbourhoods import model_windows, tiled_places
from statecast.fields.sources import Record, StoreError
from statecast.fields.strange_figures import strange_maps
from statecast.fields.tokenizers import Place, StreamSource, join_patches, located, read_window, sources_of
from statecast.outputs import new_output, require_place
from statecast.streams import Window
from statecast.surprise.report import write_report
from statecast.surprise.score import Surprised, in_batches
from statecast.surprise.strange import Anomalies, Search, described, facts, usual_of
from statecast.surprise.strange import anomalies as anomalies_of_samples
from statecast.surprise.tables import Columns, TableWriter
from statecast.surprise.usual import Usual
from statecast.trained import ModelError, TrainedModel, load

MAPS = (
    "Largest excess of each variable in units of its threshold, over all times and levels; dots mark what is above it. Where nothing was "
    "observed, it is white."
)


@dataclass(frozen=True)
class TiledWindows:
    """Windows one after the other that cover a record, by the time of their first step; a model of neighbourhoods has several at a time."""

    sources: Mapping[str, StreamSource]
    places: Sequence[dict[str, Place]]
    hide_calendar: bool = False

    @classmethod
    def of(cls, trained: TrainedModel, records: Mapping[str, Record]) -> "TiledWindows":
        """Raises StoreError for a record that is shorter than a window."""
        recipe, windows = trained.recipe, model_windows(trained)
        steps = recipe.task.window_slabs * recipe.slab_steps
        starts = one_after_another(records[windows.drawn_on].starts(steps), steps)
        places = [place for start in starts for place in tiled_places(windows, start, steps)]
        return cls(sources_of(trained.codecs, records), places, trained.recipe.window.hide_calendar)

    @property
    def labels(self) -> list[Any]:
        times = next(iter(self.sources.values())).record.dataset.indexes["time"]
        return [times[self.start(number)] for number in range(len(self))]

    @property
    def positions(self) -> Float[np.ndarray, " S"]:
        hours = next(iter(self.sources.values())).record.hours
        return np.array([hours[self.start(number)] for number in range(len(self))])

    def start(self, number: int) -> int:
        """The first step of a window."""
        return next(iter(self.places[number].values())).start

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Window:
        return read_window(located(self.sources, self.places[number]), hide_calendar=self.hide_calendar)


def one_after_another(starts: np.ndarray, steps: int) -> list[int]:
    """Starts of windows that don't overlap, but for those that end at a gap or at the end of the record."""
    chosen: list[int] = []
    allowed = set(starts.tolist())
    for start in starts.tolist():
        is_free = not chosen or start >= chosen[-1] + steps
        ends_here = start + 1 not in allowed and bool(chosen) and start > chosen[-1]
        if is_free or ends_here:
            chosen.append(start)
    return chosen


def anomalies(
    run: str | Path | TrainedModel,
    data: str | xr.Dataset | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path = "anomalies",
    *,
    stores: Mapping[str, str | xr.Dataset] | None = None,
    search: Search | None = None,
    report: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> Anomalies:
    """How surprising each value of a period is; write `anomalies.nc` and `report.html` into the directory `out`.

    data, period  store and first and last date; None: the store, or the validation period, of the model's recipe
    stores        stores of streams that lie elsewhere than `data`

    `anomalies.nc` holds VARIABLE_excess (time, [level,] lat, lon): -log p of each value less its expectation, in nats, the largest of
    several questions; VARIABLE_threshold ([level]): what a share `false_alarms` of the tokens of the training split exceeds; and the table
    of windows of `surprise.tables.Tables`. Values far from those that the model learned are scored, not refused.

    A model that also has labels or stations is searched window by window by `surprise.strange.anomalies`, whose tables it leaves.
    Raises StoreError for a period without a window, ModelError for a task that asks no content.
    """
    trained = load(run)
    search = search or Search()
    if set(trained.codecs) != set(trained.recipe.fields):
        if stores or isinstance(data, xr.Dataset):
            raise ModelError("the model has streams that lie on no grid: give one store by its path, and no other.")
        common: dict[str, Any] = {"search": search, "report": report, "overwrite": overwrite, "progress": progress}
        return anomalies_of_samples(trained, data, period, out, **common)
    require_place(out, overwrite)
    records = _records(trained, data, period, stores)
    cases = TiledWindows.of(trained, records)
    require_room("the surprise of the period", sum(len(r) * len(r.channels) * r.grid.size for r in records.values()))
    usual = None
    if search.windows:
        with progress_bar("training windows", progress) as show_progress:
            usual = usual_of(trained, search, _training(trained), show_progress)
    tables, fields = searched_fields(trained, cases, search, usual, progress=progress)
    dataset = _labelled(cases, fields, usual)
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        whole = xr.merge([dataset, tables.as_dataset()], combine_attrs="override")
        described(whole, trained, search).to_netcdf(directory / "anomalies.nc")
        if report:
            more = [] if usual is None else [section("Where", MAPS, [strange_maps(dataset)])]
            write_report(tables, usual, facts(trained, data, search), directory / "report.html", more)
    return Anomalies(Path(out), tables, usual)


def _records(
    trained: TrainedModel,
    data: str | xr.Dataset | None,
    period: tuple[str, str] | None,
    stores: Mapping[str, str | xr.Dataset] | None,
) -> dict[str, Record]:
    """The record of each stream in the period, whatever its values."""
    options = trained.recipe.data
    period = period or options.validate_on
    if period is None:
        raise ModelError("the recipe has no validation split, and no period is given. Give a period.")
    opened = model_stores(trained, options.store if data is None else data, stores)
    records = {name: Record.open(opened[name], codec.stream, period) for name, codec in trained.codecs.items()}
    for name, record in records.items():
        check_record(trained.codecs[name], record, must_be_plausible=False)
    return records


def _training(trained: TrainedModel) -> TiledWindows:
    """Windows of the training period. Raises ModelError if its store can't be read."""
    options = trained.recipe.data
    try:
        return TiledWindows.of(trained, _records(trained, options.store, options.train, None))
    except (StoreError, ModelError) as error:
        raise ModelError(
            f"{str(error).rstrip('.')}. Thresholds come from the training period: pass --windows 0 for scores without them."
        ) from error


def searched_fields(
    trained: TrainedModel, cases: TiledWindows, search: Search, usual: Usual | None, *, progress: bool
) -> tuple[Any, dict[str, Float[np.ndarray, "T V H W"]]]:
    """The table of windows, and the excess of each value of each stream as fields."""
    asking = search.asking(usual)
    writer = TableWriter(trained.codecs, usual, token_names, tokens=False)
    fields = {name: np.full(_shape(source), np.nan, np.float32) for name, source in cases.sources.items()}
    with progress_bar("windows", progress) as show_progress:
        numbers = list(range(len(cases)))
        batches = in_batches(trained, cases, numbers, asking, batch=search.batch, progress=show_progress)
        for number, window, found in batches:
            writer.add(cases.labels[number], window, found)
            for name, of in found.items():
                put_on_grid(cases.sources[name], cases.places[number][name], of, fields[name])
    return writer.tables(), fields


def token_names(codecs: Mapping[str, Any], label: Any, window: Window, name: str) -> Columns:
    """The time and the place of the centre of each token; its pressure where each level has tokens of its own. `label`: the first step."""
    tokens = window[name]
    columns = ["latitude_deg", "longitude_deg", *(["pressure_hpa"] if codecs[name].groups > 1 else [])]
    times = [str(label + timedelta(hours=hours)) for hours in tokens.coordinate("offset_h").tolist()]
    return {"time": np.array(times), **{column: tokens.coordinate(column).numpy() for column in columns}}


def _shape(source: StreamSource) -> tuple[int, int, int, int]:
    record = source.record
    return len(record), len(record.channels), *record.grid.shape


def put_on_grid(source: StreamSource, place: Place, of: Surprised, field: Float[np.ndarray, "T V H W"]) -> None:
    """The excess of each value of a window where it lies; the largest where windows overlap."""
    tokenizer = source.tokenizer
    shape = (place.steps, field.shape[1], place.rows.stop - place.rows.start, len(place.columns))
    values = join_patches(of.excess[:, :-1], tokenizer.stream.patch, shape, tokenizer.groups)
    values = values[:, np.argsort(tokenizer.channel_order())]
    at = np.ix_(np.arange(place.steps) + place.start, np.arange(shape[1]), np.r_[place.rows], place.columns)
    field[at] = np.fmax(field[at], values)


def _labelled(
    cases: TiledWindows, fields: Mapping[str, Float[np.ndarray, "T V H W"]], usual: Usual | None
) -> xr.Dataset:
    """VARIABLE_excess and VARIABLE_threshold of all streams on one grid; with the name of its stream in front where there are several."""
    parts = []
    for name, field in fields.items():
        source = cases.sources[name]
        part = labelled(source.tokenizer, source.record, field[None], "time").isel(number=0)
        part = part.assign_coords(time=source.record.dataset["time"].values)
        prefix = f"{name}_" if len(fields) > 1 else ""
        excess = {variable: f"{prefix}{variable}_excess" for variable in part.data_vars}
        for variable, array in part.data_vars.items():
            array.attrs = {"units": "1", "long_name": f"excess surprise of {variable} in nats"}
        part = part.rename(excess)
        if usual is not None:
            part = part.assign(_thresholds(source, usual.threshold[name], excess))
        own = {axis: f"{prefix}{axis}" for axis in ("lat", "lon", "level") if axis in part.dims}
        parts.append(part.rename(own) if prefix else part)
    return with_attributes(xr.merge(parts), "Surprise of each value, given the others")


def _thresholds(source: StreamSource, threshold: Float[np.ndarray, " V"], names: Mapping[Any, str]) -> dict[str, Any]:
    """Of each variable, by level where it has levels."""
    of_channels = np.tile(threshold[:-1], source.tokenizer.groups)[np.argsort(source.tokenizer.channel_order())]
    found: dict[str, Any] = {}
    for variable, name in names.items():
        index = [n for n, channel in enumerate(source.record.channels) if channel.variable == variable]
        has_levels = source.record.channels[index[0]].pressure_hpa is not None
        values = of_channels[index] if has_levels else of_channels[index[0]]
        attributes = {"units": "1", "long_name": f"threshold of {name}"}
        found[name.replace("_excess", "_threshold")] = (("level",) if has_levels else (), values, attributes)
    return found
