"""Statistics and climatology of a store, added up block by block while it is written.

Axes: T time, M month, D hour of the day, L level, H row, W column.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Float

from statecast.fields.prepare.spec import StatisticsOptions
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.monthly import between_months, monthly_mean, row_blocks
from statecast.fields.sources.record import Record, select_period

SUMS = ("values", "known", "weight", "total", "squares", "lowest", "highest")


@dataclass(frozen=True)
class Times:
    """What statistics need to know of the times of a record.

    learned       True for the times of the period that statistics come from
    """

    months_passed: np.ndarray
    hours_utc: np.ndarray
    hour: np.ndarray
    learned: np.ndarray

    @classmethod
    def of(cls, dataset: xr.Dataset, options: StatisticsOptions) -> "Times":
        record = Record(dataset, channels=(), units=())
        hours = np.unique(record.hour_utc)
        learned = np.ones(len(record), bool)
        if options.period:
            learned = np.isin(dataset.indexes["time"], select_period(dataset, options.period).indexes["time"])
        return cls(record.months_passed, hours, np.searchsorted(hours, record.hour_utc), learned)


class Sums:
    """Sums over the values of one variable, per level: a mean weighted by area, spread, range and the share of missing values.

    Squares are of departures from the first mean, so that they keep their digits.
    """

    def __init__(self, levels: int, kept: dict[str, list[float]] | None = None) -> None:
        start = {"lowest": np.inf, "highest": -np.inf}
        self.values = {name: np.full(levels, start.get(name, 0.0)) for name in SUMS} | {
            "origin": np.full(levels, np.nan)
        }
        if kept:
            self.values = {
                name: np.array([np.nan if x is None else x for x in kept[name]], float) for name in self.values
            }

    def add(self, values: np.ndarray, area: np.ndarray, levels: slice = slice(None)) -> None:
        """Values [T L H W] with the areas [H W] of their cells."""
        if len(values) == 0:
            return
        known = np.isfinite(values)
        weight = np.einsum("tlhw,hw->l", known, area)
        filled = np.where(known, values, 0.0).astype(np.float64)
        total = np.einsum("tlhw,hw->l", filled, area)
        sums = {name: array[levels] for name, array in self.values.items()}
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        sums["origin"][:] = np.where(np.isnan(sums["origin"]) & (weight > 0), mean, sums["origin"])
        origin = np.nan_to_num(sums["origin"])
        departures = np.where(known, values - origin[None, :, None, None], 0.0)
        sums["values"] += values.size / values.shape[1]
        sums["known"] += known.sum(axis=(0, 2, 3))
        sums["weight"] += weight
        sums["total"] += np.einsum("tlhw,hw->l", departures, area)
        sums["squares"] += np.einsum("tlhw,hw->l", departures**2, area)
        sums["lowest"][:] = np.minimum(sums["lowest"], np.where(known, values, np.inf).min(axis=(0, 2, 3)))
        sums["highest"][:] = np.maximum(sums["highest"], np.where(known, values, -np.inf).max(axis=(0, 2, 3)))

    def as_lists(self) -> dict[str, list[float | None]]:
        return {name: [None if np.isnan(x) else float(x) for x in array] for name, array in self.values.items()}

    def results(self) -> dict[str, np.ndarray]:
        """Mean, standard deviation, lowest and highest value, share of missing ones; NaN where nothing is known."""
        v = self.values
        is_known = v["known"] > 0
        weight = np.where(is_known, v["weight"], np.nan)
        departure = v["total"] / weight
        spread = np.sqrt(np.maximum(v["squares"] / weight - departure**2, 0.0))
        found = {"mean": v["origin"] + departure, "std": spread}
        found |= {name: np.where(is_known, v[name], np.nan) for name in ("lowest", "highest")}
        return found | {"missing": 1 - v["known"] / np.maximum(v["values"], 1)}


class MonthlySums:
    """Sums for the climatology of one variable (see `fit_climatology`), in a file: only the months of a block are in memory.

    A block changes its months in a copy first; the copy is kept until the journal says that the block is done, and is put in place
    then, as often as needed: a process that is killed on the way counts no block twice.
    """

    def __init__(self, folder: Path, name: str, shape: tuple[int, ...]) -> None:
        self.path, self.shape = folder / f"{name}.sums", (2, 12, *shape)
        self.origin_path, self.copy_path = folder / f"{name}.origin.npy", folder / f"{name}.copy.npz"
        if not self.path.exists():
            np.memmap(self.path, np.float64, "w+", shape=self.shape).flush()

    def prepare(self, values: np.ndarray, times: Times, steps: slice, block: int) -> None:
        """Add values [T L H W] of the steps of a block in a copy of the sums of their months."""
        learned = np.flatnonzero(times.learned[steps])
        if len(learned) == 0:
            self.copy_path.unlink(missing_ok=True)
            return
        before, after, share = between_months(times.months_passed[steps])
        months = np.unique([before[learned], after[learned]])
        place = {month: i for i, month in enumerate(months)}
        sums = np.array(np.memmap(self.path, np.float64, "r", shape=self.shape)[:, months])
        departures = values - self._origin(values[learned[0]])
        known = np.isfinite(departures)
        departures = np.where(known, departures, 0.0)
        for i in learned:
            for month, part in ((before[i], 1 - share[i]), (after[i], share[i])):
                sums[0, place[month], times.hour[steps][i]] += part * departures[i]
                sums[1, place[month], times.hour[steps][i]] += part * known[i]
        _save(self.copy_path, months=months, sums=sums, block=block)

    def settle(self, done: int) -> None:
        """Put the copy in place if its block is one of those done, and drop it."""
        if not self.copy_path.exists():
            return
        with np.load(self.copy_path) as kept:
            months, sums, block = kept["months"], kept["sums"], int(kept["block"])
        if block < done:
            whole = np.memmap(self.path, np.float64, "r+", shape=self.shape)
            whole[:, months] = sums
            whole.flush()
        self.copy_path.unlink()

    def means(self) -> Iterator[tuple[int, slice, Float[np.ndarray, "M D H W"]]]:
        """The climatological mean, float32, some rows of a level at a time: the level, its rows, the values."""
        whole = np.memmap(self.path, np.float64, "r", shape=self.shape)
        origin = np.load(self.origin_path) if self.origin_path.exists() else np.zeros(self.shape[3:])
        months, hours, levels, height, width = self.shape[1:]
        for level in range(levels):
            for rows in row_blocks(months * hours * width, height):
                mean = monthly_mean(*(np.array(s[:, :, level, rows]) for s in whole)) + origin[level, rows]
                yield level, rows, mean.astype(np.float32)

    def _origin(self, first: np.ndarray) -> np.ndarray:
        if not self.origin_path.exists():
            origin = np.where(np.isfinite(first), first, 0.0).astype(np.float64)
            with self.origin_path.with_suffix(".new").open("wb") as file:
                np.save(file, origin)
            self.origin_path.with_suffix(".new").replace(self.origin_path)
        return np.asarray(np.load(self.origin_path))


def _save(path: Path, **arrays: Any) -> None:
    aside = path.with_suffix(".new")
    with aside.open("wb") as file:
        np.savez(file, **arrays)
    aside.replace(path)


def statistics_dataset(
    sums: Mapping[str, Sums], dataset: xr.Dataset, times: Times, period: Sequence[str] | None
) -> xr.Dataset:
    """The group `statistics` of a store: for each variable `t` the arrays t_mean, t_std, t_lowest, t_highest, t_missing.

    `write_climatology` adds t_climatology.
    """
    arrays: dict[str, Any] = {}
    for name, of in sums.items():
        dims = ("level",) if "level" in dataset[name].dims else ()
        units = str(dataset[name].attrs.get("units", "1"))
        for key, values in of.results().items():
            about = {"long_name": f"{key} of {name}", "units": "1" if key == "missing" else units}
            arrays[f"{name}_{key}"] = (dims, values if dims else values[0], about)
    coords: dict[str, Any] = {name: dataset[name] for name in ("level", "lat", "lon") if name in dataset.coords}
    about_hours = {"units": "hours", "long_name": "hour of the day, UTC"}
    coords["month"] = ("month", np.arange(1, 13), {"long_name": "month of the year"})
    coords["hour_utc"] = ("hour_utc", times.hours_utc, about_hours)
    text = " to ".join(period) if period else "all times of the store when it was prepared"
    about = {"Conventions": "CF-1.11", "title": "Statistics, weighted by area", "period": text}
    found = xr.Dataset(arrays, coords, about)
    for coordinate in found.coords.values():
        coordinate.encoding = {**coordinate.encoding, "_FillValue": None}  # CF allows none there
    return found


def write_climatology(group: zarr.Group, array: xr.DataArray, parts: Sequence[MonthlySums]) -> None:
    """Write the climatology of a variable, whose levels are divided among `parts`, without holding all of it."""
    name, dims = str(array.name), ("level",) if "level" in array.dims else ()
    shape = (*parts[0].shape[1:3], *([array.sizes["level"]] if dims else []), *parts[0].shape[4:])
    target = group.create_array(
        f"{name}_climatology",
        shape=shape,
        dtype=np.float32,
        chunks=(1, 1, *([1] if dims else []), *shape[-2:]),
        fill_value=np.nan,
        dimension_names=("month", "hour_utc", *dims, "lat", "lon"),
        attributes={
            "long_name": f"mean of {name} around the middle of each month, at each hour of the day",
            "units": str(array.attrs.get("units", "1")),
        },
    )
    first = 0
    for part in parts:
        for level, rows, mean in part.means():
            if dims:
                target[:, :, first + level, rows] = mean
            else:
                target[:, :, rows] = mean
        first += part.shape[3]


def cell_areas(dataset: xr.Dataset) -> np.ndarray:
    return Grid(dataset["lat"].values.astype(float), dataset["lon"].values.astype(float)).cell_area
