"""A file of showers by the parametrisation of `profile`: block by block, on several cores, resumable like files of jets.

Worker processes import this module, so it imports neither torch nor xarray.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from statecast.particles.showers.geometry import Geometry, ShowerError, read_geometry
from statecast.particles.showers.sources.files import INCIDENT, SHOWERS, Showers, open_file, write_showers
from statecast.particles.showers.sources.profile import LEAST_GEV, MEV, Calorimeter, draw_showers
from statecast.particles.sources.blocks import Block, blocks_of
from statecast.particles.sources.packages import package
from statecast.particles.sources.simulate import simulate

BLOCK_SHOWERS = 1000
METADATA_KEY = "statecast.simulation"
LARGEST_GEV = 10_000.0
KIND = "electron"


@dataclass(frozen=True)
class ShowerOptions:
    """What determines a file of showers; incident energies are uniform in their logarithm."""

    noun: ClassVar[str] = "showers"
    showers: int
    layers: tuple[tuple[tuple[float, ...], int], ...]
    seed: int
    energy_gev: tuple[float, float]
    depth_x0: float
    stochastic: float
    threshold_mev: float

    def __post_init__(self) -> None:
        """Raises ShowerError for a value out of range."""
        low, high = self.energy_gev
        if self.showers < 1:
            raise ShowerError(f"showers is {self.showers}, expected at least 1.")
        if not 0 <= self.seed < 2**31:
            raise ShowerError(f"seed is {self.seed}, expected 0 to {2**31 - 1}.")
        if not LEAST_GEV <= low <= high <= LARGEST_GEV:
            raise ShowerError(
                f"energy is {low:g} to {high:g} GeV, expected a range within {LEAST_GEV:g} to {LARGEST_GEV:g} GeV."
            )
        if not 1 <= self.depth_x0 <= 100:
            raise ShowerError(f"depth is {self.depth_x0:g} radiation lengths, expected 1 to 100.")
        if not 0 <= self.stochastic <= 1:
            raise ShowerError(f"stochastic is {self.stochastic:g} GeV^½, expected 0 to 1.")
        if not 0 <= self.threshold_mev <= 1000:
            raise ShowerError(f"threshold is {self.threshold_mev:g} MeV, expected 0 to 1000.")

    @property
    def total(self) -> int:
        return self.showers

    @cached_property
    def geometry(self) -> Geometry:
        return Geometry.of(KIND, self.layers)

    def blocks(self) -> list[Block]:
        return blocks_of((KIND,), self.showers, BLOCK_SHOWERS)

    def drawn(self, block: Block) -> Showers:
        """The showers of a block: a pure function of the options and the number of the block, whose first do not depend on its size."""
        random = np.random.default_rng((self.seed, block.number))
        low, high = np.log(self.energy_gev)
        energies = np.exp(random.uniform(low, high, BLOCK_SHOWERS))
        calorimeter = Calorimeter(self.depth_x0, self.stochastic, self.threshold_mev)
        voxels = draw_showers(energies, self.geometry, calorimeter, random)
        return Showers(energies * MEV, voxels)[: block.size]

    def require_packages(self) -> dict[str, str]:
        package("h5py", "Files of showers")
        return {name: version(name) for name in ("numpy", "scipy", "h5py")}

    def write(self, block: Block, path: Path) -> None:
        write_showers(path, iter([self.drawn(block)]), block.size, self.geometry.voxels, {})

    def join(self, files: Sequence[Path], out: Path, record: Mapping[str, Any]) -> None:
        attributes = {METADATA_KEY: record, "license": "Apache-2.0"}
        write_showers(out, _parts(files), self.showers, self.geometry.voxels, attributes)

    def recorded(self, file: Path) -> dict[str, Any]:
        with open_file(file) as opened:
            if METADATA_KEY not in opened.attrs:
                raise ShowerError(f"file {file}: exists but does not contain simulated showers. Give another path.")
            return json.loads(opened.attrs[METADATA_KEY])


def _parts(files: Sequence[Path]) -> Iterator[Showers]:
    for file in files:
        with open_file(file) as opened:
            yield Showers(opened[INCIDENT][:, 0], opened[SHOWERS][:])


def simulate_showers(
    out: str | Path,
    *,
    showers: int,
    geometry: str | Path = "small",
    seed: int = 0,
    energy_gev: tuple[float, float] = (1.0, 1000.0),
    calorimeter: Calorimeter | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write `showers` showers of electrons by the parametrisation of `profile`, which is no simulation by Geant4, to an HDF5 file.

    geometry    XML file, or the name of one that ships with statecast
    energy_gev  range of the incident energies, uniform in their logarithm

    Workers, seeds, resuming and exceptions are those of `sources.simulate.simulate_jets`; the first showers do not depend on `showers`.
    """
    calorimeter = calorimeter or Calorimeter()
    layers = tuple((layer.r_edges_mm, layer.alphas) for layer in read_geometry(geometry, KIND).layers)
    low, high = (float(energy) for energy in energy_gev)
    options = ShowerOptions(
        showers, layers, seed, (low, high), calorimeter.depth_x0, calorimeter.stochastic, calorimeter.threshold_mev
    )
    return simulate(out, options, workers, overwrite=overwrite, progress=progress)
