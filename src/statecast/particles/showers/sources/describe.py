"""What is in a file of showers, or in the XML of a geometry. Registered with the core as what describes the data of showers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from statecast.particles.showers.geometry import Geometry, ShowerError, read_geometry, shipped_geometries
from statecast.particles.showers.sources.files import (
    INCIDENT,
    LOOKED_AT,
    SHOWERS,
    ShowerFiles,
    doubtful_unit,
    open_showers,
)

GIB = 2**30


@dataclass(frozen=True)
class Description:
    """Lines on a file, and numbers of its first showers: name, lowest, median, highest; rich prints them, `str` returns plain text."""

    lines: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, float, float, float], ...] = ()

    def __rich__(self) -> Group:
        table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name in ("number", "lowest", "median", "highest"):
            table.add_column(name, justify="left" if name == "number" else "right")
        for name, *numbers in self.rows:
            table.add_row(name, *(f"{number:.4g}" for number in numbers))
        texts = [Text(f"{name:<9} {line}") for name, line in self.lines]
        return Group(*([table] if self.rows else []), *texts)

    def __str__(self) -> str:
        console = Console(width=160, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def recognises(data: str) -> bool:
    """Whether `data` is an HDF5 file with the arrays of the CaloChallenge, or an XML file."""
    path = Path(data)
    if not path.is_file():
        return False
    if path.suffix.lower() == ".xml":
        return True
    if path.suffix.lower() not in (".hdf5", ".h5", ".hdf"):
        return False
    try:
        import h5py

        with h5py.File(path, "r") as file:
            return INCIDENT in file and SHOWERS in file
    except (ModuleNotFoundError, OSError):
        return False


def describe(data: str) -> Description:
    """Numbers of showers and voxels, energies, what is deposited of them, and geometries that fit; of an XML file its layers."""
    if Path(data).suffix.lower() == ".xml":
        return _of_geometry(data, read_geometry(data))
    files = open_showers(data, checks_unit=False)
    showers = files.read(0, min(LOOKED_AT, len(files)) - 1)
    deposited, is_hit = showers.voxels_mev.sum(axis=1), showers.voxels_mev > 0
    hit = showers.voxels_mev[is_hit]
    columns = {
        "incident energy [MeV]": showers.incident_mev,
        "deposited / incident": deposited / showers.incident_mev,
        "voxels with energy": is_hit.mean(axis=1),
        "energy of a voxel > 0 [MeV]": hit if len(hit) else np.zeros(1),
    }
    rows = tuple((name, float(v.min()), float(np.median(v)), float(v.max())) for name, v in columns.items())
    lines = [
        ("layout", "CaloChallenge, voxels in the order layer, alpha, r"),
        ("showers", f"{len(files)} in {data}; the numbers are of the first {len(showers)}"),
        ("voxels", f"{files.voxels} in a shower, {len(files) * files.voxels * 4 / GIB:.2g} GiB in all"),
        ("geometry", _fitting(files)),
    ]
    if doubt := doubtful_unit(files):
        lines.append(("remark", doubt))
    return Description(tuple(lines), rows)


def _fitting(files: ShowerFiles) -> str:
    named = [name for name in shipped_geometries() if read_geometry(name).voxels == files.voxels]
    return f"is not in the file; so many voxels has {', '.join(named) or 'none of those that ship with statecast'}"


def _of_geometry(data: str, geometry: Geometry) -> Description:
    edges = sorted({edge for layer in geometry.layers for edge in layer.r_edges_mm})
    try:
        regular = "{} layers × {} alphas × {} rings".format(*geometry.shape)
    except ShowerError:
        regular = f"{len(geometry.layers)} layers with different numbers of voxels"
    return Description(
        (
            ("layout", f"geometry of the CaloChallenge, {data}"),
            ("particle", geometry.particle),
            ("voxels", f"{geometry.voxels}: {regular}"),
            ("radius", f"{edges[0]:g} to {edges[-1]:g} mm"),
        )
    )
