"""Jets written as Parquet with the names of JetClass (Qu et al. 2022, arXiv:2202.03772): a row for each jet, lists for its particles."""

from pathlib import Path

import numpy as np

from statecast.particles.jets import PARTICLE_KINDS, TRACK, JetError, Jets, momentum_components, wrapped

KIND_NAMES = ("part_isChargedHadron", "part_isNeutralHadron", "part_isPhoton", "part_isElectron", "part_isMuon")
TRACK_NAMES = dict(zip(TRACK, ("part_d0val", "part_d0err", "part_dzval", "part_dzerr"), strict=True))


def write_jets(jets: Jets, path: Path) -> None:
    """Write a Parquet file. Raises JetError if pyarrow is missing."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise JetError("a Parquet file of jets needs pyarrow. Install statecast[hep].") from None
    offsets = pyarrow.array(jets.offsets.astype(np.int32))
    columns = {
        name: pyarrow.ListArray.from_arrays(offsets, pyarrow.array(values.astype(np.float32)))
        for name, values in particle_columns(jets).items()
    }
    columns |= {name: pyarrow.array(values) for name, values in jet_columns(jets).items()}
    parquet.write_table(pyarrow.table(columns), path)


def particle_columns(jets: Jets) -> dict[str, np.ndarray]:
    """The columns of particles by their names in JetClass; `part_deta` is measured away from the beam along the jet's side, as there."""
    particles, counts = jets.particles, jets.multiplicity
    px, py, pz, energy = momentum_components(particles)
    jet = {name: np.repeat(jets.of_jets[name], counts) for name in ("eta", "phi")}
    side = np.where(jet["eta"] < 0, -1.0, 1.0)
    columns = {"part_px": px, "part_py": py, "part_pz": pz, "part_energy": energy}
    columns |= {
        "part_deta": (particles["eta"] - jet["eta"]) * side,
        "part_dphi": wrapped(particles["phi"] - jet["phi"]),
    }
    columns |= {TRACK_NAMES[name]: np.nan_to_num(particles[name]) for name in TRACK if name in particles}
    columns["part_charge"] = particles["charge"]
    return columns | {name: (particles["kind"] == kind) for kind, name in enumerate(KIND_NAMES)}


def jet_columns(jets: Jets) -> dict[str, np.ndarray]:
    """The columns of jets by their names in JetClass; the class as `label_CLASS`, 1 for the jet's own."""
    of = jets.of_jets
    energy = np.sqrt(of["mass_gev"] ** 2 + (of["pt_gev"] * np.cosh(of["eta"])) ** 2)
    columns = {"jet_pt": of["pt_gev"], "jet_eta": of["eta"], "jet_phi": of["phi"], "jet_energy": energy}
    columns = {name: np.asarray(values, np.float32) for name, values in columns.items()}
    columns["jet_nparticles"] = jets.multiplicity.astype(np.float32)
    if jets.labels is not None:
        for name in np.unique(jets.labels):
            columns[f"label_{str(name).removeprefix('label_')}"] = (jets.labels == name).astype(np.float32)
    return columns


assert len(KIND_NAMES) == len(PARTICLE_KINDS)
