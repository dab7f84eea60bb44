"""Columns of the Parquet files of jets that statecast writes, named as in JetClass (Qu, Li & Qian, arXiv:2202.03772) where it has a name.

part_*     lists, one number per measured particle, in order of decreasing pT: pt, eta, phi, mass, charge, isChargedHadron ...,
           d0val, d0err, dzval, dzerr (NaN without a track)
genpart_*  the same of the particles that the generator made, without impact parameters, with `genpart_pid`, the PDG code
jet_*      of the measured jet, genjet_* of the generated one: pt, eta, phi, mass, energy, nparticles, sdmass, tau1 to tau4
label_*    True for the kind of the jet

JetClass has px, py, pz and energy of particles; here pT, η, φ and mass, which keep the mass in 32 bits. Units: GeV, mm, e.

Axes: J jet, N particle of all jets.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from statecast.particles.jets import PARTICLE_KINDS, Jets, summed_momentum
from statecast.particles.sources.pythia import KINDS, GeneratedJets
from statecast.particles.substructure import substructure

PARTICLE_COLUMNS = {
    "pt": "pt_gev",
    "eta": "eta",
    "phi": "phi",
    "mass": "mass_gev",
    "charge": "charge",
    "d0val": "d0_mm",
    "d0err": "d0_error_mm",
    "dzval": "dz_mm",
    "dzerr": "dz_error_mm",
    "pid": "pdg",
}
KIND_COLUMNS = {
    "isChargedHadron": "charged hadron",
    "isNeutralHadron": "neutral hadron",
    "isPhoton": "photon",
    "isElectron": "electron",
    "isMuon": "muon",
}
INTEGERS = {"charge": np.int8, "pdg": np.int32, "multiplicity": np.int32}
JET_COLUMNS = {
    "pt": "pt_gev",
    "eta": "eta",
    "phi": "phi",
    "mass": "mass_gev",
    "energy": "energy_gev",
    "nparticles": "multiplicity",
    "sdmass": "soft_drop_mass_gev",
    "tau1": "tau1",
    "tau2": "tau2",
    "tau3": "tau3",
    "tau4": "tau4",
    "tau21": "tau21",
    "tau32": "tau32",
}
LABELS = tuple(kind.label for kind in KINDS.values())


def table_of(jets: GeneratedJets, label: str) -> Any:
    """A pyarrow table of jets of one kind. Columns of the jets are computed from the particles as they are stored."""
    import pyarrow

    columns = {
        **jet_columns(as_stored(jets.measured), "jet"),
        **jet_columns(as_stored(jets.generated), "genjet"),
        "event_weight": jets.measured.of_jets["weight"].astype(np.float32),
        **{f"label_{name}": np.full(len(jets.measured), name == label) for name in LABELS},
        **particle_columns(jets.measured, "part"),
        **particle_columns(jets.generated, "genpart"),
    }
    return pyarrow.table(columns)


def as_stored(jets: Jets) -> Jets:
    """The same jets with particles of 32 bits, and the columns of jets that follow from them."""
    stored = Jets(jets.offsets, {name: _compact(name, column) for name, column in jets.particles.items()}, {})
    return Jets(jets.offsets, stored.particles, summed_momentum(stored))


def jet_columns(jets: Jets, prefix: str, names: Mapping[str, str] = JET_COLUMNS) -> dict[str, np.ndarray]:
    """The named columns of jets; substructure is computed if they include any."""
    momentum = jets.of_jets
    energy = np.hypot(momentum["mass_gev"], momentum["pt_gev"] * np.cosh(momentum["eta"]))
    known: dict[str, np.ndarray] = {**momentum, "energy_gev": energy, "multiplicity": jets.multiplicity}
    if not set(names.values()) <= set(known):
        known |= substructure(jets)
    return {f"{prefix}_{short}": _compact(name, known[name]) for short, name in names.items()}


def particle_columns(jets: Jets, prefix: str, names: Mapping[str, str] = PARTICLE_COLUMNS) -> dict[str, Any]:
    """Arrow lists, one list per jet: the named columns that the particles have, and a flag for each kind."""
    flat = {
        f"{prefix}_{short}": _compact(name, jets.particles[name])
        for short, name in names.items()
        if name in jets.particles
    }
    for short, kind in KIND_COLUMNS.items():
        flat[f"{prefix}_{short}"] = jets.particles["kind"] == PARTICLE_KINDS.index(kind)
    return {name: as_lists(jets, column) for name, column in flat.items()}


def as_lists(jets: Jets, column: np.ndarray) -> Any:
    import pyarrow

    return pyarrow.ListArray.from_arrays(pyarrow.array(jets.offsets.astype(np.int32)), pyarrow.array(column))


def _compact(name: str, column: np.ndarray) -> np.ndarray:
    if name == "kind":
        return column
    return column.astype(INTEGERS.get(name, np.float32))
