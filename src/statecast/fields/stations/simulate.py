"""Stations drawn from a store of fields, with the errors that real ones have, each of which is known.

Axes: T time step, S station, R report, H, W grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from statecast.fields.sources import Grid, Times, open_fields
from statecast.fields.sources.times import HOUR, MINUTE
from statecast.fields.sources.units import are_same
from statecast.fields.stations.points import at_points, interpolated
from statecast.fields.stations.table import StationError, Stations
from statecast.outputs import new_output

USUAL = ("t2m", "msl")
LAPSE_K_PER_KM = 6.5  # of temperature with the height of the station above the grid's ground
COLD_POOL_K, CALM_MS, VALLEY_M = 4.0, 4.0, 200.0  # cooling at midnight in a valley as deep, by the wind
ROUGHNESS_M = 250.0  # standard deviation of the height of stations about the grid's ground
OF_HEIGHT, OF_STATION, OF_REPORT = (
    0.2,
    0.2,
    0.1,
)  # bias a km, of a station, noise of a report: shares of the standard deviation in time
JITTER_MIN = 20  # reports come so many minutes before or after a time step
LOST, HALF, OUTAGES, OUTAGE_H = (
    0.1,
    0.3,
    3,
    240.0,
)  # reports; stations with every second step; outages of a station, their mean length


def simulate_stations(
    store: str | Path | xr.Dataset,
    out: str | Path,
    *,
    count: int,
    seed: int = 0,
    variables: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the reports of `count` stations in the fields of `store`, as CSV or Parquet, to `out`.

    Places are uniform on the part of the sphere that the store covers; a variable is interpolated linearly in space and time, and has

    - a bias with the height of the station above the grid's ground (`orog` of the store, else 0): -6.5 K/km for temperatures, 0.2 σ/km for
      others, where σ is the standard deviation in time
    - a bias of the station, 0.2 σ, and noise of each report, 0.1 σ
    - for temperatures in valleys, up to 4 K of cooling at night, in calm air: exp(-|wind| / 4 m/s), of u and v at the lowest level

    Reports come up to 20 minutes before or after a time step, from 30 % of the stations at every second step; a tenth is lost, and each
    station has three outages of ten days on average. The same `seed` gives the same table.
    Raises StationError for a store without such variables.
    """
    out = Path(out)
    if out.suffix not in (".csv", ".parquet"):
        raise StationError(f"{out}: ends in '{out.suffix}', expected .csv or .parquet.")
    if count < 1:
        raise StationError(f"count is {count}, expected at least one station.")
    dataset = open_fields(store)
    names = tuple(variables) or tuple(name for name in USUAL if name in dataset)
    _require_surface(dataset, names)
    random = np.random.default_rng(seed)
    drawn = _Drawn.of(dataset, count, seed)
    station, when, ticks = _reporting(Times.of(dataset).ticks, count, random)
    columns = {f"{n} [{dataset[n].attrs['units']}]": drawn.measure(dataset[n], station, when, random) for n in names}
    places = drawn.stations
    table = pd.DataFrame(
        {
            "station": np.array(places.ids)[station],
            "time": pd.to_datetime(ticks, unit="us", utc=True),
            "lat": places.lat[station],
            "lon": places.lon[station],
            "height": places.height_m[station],
            **columns,
        }
    ).sort_values(["time", "station"], ignore_index=True)
    with new_output(out, overwrite=overwrite) as path:
        if out.suffix == ".csv":
            table["time"] = table["time"].dt.strftime("%Y-%m-%dT%H:%MZ")
            table.to_csv(path, index=False, float_format="%.7g")
        else:
            table.to_parquet(path, index=False)
    return out


def _require_surface(dataset: xr.Dataset, names: Sequence[str]) -> None:
    fields = [str(n) for n, a in dataset.data_vars.items() if set(a.dims) == {"time", "lat", "lon"}]
    if not names or (unknown := [name for name in names if name not in fields]):
        what = f"'{unknown[0]}'" if names else " or ".join(USUAL)
        raise StationError(
            f"the store has no {what} on time, lat and lon. Such variables: {', '.join(fields) or 'none'}."
        )
    if without := [name for name in names if not dataset[name].attrs.get("units")]:
        raise StationError(f"variable '{without[0]}' has no units in the store, expected some. Add the attribute.")


