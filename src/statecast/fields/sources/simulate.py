"""A simulated global atmosphere, written as it runs. Axes: L model layer (top first), P pressure level, H row, W column.

The model is that of `simulator`. After each chunk its state is saved next to the store, so a killed run resumes at that point and
gives the same result as an uninterrupted one.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import zarr
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from statecast.fields.sources.pressure_levels import GRAVITY
from statecast.fields.sources.simulator import (
    Atmosphere,
    Restarted,
    SimulationError,
    SimulationOptions,
    Simulator,
    read_date,
)

CHUNK_FRAMES = 56
FILL = -32768
WITHOUT_CHANGES: dict[str, Any] = {"physics": {}, "restart_days": 0.0}  # options that older records do not contain


class Packing(NamedTuple):
    """How a variable is stored: 16-bit codes over a fixed range that is the same for all chunks and wider than any weather."""

    standard_name: str
    long_name: str
    units: str
    lowest: float
    highest: float
    on_levels: bool

    @property
    def attributes(self) -> dict[str, str | float]:
        names = {"standard_name": self.standard_name, "long_name": self.long_name, "units": self.units}
        codes = {"scale_factor": self.scale, "add_offset": self.offset, "_FillValue": FILL}
        return names | {"cell_methods": "time: point"} | codes

    @property
    def scale(self) -> float:
        return (self.highest - self.lowest) / 65534

    @property
    def offset(self) -> float:
        return self.lowest + 32767 * self.scale  # in this form, the code for a lowest value of 0 decodes to exactly 0


PACKING = {
    "t": Packing("air_temperature", "temperature", "K", 130.0, 360.0, True),
    "u": Packing("eastward_wind", "eastward wind", "m s-1", -200.0, 200.0, True),
    "v": Packing("northward_wind", "northward wind", "m s-1", -200.0, 200.0, True),
    "q": Packing("specific_humidity", "specific humidity", "kg kg-1", 0.0, 0.05, True),
    "z": Packing("geopotential", "geopotential", "m2 s-2", -10e3, 260e3, True),
    "t2m": Packing("air_temperature", "near-surface temperature", "K", 130.0, 360.0, False),
    "msl": Packing("air_pressure_at_mean_sea_level", "mean sea-level pressure", "Pa", 80e3, 130e3, False),
    "tprate": Packing("precipitation_flux", "precipitation", "kg m-2 s-1", 0.0, 0.02, False),
}


def simulate(
    out: str | Path,
    *,
    days: float,
    truncation: int = 31,
    start: str = "2000-01-01",
    seed: int = 0,
    levels_hpa: Sequence[float] = (500, 850),
    interval_h: int = 6,
    spin_up_days: int = 120,
    physics: Mapping[str, float] | None = None,
    restart_days: float = 0.0,
    chunk_frames: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Simulate `days` of global weather from `start` (UTC), write it to a CF Zarr v3 store at `out`, and return its path.

    The first frame is at `start`, followed by one every `interval_h` hours. The model starts `spin_up_days` earlier from an
    isothermal atmosphere at rest, so that the season is right; after two months the winds are not yet in equilibrium. `seed` (below
    2**31) places the initial disturbance: different seeds give different weather in the same climate. `truncation` T21, T31 or
    T42 has 32 x 64, 48 x 96 or 64 x 128 points (Gaussian latitudes). Orography, land and the mean annual cycle of sea surface,
    ice, snow and soil are interpolated from jcm's T30 climatology. `levels_hpa` must be within 30 to 1050. As in jcm, the mean
    surface pressure is 1000 hPa, 15 hPa more than the Earth's, so sea-level pressure is higher by the same amount.

    `physics` changes parameters of SPEEDY from jcm's values, by scheme and name (`convection.trcnv`: 12), which gives a different model of
    the same world. With `restart_days`, this model restarts at that interval, first one `interval_h` before `start`, from the state of a
    reference run alongside it, with jcm's own physics and otherwise the same options. The difference between the two is then the error
    of a forecast by an imperfect model, and the first frame is a forecast of `interval_h` hours. `forecast_period` in the store gives the
    hours since the last restart. Restarts reproduce a separate reference run only if both are made on the same machine: weather amplifies
    differences in rounding.

    Dimensions: time, level [hPa], lat, lon, all ascending. On levels: t [K], u, v [m s-1], q [kg kg-1], z [m2 s-2].
    Without levels: t2m [K] (the near-surface temperature of SPEEDY), msl [Pa], tprate [kg m-2 s-1], both of the last model
    step. Static: orog [m], lsm [1], as used by the model. Values are instantaneous, packed to int16 with the fixed
    ranges of `PACKING`; a value outside its range stops the run. Values below the ground are extrapolated: see
    `on_pressure_levels` and `sea_level_pressure`.

    A killed run that is called again with the same options resumes from the last complete chunk of `chunk_frames` frames
    (by default 56, or the next number that ends at a restart). A finished store is left unchanged. `overwrite` starts again.

    Raises SimulationError for an option out of range, if jcm is not installed, if `out` holds something else or a run
    with other options, if the state of an unfinished run is missing, or if the model leaves the range of plausible
    weather.
    """
    store, levels = Path(out), tuple(sorted(float(level) for level in levels_hpa))
    options = SimulationOptions(
        truncation=truncation,
        days=float(days),
        start=read_date(start),
        seed=seed,
        levels_hpa=levels,
        interval_h=interval_h,
        spin_up_days=spin_up_days,
        chunk_frames=_whole_restarts(restart_days, interval_h) if chunk_frames is None else chunk_frames,
        physics=dict(physics or {}),
        restart_days=float(restart_days),
    )
    state = store.with_name(store.name + ".state")
    console = Console(stderr=True, quiet=not progress)
    recorded = _recorded_options(store) if store.exists() else None
    if recorded is not None and not overwrite:
        _refuse_other_options(store, recorded, asdict(options))
        if _is_finished(store, state, options):
            console.print(f"store {store}: is already finished, nothing to do.", soft_wrap=True, highlight=False)
            return store
    atmosphere = _simulator(options)
    if recorded is None or overwrite:
        _start(store, state, options, atmosphere)
    else:
        _refuse_other_options(store, recorded, {"jcm": atmosphere.version})
    # load even a state that was just saved, so that a resumed run executes the same program as a new one
    atmosphere.load(state)
    _run(store, state, options, atmosphere, console)
    state.unlink()
    return store


