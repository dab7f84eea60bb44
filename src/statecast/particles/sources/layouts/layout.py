"""What a layout is, and the choice of the one that fits a table.

A layout is a function that looks at a table's columns: it returns None if they are not its own, else a `Reading` of the table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module

from statecast.particles.jets import JetError, Jets
from statecast.particles.sources.rules import Rules
from statecast.particles.sources.tables import Block, Table

LAYOUTS = ("columns", "delphes", "nanoaod", "physlite", "top_tagging", "omnilearn")
"""Modules of this package that define a layout as `layout`, in the order in which they are tried."""
LISTED = 12  # names that a message lists


@dataclass(frozen=True)
class Selection:
    """Which of a file's jets and columns are read.

    jets            collection of jets, of files of events; the layout's first choice if None
    labels          True: required; a name: that of the column with the classes; None: those that the file has; False: none
    constituents    False: the jets' own columns alone
    particle_codes  PDG code of each number in a column whose numbers the file does not explain
    """

    jets: str | None = None
    labels: bool | str | None = None
    constituents: bool = True
    particle_codes: Sequence[int] | None = None


@dataclass(frozen=True)
class Reading:
    """How jets are read from one table.

    layout       name of the layout, for users
    columns      those that are read
    convert      makes jets from a block, in the unit of energy of the file; particles may still be unsorted or unusable
    classes      names that labels may have, as far as the columns tell
    collection   the collection of jets; empty where an entry is a jet
    collections  all collections of the table
    count        column with one item per jet; empty where an entry is a jet
    unit         of energy
    lacks        why the file has no constituents; empty if it has
    remarks      further facts for `describe`
    """

    layout: str
    columns: Sequence[str]
    convert: Callable[[Block, Rules], Jets]
    classes: Sequence[str] = ()
    collection: str = ""
    collections: Sequence[str] = ()
    count: str = ""
    unit: str = "GeV"
    lacks: str = ""
    remarks: Sequence[str] = field(default_factory=tuple)


Layout = Callable[[Table, Selection], Reading | None]


class NoConstituentsError(JetError):
    """Jets without their particles, where particles are asked for."""


def find_reading(tables: Sequence[Table], selection: Selection) -> tuple[Table, Reading]:
    """The first table with a known layout. Raises JetError if there is none, with the columns that come closest."""
    for table in tables:
        for name in LAYOUTS:
            layout: Layout = import_module(f"{__package__}.{name}").layout
            reading = layout(table, selection)
            if reading is not None:
                _require_constituents(table, reading, selection)
                return table, reading
    raise JetError(_unknown(tables))


def require(table: Table, names: Sequence[str], layout: str) -> None:
    """Raises JetError for a column that is missing, with those that are called like it."""
    for name in names:
        if name not in table.columns:
            raise JetError(
                f"{table.name}: has no column {name}, which the layout {layout} needs. {similar(table, name)}"
            )


def similar(table: Table, name: str) -> str:
    """Those columns of the table that are called like `name`."""
    near = get_close_matches(name, table.columns, n=5, cutoff=0.5)
    return f"Similar: {', '.join(near)}." if near else f"Columns: {listed(table.columns)}."


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LISTED]) or "none"
    return f"{shown} and {len(names) - LISTED} more" if len(names) > LISTED else shown


def chosen_collection(table: Table, selection: Selection, found: Sequence[str], preferred: Sequence[str]) -> str:
    """The collection that is asked for, or the first of the `preferred` ones, or the first. Raises JetError for one that is not there."""
    if selection.jets is None:
        return next((name for name in preferred if name in found), found[0])
    if selection.jets not in found:
        raise JetError(
            f"{table.name}: has no jets {selection.jets}. Collections: {', '.join(found)}. Name one of them."
        )
    return selection.jets


def refuse_collection(table: Table, selection: Selection) -> None:
    """Raises JetError if a collection is asked for where each entry is a jet."""
    if selection.jets is not None:
        raise JetError(
            f"{table.name}: each entry is a jet, there are no jets {selection.jets}. Leave the collection out."
        )


def _require_constituents(table: Table, reading: Reading, selection: Selection) -> None:
    if reading.lacks and selection.constituents:
        raise NoConstituentsError(f"{table.name}: {reading.lacks}")


HINTS: Mapping[str, str] = {
    "columns": "part_px and jet_pt (JetClass)",
    "delphes": "Jet.PT and Jet.Constituents (Delphes)",
    "nanoaod": "FatJet_pt and FatJetPFCands_jetIdx (NanoAOD)",
    "physlite": "AnalysisJetsAuxDyn.pt (PHYSLITE)",
    "top_tagging": "E_0 and PX_0 (top tagging)",
    "omnilearn": "data and pid (OmniLearn)",
}


def _unknown(tables: Sequence[Table]) -> str:
    columns = [name for table in tables for name in table.columns]
    likely = [name for name in columns if any(part in name.lower() for part in ("jet", "part", "cand", "pt"))]
    expected = ", ".join(HINTS[name] for name in LAYOUTS)
    found = f"The likeliest of its columns: {listed(likely)}." if likely else f"Its columns: {listed(columns)}."
    return f"{tables[0].name}: the columns are of no known layout, expected such as {expected}. {found}"
