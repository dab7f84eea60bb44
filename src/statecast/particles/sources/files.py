"""Files of jets, one after the other, in bounded memory."""

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from statecast.particles.jets import JetError, Jets
from statecast.particles.samples import SAMPLES, sample_path
from statecast.particles.sources.layouts import Reading, Selection, find_reading
from statecast.particles.sources.layouts.ragged import ragged
from statecast.particles.sources.rules import CONVERTED, Rules, cleaned
from statecast.particles.sources.tables import SUFFIXES, Table, open_tables

BLOCK_BYTES = 16e6  # of a file's columns in memory at a time; what is made of them takes some five times as much
MOST_ENTRIES = 100_000
GEV_PER_UNIT = {"MeV": 1e-3, "GeV": 1.0, "TeV": 1e3}
PLAUSIBLE_GEV = 1.0, 5000.0
"""Of the median pT of jets at a hadron collider, whose jets start at some 10 GeV and whose beams have 7 TeV."""
PLAUSIBLE_SHARE = 1e-2, 1e2
"""Of the summed pT of a jet's particles in the jet's own pT; tracks alone have some 0.6."""


@dataclass(frozen=True)
class FileOfJets:
    """One file: its number of entries, and the jets in front of each entry (None if an entry is a jet)."""

    path: Path
    entries: int
    jets_before: np.ndarray | None

    def __len__(self) -> int:
        return self.entries if self.jets_before is None else int(self.jets_before[-1])

    def entries_of(self, first: int, last: int) -> tuple[int, int]:
        """The entries that hold the jets from `first` to before `last`."""
        if self.jets_before is None:
            return first, last
        start = int(np.searchsorted(self.jets_before, first, side="right")) - 1
        return start, int(np.searchsorted(self.jets_before, last, side="left"))

    def jets_before_entry(self, entry: int) -> int:
        return entry if self.jets_before is None else int(self.jets_before[entry])


class JetFiles:
    """Jets in one or several files of one layout, in the order of the files; made by `open_jets`.

    paths       the files
    layout      name of their layout
    collection  the collection of jets; empty where an entry of the file is a jet
    classes     names that labels may have, as far as the files tell; others may occur
    rules       what was dropped, cut, sorted or converted, and how often, in the last reading (`chunks` or `read`)

    `len` is the number of jets that lie in the files. Jets keep this number: one that a rule drops is missing from what is read.
    """

    def __init__(
        self, files: Sequence[FileOfJets], reading: Reading, selection: Selection, options: "ReadingOptions"
    ) -> None:
        self.paths = tuple(file.path for file in files)
        self.layout, self.collection = reading.layout, reading.collection
        self.collections, self.remarks = tuple(reading.collections), tuple(reading.remarks)
        self.unit = options.unit or reading.unit
        self.classes = tuple(reading.classes)
        self.rules = Rules()
        self._files, self._selection, self._options = tuple(files), selection, options

    def __len__(self) -> int:
        return sum(len(file) for file in self._files)

    def chunks(self, jets: int = 10_000, *, first: int = 0, last: int | None = None) -> Iterator[Jets]:
        """The jets from number `first` to before `last` in order, `jets` at a time (the last chunk may be smaller).

        Memory is bounded by the size of a chunk, not by that of the files.
        Raises JetError for what no rule covers: a corrupt file, implausible units, a missing label that is required.
        """
        self.rules.clear()
        waiting: list[Jets] = []
        for part in self._parts(first, len(self) if last is None else min(last, len(self))):
            waiting.append(part)
            while sum(map(len, waiting)) >= jets:
                whole = Jets.joined(waiting)
                yield whole[:jets]
                waiting = [whole[jets:]]
        if sum(map(len, waiting)):
            yield Jets.joined(waiting)

    def read(self, first: int = 0, last: int | None = None) -> Jets:
        """The jets from number `first` to before `last` at once. Raises as `chunks`, and JetError if no jet is left."""
        self.rules.clear()
        parts = list(self._parts(first, len(self) if last is None else min(last, len(self))))
        if not parts:
            dropped = "; ".join(str(self.rules).splitlines())
            raise JetError(
                f"{self.paths[0]}: no jet is left between number {first} and {len(self) if last is None else last} of {len(self)}"
                f"{f' ({dropped})' if dropped else ''}. Read others."
            )
        return Jets.joined(parts)

    def _parts(self, first: int, last: int) -> Iterator[Jets]:
        before = 0
        for file in self._files:
            low, high = max(first - before, 0), min(last - before, len(file))
            before += len(file)
            if low < high:
                yield from self._parts_of(file, low, high, before - len(file))

    def _parts_of(self, file: FileOfJets, first: int, last: int, before: int) -> Iterator[Jets]:
        """The jets of one file from `first` to before `last`, by blocks, without those that rules drop; `before` lie in earlier files."""
        start, stop = file.entries_of(first, last)
        with _opened(file.path, self._selection, self._options.tree) as (table, reading):
            _require_same(self, file.path, reading)
            entries = _entries_per_block(table, reading)
            for block in table.blocks(reading.columns, start, stop, entries):
                jets = reading.convert(block, self.rules)
                number = file.jets_before_entry(start)
                start += len(next(iter(block.values())))
                jets = replace(jets, numbers=np.arange(len(jets)) + number + before)
                jets = _within(jets, first - number, last - number)
                if len(jets):
                    jets = self._in_gev(jets, table.name)
                    keep_empty = not self._selection.constituents
                    tidy = cleaned(jets, self._options.most_constituents, self.rules, keep_empty=keep_empty)
                    if len(tidy):
                        yield tidy

    def _in_gev(self, jets: Jets, name: str) -> Jets:
        if self.unit != "GeV":
            jets = _scaled(jets, GEV_PER_UNIT[self.unit])
            self.rules.count(CONVERTED, len(jets))
        _require_plausible(jets, name, self.unit)
        return jets


