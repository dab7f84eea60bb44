"""Time series of stations as CF discrete sampling geometries (CF-1.11, chapter 9): all four layouts are read, one is written.

Axes: S station, O observation.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (registers the accessor Dataset.cf)
import numpy as np
import pandas as pd
import xarray as xr

from statecast.fields.stations.table import StationError, Stations

COORDINATES = {"time": "time", "lat": "latitude", "lon": "longitude"}
HEIGHTS = ("surface_altitude", "station_altitude", "altitude", "height")
"""Standard names, that of the ground first: `height` may be that of an instrument above it."""


def read_time_series(path: Path) -> pd.DataFrame:
    """The reports in a file, one a row; columns have their units in brackets. Raises StationError for a file that is no time series."""
    with xr.open_dataset(path) as dataset:
        dataset = dataset.load()
    found = _coordinates(dataset, path)
    if names := [str(n) for n, v in dataset.variables.items() if v.attrs.get("cf_role") == "timeseries_id"]:
        found["station"] = names[0]
    instance, sample = dataset[found["lat"]].dims, str(dataset[found["time"]].dims[-1])
    columns = {column: _texts(dataset[name]) for column, name in found.items()}
    for name, variable in dataset.variables.items():
        is_measured = variable.dtype.kind in "fiu" and sample in variable.dims and name not in found.values()
        if is_measured and set(variable.dims) <= {*instance, *dataset[found["time"]].dims}:
            columns[f"{name} [{variable.attrs.get('units', '')}]"] = dataset[name].drop_vars(dataset[name].coords)
    stations = _instances(dataset, instance, sample)
    if stations is not None:
        columns = {n: c[{instance[0]: stations}] if c.dims == instance else c for n, c in columns.items()}
        flat = {name: column.values for name, column in columns.items()}
    else:
        whole = xr.broadcast(*(column.drop_vars(column.coords) for column in columns.values()))
        flat = {name: column.values.reshape(-1) for name, column in zip(columns, whole, strict=True)}
    frame = pd.DataFrame(flat)
    measured = [name for name in columns if name.endswith("]")]
    is_report = frame[measured].notna().any(axis=1) if measured else True
    frame = frame[frame["time"].notna() & is_report].reset_index(drop=True)
    units = dataset[found["height"]].attrs.get("units", "") if "height" in found else ""
    return frame.rename(columns={"height": f"height [{units}]"})


def _texts(array: xr.DataArray) -> xr.DataArray:
    if array.dtype.kind != "S":
        return array
    return array.copy(data=np.char.strip(np.char.decode(array.values, "utf-8", "replace")))


def _coordinates(dataset: xr.Dataset, path: Path) -> dict[str, str]:
    """Names of the time, latitude, longitude and height, by standard names, then by usual ones."""
    found = {}
    for axis, standard in COORDINATES.items():
        names = [str(n) for n, v in dataset.variables.items() if v.attrs.get("standard_name") == standard]
        names += [n for n in (axis, standard) if n in dataset.variables]
        names += list(map(str, dataset.cf.coordinates.get(standard, [])))
        if not names:
            raise StationError(
                f"table {path}: found no {axis}, expected a variable with standard_name '{standard}', as CF time series have. Add it."
            )
        found[axis] = names[0]
    of_places = {n: v for n, v in dataset.variables.items() if v.dims == dataset[found["lat"]].dims}
    heights = {v.attrs.get("standard_name"): str(n) for n, v in of_places.items()}
    if known := [heights[standard] for standard in HEIGHTS if standard in heights]:
        found["height"] = known[0]
    return found


def _instances(dataset: xr.Dataset, instance: tuple[Any, ...], sample: str) -> np.ndarray | None:
    """The number of the station of each observation in a ragged layout; None in another."""
    for variable in dataset.variables.values():
        if variable.attrs.get("sample_dimension") == sample:  # contiguous
            return np.repeat(np.arange(variable.size), variable.values.astype(int))
        if variable.attrs.get("instance_dimension") in instance:  # indexed
            return variable.values.astype(int)
    return None


def time_series(stations: Stations, times: xr.DataArray, variables: dict[str, Any], title: str) -> xr.Dataset:
    """A CF dataset of featureType timeSeries in the orthogonal layout; `variables` are on (station, time), or further axes after them."""
    coords = {
        "time": times.assign_attrs({"standard_name": "time", "axis": "T"}),
        "station": ("station", np.array(stations.ids, dtype=str), {"cf_role": "timeseries_id", "long_name": "station"}),
        "lat": ("station", stations.lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("station", stations.lon, {"standard_name": "longitude", "units": "degrees_east"}),
        "height": (
            "station",
            stations.height_m,
            {"standard_name": "surface_altitude", "units": "m", "positive": "up", "axis": "Z"},
        ),
    }
    facts = {"Conventions": "CF-1.11", "featureType": "timeSeries", "source": f"statecast {version('statecast')}"}
    dataset = xr.Dataset(variables, coords, {**facts, "title": title})
    for coordinate in dataset.coords.values():
        coordinate.encoding["_FillValue"] = None
    return dataset
