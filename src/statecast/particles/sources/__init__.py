"""Files of jets: Parquet, ROOT and HDF5 in the layouts of public datasets, read in bounded memory."""

from statecast.particles.sources.files import JetFiles, open_jets, read_jets

__all__ = ["JetFiles", "open_jets", "read_jets"]
