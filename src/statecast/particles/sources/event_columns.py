"""Columns of a Parquet file of events, and how they are read.

process            name of the process of the event
event_weight       relative weight within the process; cross_section_fb: the cross-section of the process after the selection
met_pt, met_phi    missing transverse momentum of all measured particles
jet_*              lists, one number per jet in order of decreasing pT, named as in `sources.jet_columns`
part_*             lists of lists, one number per jet and particle

With y_i = L σ w_i / Σ w, the sum over any random part of the events of the process, each stands for its share of the expected number of
events at the luminosity L. σ is the mean of `cross_section_fb`. Units: GeV, mm, e, fb.

Axes: E event, J jet of all events, N particle of all jets.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from statecast.particles.events import Events
from statecast.particles.jets import MOMENTUM, PARTICLE_KINDS, UNKNOWN_KIND, JetError, Jets
from statecast.particles.sources.jet_columns import (
    JET_COLUMNS,
    KIND_COLUMNS,
    PARTICLE_COLUMNS,
    as_stored,
    jet_columns,
    particle_columns,
)
from statecast.particles.sources.packages import package

EVENT_COLUMNS = {
    "met_pt": "met_gev",
    "met_phi": "met_phi",
    "event_weight": "weight",
    "cross_section_fb": "cross_section_fb",
}
PROCESS = "process"
NEEDED = ("met_pt", "met_phi", *(f"jet_{name}" for name in ("pt", "eta", "phi", "mass")), "part_pt")


def table_of(events: Events) -> Any:
    """A pyarrow table of events. Columns of the jets are computed from the particles as they are stored."""
    import pyarrow

    jets = as_stored(events.jets)
    columns = {short: events.of_events[name].astype(np.float32) for short, name in EVENT_COLUMNS.items()}
    columns |= {name: _as_lists(events.offsets, column) for name, column in jet_columns(jets, "jet").items()}
    columns |= {name: _as_lists(events.offsets, column) for name, column in particle_columns(jets, "part").items()}
    if events.labels is not None:
        columns[PROCESS] = pyarrow.array(events.labels.astype(str))
    return pyarrow.table(columns)


def _as_lists(offsets: Int[np.ndarray, " E_plus_1"], column: Any) -> Any:
    import pyarrow

    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets.astype(np.int32)), column)


def read_events(files: Sequence[str], events: int = 2000, most_constituents: int = 128) -> Iterator[Events]:
    """The events of Parquet files in their order, at most so many at a time; of each jet its hardest particles.

    Raises JetError for a file that is missing, can't be read, or holds no events.
    """
    parquet = package("pyarrow.parquet", "files of events")
    for name in files:
        if not Path(name).is_file():
            raise JetError(f"file {name}: does not exist. Give a Parquet file of `statecast data simulate events`.")
        try:
            file = parquet.ParquetFile(name)
        except (OSError, ValueError) as error:
            raise JetError(f"file {name}: is no Parquet file ({error}). Give one of events.") from None
        present = file.schema_arrow.names
        if missing := [column for column in NEEDED if column not in present]:
            raise JetError(
                f"file {name}: holds no events, column {missing[0]} is missing. Give a file of `statecast data simulate events`."
            )
        for batch in file.iter_batches(batch_size=events):
            yield _events_of({column: batch.column(column) for column in present}, most_constituents)


def _events_of(columns: dict[str, Any], most_constituents: int) -> Events:
    offsets = _offsets(columns["jet_pt"])
    counts = np.diff(_offsets(columns["part_pt"].flatten()))
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.flatnonzero(rank < most_constituents)  # a file has them in order of decreasing pT
    particles = {
        long: _numbers(columns[f"part_{short}"].flatten().flatten())[kept]
        for short, long in PARTICLE_COLUMNS.items()
        if f"part_{short}" in columns
    }
    particles["kind"] = _kinds(columns)[kept]
    jet = {
        long: _numbers(columns[f"jet_{short}"].flatten())
        for short, long in JET_COLUMNS.items()
        if f"jet_{short}" in columns and long != "multiplicity"
    }
    ends = np.cumsum(np.minimum(counts, most_constituents))
    jets = Jets(np.concatenate([[0], ends]).astype(int), particles, jet)
    of_events = {long: _numbers(columns[short]) for short, long in EVENT_COLUMNS.items() if short in columns}
    labels = np.asarray(columns[PROCESS].to_pylist()) if PROCESS in columns else None
    return Events(offsets, jets, of_events, labels)


def _offsets(lists: Any) -> Int[np.ndarray, " E_plus_1"]:
    offsets = np.asarray(lists.offsets).astype(int)
    return offsets - offsets[0]


def _numbers(column: Any) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _kinds(columns: dict[str, Any]) -> np.ndarray:
    names = {short: f"part_{short}" for short in KIND_COLUMNS}
    first = _numbers(columns["part_pt"].flatten().flatten())
    kinds = np.full(len(first), UNKNOWN_KIND, np.int8)
    for short, kind in KIND_COLUMNS.items():
        if names[short] in columns:
            kinds[_numbers(columns[names[short]].flatten().flatten()).astype(bool)] = PARTICLE_KINDS.index(kind)
    return kinds


assert set(MOMENTUM) <= set(JET_COLUMNS.values())
