"""Sources: files and stores, opened as labelled arrays with the standard names of statecast."""

from statecast.fields.sources.anomalies import fit_anomalies
from statecast.fields.sources.climatology import Climatology, fit_climatology
from statecast.fields.sources.errors import MissingStoreError, StoreError
from statecast.fields.sources.fields import open_fields
from statecast.fields.sources.grid import Grid
from statecast.fields.sources.record import Record
from statecast.fields.sources.step import Step, step_of
from statecast.fields.sources.stores import Stores, open_stores
from statecast.fields.sources.times import Times

__all__ = [
    "Climatology",
    "Grid",
    "MissingStoreError",
    "Record",
    "Step",
    "StoreError",
    "Stores",
    "Times",
    "fit_anomalies",
    "fit_climatology",
    "open_fields",
    "open_stores",
    "step_of",
]
