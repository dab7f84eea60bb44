"""A simulated global atmosphere, written as it runs. Axes: L model layer (top first), P pressure level, H row, W column.

The model is jcm (optional extra `sim`): SPEEDY physics on the spectral core dinosaur, in JAX. It needs no download.
After each chunk its state is saved beside the store, so a run that was killed goes on where it was and ends as if
nothing had happened.
"""

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import zarr
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from statecast.sources.pressure_levels import GAS_CONSTANT, GRAVITY, Column, on_pressure_levels, sea_level_pressure

# the atmosphere at rest that a run starts from, and its mean surface pressure, both jcm's own
REST_K, REST_PA = 288.0, 1e5
# truncation: step of the model; 30 min is jcm's own, a finer grid needs less
TIME_STEP_MIN = {21: 30, 31: 30, 42: 20}
LEVELS_HPA = 30.0, 1050.0  # the middle of the model's top layer is at 25 hPa
FILL = -32768


class Packing(NamedTuple):
    """How a variable is stored: 16-bit codes over a fixed range, so that all chunks agree, wider than weather can be."""

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
        return self.lowest + 32767 * self.scale  # in this form the code of a lowest value of 0 decodes to exactly 0


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


class SimulationError(ValueError):
    """A simulation that can't be made, continued or written as asked; the message says why and what to do."""


