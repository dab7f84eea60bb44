"""Events of Delphes: jets whose constituents are references to particles elsewhere in the event; GeV and mm. Axes: E event, J jet, L link.

A reference is the `fUniqueID` of its target; ROOT keeps the number of the object in the low 24 bits, that of the process in the others.
Source: J. de Favereau et al., arXiv 1307.6346; ROOT's documents of TRef.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from statecast.particles.jets import UNKNOWN_KIND, JetError, Jets, wrapped
from statecast.particles.particle_codes import NEUTRAL_HADRON, PHOTON_KIND, kinds
from statecast.particles.sources.layouts.labels import labels_of_events
from statecast.particles.sources.layouts.layout import Reading, Selection, chosen_collection, require
from statecast.particles.sources.layouts.momentum import from_energy, light, momentum, nothing, track
from statecast.particles.sources.layouts.ragged import Ragged, linked, ragged
from statecast.particles.sources.packages import package
from statecast.particles.sources.rules import NOT_IN_FILE, Rules
from statecast.particles.sources.tables import Block, Table

PREFERRED = ("FatJet", "JetPUPPIAK8", "ParticleFlowJet08", "JetAK8", "Jet")
OBJECT_NUMBER = 0xFFFFFF
MOST_UNRESOLVED = 0.5  # share of references without target above which a jet is no longer what was clustered
MATCHED = "jets with particles matched by ΔR, for want of references"


@dataclass(frozen=True)
class Candidates:
    """A collection of particles that jets refer to. `kind` and `charge` hold for all of them; None: by PDG code and by column."""

    name: str
    pt: str = "PT"
    mass: str = "Mass"
    kind: int | None = None
    charge: float | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Columns of the file by what they hold."""
        held = {"pt": self.pt, "eta": "Eta", "phi": "Phi", "scale": self.mass, "id": "fUniqueID"}
        if self.charge is None:
            held |= {"charge": "Charge", "code": "PID"}
        return {what: f"{self.name}.{column}" for what, column in held.items()}

    @property
    def track_columns(self) -> dict[str, str]:
        names = {"d0_mm": "D0", "d0_error_mm": "ErrorD0", "dz_mm": "DZ", "dz_error_mm": "ErrorDZ"}
        return {what: f"{self.name}.{column}" for what, column in names.items()}


RECONSTRUCTED = (
    Candidates("ParticleFlowCandidate"),
    Candidates("EFlowTrack"),
    Candidates("EFlowPhoton", "ET", "E", PHOTON_KIND, 0.0),
    Candidates("EFlowNeutralHadron", "ET", "E", NEUTRAL_HADRON, 0.0),
    Candidates("Track"),
    Candidates("Tower", "ET", "E", UNKNOWN_KIND, np.nan),
)
GENERATED = (Candidates("Particle"),)


def layout(table: Table, selection: Selection) -> Reading | None:
    """Recognised by a jet's `.PT` and `.BTag`, or `.Constituents`."""
    have = set(table.columns)
    jets = [name.removesuffix(".PT") for name in table.columns if name.endswith(".PT")]
    jets = [name for name in jets if have & {f"{name}.BTag", f"{name}.Constituents"} and f"{name}.Mass" in have]
    if not jets:
        return None
    jet = chosen_collection(table, selection, jets, PREFERRED)
    own = {what: f"{jet}.{what}" for what in ("PT", "Eta", "Phi", "Mass")}
    require(table, list(own.values()), "Delphes")
    further = {what: f"{jet}.{what}" for what in ("Tau[5]", "Flavor") if f"{jet}.{what}" in have}
    sources = _sources(jet, have) if selection.constituents else []
    lacks = "" if sources or not selection.constituents else _lacks(jet)
    link = _Links(table, jet, sources, f"{jet}.Constituents" in have)
    labels = labels_of_events(table, selection, f"{jet}.")

    def convert(block: Block, rules: Rules) -> Jets:
        columns = {what: ragged(block[name]) for what, name in own.items()}
        momenta = momentum(*(columns[what].values for what in own))
        of_jets = light(momenta | _further(block, further))
        offsets, particles = link.particles(block, columns, rules)
        return Jets(offsets, particles, of_jets, labels.read(block, rules))

    columns = [*own.values(), *further.values(), *link.columns, *labels.columns.columns]
    return Reading("Delphes", list(dict.fromkeys(columns)), convert, (), jet, jets, own["PT"], lacks=lacks)