@dataclass(frozen=True)
class _Drawn:
    """Stations in a store, their depth in a valley (0 to 1) and the wind there."""

    stations: Stations
    above_km: Float[np.ndarray, " S"]
    valley: Float[np.ndarray, " S"]
    calm: Float[np.ndarray, "T S"]
    grid: Grid
    hours_utc: Float[np.ndarray, " T"]

    @classmethod
    def of(cls, dataset: xr.Dataset, count: int, seed: int) -> "_Drawn":
        """Names hold the seed: the stations of two seeds may be put together."""
        random = np.random.default_rng([seed, 1])
        grid = Grid(np.asarray(dataset.lat.values, float), np.asarray(dataset.lon.values, float))
        lowest, highest = np.sin(np.deg2rad(grid.lat[[0, -1]]))
        lat = np.rad2deg(np.arcsin(random.uniform(lowest, highest, count))).round(4)
        east = grid.lon[0] + (360.0 if grid.is_periodic else grid.lon[-1] - grid.lon[0]) * random.uniform(size=count)
        lon = (east % 360.0).round(4)
        matrix = at_points(grid, lat, lon)
        ground = np.zeros(count)
        if "orog" in dataset:
            ground = interpolated(dataset["orog"].transpose("lat", "lon").values.astype(float), matrix)
        height = np.maximum(ground + ROUGHNESS_M * random.standard_normal(count), 0.0).round(1)
        ids = tuple(f"S{seed}-{number:04d}" for number in range(count))
        valley = ((ground - height) / VALLEY_M).clip(0, 1)
        hours = Times.of(dataset).ticks / HOUR % 24
        calm = _calm(dataset, matrix, (len(hours), count))
        return cls(Stations(ids, lat, lon, height), (height - ground) / 1000.0, valley, calm, grid, hours)

    def measure(
        self,
        field: xr.DataArray,
        station: Int[np.ndarray, " R"],
        when: Float[np.ndarray, " R"],
        random: np.random.Generator,
    ) -> Float[np.ndarray, " R"]:
        """A field as the stations report it; `when` counts the steps of the store."""
        places = self.stations
        values = field.transpose("time", "lat", "lon").values.astype(float)
        at_steps = interpolated(values, at_points(self.grid, places.lat, places.lon))
        spread = float(np.nanstd(at_steps, axis=0).mean())
        if are_same(str(field.attrs["units"]), "K"):
            solar = 2 * np.pi * self.hours_utc[:, None] / 24 + np.deg2rad(places.lon)
            at_steps = at_steps - LAPSE_K_PER_KM * self.above_km
            at_steps = at_steps - COLD_POOL_K * self.valley * np.maximum(np.cos(solar), 0.0) * self.calm
        else:
            at_steps = at_steps + OF_HEIGHT * spread * self.above_km
        bias = OF_STATION * spread * random.standard_normal(len(places))
        noise = OF_REPORT * spread * random.standard_normal(len(station))
        return _at_moments(at_steps, station, when) + bias[station] + noise


def _calm(dataset: xr.Dataset, matrix: object, shape: tuple[int, int]) -> Float[np.ndarray, "T S"]:
    """exp(-|wind| / 4 m/s) at the lowest level; 0 in a store without winds."""
    if not {"u", "v"} <= set(dataset.data_vars):
        return np.zeros(shape)
    winds = [dataset[name].isel(level=-1) if "level" in dataset[name].dims else dataset[name] for name in ("u", "v")]
    at = [interpolated(wind.transpose("time", "lat", "lon").values.astype(float), matrix) for wind in winds]
    return np.exp(-np.hypot(*at) / CALM_MS)


def _at_moments(
    at_steps: Float[np.ndarray, "T S"], station: Int[np.ndarray, " R"], when: Float[np.ndarray, " R"]
) -> Float[np.ndarray, " R"]:
    """Linear in time between the steps."""
    before = np.floor(when).astype(int).clip(0, max(0, len(at_steps) - 2))
    after = np.minimum(before + 1, len(at_steps) - 1)
    share = when - before
    return (1 - share) * at_steps[before, station] + share * at_steps[after, station]


def _reporting(
    ticks: Int[np.ndarray, " T"], count: int, random: np.random.Generator
) -> tuple[Int[np.ndarray, " R"], Float[np.ndarray, " R"], Int[np.ndarray, " R"]]:
    """The station of each report, when it comes, in steps of the store, and its time to the minute."""
    steps = len(ticks)
    reports = random.uniform(size=(steps, count)) >= LOST
    every_second = random.uniform(size=count) < HALF
    reports[1::2, every_second] = False
    length = (ticks[-1] - ticks[0]) / HOUR
    hours = (ticks - ticks[0]) / HOUR
    for s in range(count):
        for begin, duration in zip(
            random.uniform(0, length, OUTAGES), random.exponential(OUTAGE_H, OUTAGES), strict=True
        ):
            reports[(hours >= begin) & (hours < begin + min(duration, length / 10)), s] = False
    step, station = np.nonzero(reports)
    moments = ticks[step] + random.integers(-JITTER_MIN, JITTER_MIN + 1, len(step)) * MINUTE
    moments = moments.clip(ticks[0], ticks[-1])
    return station, np.interp(moments, ticks, np.arange(steps)), moments
