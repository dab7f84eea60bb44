"""Files of showers in the layout of the CaloChallenge, read and written in bounded memory.

An HDF5 file holds `incident_energies` [n, 1] and `showers` [n, voxels], both in MeV; voxels are in the order layer, alpha, r.

Axes: S shower, V voxel.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from statecast.particles.showers.geometry import Geometry, ShowerError
from statecast.particles.sources.packages import package

INCIDENT, SHOWERS = "incident_energies", "showers"
CHUNK_BYTES = 2**26  # of voxels that are read or written at once
LOOKED_AT = 1000  # showers from which the unit is told
MEV_IN = {"MeV": 1.0, "GeV": 1000.0}
LOW_MEV = 100.0  # showers of lower energy are seldom simulated: the median of energies in GeV lies below
RATIOS = (2e-3, 50.0)  # of deposited to incident energy; a file outside has its two arrays in different units

Unit = Literal["MeV", "GeV"]


@dataclass(frozen=True)
class Showers:
    """Showers in memory, in MeV."""

    incident_mev: Float[np.ndarray, " S"]
    voxels_mev: Float[np.ndarray, "S V"]

    def __len__(self) -> int:
        return len(self.incident_mev)

    def __getitem__(self, chosen: Any) -> "Showers":
        return Showers(self.incident_mev[chosen], self.voxels_mev[chosen])

    @staticmethod
    def joined(parts: Sequence["Showers"]) -> "Showers":
        return Showers(
            np.concatenate([part.incident_mev for part in parts]), np.concatenate([part.voxels_mev for part in parts])
        )


@dataclass(frozen=True)
class ShowerFiles:
    """Files one after the other as one sequence of showers; nothing is held open.

    counts  of showers in each file
    scale   MeV in the unit of the files
    """

    paths: tuple[Path, ...]
    counts: tuple[int, ...]
    voxels: int
    scale: float

    def __len__(self) -> int:
        return sum(self.counts)

    def blocks(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[Showers]:
        """Showers first to last, inclusive, or every `step`-th, a block of bounded size at a time.

        Raises ShowerError for too few showers, and for one with a negative or missing energy.
        """
        end = len(self) if last is None else last + 1
        if not 0 <= first < end <= len(self):
            raise ShowerError(
                f"showers {first} to {end - 1} are asked, but the files hold {len(self)}. Name a range that they hold."
            )
        size = max(1, CHUNK_BYTES // (8 * max(1, self.voxels)))
        begins = 0
        for path, count in zip(self.paths, self.counts, strict=True):
            low, high = max(first, begins), min(end, begins + count)
            low += -(low - first) % step
            with open_file(path) as file:
                for start in range(low, high, size * step):
                    stop = min(start + size * step, high)
                    yield self._read(file, path, start - begins, stop - begins, step)
            begins += count

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Showers:
        """The showers of `blocks` in memory."""
        return Showers.joined(list(self.blocks(first, last, step)))

    def _read(self, file: Any, path: Path, start: int, stop: int, step: int) -> Showers:
        try:
            incident = np.asarray(file[INCIDENT][start:stop:step], np.float64).reshape(-1)
            voxels = np.asarray(file[SHOWERS][start:stop:step], np.float32)
        except OSError as error:
            raise ShowerError(
                f"file {path}: showers {start} to {stop - 1} can't be read ({error}). Copy it again."
            ) from None
        for values, what, is_bad in (
            (incident, "incident energy", ~(incident > 0) | ~np.isfinite(incident)),
            (voxels, "voxel", ~((voxels >= 0) & np.isfinite(voxels))),
        ):
            if is_bad.any():
                place = int(np.argwhere(is_bad)[0][0])
                value = values[is_bad].flat[0]
                raise ShowerError(
                    f"file {path}: shower {start + place * step} has the {what} {value:g}, expected energies that are not negative, and "
                    "not 0 for the incident one. Remove it, or set it to 0."
                )
        return Showers(incident * self.scale, voxels * np.float32(self.scale))


def open_showers(
    files: str | Path | Sequence[str | Path],
    geometry: Geometry | None = None,
    unit: Unit | None = None,
    *,
    checks_unit: bool = True,
) -> ShowerFiles:
    """The files as one sequence.

    unit         of their energies; None: MeV
    checks_unit  files whose values can't be in this unit are refused

    Raises ShowerError, in one line, for what is no file of showers, or one of another geometry or unit.
    """
    paths = tuple(Path(path) for path in ([files] if isinstance(files, str | Path) else files))
    if not paths:
        raise ShowerError("files: none is given, expected HDF5 files of showers.")
    shapes = [_shape(path) for path in paths]
    voxels = shapes[0][1]
    for path, (_, other) in zip(paths, shapes, strict=True):
        expected = voxels if geometry is None else geometry.voxels
        if other != expected:
            raise ShowerError(
                f"file {path}: a shower has {other} voxels, expected {expected}"
                + (
                    "."
                    if geometry is None
                    else f" by its geometry for {geometry.particle}. Name the geometry that the file was made with."
                )
            )
    found = ShowerFiles(paths, tuple(count for count, _ in shapes), voxels, MEV_IN[unit or "MeV"])
    if checks_unit and (doubt := doubtful_unit(found, is_given=unit is not None)):
        raise ShowerError(f"file {paths[0]}: {doubt}")
    return found


def doubtful_unit(files: ShowerFiles, *, is_given: bool = False) -> str:
    """Why the energies can't be in the unit that they are read in, of which the first showers tell; empty if they can."""
    showers = files.read(0, min(LOOKED_AT, len(files)) - 1)
    ratio = float(np.median(showers.voxels_mev.sum(axis=1) / showers.incident_mev))
    energy = float(np.median(showers.incident_mev))
    if ratio > RATIOS[1] or 0 < ratio < RATIOS[0]:
        return (
            f"voxels hold {ratio:.3g} times the incident energy: one of the two is in GeV, the other in MeV. Write both in MeV, as the "
            "CaloChallenge does."
        )
    if energy < LOW_MEV and not is_given:
        return (
            f"half of the incident energies are below {energy:.3g} MeV: they seem to be in GeV. Set data.unit to GeV, or to MeV if they "
            "are not."
        )
    return ""


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """The HDF5 file. Raises ShowerError if it can't be opened, JetError without h5py."""
    h5py = package("h5py", "Files of showers")
    if not path.is_file():
        raise ShowerError(f"file {path}: does not exist or is no file. Give an HDF5 file of showers.")
    try:
        file = h5py.File(path, "r")
    except OSError:
        raise ShowerError(
            f"file {path}: is no HDF5 file, or a damaged one. Give one with {INCIDENT} and {SHOWERS}."
        ) from None
    with file:
        yield file


