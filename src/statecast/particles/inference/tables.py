"""Tables with a row for each jet, written batch by batch. Axes: J jet, E member."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from statecast.particles.jets import JetError

NO_JET = "the files hold no jet, expected at least one."
Table = Mapping[str, np.ndarray]
"""Columns by name: `jet`, the numbers of the jets, and values [J] or [J E] of each."""


def write_table(tables: Iterator[Table], path: Path, units: Mapping[str, str] | None = None) -> None:
    """Write Parquet, with a row for each jet and `member`; or NetCDF with dimensions jet and member, if the name ends in .nc.

    Raises JetError where there is no jet, or pyarrow is missing.
    """
    if path.suffix == ".nc":
        _write_netcdf(tables, path, units or {})
    else:
        _write_parquet(tables, path)


def _write_parquet(tables: Iterator[Table], path: Path) -> None:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise JetError("a Parquet table needs pyarrow. Install statecast[hep], or write NetCDF (.nc).") from None
    writer: Any = None
    try:
        for table in tables:
            rows = pyarrow.table(_rows(table))
            writer = writer or ParquetWriter(path, rows.schema)
            writer.write_table(rows)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise JetError(NO_JET)


def _rows(table: Table) -> Table:
    """A row for each jet, or for each member of each jet."""
    members = next((values.shape[1] for values in table.values() if values.ndim == 2), None)
    if members is None:
        return table
    jets = len(table["jet"])
    rows = {"jet": np.repeat(table["jet"], members), "member": np.tile(np.arange(members), jets)}
    for name, values in table.items():
        if name != "jet":
            rows[name] = values.ravel() if values.ndim == 2 else np.repeat(values, members)
    return rows


def _write_netcdf(tables: Iterator[Table], path: Path, units: Mapping[str, str]) -> None:
    import xarray as xr

    parts = list(tables)
    if not parts:
        raise JetError(NO_JET)
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    jet = whole.pop("jet")
    variables = {}
    for name, values in whole.items():
        attributes = {"units": units[name]} if name in units else {}
        variables[name] = (("jet", "member")[: values.ndim], values, attributes)
    xr.Dataset(variables, {"jet": jet}).to_netcdf(path)
