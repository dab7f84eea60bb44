"""Dimensions beside time, level, latitude and longitude: versions of ERA5 are merged, one value of others is selected."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.units import tell

Selection = Mapping[str, float | str]
"""The value of a dimension that is taken, by its name."""
VERSIONS = "expver"  # of ERA5: 1, or 5 for ERA5T, which comes months earlier; each time has values of one of them
LEAD_TIMES = ("step", "forecast_period", "lead_time", "leadtime", "prediction_timedelta")
EXTRA = ("number", "realization", "member", "ensemble", VERSIONS, *LEAD_TIMES)


def selected(dataset: xr.Dataset, select: Selection, store: str) -> xr.Dataset:
    """The dataset at the selected values of its dimensions; a dimension of one value is taken at it.

    Lead times that are selected move the times from the start of the forecast to the time for which it is valid. Raises StoreError for a
    value that the dimension does not have.
    """
    dataset = at_values(dataset, select, store)
    if dataset.sizes.get(VERSIONS, 0) > 1:
        dataset = _with_versions_merged(dataset)
    single = {dimension: 0 for dimension in EXTRA if dataset.sizes.get(dimension) == 1}
    leads = [name for name in LEAD_TIMES if name in single or name in select]
    return at_valid_times(dataset.isel(single), leads, store)


def at_values(dataset: xr.Dataset, select: Selection, store: str) -> xr.Dataset:
    """The dataset at one value of each of the dimensions that it has. Raises StoreError for a value that it does not have."""
    for dimension, value in select.items():
        if dimension in dataset.dims:
            dataset = dataset.isel({dimension: _position(dataset, dimension, value, store)})
        elif dimension in dataset.coords and dataset[dimension].ndim == 0 and dimension not in LEAD_TIMES:
            one = xr.Dataset(coords={dimension: dataset[dimension].values.reshape(1)})
            _position(one, dimension, value, store)  # raises StoreError if its one value is another
    return dataset


def with_axis(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """A coordinate of one value as a dimension. The variables stay without it: xarray would read them to give it to them."""
    coordinate = dataset[name]
    return dataset.drop_vars(name).assign_coords({name: (name, coordinate.values.reshape(1), coordinate.attrs)})


def _position(dataset: xr.Dataset, dimension: str, value: float | str, store: str) -> int:
    values = dataset[dimension].values
    found = np.flatnonzero(_as_numbers(values) == value) if not isinstance(value, str) else _equal_texts(values, value)
    if len(found) == 0:
        raise StoreError(
            f"store {store}: {dimension} has no value {value}. Values: {listed(dataset, dimension)}. Select one of these."
        )
    return int(found[0])


def _equal_texts(values: np.ndarray, value: str) -> np.ndarray:
    return np.flatnonzero([str(each) == value for each in values])


def _as_numbers(values: np.ndarray) -> np.ndarray:
    """Values as numbers: lead times in hours, texts such as 0001 by what they say."""
    if values.dtype.kind == "m":
        return values / np.timedelta64(1, "h")
    return np.asarray(pd.to_numeric(pd.Series(values), errors="coerce"))


def listed(dataset: xr.Dataset | xr.DataArray, dimension: str, most: int = 12) -> str:
    """The values of a dimension, as they are selected."""
    values = dataset[dimension].values
    texts = [str(each) for each in values] if values.dtype.kind in "OUSTM" else [f"{x:g}" for x in _as_numbers(values)]
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")


def _with_versions_merged(dataset: xr.Dataset) -> xr.Dataset:
    """Each value from the first version of ERA5 that has it, lazily."""
    tell(f"expver {listed(dataset, VERSIONS)} are merged: ERA5 where there is some, ERA5T elsewhere.")
    order = np.argsort(_as_numbers(dataset[VERSIONS].values))
    lazy = dataset.chunk(dict.fromkeys(dataset.dims, "auto"))
    merged = lazy.isel({VERSIONS: int(order[0])}, drop=True)
    for version in order[1:]:
        other = lazy.isel({VERSIONS: int(version)}, drop=True)
        filled = {name: array.fillna(other[name]).assign_attrs(array.attrs) for name, array in merged.data_vars.items()}
        merged = merged.assign({name: array for name, array in filled.items() if VERSIONS in dataset[name].dims})
    return merged


def at_valid_times(dataset: xr.Dataset, leads: Sequence[str], store: str) -> xr.Dataset:
    """The start of a forecast plus its one lead time, unless the dataset has the valid time itself.

    leads  lead times of which the dataset had a dimension: then its time is that of the start, whatever it says
    """
    known = [name for name in LEAD_TIMES if name in dataset.coords and dataset[name].ndim == 0]
    starts = "time" in dataset.dims and dataset["time"].attrs.get("standard_name") == "forecast_reference_time"
    found = [name for name in known if name in leads or starts]
    has_valid = any(
        array.attrs.get("standard_name") == "time" or name == "valid_time"
        for name, array in dataset.coords.items()
        if name != "time"
    )
    if not found or "time" not in dataset.dims or has_valid:
        return dataset
    times, lead = dataset["time"].values, _lead_time(dataset[found[0]], store)
    moved = times + (lead.to_pytimedelta() if times.dtype.kind == "O" else lead.to_timedelta64())
    return dataset.assign_coords(time=("time", moved, {"standard_name": "time"}))


def _lead_time(lead: xr.DataArray, store: str) -> pd.Timedelta:
    if lead.dtype.kind == "m":
        return pd.Timedelta(lead.values)
    units = str(lead.attrs.get("units", ""))
    if units not in ("h", "hour", "hours"):
        raise StoreError(f"store {store}: {lead.name} is in '{units}', expected hours. Give it the units hours.")
    return pd.Timedelta(float(lead), "h")
