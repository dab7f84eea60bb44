"""Events of ATLAS PHYSLITE: jets with links to their particles; MeV and mm. Axes: E event, J jet, L link.

A link is the key of a container and a place in it. PHYSLITE keeps few of the containers that jets were clustered from: small-radius jets
are read with the tracks that belong to them (`GhostTrack`), other jets have no particles in the file.
Source: xAOD::TrackParticle: pT = |1 / (q/p)| sin θ, η = -ln tan θ/2; z0 counts from the beam spot at `vz`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from statecast.particles.jets import UNKNOWN_KIND, Jets
from statecast.particles.sources.layouts.labels import labels_of_events
from statecast.particles.sources.layouts.layout import Reading, Selection, chosen_collection, require
from statecast.particles.sources.layouts.momentum import light, momentum, nothing, track
from statecast.particles.sources.layouts.ragged import Ragged, linked, outside, ragged
from statecast.particles.sources.packages import package
from statecast.particles.sources.rules import BAD_INDEX, NOT_IN_FILE, Rules
from statecast.particles.sources.tables import Block, Table

TRACK_KEY = 490246363  # of the container InDetTrackParticles: a hash of its name and type, the same in all files
TRACKS = "InDetTrackParticlesAuxDyn"
TRACK_COLUMNS = ("qOverP", "theta", "phi", "d0", "z0")
PION_MASS_MEV = 139.57039  # PDG 2024; the mass that ATLAS gives to a track
VERTICES = "PrimaryVerticesAuxDyn"
PRIMARY = 1  # xAOD::VxType::PriVtx
LINKS = ("constituentLinks", "GhostTrack")
PREFERRED = ("AnalysisJets",)
REMARK = "particles are the tracks that belong to a jet, with the mass of a pion; the file has no neutral particles"
PEEKED = 100  # events that decide whether linked particles are in the file


def layout(table: Table, selection: Selection) -> Reading | None:
    """Recognised by `X.pt`, `X.eta`, `X.phi` and `X.m` for an X with Jets, and Aux or AuxDyn at its end."""
    places = _jets(table.columns)
    if not places:
        return None
    jet = chosen_collection(table, selection, list(places), PREFERRED)
    own = {what: f"{places[jet]}.{what}" for what in ("pt", "eta", "phi", "m")}
    link, lacks = _link(table, places[jet], jet) if selection.constituents else ("", "")
    labels = labels_of_events(table, selection, f"{places[jet]}.")
    particles = [] if not link else [link, *_track_columns(table)]

    def convert(block: Block, rules: Rules) -> Jets:
        columns = {what: ragged(block[name]) for what, name in own.items()}
        of_jets = light(momentum(*(columns[what].values for what in own)))
        named = labels.read(block, rules)
        if not link:
            return Jets(np.zeros(len(of_jets["pt_gev"]) + 1, np.int64), nothing(), of_jets, named)
        offsets, rows = _linked(block, link, columns["pt"], rules)
        return Jets(offsets, light(_tracks(block, rows)), of_jets, named)

    remarks = [REMARK] if link else []
    return Reading(
        "PHYSLITE",
        [*own.values(), *particles, *labels.columns.columns],
        convert,
        (),
        jet,
        list(places),
        own["pt"],
        "MeV",
        lacks,
        remarks,
    )


def _jets(columns: Sequence[str]) -> dict[str, str]:
    """Where the columns of each collection of jets are."""
    have = set(columns)
    places = [name.removesuffix(".pt") for name in columns if name.endswith((".pt", "AuxDyn.pt")) and "Jets" in name]
    whole = [place for place in places if all(f"{place}.{what}" in have for what in ("eta", "phi", "m"))]
    return {place.removesuffix("AuxDyn").removesuffix("Aux"): place for place in whole if "Aux" in place}


def _link(table: Table, place: str, jet: str) -> tuple[str, str]:
    """The column of links that lead to tracks in the file, or why there is none."""
    keys: set[int] = set()
    for name in (f"{place}.{link}" for link in LINKS):
        if name not in table.columns:
            continue
        for block in table.blocks([name], 0, min(PEEKED, len(table)), PEEKED):
            found = np.unique(_flat_links(block[name])[0])
            keys |= set(map(int, found))
            if TRACK_KEY in found and f"{TRACKS}.qOverP" in table.columns:
                return name, ""
    containers = ", ".join(map(str, sorted(keys - {0}))) if keys else "none"
    return "", (
        f"{jet} has no constituents in the file: its links lead to containers that PHYSLITE does not keep (keys: {containers}). "
        "Name AnalysisJets, whose tracks are kept, or use DAOD_PHYS converted to the columns of JetClass."
    )


def _track_columns(table: Table) -> list[str]:
    needed = [f"{TRACKS}.{what}" for what in TRACK_COLUMNS]
    require(table, needed, "PHYSLITE")
    further = [f"{TRACKS}.vz", f"{TRACKS}.definingParametersCovMatrixDiag", f"{VERTICES}.z", f"{VERTICES}.vertexType"]
    return needed + [name for name in further if name in table.columns]


def _flat_links(column: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys and places of all links in the order of the jets, and the number of links of each jet."""
    awkward = package("awkward", "PHYSLITE files")
    of_jets = awkward.flatten(column, axis=1)
    if not len(of_jets):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    keys, places = ragged(of_jets.m_persKey), ragged(of_jets.m_persIndex)
    return keys.values.astype(np.int64), places.values.astype(np.int64), keys.counts