@dataclass(frozen=True)
class SimulationOptions:
    """What makes a simulated record the one that it is; `simulate` says what each means."""

    truncation: int
    days: float
    start: str
    seed: int
    levels_hpa: tuple[float, ...]
    interval_h: int
    spin_up_days: int
    chunk_frames: int

    def __post_init__(self) -> None:
        frames = self.days * 24 / self.interval_h if self.interval_h > 0 else 0.0
        low, high = LEVELS_HPA
        differ = len(set(self.levels_hpa)) == len(self.levels_hpa) > 0
        levels_fit = differ and all(low <= level <= high for level in self.levels_hpa)
        rules = (
            ("truncation", self.truncation in TIME_STEP_MIN, f"one of {', '.join(map(str, TIME_STEP_MIN))}"),
            ("interval_h", self.interval_h > 0 and 24 % self.interval_h == 0, "whole hours that divide 24"),
            ("days", frames >= 1 and frames % 1 == 0, f"a positive multiple of the interval of {self.interval_h} h"),
            ("seed", 0 <= self.seed < 2**31, "of 0 to 2147483647"),
            ("spin_up_days", self.spin_up_days >= 0, "0 or more"),
            ("chunk_frames", self.chunk_frames > 0, "1 or more"),
            ("levels_hpa", levels_fit, f"one or more different levels of {low:g} to {high:g} hPa"),
        )
        for name, holds, expected in rules:
            if not holds:
                raise SimulationError(f"simulation: {name} is {getattr(self, name)}, expected {expected}.")

    @property
    def frames(self) -> int:
        return round(self.days * 24 / self.interval_h)

    @property
    def spin_up(self) -> int:
        return self.spin_up_days * 24 // self.interval_h

    @property
    def model_start(self) -> str:
        """One interval before the first frame less the spin-up: each frame is the end of an interval."""
        before = timedelta(days=self.spin_up_days, hours=self.interval_h)
        return (datetime.fromisoformat(self.start) - before).isoformat()


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
    chunk_frames: int = 56,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Simulate `days` of global weather from `start` (UTC) into a CF Zarr v3 store at `out`, and return its path.

    The first frame is at `start`, then one each `interval_h`; the model starts `spin_up_days` before, from an
    isothermal atmosphere at rest, so the season is right; after two months the winds are not yet. `seed` (below
    2**31) places the disturbance of that rest: other seeds are other weather in the same climate. `truncation` T21, T31 or
    T42 has 32 x 64, 48 x 96 or 64 x 128 points (Gaussian latitudes). Orography, land and the mean year of sea surface,
    ice, snow and soil are jcm's T30 climatology, interpolated. `levels_hpa` lie within 30 to 1050. As in jcm the air
    weighs 1000 hPa in the mean, 15 hPa more than the Earth's, so sea-level pressure is higher by that.

    Dimensions time, level [hPa], lat, lon, all ascending. On levels: t [K], u, v [m s-1], q [kg kg-1], z [m2 s-2].
    Without: t2m [K] (the near-surface temperature of SPEEDY), msl [Pa], tprate [kg m-2 s-1], both of the last model
    step; static: orog [m], lsm [1] as the model sees them. Values are instantaneous, packed to int16 with the fixed
    ranges of `PACKING`; a value outside stops the run. What lies below the ground is extrapolated: see
    `on_pressure_levels` and `sea_level_pressure`.

    A run that was killed and is called again with the same options goes on from the last full chunk of `chunk_frames`
    frames. If the store is finished, nothing is done. `overwrite` starts anew.

    Raises SimulationError: for an option out of range, if jcm is not installed, if `out` holds something else or a run
    with other options, if the state of an unfinished run is missing, and if the model leaves the range of plausible
    weather.
    """
    store, levels = Path(out), tuple(sorted(float(level) for level in levels_hpa))
    model = truncation, float(days), _date(start), seed
    options = SimulationOptions(*model, levels, interval_h, spin_up_days, chunk_frames)
    state = store.with_name(store.name + ".state")
    console = Console(stderr=True, quiet=not progress)
    recorded = _recorded_options(store) if store.exists() else None
    if recorded is not None and not overwrite:
        _refuse_other_options(store, recorded, asdict(options))
        if _is_finished(store, state, options):
            console.print(f"store {store}: is finished already, nothing to do.", soft_wrap=True, highlight=False)
            return store
    atmosphere = Atmosphere(options)
    if recorded is None or overwrite:
        _start(store, state, options, atmosphere)
    else:
        _refuse_other_options(store, recorded, {"jcm": atmosphere.version})
    # also what was just saved: so a run that goes on executes the very program that one in its first go does
    atmosphere.load(state)
    _run(store, state, options, atmosphere, console)
    state.unlink()
    return store


def _start(store: Path, state: Path, options: SimulationOptions, atmosphere: "Atmosphere") -> None:
    if store.exists():
        # a removal that is cut short must not leave half a store under its name
        aside = store.with_name(store.name + ".old")
        store.replace(aside)
        shutil.rmtree(aside)
    atmosphere.save(state)  # first: a store with all its frames and no state beside it is finished
    _create(store, options, atmosphere)


def _run(store: Path, state: Path, options: SimulationOptions, atmosphere: "Atmosphere", console: Console) -> None:
    group = zarr.open_group(store, mode="r+")
    done, total, days_per_interval = atmosphere.intervals, options.spin_up + options.frames, options.interval_h / 24
    for array in _arrays_in_time(group):  # drop frames that were written after the state was last saved
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
                    frames.append(_packed_frame(atmosphere.fields(options.levels_hpa), store, day))
                bar.update(task, completed=(interval + 1) * days_per_interval)
            if frames:
                _append(group, frames, options)
            atmosphere.save(state)
            done = stop


def pack(values: Float[np.ndarray, "*grid"], packing: Packing) -> Int[np.ndarray, "*grid"]:
    """16-bit codes, -32767 to 32767; `code * scale + offset` is within half a `scale` of the value.

    Raises SimulationError for a value outside of the range or not a number: nothing is clipped.
    """
    low, high = np.min(values), np.max(values)
    if not (packing.lowest <= low and high <= packing.highest):
        allowed = f"{packing.lowest:g} to {packing.highest:g} {packing.units}"
        raise SimulationError(f"{packing.long_name} has left {allowed} ({low:g} to {high:g})")
    return np.rint((values - packing.offset) / packing.scale).astype(np.int16)


def _packed_frame(fields: Mapping[str, np.ndarray], store: Path, day: float) -> dict[str, np.ndarray]:
    try:
        return {name: pack(fields[name], packing) for name, packing in PACKING.items()}
    except SimulationError as error:
        message = f"store {store}: the model became unstable on day {day:g}: {error}. Take another seed."
        raise SimulationError(message) from None


class Atmosphere:
    """jcm's model and its clock: `intervals` of `interval_h` have passed since it started."""

    def __init__(self, options: SimulationOptions) -> None:
        """Builds the model at rest. Raises SimulationError if jcm is not installed."""
        try:
            import jcm
            from jcm.forcing import ForcingData
            from jcm.physics.speedy.speedy_coords import get_speedy_coords
            from jcm.terrain import TerrainData
        except ModuleNotFoundError as error:
            message = f"simulation: needs jcm, and {error.name} is not installed. pip install 'statecast[sim]'"
            raise SimulationError(message) from None
        climatology = resources.files("jcm") / "data" / "bc" / "t30" / "clim"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"jcm\.")  # of xarray and pandas, about how jcm calls them
            coords = get_speedy_coords(spectral_truncation=options.truncation)
            terrain = TerrainData.from_file(climatology / "terrain.nc", coords)
            self._forcing = ForcingData.from_file(climatology / "forcing.nc", coords=coords, align_mode="wrap_year")
        step_min = TIME_STEP_MIN[options.truncation]
        self._model: Any = jcm.Model(coords=coords, terrain=terrain, time_step=step_min, start_time=options.model_start)
        self._model.bootstrap_state(self._at_rest(options.seed))
        self._last: Any = None
        self.version, self.interval_h, self.intervals = str(jcm.__version__), options.interval_h, 0
        self.lat, self.lon = np.degrees(coords.horizontal.latitudes), np.degrees(coords.horizontal.longitudes)
        self.phis, self.lsm = _rows_first(self._phis()), _rows_first(terrain.fmask)
        self._sigma = np.asarray(coords.vertical.centers, float)[:, None, None]

    def _phis(self) -> np.ndarray:
        """Geopotential of the dynamics' ground [m2 s-2], lon first; `terrain.phis0` is truncated otherwise: 1 km off."""
        orography = self._model.coords.horizontal.to_nodal(self._model.dycore.primitive.orography)
        return np.asarray(orography, float) * GRAVITY

    def _at_rest(self, seed: int) -> Any:
        """jcm's isothermal state and mass of air (`REST_PA`), but balanced over the orography, so without a shock."""
        state, grid = self._model.initial_state(random_seed=seed), self._model.coords.horizontal
        height = self._phis() / (GAS_CONSTANT * REST_K)
        weight = np.cos(np.asarray(grid.latitudes, float))
        surplus = np.log(np.average(np.exp(-height).mean(0), weights=weight))
        return state.replace(log_surface_pressure=state.log_surface_pressure - grid.to_modal((height + surplus)[None]))

    def advance(self) -> None:
        """One interval on."""
        interval = f"{self.interval_h} hours"
        self._last = self._model.resume(forcing=self._forcing, save_interval=interval, total_time=interval)
        self.intervals += 1

    def fields(self, levels_hpa: Sequence[float]) -> dict[str, np.ndarray]:
        """The variables of `PACKING` now, on levels `P H W` or `H W`, in their units."""
        dynamics, physics = self._last.dynamics, self._last.physics
        ps = _rows_first(dynamics.normalized_surface_pressure[0]) * REST_PA
        names = ("temperature", "u_wind", "v_wind", "specific_humidity", "geopotential")
        t, u, v, q, z = (_rows_first(getattr(dynamics, name)[0]) for name in names)
        column = Column(self._sigma * ps, t, u, v, q, z, ps, self.phis)
        rain_g = physics["_convection"].precnv[0] + physics["_condensation"].precls[0]
        surface = {"t2m": _rows_first(physics["_surface_flux"].t0[0]), "tprate": _rows_first(rain_g) / 1000}
        return {**on_pressure_levels(column, levels_hpa), **surface, "msl": sea_level_pressure(column)}

    def save(self, path: Path) -> None:
        """Writes the state aside and renames it to `path`."""
        from jcm.checkpoint import save_checkpoint

        save_checkpoint(self._model, path)

    def load(self, path: Path) -> None:
        """Continues from a saved state. Raises SimulationError if it is missing or can't be read."""
        from jcm.checkpoint import load_checkpoint

        remedy = "The run can't go on without: put it back, or start anew with overwrite."
        if not path.exists():
            raise SimulationError(f"state {path}: is missing. {remedy}")
        try:
            self.intervals = round(load_checkpoint(self._model, path) * 24 / self.interval_h)
        except ValueError as error:
            raise SimulationError(f"state {path}: is not the state of this run ({error}). {remedy}") from error


