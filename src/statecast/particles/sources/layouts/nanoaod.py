"""Events of CMS NanoAOD: jets, and a table that links them to particle-flow candidates by index; GeV and cm. Axes: E event, J jet, L link.

Candidates are in PFNano (`FatJetPFCands`, `PFCands`), in NanoAOD from version 15 on (`FatJetPFCand`, `PFCand`), and for generated jets
(`GenFatJetCands`, `GenCands`). Plain NanoAOD has none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from statecast.particles.jets import Jets
from statecast.particles.particle_codes import charges, kinds
from statecast.particles.sources.layouts.labels import labels_of_events
from statecast.particles.sources.layouts.layout import Reading, Selection, chosen_collection, require
from statecast.particles.sources.layouts.momentum import light, momentum, nothing, track
from statecast.particles.sources.layouts.ragged import Ragged, linked, outside, ragged
from statecast.particles.sources.rules import BAD_INDEX, Rules
from statecast.particles.sources.tables import Block, Table

MM_PER_CM = 10.0
PREFERRED = ("FatJet", "Jet")  # of jets with constituents; else Jet, of which an event has most
GENERATED = {"GenFatJet": "GenJetAK8", "GenJet": "GenJet"}
"""Name of the jets where that of the links says otherwise."""
JETS = re.compile(r"^(?!n[A-Z])\w*Jet(AK\d+)?_pt$")  # nX_pt are lengths, in trees that uproot wrote
LINKS = re.compile(r"^(\w+?)(PFCands?|Cands?)_jetIdx$")
INDEX = ("pFCandsIdx", "pfCandIdx", "pfCandsIdx", "candIdx")
FURTHER = {
    "msoftdrop": "soft_drop_mass_gev",
    "tau1": "tau1",
    "tau2": "tau2",
    "tau3": "tau3",
    "tau4": "tau4",
    "hadronFlavour": "hadron_flavour",
}
TRACKS = {"d0_mm": "d0", "d0_error_mm": "d0Err", "dz_mm": "dz", "dz_error_mm": "dzErr"}
PEEKED = 200  # events that decide whether candidates carry a PUPPI weight


@dataclass(frozen=True)
class Constituents:
    """Where the particles of a collection of jets are: `links` has the indices, `index` names that of the candidate."""

    links: str
    index: str
    candidates: str

    @property
    def columns(self) -> list[str]:
        return [f"{self.links}_jetIdx", f"{self.links}_{self.index}"]


def layout(table: Table, selection: Selection) -> Reading | None:
    """Recognised by `X_pt`, `X_eta`, `X_phi` and `X_mass` for an X that ends in Jet or JetAK and digits."""
    have = set(table.columns)
    jets = _jets(table.columns)
    if not jets:
        return None
    linked_jets = _constituents(table.columns)
    first = [name for name in (*PREFERRED, *jets) if name in linked_jets and name in jets]
    jet = chosen_collection(table, selection, jets, [*first, *reversed(PREFERRED)])
    where = linked_jets.get(jet) if selection.constituents else None
    lacks = "" if where or not selection.constituents else _lacks(jet, linked_jets)
    own = {what: f"{jet}_{what}" for what in ("pt", "eta", "phi", "mass")}
    further = {f"{jet}_{what}": name for what, name in FURTHER.items() if f"{jet}_{what}" in have}
    labels = labels_of_events(table, selection, f"{jet}_")
    columns = [*own.values(), *further, *(_particle_columns(table, where) if where else []), *labels.columns.columns]
    weighted = where is not None and _is_weighted(table, jet, where)

    def convert(block: Block, rules: Rules) -> Jets:
        pt = ragged(block[own["pt"]])
        momenta = momentum(pt.values, *(ragged(block[own[what]]).values for what in ("eta", "phi", "mass")))
        of_jets = light(momenta | {name: ragged(block[column]).values for column, name in further.items()})
        named = labels.read(block, rules)
        if where is None:
            return Jets(np.zeros(len(pt.values) + 1, np.int64), nothing(), of_jets, named)
        offsets, rows = _linked(block, where, pt, rules)
        return Jets(offsets, light(_particles(block, where, rows, weighted)), of_jets, named)

    remarks = ["momenta of particles are multiplied by their PUPPI weight, as in the jets"] if weighted else []
    name = "NanoAOD" if linked_jets else "NanoAOD without constituents"
    return Reading(
        name,
        list(dict.fromkeys(columns)),
        convert,
        (),
        jet,
        jets,
        own["pt"],
        lacks=lacks,
        remarks=remarks,
    )


def _jets(columns: Sequence[str]) -> list[str]:
    have = set(columns)
    names = [name.removesuffix("_pt") for name in columns if JETS.match(name)]
    return [name for name in names if all(f"{name}_{what}" in have for what in ("eta", "phi", "mass"))]


def _constituents(columns: Sequence[str]) -> dict[str, Constituents]:
    """The links of each collection of jets that has candidates."""
    have, found = set(columns), {}
    for match in filter(None, map(LINKS.match, columns)):
        stem, kind = match.groups()
        links = f"{stem}{kind}"
        index = next((name for name in INDEX if f"{links}_{name}" in have), None)
        candidates = f"Gen{kind}" if stem.startswith("Gen") and not kind.startswith("PF") else kind
        if index and f"{candidates}_pt" in have:
            found[GENERATED.get(stem, stem)] = Constituents(links, index, candidates)
    return found


def _lacks(jet: str, linked_jets: Mapping[str, Constituents]) -> str:
    if linked_jets:
        return f"{jet} has no constituents. Jets that have: {', '.join(linked_jets)}. Name one of them."
    return (
        f"{jet} has no constituents: plain NanoAOD stores jets without their particles. Use PFNano (FatJetPFCands and PFCands), "
        "or NanoAOD from version 15 on (FatJetPFCand and PFCand)."
    )


def _particle_columns(table: Table, where: Constituents) -> list[str]:
    momentum_of = [f"{where.candidates}_{what}" for what in ("pt", "eta", "phi", "mass", "pdgId")]
    require(table, momentum_of, "NanoAOD")
    further = [f"{where.candidates}_{what}" for what in ("charge", "puppiWeight", *TRACKS.values())]
    return [*where.columns, *momentum_of, *(name for name in further if name in table.columns)]


def _linked(block: Block, where: Constituents, jets: Ragged, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the jets, and the candidates of each."""
    candidates = ragged(block[f"{where.candidates}_pt"])
    in_jet, of_candidate = (ragged(block[name]) for name in where.columns)
    event = in_jet.owner
    bad = outside(in_jet.values, jets.counts[event]) | outside(of_candidate.values, candidates.counts[event])
    rules.count(BAD_INDEX, np.count_nonzero(bad))
    jet = jets.starts[event] + in_jet.values
    return linked(jet, candidates.starts[event] + of_candidate.values, ~bad, len(jets.values))