@dataclass(frozen=True)
class ReadingOptions:
    """How jets are read, beside what of them: see `open_jets`."""

    most_constituents: int
    unit: str | None
    tree: str | None


def open_jets(
    files: str | Path | Sequence[str | Path],
    *,
    jets: str | None = None,
    labels: bool | str | None = None,
    constituents: bool = True,
    most_constituents: int = 128,
    unit: str | None = None,
    tree: str | None = None,
    particle_codes: Sequence[int] | None = None,
) -> JetFiles:
    """Open Parquet, ROOT or HDF5 files of jets of one layout; the layout is recognised by the columns.

    files              a path, a pattern such as `jets/*.root`, a directory with such files in it, a sample, or several of these
    jets               collection of jets, where a file has several; the layout's first choice if not given
    labels             True: labels are required; a name: the column of the classes; None: labels if there are any; False: none
    constituents       False: the jets' own columns alone, also of files without particles
    most_constituents  of a jet, its hardest particles
    unit               of energy in the files: MeV, GeV or TeV; that of the layout if not given
    tree               name of a tree of ROOT files or a table of HDF5 files; the first with a known layout if not given
    particle_codes     PDG codes of the numbers 0, 1, ... in a column of particle classes which the file does not explain (OmniLearned)

    Each file is opened once to check it. Raises JetError for a file that is missing, corrupt, of no known layout, or of another one than
    the first; for a column or collection that is missing; and for constituents that a file does not have.
    """
    if unit is not None and unit not in GEV_PER_UNIT:
        raise JetError(f"unit: {unit} is not known. Units of energy: {', '.join(GEV_PER_UNIT)}.")
    if most_constituents < 1:
        raise JetError(f"most_constituents: is {most_constituents}, expected 1 or more.")
    selection = Selection(jets, labels, constituents, particle_codes)
    opened, readings = [], []
    for path in find_files(files):
        with _opened(path, selection, tree) as (table, reading):
            opened.append(FileOfJets(path, len(table), _jets_before(table, reading)))
            readings.append(reading)
    options = ReadingOptions(most_constituents, unit, tree)
    named = replace(readings[0], classes=list(dict.fromkeys(name for each in readings for name in each.classes)))
    found = JetFiles(opened, named, selection, options)
    for path, reading in zip(found.paths, readings, strict=True):
        _require_same(found, path, reading)
    if not len(found):
        others = [name for name in named.collections if name != named.collection]
        more = f" Other jets: {', '.join(others)}." if others else ""
        raise JetError(f"file {found.paths[0]}: has no jets{f' {named.collection}' if named.collection else ''}.{more}")
    return found


def read_jets(
    files: str | Path | Sequence[str | Path], first: int = 0, last: int | None = None, **options: object
) -> Jets:
    """The jets from number `first` to before `last` of files, at once; options and errors as of `open_jets`."""
    return open_jets(files, **options).read(first, last)  # type: ignore[arg-type]