def _rows_first(field: Any) -> np.ndarray:
    return np.swapaxes(np.asarray(field, float), -1, -2)


def _date(text: str) -> str:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        date = None
    if date is None or date.tzinfo is not None:
        raise SimulationError(f"simulation: start is '{text}', expected a date such as 2000-01-01 (UTC).")
    return date.isoformat()


def _create(store: Path, options: SimulationOptions, atmosphere: Atmosphere) -> None:
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
    aside.replace(store)


def _in_time(group: zarr.Group, name: str, dtype: type, chunks: Any, dims: Any, fill: int, attributes: Any) -> None:
    shape, about = (0, *chunks[1:]), {"dimension_names": dims, "fill_value": fill, "attributes": attributes}
    group.create_array(name, shape=shape, dtype=dtype, chunks=chunks, **about)


def _provenance(options: SimulationOptions, version: str) -> dict[str, Any]:
    return {
        "Conventions": "CF-1.11",
        "title": f"Simulated global atmosphere, T{options.truncation}, seed {options.seed}",
        "source": f"jcm {version}: SPEEDY physics (8 sigma layers) on the spectral dynamical core dinosaur",
        "comment": "A simulation: no day in it has happened. Sea, ice, snow and soil repeat a mean year. "
        "Values below the ground are extrapolated.",
        "simulation": json.dumps(asdict(options) | {"jcm": version}),
        "jcm_version": version,
        "seed": options.seed,
    }