def _shape(path: Path) -> tuple[int, int]:
    """Numbers of showers and voxels of a file."""
    with open_file(path) as file:
        shapes = {name: getattr(file.get(name), "shape", None) for name in (INCIDENT, SHOWERS)}
    incident, showers = shapes[INCIDENT], shapes[SHOWERS]
    if incident is None or showers is None:
        lacks = INCIDENT if incident is None else SHOWERS
        raise ShowerError(
            f"file {path}: has no array {lacks}, expected {INCIDENT} and {SHOWERS} as in the CaloChallenge."
        )
    if len(showers) != 2 or tuple(incident) not in ((showers[0],), (showers[0], 1)) or not all(showers):
        raise ShowerError(
            f"file {path}: {INCIDENT} has the shape {list(incident)} and {SHOWERS} {list(showers)}, expected [n, 1] and [n, voxels]."
        )
    return int(showers[0]), int(showers[1])


def write_showers(
    path: Path, blocks: Iterator[Showers], count: int, voxels: int, attributes: Mapping[str, Any]
) -> None:
    """Write a file of `count` showers from blocks of them; attributes are written as JSON."""
    h5py = package("h5py", "Files of showers")
    with h5py.File(path, "w") as file:
        incident = file.create_dataset(INCIDENT, (count, 1), np.float64)
        rows = max(1, min(count, 2**20 // (4 * voxels)))
        showers = file.create_dataset(
            SHOWERS, (count, voxels), np.float32, chunks=(rows, voxels), compression="gzip", compression_opts=1
        )
        for name, value in attributes.items():
            file.attrs[name] = json.dumps(value)
        first = 0
        for block in blocks:
            incident[first : first + len(block), 0] = block.incident_mev
            showers[first : first + len(block)] = block.voxels_mev
            first += len(block)
    assert first == count
