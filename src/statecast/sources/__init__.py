"""Sources: files and stores, opened as labelled arrays in the words of statecast."""

from statecast.sources.anomalies import fit_anomalies
from statecast.sources.climatology import Climatology, fit_climatology
from statecast.sources.fields import MissingStoreError, StoreError, open_fields
from statecast.sources.grid import Grid
from statecast.sources.record import Record
from statecast.sources.stores import Stores, open_stores

__all__ = [
    "Climatology",
    "Grid",
    "MissingStoreError",
    "Record",
    "StoreError",
    "Stores",
    "fit_anomalies",
    "fit_climatology",
    "open_fields",
    "open_stores",
]