def _particles(block: Block, where: Constituents, rows: np.ndarray, weighted: bool) -> dict[str, np.ndarray]:
    def column(what: str) -> np.ndarray:
        return ragged(block[f"{where.candidates}_{what}"]).values[rows]

    codes = column("pdgId").astype(np.int64)
    charge = column("charge").astype(np.float64) if f"{where.candidates}_charge" in block else charges(codes)
    weight = column("puppiWeight") if weighted else 1.0
    columns = momentum(column("pt") * weight, column("eta"), column("phi"), column("mass") * weight)
    columns |= {"kind": kinds(codes, charge), "charge": charge}
    names = {name: what for name, what in TRACKS.items() if f"{where.candidates}_{what}" in block}
    return columns | track({name: column(what) for name, what in names.items()}, charge, mm=MM_PER_CM)


def _is_weighted(table: Table, jet: str, where: Constituents) -> bool:
    """Whether the jets are sums of candidates times their PUPPI weight: the sum that is nearer to the jets' uncorrected pT tells."""
    weights, raw = f"{where.candidates}_puppiWeight", f"{jet}_rawFactor"
    if weights not in table.columns or raw not in table.columns:
        return False
    names = [f"{jet}_pt", raw, weights, *where.columns, *(f"{where.candidates}_{what}" for what in ("pt", "phi"))]
    deviations = []
    for block in table.blocks(names, 0, min(PEEKED, len(table)), PEEKED):
        pt = ragged(block[f"{jet}_pt"])
        expected = pt.values * (1 - ragged(block[raw]).values)
        offsets, rows = _linked(block, where, pt, Rules())
        values = {
            what: ragged(block[f"{where.candidates}_{what}"]).values[rows] for what in ("pt", "phi", "puppiWeight")
        }
        for weight in (np.ones(len(rows)), values["puppiWeight"]):
            parts = weight * values["pt"] * np.exp(1j * values["phi"])
            sums = np.abs(np.diff(np.concatenate([[0], np.cumsum(parts)])[offsets]))
            deviations.append(np.median(np.abs(sums - expected)) if len(expected) else 0.0)
    return bool(deviations) and bool(deviations[1] < deviations[0])
