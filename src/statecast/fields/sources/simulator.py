"""The simulated atmosphere: jcm's model, the options that define a run, and runs that restart from the states of another.

The model is jcm (optional extra `sim`): SPEEDY physics on the spectral core dinosaur, in JAX. It needs no download.
Axes: H row, W column.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from statecast.fields.sources.pressure_levels import (
    GAS_CONSTANT,
    GRAVITY,
    Column,
    on_pressure_levels,
    sea_level_pressure,
)

# temperature and mean surface pressure of the initial atmosphere at rest, both jcm's own
REST_K, REST_PA = 288.0, 1e5
# model time step by truncation; 30 min is jcm's own, a finer grid needs a shorter one
TIME_STEP_MIN = {21: 30, 31: 30, 42: 20}
LEVELS_HPA = 30.0, 1050.0  # the middle of the model's top layer is at 25 hPa


class SimulationError(ValueError):
    """A simulation that cannot be run, resumed or written as requested; the message says why and what to do."""


@dataclass(frozen=True)
class SimulationOptions:
    """The options that define a simulated record; see `simulate` for their meaning."""

    truncation: int
    days: float
    start: str
    seed: int
    levels_hpa: tuple[float, ...]
    interval_h: int
    spin_up_days: int
    chunk_frames: int
    physics: Mapping[str, float] = field(default_factory=dict)
    restart_days: float = 0.0

    def __post_init__(self) -> None:
        frames = self.days * 24 / self.interval_h if self.interval_h > 0 else 0.0
        low, high = LEVELS_HPA
        differ = len(set(self.levels_hpa)) == len(self.levels_hpa) > 0
        apart = self.restart_days * 24 / self.interval_h if self.interval_h > 0 else 0.0
        whole = f"a multiple of the interval of {self.interval_h} h"
        levels_fit = differ and all(low <= level <= high for level in self.levels_hpa)
        rules = (
            ("truncation", self.truncation in TIME_STEP_MIN, f"one of {', '.join(map(str, TIME_STEP_MIN))}"),
            ("interval_h", self.interval_h > 0 and 24 % self.interval_h == 0, "whole hours that divide 24"),
            ("days", frames >= 1 and frames % 1 == 0, f"a positive {whole[2:]}"),
            ("seed", 0 <= self.seed < 2**31, "0 to 2147483647"),
            ("spin_up_days", self.spin_up_days >= 0, "0 or more"),
            ("chunk_frames", self.chunk_frames > 0, "1 or more"),
            ("restart_days", apart >= 0 and apart % 1 == 0, f"0, or {whole}"),
            ("physics", all(map(math.isfinite, self.physics.values())), "finite numbers"),
            (
                "physics",
                bool(self.physics) or not apart,
                "at least one changed parameter: restarts alone have no effect",
            ),
            (
                "chunk_frames",
                not apart or self.chunk_frames % apart == 0,
                f"a multiple of the {apart:g} frames between restarts",
            ),
            ("levels_hpa", levels_fit, f"one or more distinct levels from {low:g} to {high:g} hPa"),
        )
        for name, holds, expected in rules:
            if not holds:
                raise SimulationError(f"simulation: {name} is {getattr(self, name)}, expected {expected}.")

    @property
    def frames(self) -> int:
        return round(self.days * 24 / self.interval_h)

    @property
    def restart(self) -> int:
        """Frames between restarts."""
        return round(self.restart_days * 24 / self.interval_h)

    @property
    def spin_up(self) -> int:
        return self.spin_up_days * 24 // self.interval_h

    @property
    def model_start(self) -> str:
        """One interval and the spin-up before the first frame: each frame is the end of an interval."""
        before = timedelta(days=self.spin_up_days, hours=self.interval_h)
        return (datetime.fromisoformat(self.start) - before).isoformat()


class Simulator(Protocol):
    """A simulated world and its clock: `intervals` counts the intervals since it started."""

    version: str
    lat: np.ndarray
    lon: np.ndarray
    phis: np.ndarray
    lsm: np.ndarray

    @property
    def intervals(self) -> int: ...

    def advance(self) -> None: ...

    def fields(self, levels_hpa: Sequence[float]) -> dict[str, np.ndarray]: ...

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


class Atmosphere:
    """jcm's model and its clock: `intervals` counts the intervals of `interval_h` since it started."""

    def __init__(self, options: SimulationOptions) -> None:
        """Build the model at rest. Raises SimulationError if jcm is not installed, or if its physics has no such parameter."""
        try:
            import jcm
            from jcm.forcing import ForcingData
            from jcm.physics.speedy.params import Parameters
            from jcm.physics.speedy.speedy_coords import get_speedy_coords
            from jcm.physics.speedy.speedy_terms import speedy_physics
            from jcm.terrain import TerrainData
        except ModuleNotFoundError as error:
            message = f"simulation: needs jcm, and {error.name} is not installed. pip install 'statecast[sim]'"
            raise SimulationError(message) from None
        climatology = resources.files("jcm") / "data" / "bc" / "t30" / "clim"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"jcm\.")  # from xarray and pandas, about the way jcm calls them
            coords = get_speedy_coords(spectral_truncation=options.truncation)
            terrain = TerrainData.from_file(climatology / "terrain.nc", coords)
            self._forcing = ForcingData.from_file(climatology / "forcing.nc", coords=coords, align_mode="wrap_year")
        self._model: Any = jcm.Model(
            coords=coords,
            terrain=terrain,
            time_step=TIME_STEP_MIN[options.truncation],
            start_time=options.model_start,
            physics=speedy_physics(_changed(Parameters.default(), options.physics)),
        )
        self._model.bootstrap_state(self._at_rest(options.seed))
        self._last: Any = None
        self.version, self.interval_h, self.intervals = str(jcm.__version__), options.interval_h, 0
        self.lat, self.lon = np.degrees(coords.horizontal.latitudes), np.degrees(coords.horizontal.longitudes)
        self.phis, self.lsm = _rows_first(self._phis()), _rows_first(terrain.fmask)
        self._sigma = np.asarray(coords.vertical.centers, float)[:, None, None]

    def _phis(self) -> np.ndarray:
        """Surface geopotential of the dynamics [m2 s-2], lon first; `terrain.phis0` is truncated differently and is 1 km off."""
        orography = self._model.coords.horizontal.to_nodal(self._model.dycore.primitive.orography)
        return np.asarray(orography, float) * GRAVITY

    def _at_rest(self, seed: int) -> Any:
        """jcm's isothermal state and mass of air (`REST_PA`), but balanced over the orography to avoid an initial shock."""
        state, grid = self._model.initial_state(random_seed=seed), self._model.coords.horizontal
        height = self._phis() / (GAS_CONSTANT * REST_K)
        weight = np.cos(np.asarray(grid.latitudes, float))
        surplus = np.log(np.average(np.exp(-height).mean(0), weights=weight))
        return state.replace(log_surface_pressure=state.log_surface_pressure - grid.to_modal((height + surplus)[None]))

    def advance(self) -> None:
        """Advance by one interval."""
        interval = f"{self.interval_h} hours"
        self._last = self._model.resume(forcing=self._forcing, save_interval=interval, total_time=interval)
        self.intervals += 1

    def go_on_from(self, other: "Atmosphere") -> None:
        """Copy the state and the clock of another model, which is unchanged."""
        state = other._model.run_state
        self._model.restore_state(state.dynamics, state.physics, time=state.time, step=state.step)
        self.intervals = other.intervals

    def fields(self, levels_hpa: Sequence[float]) -> dict[str, np.ndarray]:
        """The current variables of `simulate.PACKING`, with axes `P H W` on levels and `H W` otherwise, in their units."""
        dynamics, physics = self._last.dynamics, self._last.physics
        ps = _rows_first(dynamics.normalized_surface_pressure[0]) * REST_PA
        names = ("temperature", "u_wind", "v_wind", "specific_humidity", "geopotential")
        t, u, v, q, z = (_rows_first(getattr(dynamics, name)[0]) for name in names)
        column = Column(self._sigma * ps, t, u, v, q, z, ps, self.phis)
        rain_g = physics["_convection"].precnv[0] + physics["_condensation"].precls[0]
        surface = {"t2m": _rows_first(physics["_surface_flux"].t0[0]), "tprate": _rows_first(rain_g) / 1000}
        return {**on_pressure_levels(column, levels_hpa), **surface, "msl": sea_level_pressure(column)}

    def save(self, path: Path) -> None:
        """Write the state to a temporary file and rename it to `path`."""
        from jcm.checkpoint import save_checkpoint

        save_checkpoint(self._model, path)

    def load(self, path: Path) -> None:
        """Continue from a saved state. Raises SimulationError if it is missing or unreadable."""
        from jcm.checkpoint import load_checkpoint

        remedy = "The run cannot resume without it: restore it, or start again with overwrite."
        if not path.exists():
            raise SimulationError(f"state {path}: is missing. {remedy}")
        try:
            self.intervals = round(load_checkpoint(self._model, path) * 24 / self.interval_h)
        except ValueError as error:
            raise SimulationError(f"state {path}: is not the state of this run ({error}). {remedy}") from error


