"""The showers of one split, in memory or memory-mapped from a cache. Axes: S shower, V voxel."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from statecast.outputs import new_output
from statecast.particles.showers.codec import Grid
from statecast.particles.showers.geometry import Geometry, ShowerError, read_geometry
from statecast.particles.showers.recipe import ShowerData
from statecast.particles.showers.sources.files import ShowerFiles, Showers, open_showers

IN_MEMORY_GIB = 8.0  # more than that needs a cache
FAINT = 0.01  # of the voxels with energy, see `Grid.faint_mev`
FITTED_VALUES = 2e7  # voxels that statistics are computed from, at most

Range = tuple[int, int | None]
"""First and last shower, inclusive; None: up to the end."""


@dataclass(frozen=True)
class ShowerRecord:
    """Showers in MeV, whose first has the number `first` in its files."""

    first: int
    showers: Showers
    geometry: Geometry

    def __len__(self) -> int:
        return len(self.showers)

    @cached_property
    def places(self) -> Float[np.ndarray, " S"]:
        """Numbers of the showers in their files."""
        return self.first + np.arange(len(self))

    def spread(self) -> Showers:
        """As many showers as statistics need, spread evenly."""
        step = max(1, round(len(self) * self.geometry.voxels / FITTED_VALUES))
        chosen = self.showers[::step]
        return Showers(chosen.incident_mev, np.asarray(chosen.voxels_mev))

    def grid(self, depth_x0: float) -> Grid:
        """The grid with the smallest energy that a voxel has."""
        smallest = [
            np.where(rows > 0, rows, np.inf).min()
            for rows in np.array_split(self.showers.voxels_mev, 1 + len(self) // 1000)
        ]
        threshold = float(min(smallest))
        if not np.isfinite(threshold):  # no voxel has energy
            return Grid(self.geometry, depth_x0)
        few = self.spread().voxels_mev
        return Grid(self.geometry, depth_x0, threshold, float(np.quantile(few[few > 0], FAINT)))


def read_record(files: tuple[str, ...], chosen: Range, data: ShowerData) -> ShowerRecord:
    """A range of showers of files of the geometry of `data`. Raises ShowerError for what does not fit, or not into memory."""
    geometry = read_geometry(data.geometry, data.particle)
    found = open_showers(files, geometry, data.unit)
    first, last = chosen[0], len(found) - 1 if chosen[1] is None else chosen[1]
    size = (last - first + 1) * geometry.voxels * 4 / 2**30
    if data.cache is not None:
        return ShowerRecord(first, _cached(found, first, last, Path(data.cache)), geometry)
    if size > IN_MEMORY_GIB:
        raise ShowerError(
            f"showers {first} to {last} take {size:.0f} GiB, expected at most {IN_MEMORY_GIB:g} in memory. Name a directory as data.cache."
        )
    return ShowerRecord(first, found.read(first, last), geometry)


def _cached(files: ShowerFiles, first: int, last: int, folder: Path) -> Showers:
    """The showers memory-mapped from a copy in `folder`, which is made if there is none."""
    facts = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in files.paths]
    digest = hashlib.sha256(json.dumps([facts, first, last, files.scale]).encode()).hexdigest()[:16]
    copy = folder / f"showers-{digest}"
    if not copy.is_dir():
        with new_output(copy) as written:
            written.mkdir()
            _copy(files, first, last, written)
    return Showers(np.load(copy / "incident.npy"), np.load(copy / "voxels.npy", mmap_mode="r"))


def _copy(files: ShowerFiles, first: int, last: int, written: Path) -> None:
    count = last - first + 1
    voxels = np.lib.format.open_memmap(written / "voxels.npy", "w+", np.float32, (count, files.voxels))
    incident = np.zeros(count)
    start = 0
    for block in files.blocks(first, last):
        voxels[start : start + len(block)] = block.voxels_mev
        incident[start : start + len(block)] = block.incident_mev
        start += len(block)
    voxels.flush()
    np.save(written / "incident.npy", incident)