def _whole_restarts(restart_days: float, interval_h: int) -> int:
    """Frames per chunk: the default number, rounded up to end at a restart."""
    apart = round(restart_days * 24 / interval_h) if 0 < restart_days < math.inf and interval_h > 0 else 1
    return -(-CHUNK_FRAMES // max(1, apart)) * max(1, apart)


def _simulator(options: SimulationOptions) -> Simulator:
    atmosphere = Atmosphere(options)
    if not options.restart_days:
        return atmosphere
    return Restarted(atmosphere, Atmosphere(replace(options, physics={}, restart_days=0.0)), options)


def _start(store: Path, state: Path, options: SimulationOptions, atmosphere: Simulator) -> None:
    # an interrupted removal must not leave half a store under its name; its remains are removed now
    aside = store.with_name(f".{store.name}.overwritten")
    if aside.exists():
        shutil.rmtree(aside)
    if store.exists():
        store.replace(aside)
        shutil.rmtree(aside)
    atmosphere.save(state)  # first: a store with all its frames and no saved state counts as finished
    _create(store, options, atmosphere)


def _run(store: Path, state: Path, options: SimulationOptions, atmosphere: Simulator, console: Console) -> None:
    group = zarr.open_group(store, mode="r+")
    done, total, days_per_interval = atmosphere.intervals, options.spin_up + options.frames, options.interval_h / 24
    for array in _arrays_in_time(group):  # drop frames written after the state was last saved
        array.resize((max(0, done - options.spin_up), *array.shape[1:]))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("simulated days,")
    with Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=console, disable=console.quiet) as bar:
        task = bar.add_task("spin-up", total=total * days_per_interval)
        while done < total:
            in_spin_up = done < options.spin_up
            stop = min(done + options.chunk_frames, options.spin_up if in_spin_up else total)
            bar.update(task, description="spin-up" if in_spin_up else "weather", completed=done * days_per_interval)
            frames = []
            for interval in range(done, stop):
                atmosphere.advance()
                if not in_spin_up:
                    day = (interval - options.spin_up) * days_per_interval
                    frames.append(_packed_frame(atmosphere.fields(options.levels_hpa), store, day, options))
                bar.update(task, completed=(interval + 1) * days_per_interval)
            if frames:
                _append(group, frames, options)
            atmosphere.save(state)
            done = stop


def pack(values: Float[np.ndarray, "*grid"], packing: Packing) -> Int[np.ndarray, "*grid"]:
    """16-bit codes, -32767 to 32767; `code * scale + offset` is within half a `scale` of the value.

    Raises SimulationError for a value outside the range or NaN: nothing is clipped.
    """
    low, high = np.min(values), np.max(values)
    if not (packing.lowest <= low and high <= packing.highest):
        allowed = f"{packing.lowest:g} to {packing.highest:g} {packing.units}"
        raise SimulationError(f"{packing.long_name} has left {allowed} ({low:g} to {high:g})")
    return np.rint((values - packing.offset) / packing.scale).astype(np.int16)


def _packed_frame(
    fields: Mapping[str, np.ndarray], store: Path, day: float, options: SimulationOptions
) -> dict[str, np.ndarray]:
    try:
        return {name: pack(fields[name], packing) for name, packing in PACKING.items()}
    except SimulationError as error:
        remedy = "Use values closer to jcm's own, or another seed." if options.physics else "Use another seed."
        message = f"store {store}: the model became unstable on day {day:g}: {error}. {remedy}"
        raise SimulationError(message) from None


