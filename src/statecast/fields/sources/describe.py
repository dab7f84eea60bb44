"""Summary of the contents of a store. Registered with the core as the describer of fields. Axes: H row, W column."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text
from scipy.special import roots_legendre

from statecast.fields.sources.dimensions import listed
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.fields import open_fields
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.opening import ABSENT, MAGIC, ZARR_METADATA, kind_of
from statecast.fields.sources.reading import values_of
from statecast.fields.sources.record import KNOWN_DIMENSIONS, Record
from statecast.fields.sources.step import Step

SAMPLE_STEPS = 8  # times that are inspected, evenly spaced
SAMPLE_VALUES = 2_000_000  # values of a variable that are inspected, 16 MB in float64
LISTED_GAPS = 10
EQUAL_SPACING = 1e-3  # relative to the spacing: float32 coordinates differ by about 1e-5


@dataclass(frozen=True)
class VariableSummary:
    """One variable. The numbers are computed from a sample of at most `SAMPLE_STEPS` times; the mean is weighted by cos(latitude).

    missing      share of sampled values that are NaN; None, like the others, if the variable is not numeric
    has_absent   True if a chunk of the sample is not in the store, whose values count as missing here
    """

    name: str
    standard_name: str
    units: str
    dimensions: tuple[str, ...]
    levels_hpa: tuple[float, ...]
    varies_in_time: bool
    missing: float | None
    lowest: float | None
    mean: float | None
    highest: float | None
    has_absent: bool = False


@dataclass(frozen=True)
class TimeSummary:
    """The time axis. A gap is (last time before, first time after) where an interval differs from the step.

    step    from one time to the next; None for a single time, and where the step is unequal or changes
    uneven  in which way the step is unequal or changes
    """

    first: str
    last: str
    count: int
    step: Step | None
    calendar: str
    gaps: tuple[tuple[str, str], ...]
    uneven: str = ""

    @property
    def step_h(self) -> float | None:
        return None if self.step is None else self.step.hours


@dataclass(frozen=True)
class Description:
    """The contents of a store; rich prints them as a table, `str` returns the same as plain text.

    others  further dimensions with their values
    """

    variables: tuple[VariableSummary, ...]
    grid: str
    times: TimeSummary
    size_bytes: int
    others: tuple[str, ...] = ()

    def __rich__(self) -> Group:
        lines = {"grid": self.grid, "times": _times_as_text(self.times), "size": f"{_size(self.size_bytes)} in memory"}
        if self.others:
            lines["select"] = f"one value of {'; of '.join(self.others)} (data.select in the recipe)"
        if self.times.gaps:
            lines["gaps"] = _gaps_as_text(self.times.gaps)
        if absent := [v.name for v in self.variables if v.has_absent]:
            lines["absent"] = (
                f"chunks of {', '.join(absent)} are not in the store. They count as missing above; data.absent_chunks says what they are."
            )
        return Group(_table(self.variables), *(Text(f"{name:<6} {line}") for name, line in lines.items()))

    def __str__(self) -> str:
        console = Console(width=160, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def recognises(data: str) -> bool:
    """Whether `data` is a sample, a Zarr store, a NetCDF or GRIB file or a zip, as far as its name and first bytes tell."""
    path = Path(data)
    if path.is_file():
        return kind_of(data) in MAGIC.values()
    in_store = any((path / name).exists() for name in ZARR_METADATA)
    return in_store or "://" in data or data.startswith("sample:") or path.suffix in (".zarr", ".nc")


def describe(data: str | Path | xr.Dataset) -> Description:
    """Describe a store of fields (see `open_fields`): variables, grid, times and gaps, size.

    Reads a sample of limited size (see `VariableSummary`), one time step at a time, so a store may be larger than memory.
    Raises StoreError and MissingStoreError as `open_fields` does.
    """
    from statecast.fields.prepare.fitting import naming_the_spec

    with naming_the_spec(data):
        dataset = open_fields(data, absent="missing")
    record = Record(dataset, channels=(), units=())
    variables = tuple(_variable(array) for array in dataset.data_vars.values())
    return Description(variables, _grid(record.grid), _times(record), int(dataset.nbytes), _others(dataset))


def _others(dataset: xr.Dataset) -> tuple[str, ...]:
    """The dimensions of fields of which a recipe has to select one value, with their values."""
    fields = [array for array in dataset.data_vars.values() if {"lat", "lon"} <= set(array.dims)]
    names = dict.fromkeys(str(dim) for array in fields for dim in array.dims if dim not in KNOWN_DIMENSIONS)
    return tuple(
        f"{name} ({listed(dataset, name) if name in dataset.coords else dataset.sizes[name]})" for name in names
    )


def _variable(array: xr.DataArray) -> VariableSummary:
    return VariableSummary(
        str(array.name),
        str(array.attrs.get("standard_name", "")),
        str(array.attrs.get("units", "")),
        tuple(map(str, array.dims)),
        tuple(map(float, array.level.values)) if "level" in array.dims and "level" in array.coords else (),
        "time" in array.dims,
        *_statistics(array),
        has_absent=_has_absent(array),
    )


def _has_absent(array: xr.DataArray) -> bool:
    """Whether a chunk of the variable, that is not in its store, was read."""
    return any(path.rpartition("/")[2] == array.name for path in array.encoding.get(ABSENT, ()))


def _statistics(array: xr.DataArray) -> tuple[float | None, float | None, float | None, float | None]:
    """Share of missing values, and lowest, mean and highest value of a sample."""
    if array.dtype.kind not in "fiub" or array.size == 0:
        return None, None, None, None
    looked_at, seen, weight, total = 0, 0, 0.0, 0.0
    lowest, highest = np.inf, -np.inf
    for part in _sample(array):
        values = values_of(part).astype(np.float64)
        finite = np.isfinite(values)
        weights = np.where(finite, _row_weights(part), 0.0)
        looked_at, seen = looked_at + values.size, seen + int(finite.sum())
        weight, total = weight + weights.sum(), total + (weights * np.where(finite, values, 0.0)).sum()
        lowest = values.min(where=finite, initial=lowest)
        highest = values.max(where=finite, initial=highest)
    if seen == 0:
        return 1.0, None, None, None
    return 1 - seen / looked_at, float(lowest), float(total / weight) if weight > 0 else None, float(highest)


def _row_weights(part: xr.DataArray) -> np.ndarray | float:
    """cos(latitude) of each value; 1 without a latitude axis."""
    if "lat" not in part.dims:
        return 1.0
    weights = xr.DataArray(np.cos(np.deg2rad(part["lat"].values)), dims="lat")
    return np.asarray(weights.broadcast_like(part).transpose(*part.dims).values)


def _sample(array: xr.DataArray) -> Iterator[xr.DataArray]:
    """Evenly spaced time steps, thinned in rows and columns (and in any other dimensions) if still too large."""
    steps = np.unique(np.linspace(0, array.sizes.get("time", 1) - 1, SAMPLE_STEPS).round().astype(int))
    others = {d: n for d, n in array.sizes.items() if d != "time"}
    thinned = [d for d in others if d != "level"]
    excess = np.prod(list(others.values()), dtype=float) * len(steps) / SAMPLE_VALUES
    stride = int(np.ceil(max(1.0, excess) ** (1 / max(1, len(thinned)))))
    array = array.isel({d: slice(None, None, stride) for d in thinned})
    yield from (array.isel(time=int(step)) for step in steps) if "time" in array.dims else (array,)


def _grid(grid: Grid) -> str:
    rows, columns = grid.shape
    east = float(np.diff(grid.lon).mean()) if columns > 1 else 0.0
    spacing = f"{grid.spacing_deg if rows > 1 else 0:.4g}° × {east:.4g}°"
    reaches_poles = rows > 1 and max(90 + grid.lat[0], 90 - grid.lat[-1]) <= grid.spacing_deg
    south_to_north = f"{grid.lat[0]:.4g} to {grid.lat[-1]:.4g}° north"
    if grid.is_periodic:
        extent = "global" if reaches_poles else f"{south_to_north}, all longitudes"
        extent += ", columns periodic"
    else:
        extent = f"regional, {south_to_north}, {grid.lon[0]:.4g} to {grid.lon[-1]:.4g}° east"
    return f"{rows} rows × {columns} columns, {spacing}, {_row_spacing(grid.lat)}, {extent}"


def _row_spacing(lat: np.ndarray) -> str:
    if len(lat) < 3 or np.ptp(np.diff(lat)) <= EQUAL_SPACING * np.diff(lat).mean():
        return "regular"
    gaussian = np.rad2deg(np.arcsin(roots_legendre(len(lat))[0]))
    return "Gaussian" if np.allclose(lat, gaussian, atol=0.01) else "rows unequally spaced"


def _times(record: Record) -> TimeSummary:
    index, calendar = record.times.index, str(record.dataset["time"].dt.calendar)
    whole = (str(index[0]), str(index[-1]), len(index))
    if len(record) < 2:
        return TimeSummary(*whole, None, calendar, ())
    try:
        after = np.flatnonzero(~record.step.is_next(record.times))
    except StoreError as error:
        return TimeSummary(*whole, None, calendar, (), str(error))
    return TimeSummary(*whole, record.step, calendar, tuple((str(index[i]), str(index[i + 1])) for i in after))


def _times_as_text(times: TimeSummary) -> str:
    step = "" if times.step is None else f" of {times.step}"
    uneven = f". {times.uneven[0].upper()}{times.uneven[1:]}" if times.uneven else ""
    return f"{times.first} to {times.last}, {times.count} steps{step}, calendar {times.calendar}{uneven}"


def _gaps_as_text(gaps: tuple[tuple[str, str], ...]) -> str:
    listed = "; ".join(f"{before} to {after}" for before, after in gaps[:LISTED_GAPS])
    more = f"; and {len(gaps) - LISTED_GAPS} more" if len(gaps) > LISTED_GAPS else ""
    return f"{len(gaps)}: {listed}{more}. No window crosses one."


def _size(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def _table(variables: tuple[VariableSummary, ...]) -> Table:
    table = Table(
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=f"Numbers are of a sample of up to {SAMPLE_STEPS} times.",
    )
    table.add_column("variable", no_wrap=True)
    table.add_column("standard name", overflow="fold", min_width=7)
    table.add_column("units", no_wrap=True)
    table.add_column("levels [hPa]", overflow="fold", min_width=6)
    for name in ("missing", "lowest", "mean", "highest"):
        table.add_column(name, justify="right", no_wrap=True)
    for v in sorted(variables, key=lambda v: (not v.varies_in_time, v.name)):
        levels = ", ".join(f"{p:g}" for p in v.levels_hpa) if v.varies_in_time else "static"
        missing = "" if v.missing is None else f"{v.missing:.1%}"
        numbers = map(_number, (v.lowest, v.mean, v.highest))
        table.add_row(*map(Text, (v.name, v.standard_name, v.units, levels, missing, *numbers)))
    return table


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3g}"