class Restarted:
    """A model that restarts every few days from the state of another model running alongside it.

    Only the other model's state is saved: runs are stopped and resumed at restarts (`SimulationOptions.chunk_frames`).
    """

    def __init__(self, model: Atmosphere, other: Atmosphere, options: SimulationOptions) -> None:
        self._model, self._other, self._options = model, other, options
        self.version, self.lat, self.lon, self.phis, self.lsm = (
            getattr(model, name) for name in ("version", "lat", "lon", "phis", "lsm")
        )
        self.save, self.load, self.fields = other.save, other.load, model.fields

    @property
    def intervals(self) -> int:
        return self._other.intervals

    def advance(self) -> None:
        """Advance by one interval; during the spin-up, only the other model."""
        frame = self.intervals - self._options.spin_up
        if frame >= 0:
            if frame % self._options.restart == 0:
                self._model.go_on_from(self._other)
            self._model.advance()
        self._other.advance()


def _changed(parameters: Any, changes: Mapping[str, float]) -> Any:
    """Parameters of SPEEDY, some of them changed. Raises SimulationError for an unknown parameter, listing the known ones."""
    import jax.numpy as jnp

    known = {
        f"{scheme.name}.{parameter.name}"
        for scheme in fields(parameters)
        for parameter in fields(getattr(parameters, scheme.name))
        if jnp.issubdtype(jnp.result_type(getattr(getattr(parameters, scheme.name), parameter.name)), jnp.floating)
    }
    if unknown := sorted(set(changes) - known):
        raise SimulationError(
            f"physics {unknown[0]}: is not a parameter of SPEEDY. Known parameters: {', '.join(sorted(known))}."
        )
    for name, value in changes.items():
        scheme, parameter = name.split(".")
        changed = replace(getattr(parameters, scheme), **{parameter: jnp.array(float(value))})
        parameters = replace(parameters, **{scheme: changed})
    return parameters


def _rows_first(field: Any) -> np.ndarray:
    return np.swapaxes(np.asarray(field, float), -1, -2)


def read_date(text: str) -> str:
    """A date in ISO 8601 format. Raises SimulationError if it is not a date, or has a time zone."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        date = None
    if date is None or date.tzinfo is not None:
        raise SimulationError(f"simulation: start is '{text}', expected a date such as 2000-01-01 (UTC).")
    return date.isoformat()
