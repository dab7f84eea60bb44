"""Jets as entries with the columns of JetClass and JetClass-II: `part_*`, `jet_*` and labels, in GeV and mm. Axes: J jet, N particle.

Sources: H. Qu et al., arXiv 2202.03772 (JetClass); C. Li et al., arXiv 2405.12972 (JetClass-II) and the documents of both repositories.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from statecast.particles.jets import UNKNOWN_KIND, JetError, Jets, summed_momentum, wrapped
from statecast.particles.particle_codes import charges, kinds
from statecast.particles.sources.jet_columns import KIND_COLUMNS
from statecast.particles.sources.layouts.labels import label_columns
from statecast.particles.sources.layouts.layout import Reading, Selection, refuse_collection, require
from statecast.particles.sources.layouts.momentum import from_components, from_energy, light, momentum, track
from statecast.particles.sources.layouts.ragged import numbers, ragged, together
from statecast.particles.sources.rules import Rules
from statecast.particles.sources.tables import Block, Table

FLAGS = tuple(f"part_{name}" for name in KIND_COLUMNS)
"""Columns of the particle class, in the order of `PARTICLE_KINDS`."""
CODES = ("part_pid", "part_pdgid", "part_pdgId")
TRACKS = {
    "d0_mm": ("part_d0val", "part_d0"),
    "d0_error_mm": ("part_d0err", "part_d0_error"),
    "dz_mm": ("part_dzval", "part_dz"),
    "dz_error_mm": ("part_dzerr", "part_dz_error"),
}
TAUS = ("tau1", "tau2", "tau3", "tau4")
FURTHER = {
    "jet_sdmass": "soft_drop_mass_gev",
    **{f"jet_{name}": name for name in TAUS},
    "genjet_pt": "generated_pt_gev",
    "genjet_eta": "generated_eta",
    "genjet_phi": "generated_phi",
    "genjet_mass": "generated_mass_gev",
    "genjet_sdmass": "generated_soft_drop_mass_gev",
    "genjet_nparticles": "generated_multiplicity",
    **{f"genjet_{name}": f"generated_{name}" for name in TAUS},
    "event_weight": "weight",
}
"""Further numbers of jets, by their column. `event_weight` is of our own simulations."""
OF_EVENTS = ("met_pt", "met_phi", "cross_section_fb")
"""Columns that tell a file of events, see `sources.event_columns`."""
RESONANCE = ("aux_genpart_mass", "aux_genpart_isResX")


def layout(table: Table, selection: Selection) -> Reading | None:
    """Recognised by two or more columns `part_*`."""
    if sum(name.startswith("part_") for name in table.columns) < 2:
        return None
    if set(OF_EVENTS) <= set(table.columns):
        raise JetError(
            f"{table.name}: each entry is an event of several jets, expected jets. Fine-tune on it by the recipe jets-search."
        )
    refuse_collection(table, selection)
    name = _name(table.columns)
    particles, of_jets = _particle_columns(table, name), _jet_columns(table, name)
    labels = label_columns(table, selection)

    def convert(block: Block, rules: Rules) -> Jets:
        flat, counts = together(block, particles, table.name)
        own = {column: numbers(block[column]) for column in of_jets if column not in RESONANCE}
        per_particle = {column: np.repeat(values, counts) for column, values in own.items()}
        offsets = np.concatenate([[0], np.cumsum(counts)])
        jets = Jets(offsets, _particles(flat, per_particle), {}, labels.read(block, rules))
        momenta = _momentum_of_jets(own) if "jet_pt" in own else summed_momentum(jets)
        further = _further(own) | _resonance(block, of_jets)
        return Jets(offsets, light(jets.particles), light(momenta | further), jets.labels)

    return Reading(name, [*particles, *of_jets, *labels.columns], convert, labels.classes)


def _name(columns: Sequence[str]) -> str:
    if "jet_label" in columns and "aux_genpart_isResX" in columns:
        return "JetClass-II"
    return "JetClass" if "label_Tbqq" in columns else "columns part_* and jet_*"


def _particle_columns(table: Table, name: str) -> list[str]:
    """Those of the momentum, class, charge and track of a particle, as far as the table has them."""
    have = set(table.columns)
    if "part_pt" in have and "part_px" not in have:
        eta = _first(have, ("part_eta", "part_etarel", "part_deta"), "part_eta")
        phi = _first(have, ("part_phi", "part_phirel", "part_dphi"), "part_phi")
        momentum_of = ["part_pt", eta, phi, _first(have, ("part_energy", "part_mass"), "part_energy")]
    else:
        momentum_of = ["part_px", "part_py", "part_pz", "part_energy"]
    require(table, momentum_of, name)
    further = [column for column in (*FLAGS, *CODES, "part_charge") if column in have]
    tracks = [found for names in TRACKS.values() for found in names if found in have]
    return momentum_of + further + tracks


def _first(have: set[str], names: Sequence[str], default: str) -> str:
    return next((name for name in names if name in have), default)


def _jet_columns(table: Table, name: str) -> list[str]:
    have = set(table.columns)
    of_jets = [column for column in FURTHER if column in have]
    if have.issuperset(RESONANCE):
        of_jets += RESONANCE
    if "genjet_energy" in have and "genjet_mass" not in have and {"genjet_pt", "genjet_eta"} <= have:
        of_jets.append("genjet_energy")
    relative = not have & {"part_px", "part_eta"} or not have & {"part_px", "part_phi"}
    if "jet_pt" in have or relative:
        scale = _first(have, ("jet_energy", "jet_mass"), "jet_energy")
        own = ["jet_pt", "jet_eta", "jet_phi", scale]
        require(table, own, name)
        of_jets += own
    return of_jets


def _particles(flat: Mapping[str, np.ndarray], jet: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of the particles. `flat` are those of the file, `jet` those of the jet of each particle."""
    columns = _momentum(flat, jet)
    codes = next((flat[name].astype(np.int64) for name in CODES if name in flat), None)
    charge = np.full(len(columns["pt_gev"]), np.nan)
    if "part_charge" in flat:
        charge = flat["part_charge"].astype(np.float64)
    elif codes is not None:
        charge = charges(codes)
    found = {name: flat[column] for name, names in TRACKS.items() for column in names if column in flat}
    return columns | {"kind": _kinds(flat, codes, charge), "charge": charge} | track(found, charge)