def _sources(jet: str, have: set[str]) -> list[Candidates]:
    """The collections of the file to which this kind of jet may refer."""
    possible = GENERATED if jet.startswith("Gen") else RECONSTRUCTED
    return [each for each in possible if have.issuperset(set(each.columns.values()) - {f"{each.name}.fUniqueID"})]


def _lacks(jet: str) -> str:
    names = ", ".join(each.name for each in (GENERATED if jet.startswith("Gen") else RECONSTRUCTED))
    return f"has no particles of {jet}, expected one of {names}. Name other jets, or keep these branches in Delphes' TreeWriter."


def _further(block: Block, names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """N-subjettiness and the flavour of the jet's parton (PDG code)."""
    further: dict[str, np.ndarray] = {}
    if "Tau[5]" in names:
        awkward = package("awkward", "Delphes files")
        tau = awkward.to_numpy(awkward.flatten(block[names["Tau[5]"]], axis=1)).reshape(-1, 5)
        further |= {f"tau{number}": tau[:, number - 1] for number in range(1, 5)}
    if "Flavor" in names:
        further["parton_flavour"] = ragged(block[names["Flavor"]]).values
    return further


class _Links:
    """Which particles belong to which jet: by reference, or by distance where the file has no references."""

    def __init__(self, table: Table, jet: str, sources: Sequence[Candidates], referred: bool) -> None:
        have = set(table.columns)
        self._jet, self._name = jet, table.name
        self._sources = sources
        self._tracks = [each for each in sources if have.issuperset(each.track_columns.values())]
        self._referred = referred and all(each.columns["id"] in have for each in sources)
        self._vertex = "Vertex.Z" if "Vertex.Z" in have and self._tracks else ""
        self.columns = [name for each in sources for name in each.columns.values() if name in have]
        self.columns += [name for each in self._tracks for name in each.track_columns.values()]
        self.columns += [self._vertex] if self._vertex else []
        self.columns += [f"{jet}.Constituents"] if self._referred and sources else []

    def particles(
        self, block: Block, jets: Mapping[str, Ragged], rules: Rules
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Offsets of the jets and the columns of their particles."""
        number = len(jets["PT"].values)
        if not self._sources:
            return np.zeros(number + 1, np.int64), nothing()
        parts = [self._candidates(block, each) for each in self._sources]
        names = [name for name in parts[0] if all(name in part for part in parts)]
        tracks = [name for part in parts for name in part if name not in names]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
        for name in dict.fromkeys(tracks):
            columns[name] = np.concatenate([part.get(name, np.full(len(part["event"]), np.nan)) for part in parts])
        if self._referred:
            jet, row, usable = self._by_reference(block, jets, columns, rules)
        else:
            jet, row, usable = self._by_distance(jets, columns)
            rules.count(MATCHED, number)
        offsets, rows = linked(jet, row, usable, number)
        kept = {name: column[rows] for name, column in columns.items() if name not in ("event", "id")}
        return offsets, light(kept)

    def _candidates(self, block: Block, each: Candidates) -> dict[str, np.ndarray]:
        """The particles of one collection, with their `event` and, if jets refer to them, their `id`."""
        lists = {what: ragged(block[name]) for what, name in each.columns.items() if name in block}
        flat = {what: column.values for what, column in lists.items()}
        mass = from_energy(flat["pt"], flat["eta"], flat["scale"]) if each.mass == "E" else flat["scale"]
        if each.kind in (PHOTON_KIND, NEUTRAL_HADRON):
            mass = np.zeros(len(flat["pt"]))  # Delphes makes clusters without mass; E and ET differ by rounding
        columns = momentum(flat["pt"], flat["eta"], flat["phi"], mass)
        if each.charge is None:
            charge = flat["charge"].astype(np.float64)
            kind = kinds(flat["code"], charge)
        else:
            charge = np.full(len(mass), each.charge)
            kind = np.full(len(mass), each.kind, np.int8)
        columns |= {"kind": kind, "charge": charge, "event": lists["pt"].owner}
        if each in self._tracks:
            columns |= self._track(block, each, lists["pt"].owner, charge)
        return columns | ({"id": flat["id"] & OBJECT_NUMBER} if self._referred else {})

    def _track(self, block: Block, each: Candidates, event: np.ndarray, charge: np.ndarray) -> dict[str, np.ndarray]:
        """dz counts from the event's first vertex if the file has vertices, as in JetClass-II."""
        parts = {what: ragged(block[name]).values.astype(np.float64) for what, name in each.track_columns.items()}
        if self._vertex:
            vertices = ragged(block[self._vertex])
            first = np.zeros(len(vertices.counts))
            some = vertices.counts > 0
            first[some] = vertices.values[vertices.starts[some]]
            parts["dz_mm"] = parts["dz_mm"] - first[event]
        return track(parts, charge)

    def _by_reference(
        self, block: Block, jets: Mapping[str, Ragged], columns: Mapping[str, np.ndarray], rules: Rules
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Jet, row and whether the row exists, of each reference."""
        references, counts = _references(block[f"{self._jet}.Constituents"])
        jet = np.repeat(np.arange(len(counts)), counts)
        event = jets["PT"].owner[jet]
        wanted = _key(event, references & OBJECT_NUMBER)
        known = _key(columns["event"], columns["id"])
        order = np.argsort(known, kind="stable")
        place = np.minimum(np.searchsorted(known[order], wanted), max(len(known) - 1, 0))
        row = order[place] if len(known) else np.zeros(len(wanted), np.int64)
        found = (known[row] == wanted) & (references != 0) if len(known) else np.zeros(len(wanted), bool)
        unresolved = np.count_nonzero(~found)
        if unresolved > MOST_UNRESOLVED * max(len(found), 1):
            raise JetError(
                f"{self._name}: {unresolved} of {len(found)} particles of {self._jet} are not in the file "
                f"({', '.join(each.name for each in self._sources)}). Name other jets of the file."
            )
        rules.count(NOT_IN_FILE, unresolved)
        return jet, row, found

    def _by_distance(
        self, jets: Mapping[str, Ragged], columns: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each particle to the nearest jet of its event, if within the radius. ΔR² = Δη² + Δφ²."""
        radius = radius_of(self._jet)
        starts, counts = jets["PT"].starts, jets["PT"].counts
        rows = np.argsort(columns["event"], kind="stable")
        event = columns["event"][rows]
        pairs = counts[event]
        row = np.repeat(rows, pairs)
        within = np.arange(len(row)) - np.repeat(np.cumsum(pairs) - pairs, pairs)
        jet = np.repeat(starts[event], pairs) + within
        d_eta = columns["eta"][row] - jets["Eta"].values[jet]
        distance = np.hypot(d_eta, wrapped(columns["phi"][row] - jets["Phi"].values[jet]))
        order = np.lexsort((distance, row))
        nearest = np.zeros(len(row), bool)
        nearest[order] = np.diff(row[order], prepend=-1) != 0
        return jet, row, nearest & (distance < radius)


def radius_of(jet: str) -> float:
    """The radius in a collection's name, in tenths: 0.8 for JetAK8 and ParticleFlowJet08, 1.5 for JetAK15. FatJet: 0.8, others 0.5,
    as in Delphes' own cards."""
    digits = jet[len(jet.rstrip("0123456789")) :]
    if digits:
        return int(digits) / 10
    return 0.8 if "Fat" in jet else 0.5


def _references(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """All references in the order of the jets, and their number for each jet."""
    awkward = package("awkward", "Delphes files")
    of_jets = awkward.flatten(column, axis=1)
    if not len(of_jets):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    lists = ragged(of_jets.refs)
    return lists.values.astype(np.int64), lists.counts


def _key(event: np.ndarray, number: np.ndarray) -> np.ndarray:
    """One number for an object of an event."""
    return event.astype(np.int64) << 24 | number.astype(np.int64)
