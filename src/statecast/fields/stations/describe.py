"""Tables of stations as a describer, see `statecast.describers`. What it imports is light: it is asked of data of all kinds."""

from pathlib import Path
from typing import Any

from statecast.documents import is_file

LATITUDES = ("lat", "latitude", "lat_deg")
"""Names of the column that a table of stations has and others have not."""


def recognises(data: str) -> bool:
    """Whether `data` is a CSV file, a Parquet file with a column of latitudes, or NetCDF of featureType timeSeries."""
    path = Path(data)
    if path.suffix == ".csv":
        return True
    if not is_file(path):
        return False
    if path.suffix == ".parquet":
        return _has_latitude(path)
    return path.suffix in (".nc", ".nc4", ".cdf") and _is_time_series(path)


def describe(data: str) -> Any:
    """Raises StationError as `read_table` does."""
    from statecast.fields.stations.description import StationDescription
    from statecast.fields.stations.table import read_table

    return StationDescription(read_table(data))


def _has_latitude(path: Path) -> bool:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_schema

        names = read_schema(path).names
    except (ImportError, OSError, ArrowException):
        return False
    return bool({name.lower() for name in names} & set(LATITUDES))


def _is_time_series(path: Path) -> bool:
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            return str(getattr(file, "featureType", "")).lower() == "timeseries"
    except OSError:
        return False