def _momentum(flat: Mapping[str, np.ndarray], jet: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`part_deta` counts away from the beam line's middle: JetClass changes its sign for jets at negative η."""
    if "part_px" in flat:
        return from_components(*(flat[name] for name in ("part_px", "part_py", "part_pz", "part_energy")))
    if "part_eta" in flat:
        eta = flat["part_eta"]
    elif "part_etarel" in flat:
        eta = jet["jet_eta"] + flat["part_etarel"]
    else:
        eta = jet["jet_eta"] + np.where(jet["jet_eta"] > 0, 1, -1) * flat["part_deta"]
    if "part_phi" in flat:
        phi = flat["part_phi"]
    else:
        phi = jet["jet_phi"] + flat["part_phirel" if "part_phirel" in flat else "part_dphi"]
    pt = flat["part_pt"]
    mass = flat["part_mass"] if "part_mass" in flat else from_energy(pt, eta, flat["part_energy"])
    return momentum(pt, eta, phi, mass)


def _kinds(flat: Mapping[str, np.ndarray], codes: np.ndarray | None, charge: np.ndarray) -> np.ndarray:
    flags = [flat[name].astype(bool) for name in FLAGS if name in flat]
    if flags:
        places = [place for place, name in enumerate(FLAGS) if name in flat]
        return np.select(flags, places, UNKNOWN_KIND).astype(np.int8)
    return np.full(len(charge), UNKNOWN_KIND, np.int8) if codes is None else kinds(codes, charge)


def _momentum_of_jets(own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    pt, eta, phi = (own[f"jet_{name}"] for name in ("pt", "eta", "phi"))
    return momentum(pt, eta, phi, own["jet_mass"] if "jet_mass" in own else from_energy(pt, eta, own["jet_energy"]))


def _further(own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The other numbers of the jets; those of a generated jet are NaN where none was matched (its pT is 0)."""
    further = {FURTHER[name]: np.asarray(values, np.float64) for name, values in own.items() if name in FURTHER}
    if "genjet_energy" in own:
        mass = from_energy(own["genjet_pt"], own["genjet_eta"], own["genjet_energy"])
        further["generated_mass_gev"] = mass
    if "generated_phi" in further:
        further["generated_phi"] = wrapped(further["generated_phi"])
    if "generated_pt_gev" in further:
        missing = ~(further["generated_pt_gev"] > 0)
        for name in further:
            if name.startswith("generated_"):
                further[name] = np.where(missing, np.nan, further[name])
    return further


def _resonance(block: Block, of_jets: Sequence[str]) -> dict[str, np.ndarray]:
    """Mass of the resonance that made the jet; NaN for a jet of another origin."""
    if not set(RESONANCE) <= set(of_jets):
        return {}
    mass, is_resonance = (ragged(block[name]) for name in RESONANCE)
    chosen = is_resonance.values.astype(bool)
    found = np.full(len(mass.counts), np.nan)
    found[mass.owner[chosen]] = mass.values[chosen]
    return {"resonance_mass_gev": found}