def find_files(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that a path, pattern, directory or several of them mean, in order. Raises JetError if there is none, or one comes twice."""
    given = [files] if isinstance(files, str | Path) else list(files)
    found = [path for each in given for path in _expanded(str(each))]
    if not found:
        raise JetError("files: none is given. Give a Parquet, ROOT or HDF5 file of jets, a directory or a pattern.")
    twice = [path for path in found if found.count(path) > 1] if len(set(found)) < len(found) else []
    if twice:
        raise JetError(f"file {twice[0]}: is given {found.count(twice[0])} times, expected once.")
    return found


def _expanded(given: str) -> list[Path]:
    if given in SAMPLES:
        return [sample_path(given)]
    if given.startswith("sample:"):
        raise JetError(f"file {given}: no such sample of jets. Samples: {', '.join(SAMPLES)}.")
    if "://" in given:
        raise JetError(f"file {given}: is not on this machine. Copy it here first.")
    path = Path(given)
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
        if not inside:
            raise JetError(f"directory {given}: holds no file with one of the endings {', '.join(SUFFIXES)}.")
        return inside
    if glob.has_magic(given) and not path.exists():
        matching = [Path(each) for each in sorted(glob.glob(given, recursive=True))]  # noqa: PTH207
        if not matching:
            raise JetError(f"files {given}: nothing matches this pattern.")
        return [each for each in matching if each.is_file()]
    return [path]


@contextmanager
def _opened(path: Path, selection: Selection, tree: str | None) -> Iterator[tuple[Table, Reading]]:
    with open_tables(path, tree) as tables:
        yield find_reading(tables, selection)


def _jets_before(table: Table, reading: Reading) -> np.ndarray | None:
    if not reading.count:
        return None
    per_block = max(1, int(BLOCK_BYTES / max(table.bytes_per_entry([reading.count]), 1.0)))
    blocks = table.blocks([reading.count], 0, len(table), min(per_block, MOST_ENTRIES))
    counts = [ragged(block[reading.count]).counts for block in blocks]
    return np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts]))])


def _entries_per_block(table: Table, reading: Reading) -> int:
    size = max(table.bytes_per_entry(reading.columns), 1.0)
    return max(1, min(int(BLOCK_BYTES / size), MOST_ENTRIES))


def _within(jets: Jets, first: int, last: int) -> Jets:
    """Those jets of a block that are asked for."""
    return jets if first <= 0 and last >= len(jets) else jets[max(first, 0) : max(last, 0)]


def _scaled(jets: Jets, factor: float) -> Jets:
    """Columns in GeV times `factor`."""

    def scale(name: str, column: np.ndarray) -> np.ndarray:
        return column * np.float32(factor) if name.endswith("_gev") else column

    particles, of_jets = (
        {name: scale(name, column) for name, column in columns.items()} for columns in (jets.particles, jets.of_jets)
    )
    return replace(jets, particles=particles, of_jets=of_jets)


def _require_plausible(jets: Jets, name: str, unit: str) -> None:
    """Raises JetError if jets or particles can't be in the unit of the file."""
    pt = jets.of_jets["pt_gev"]
    usable = np.isfinite(pt) & (pt > 0)
    if not usable.any():
        return
    low, high = PLAUSIBLE_GEV
    median = float(np.median(pt[usable]))
    if not low <= median <= high:
        other = "MeV" if median > high else "GeV" if unit == "MeV" else "TeV"
        raise JetError(
            f"{name}: half of the jets have a pT above {median:.4g} GeV if the file is in {unit}, expected {low:g} to {high:g} GeV. "
            f"If it is in {other}, give unit {other}."
        )
    of_particles = np.nan_to_num(jets.particles["pt_gev"], posinf=0.0, neginf=0.0)
    summed = np.diff(np.concatenate([[0.0], np.cumsum(of_particles, dtype=np.float64)])[jets.offsets])
    filled = usable & (summed > 0)
    share = float(np.median(summed[filled] / pt[filled])) if filled.any() else 1.0
    if not PLAUSIBLE_SHARE[0] <= share <= PLAUSIBLE_SHARE[1]:
        raise JetError(
            f"{name}: the particles of a jet have {share:.3g} times the pT of their jet, expected about 1: units are mixed. "
            "Bring jets and particles to one unit."
        )


def _require_same(files: JetFiles, path: Path, reading: Reading) -> None:
    """Raises JetError for a file of another layout than the first."""
    if reading.layout != files.layout or reading.collection != files.collection:
        raise JetError(
            f"file {path}: has the layout {reading.layout} {reading.collection}".rstrip()
            + f", expected {files.layout} {files.collection}".rstrip()
            + f" as in {files.paths[0]}. Open files of one layout at a time."
        )