def _linked(block: Block, link: str, jets: Ragged, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the jets, and the tracks of each."""
    keys, places, counts = _flat_links(block[link])
    tracks = ragged(block[f"{TRACKS}.qOverP"])
    jet = np.repeat(np.arange(len(counts)), counts)
    event = jets.owner[jet]
    elsewhere = keys != TRACK_KEY
    bad = ~elsewhere & outside(places, tracks.counts[event])
    rules.count(NOT_IN_FILE, np.count_nonzero(elsewhere))
    rules.count(BAD_INDEX, np.count_nonzero(bad))
    return linked(jet, tracks.starts[event] + places, ~(elsewhere | bad), len(jets.values))


def _tracks(block: Block, rows: np.ndarray) -> dict[str, np.ndarray]:
    event = ragged(block[f"{TRACKS}.qOverP"]).owner[rows]
    columns = {what: ragged(block[f"{TRACKS}.{what}"]).values[rows].astype(np.float64) for what in TRACK_COLUMNS}
    with np.errstate(divide="ignore", invalid="ignore"):
        pt = np.abs(1 / columns["qOverP"]) * np.sin(columns["theta"])
        eta = -np.log(np.tan(columns["theta"] / 2))
    charge = np.sign(columns["qOverP"])
    momenta = momentum(pt, eta, columns["phi"], np.full(len(pt), PION_MASS_MEV))
    parts = {"d0_mm": columns["d0"], "dz_mm": columns["z0"] + _shift(block, rows, event)}
    momenta |= {"kind": np.full(len(pt), UNKNOWN_KIND, np.int8), "charge": charge}
    return momenta | track(parts | _errors(block, rows), charge)


def _shift(block: Block, rows: np.ndarray, event: np.ndarray) -> np.ndarray:
    """What turns z0, counted from the beam spot, into a distance from the primary vertex: vz - z of the vertex."""
    shift = np.zeros(len(rows))
    if f"{TRACKS}.vz" in block:
        shift += ragged(block[f"{TRACKS}.vz"]).values[rows]
    if f"{VERTICES}.z" in block and f"{VERTICES}.vertexType" in block:
        z, kind = ragged(block[f"{VERTICES}.z"]), ragged(block[f"{VERTICES}.vertexType"])
        primary = np.flatnonzero(kind.values == PRIMARY)[::-1]  # the first of an event is set last
        of_event = np.zeros(len(z.counts))
        of_event[z.owner[primary]] = z.values[primary]
        shift -= of_event[event]
    return shift


def _errors(block: Block, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Uncertainties: the diagonal of the covariance of (d0, z0, phi, theta, q/p) has their squares."""
    name = f"{TRACKS}.definingParametersCovMatrixDiag"
    if name not in block:
        return {}
    awkward = package("awkward", "PHYSLITE files")
    diagonal = awkward.to_numpy(awkward.flatten(block[name], axis=1))
    return {"d0_error_mm": np.sqrt(diagonal[rows, 0]), "dz_error_mm": np.sqrt(diagonal[rows, 1])}
