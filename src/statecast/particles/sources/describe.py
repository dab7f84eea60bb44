"""What is in files of jets. Registered with the core, which knows no domain, as what describes the data of particles."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from statecast.particles.jets import PARTICLE_KINDS, UNKNOWN_KIND, Jets
from statecast.particles.samples import SAMPLES
from statecast.particles.sources.files import open_jets
from statecast.particles.sources.layouts.layout import NoConstituentsError
from statecast.particles.sources.tables import SUFFIXES, kind_of_file

SAMPLED_JETS = 10_000  # jets that are inspected, from the first on
LISTED_CLASSES = 12


@dataclass(frozen=True)
class ColumnSummary:
    """One column of the inspected jets or of their particles; `missing` is the share of values that are NaN."""

    owner: str
    name: str
    missing: float
    lowest: float
    median: float
    highest: float


@dataclass(frozen=True)
class Description:
    """The contents of files of jets; rich prints them as a table, `str` returns the same as plain text.

    inspected  number of jets of which columns, classes, kinds and rules tell
    """

    layout: str
    files: tuple[Path, ...]
    jets: int
    inspected: int
    collection: str
    collections: tuple[str, ...]
    unit: str
    lacks: str
    columns: tuple[ColumnSummary, ...]
    multiplicity: tuple[int, float, int]
    kinds: Mapping[str, float]
    classes: Mapping[str, int]
    remarks: tuple[str, ...]
    rules: Mapping[str, int]

    def __rich__(self) -> Group:
        lines = {"layout": self.layout, "jets": self._jets(), "particles": self._particles(), "unit": self._unit()}
        if self.collections:
            others = [name for name in self.collections if name != self.collection]
            lines["jets of"] = self.collection + (f" (others: {', '.join(others)})" if others else "")
        if self.kinds:
            lines["kinds"] = ", ".join(f"{name} {share:.1%}" for name, share in self.kinds.items())
        lines["classes"] = _classes_as_text(self.classes)
        texts = [Text(f"{name:<9} {line}") for name, line in lines.items()]
        texts += [Text(f"{'remark':<9} {remark}") for remark in self.remarks]
        texts += [Text(f"{'rule':<9} {times} {rule}") for rule, times in self.rules.items()]
        return Group(_table(self.columns, self.inspected), *texts)

    def __str__(self) -> str:
        console = Console(width=160, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def _jets(self) -> str:
        files = str(self.files[0]) if len(self.files) == 1 else f"{len(self.files)} files from {self.files[0]} on"
        return f"{self.jets} in {files}"

    def _particles(self) -> str:
        if self.lacks:
            return f"none. {self.lacks}"
        lowest, mean, highest = self.multiplicity
        return f"{lowest} to {highest} in a jet, {mean:.1f} in the mean"

    def _unit(self) -> str:
        return "GeV, mm" if self.unit == "GeV" else f"{self.unit} in the file, GeV and mm here"


def recognises(data: str) -> bool:
    """Whether `data` are files of jets: by their first bytes, or their ending if they do not exist.

    Every ROOT and Parquet file is one, an HDF5 file that is not NetCDF 4, and a sample of jets.
    """
    if data in SAMPLES:
        return True
    path = Path(data)
    if path.is_dir():
        inside = next((each for each in path.iterdir() if each.suffix.lower() in SUFFIXES), None)
        return inside is not None and recognises(str(inside))
    if glob.has_magic(data) and not path.exists():
        first = next(glob.iglob(data, recursive=True), None)  # noqa: PTH207
        return path.suffix.lower() in SUFFIXES if first is None else recognises(first)
    kind = kind_of_file(path)
    if kind == "HDF5" and path.is_file():
        return not _is_netcdf(path)
    return kind is not None


def _is_netcdf(path: Path) -> bool:
    """NetCDF 4 marks its files, and the scales of dimensions, by attributes."""
    try:
        import h5py
    except ModuleNotFoundError:
        return path.suffix.lower() not in SUFFIXES
    try:
        with h5py.File(path, "r") as file:
            scales = [item for item in file.values() if item.attrs.get("CLASS") == b"DIMENSION_SCALE"]
            return "_NCProperties" in file.attrs or bool(scales)
    except OSError:
        return path.suffix.lower() not in SUFFIXES


def describe(data: str) -> Description:
    """Describe files of jets (see `open_jets`): layout, columns, classes, and what the rules did to the first `SAMPLED_JETS` jets.

    Files without particles are described by the columns of their jets. Raises JetError as `open_jets` does.
    """
    try:
        files, lacks = open_jets(data), ""
    except NoConstituentsError as error:
        files, lacks = open_jets(data, constituents=False), str(error)
    jets = files.read(0, SAMPLED_JETS)
    counts = jets.multiplicity
    return Description(
        files.layout,
        files.paths,
        len(files),
        len(jets),
        files.collection,
        files.collections,
        files.unit,
        lacks,
        tuple(_columns("jet", jets.of_jets) + _columns("particle", jets.particles)),
        (int(counts.min()), float(counts.mean()), int(counts.max())),
        _kinds(jets),
        _classes(jets),
        files.remarks,
        files.rules.counts,
    )


def _columns(owner: str, columns: Mapping[str, np.ndarray]) -> list[ColumnSummary]:
    return [_summary(owner, name, column) for name, column in columns.items() if name != "kind" and len(column)]


def _summary(owner: str, name: str, column: np.ndarray) -> ColumnSummary:
    known = column[~np.isnan(column)]
    numbers = (float(known.min()), float(np.median(known)), float(known.max())) if len(known) else (np.nan,) * 3
    return ColumnSummary(owner, name, 1 - len(known) / len(column), *numbers)


def _kinds(jets: Jets) -> dict[str, float]:
    """Share of the particles of each kind."""
    codes = jets.particles["kind"]
    names = [*enumerate(PARTICLE_KINDS), (UNKNOWN_KIND, "unknown")]
    shares = {name: float(np.mean(codes == code)) for code, name in names} if len(codes) else {}
    return {name: share for name, share in shares.items() if share}


def _classes(jets: Jets) -> dict[str, int]:
    """Number of jets of each class, the most frequent first."""
    if jets.labels is None:
        return {}
    names, counts = np.unique(jets.labels, return_counts=True)
    return {str(names[place]): int(counts[place]) for place in np.argsort(-counts, kind="stable")}


def _classes_as_text(classes: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in list(classes.items())[:LISTED_CLASSES])
    more = f", and {len(classes) - LISTED_CLASSES} more" if len(classes) > LISTED_CLASSES else ""
    return (shown or "no labels") + more


def _table(columns: tuple[ColumnSummary, ...], inspected: int) -> Table:
    caption = f"Numbers are of the first {inspected} jets."
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption)
    table.add_column("of", no_wrap=True)
    table.add_column("column", no_wrap=True)
    for name in ("missing", "lowest", "median", "highest"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in columns:
        numbers = ("" if np.isnan(value) else f"{value:.4g}" for value in (each.lowest, each.median, each.highest))
        table.add_row(each.owner, each.name, f"{each.missing:.1%}", *numbers)
    return table