def _arrays_in_time(group: zarr.Group) -> list[zarr.Array]:
    # time last: a frame counts when it has one
    return [cast(zarr.Array, group[name]) for name in (*PACKING, "time")]


def _append(group: zarr.Group, frames: list[dict[str, np.ndarray]], options: SimulationOptions) -> None:
    first = _arrays_in_time(group)[-1].shape[0]
    hours = [(first + i) * options.interval_h for i in range(len(frames))]
    for array in _arrays_in_time(group):
        values = hours if array.basename == "time" else [frame[array.basename] for frame in frames]
        array.append(np.array(values, array.dtype))


def _recorded_options(store: Path) -> dict[str, Any]:
    try:
        return json.loads(str(zarr.open_group(store, mode="r").attrs["simulation"]))
    except (OSError, KeyError, ValueError):
        raise SimulationError(f"store {store}: exists and is no simulated record. Give another path.") from None


def _refuse_other_options(store: Path, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    asked = json.loads(json.dumps(asked))
    differ = [name for name, value in asked.items() if recorded.get(name) != value]
    if differ:
        options = ", ".join(f"{name} {recorded.get(name)} (asked: {asked[name]})" for name in differ)
        raise SimulationError(
            f"store {store}: was made with {options}. Ask for these, give another path, or overwrite."
        )


def _is_finished(store: Path, state: Path, options: SimulationOptions) -> bool:
    return not state.exists() and _arrays_in_time(zarr.open_group(store, mode="r"))[-1].shape[0] == options.frames