def _create(store: Path, options: SimulationOptions, atmosphere: Simulator) -> None:
    aside = store.with_name(store.name + ".partial")
    group = zarr.open_group(aside, mode="w", zarr_format=3)
    group.attrs.update(_provenance(options, atmosphere.version))
    orog, lsm = (atmosphere.phis / GRAVITY).astype(np.float32), atmosphere.lsm.astype(np.float32)
    static: dict[str, tuple[np.ndarray, tuple[str, ...], dict[str, Any]]] = {
        "lat": (atmosphere.lat, ("lat",), {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": (atmosphere.lon, ("lon",), {"standard_name": "longitude", "units": "degrees_east"}),
        "level": (np.array(options.levels_hpa), ("level",), {"standard_name": "air_pressure", "units": "hPa"}),
        "orog": (orog, ("lat", "lon"), {"standard_name": "surface_altitude", "units": "m"}),
        "lsm": (lsm, ("lat", "lon"), {"standard_name": "land_area_fraction", "units": "1"}),
    }
    static["level"][2]["positive"] = "down"
    for name, (values, dims, attrs) in static.items():
        group.create_array(name, data=values, chunks=values.shape, dimension_names=dims, attributes=attrs)
    for name, packing in PACKING.items():
        dims = ("time", "level", "lat", "lon") if packing.on_levels else ("time", "lat", "lon")
        shape = tuple(len(static[dim][0]) for dim in dims[1:])
        _in_time(group, name, np.int16, (options.chunk_frames, *shape), dims, FILL, packing.attributes)
    since = {"standard_name": "time", "units": f"hours since {options.start.replace('T', ' ')}"}
    _in_time(group, "time", np.int64, (8192,), ("time",), 0, since | {"calendar": "proleptic_gregorian"})
    if options.restart_days:
        period = {"standard_name": "forecast_period", "long_name": "time since the last restart", "units": "hours"}
        _in_time(group, "forecast_period", np.int64, (8192,), ("time",), 0, period)
    aside.replace(store)


def _changes(options: SimulationOptions) -> str:
    physics = "".join(f", {name} {value:g}" for name, value in options.physics.items())
    again = f", started again every {options.restart_days:g} days" if options.restart_days else ""
    return physics + again


def _in_time(group: zarr.Group, name: str, dtype: type, chunks: Any, dims: Any, fill: int, attributes: Any) -> None:
    shape, about = (0, *chunks[1:]), {"dimension_names": dims, "fill_value": fill, "attributes": attributes}
    group.create_array(name, shape=shape, dtype=dtype, chunks=chunks, **about)


def _provenance(options: SimulationOptions, version: str) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.11",
        "title": f"Simulated global atmosphere, T{options.truncation}, seed {options.seed}{_changes(options)}",
        "source": f"jcm {version}: SPEEDY physics (8 sigma layers) on the spectral dynamical core dinosaur",
        "comment": "A simulation: no day in it has happened. Sea, ice, snow and soil repeat a mean year. "
        "Values below the ground are extrapolated.",
        "simulation": json.dumps(asdict(options) | {"jcm": version}),
        "jcm_version": version,
        "seed": options.seed,
    }


def _arrays_in_time(group: zarr.Group) -> list[zarr.Array]:
    # time last: a frame is complete once it has a time
    period = ["forecast_period"] if "forecast_period" in group else []
    return [cast(zarr.Array, group[name]) for name in (*PACKING, *period, "time")]


def _append(group: zarr.Group, frames: list[dict[str, np.ndarray]], options: SimulationOptions) -> None:
    first = _arrays_in_time(group)[-1].shape[0]
    number = first + np.arange(len(frames))
    in_time = {"time": number * options.interval_h}
    if options.restart_days:
        in_time["forecast_period"] = (number % options.restart + 1) * options.interval_h
    for array in _arrays_in_time(group):
        name = array.basename
        values = in_time[name] if name in in_time else np.array([frame[name] for frame in frames])
        array.append(values.astype(array.dtype))


def _recorded_options(store: Path) -> dict[str, Any]:
    try:
        return WITHOUT_CHANGES | json.loads(str(zarr.open_group(store, mode="r").attrs["simulation"]))
    except (OSError, KeyError, ValueError):
        raise SimulationError(f"store {store}: exists but is not a simulated record. Give another path.") from None


def _refuse_other_options(store: Path, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    asked = json.loads(json.dumps(asked))
    differ = [name for name, value in asked.items() if recorded.get(name) != value]
    if differ:
        options = ", ".join(f"{name} {recorded.get(name)} (requested: {asked[name]})" for name in differ)
        raise SimulationError(
            f"store {store}: was made with {options}. Request these options, give another path, or overwrite."
        )


def _is_finished(store: Path, state: Path, options: SimulationOptions) -> bool:
    return not state.exists() and _arrays_in_time(zarr.open_group(store, mode="r"))[-1].shape[0] == options.frames
