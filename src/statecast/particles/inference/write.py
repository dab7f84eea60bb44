"""Generated jets as Parquet with the names of JetClass: a row for each jet, lists for its particles."""

from pathlib import Path

import numpy as np

from statecast.particles.jets import MOMENTUM, TRACK, Jets, momentum_components, wrapped
from statecast.particles.sources.jet_columns import (
    JET_COLUMNS,
    PARTICLE_COLUMNS,
    as_lists,
    jet_columns,
    particle_columns,
)
from statecast.particles.sources.packages import package

OF_JETS = {short: JET_COLUMNS[short] for short in ("pt", "eta", "phi", "energy", "nparticles")}
OF_PARTICLES = {short: name for short, name in PARTICLE_COLUMNS.items() if name not in MOMENTUM}


def write_jets(jets: Jets, path: Path) -> None:
    """Write a Parquet file, with momenta of particles as px, py, pz and energy, as in JetClass. Raises JetError if pyarrow is missing."""
    pyarrow, parquet = (package(name, "a Parquet file of jets") for name in ("pyarrow", "pyarrow.parquet"))
    momenta = {name: as_lists(jets, values.astype(np.float32)) for name, values in _momenta(jets).items()}
    known = {name: np.nan_to_num(values) if name in TRACK else values for name, values in jets.particles.items()}
    of_particles = particle_columns(Jets(jets.offsets, known, {}), "part", OF_PARTICLES)
    labels = {} if jets.labels is None else {f"label_{name}": jets.labels == name for name in np.unique(jets.labels)}
    parquet.write_table(pyarrow.table(momenta | of_particles | jet_columns(jets, "jet", OF_JETS) | labels), path)


def _momenta(jets: Jets) -> dict[str, np.ndarray]:
    """`part_deta` is measured away from the middle of the beam line, as in JetClass."""
    particles, counts = jets.particles, jets.multiplicity
    eta, phi = (np.repeat(jets.of_jets[name], counts) for name in ("eta", "phi"))
    components = zip(("px", "py", "pz", "energy"), momentum_components(particles), strict=True)
    return {f"part_{name}": values for name, values in components} | {
        "part_deta": (particles["eta"] - eta) * np.where(eta < 0, -1.0, 1.0),
        "part_dphi": wrapped(particles["phi"] - phi),
    }
