"""Sources: files and stores, opened as labelled arrays with the standard names of statecast."""

from statecast.fields.sources.anomalies import fit_anomalies
from statecast.fields.sources.climatology import Climatology, fit_climatology
from statecast.fields.sources.fields import MissingStoreError, StoreError, open_fields
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.record import Record
from statecast.fields.sources.stores import Stores, open_stores

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
