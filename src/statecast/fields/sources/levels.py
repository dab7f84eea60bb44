"""Pressure levels: what is a pressure and in which units, and which variables lie on a single level."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.units import are_unknown, conversion, spelled

PRESSURE_NAMES = ("plev", "isobaricInhPa", "isobaric", "pressure", "pressure_level", "air_pressure")
MODEL_LEVELS = ("model level", "model_level", "hybrid", "sigma", "eta level", "vertical level index", "level number")
LARGEST_PRESSURE_HPA = 1100.0  # levels without units that exceed this must be in Pa
HIGHEST_NUMBER = 200.0  # models have fewer levels: what is smaller and has no units may be the number of a level
UPPER_AIR = (
    *("t", "u", "v", "w", "q", "z", "r", "d", "vo", "pv", "o3", "gh", "clwc", "ciwc", "cc"),
    *("ta", "ua", "va", "wap", "hus", "hur", "zg"),
    *("temperature", "u_component_of_wind", "v_component_of_wind", "vertical_velocity", "specific_humidity"),
    *("geopotential", "geopotential_height", "relative_humidity", "potential_vorticity", "divergence", "vorticity"),
)
SURFACE = (
    *("msl", "mslp", "sp", "ps", "psl", "slp", "t2m", "d2m", "u10", "v10", "2t", "2d", "10u", "10v", "skt", "sst"),
    *("tp", "tprate", "lsm", "orog", "tas", "tasmax", "tasmin", "uas", "vas", "pr", "ts", "tcwv", "tcc", "sd", "cp"),
    *("lsp", "mean_sea_level_pressure", "surface_pressure", "2m_temperature", "10m_u_component_of_wind"),
    *("10m_v_component_of_wind", "total_precipitation", "sea_surface_temperature", "land_sea_mask"),
)
OF_SURFACE = ("surface", "sea_level", "precipitation", "land_", "runoff", "soil", "column", "toa_", "cloud_area")


def is_pressure(coordinate: xr.DataArray) -> bool:
    """Whether the units of a coordinate are those of a pressure."""
    units = spelled(str(coordinate.attrs.get("units", "")))
    is_something_else = are_unknown(units) or units == "1" or units.startswith("degree")
    return not is_something_else and hpa_per(units) is not None


def hpa_per(units: str) -> float | None:
    """hPa per unit; None for what is no pressure."""
    rule = conversion(units, "hPa")
    return None if rule is None else rule.factor


def with_pressure_in_hpa(dataset: xr.Dataset, store: str, name: str) -> xr.Dataset:
    """The coordinate `level`, called `name` in the store, in hPa.

    Raises StoreError for other levels than pressures: model levels, heights, numbers that may count levels.
    """
    level = dataset["level"]
    values = level.values.astype(float) * _factor(level, store, name)
    if values.size and not (values.min() > 0 and values.max() <= LARGEST_PRESSURE_HPA):
        raise StoreError(
            f"store {store}: levels '{name}' run from {values.min():g} to {values.max():g} hPa, expected pressures above 0 and up to "
            f"{LARGEST_PRESSURE_HPA:g} hPa. Correct their units, or interpolate to pressure."
        )
    attributes = {"standard_name": "air_pressure", "units": "hPa", "positive": "down"}
    return dataset.assign_coords(level=(level.dims, _without_rounding(values), attributes))


def _without_rounding(values: np.ndarray) -> np.ndarray:
    """Pressures to six digits, which is what float32 keeps: 850.00006 is 850."""
    return np.array([float(f"{value:.6g}") for value in values.ravel()]).reshape(values.shape)


def _factor(level: xr.DataArray, store: str, name: str) -> float:
    """hPa per unit of the level."""
    attributes = {
        key: str(level.attrs.get(key, "")).lower() for key in ("standard_name", "long_name", "units", "formula")
    }
    described = " ".join((attributes["standard_name"], attributes["long_name"], attributes["formula"], name.lower()))
    if level.attrs.get("formula_terms") or any(word in described for word in MODEL_LEVELS):
        raise _no_pressure(store, name, "are model levels")
    units, said = str(level.attrs.get("units", "")), attributes["standard_name"]
    if said not in ("", "air_pressure") and (are_unknown(units) or spelled(units) == "1"):
        raise _no_pressure(store, name, f"are a {said}")
    if not are_unknown(units):
        factor = hpa_per(units)
        if factor is None or spelled(units) == "1":
            raise _no_pressure(store, name, f"are in '{units}'")
        return factor
    is_named = name in PRESSURE_NAMES or said == "air_pressure"
    highest = float(level.max())
    if not is_named and highest <= HIGHEST_NUMBER:
        raise _no_pressure(store, name, f"have no units and run up to {highest:g}, as numbers of model levels do")
    return 0.01 if highest > LARGEST_PRESSURE_HPA else 1.0


def _no_pressure(store: str, name: str, what: str) -> StoreError:
    return StoreError(
        f"store {store}: levels '{name}' {what}, expected a pressure. Interpolate to pressure, or give '{name}' the units hPa if it is one."
    )


def single_level_as_dimension(dataset: xr.Dataset, store: str, fields: Sequence[str] | None = None) -> xr.Dataset:
    """A single pressure level `level` as a dimension of the variables on it: of those above the surface.

    fields  variables that may be on it; none: those on latitudes and longitudes

    Raises StoreError if it may or may not be that of a variable.
    """
    if fields is None:
        fields = [str(name) for name, array in dataset.data_vars.items() if {"lat", "lon"} <= set(map(str, array.dims))]
    above = [name for name in fields if not _is_of_surface(dataset[name])]
    unclear = [name for name in above if name.lower() not in UPPER_AIR]
    if unclear and len(fields) > 1:
        raise StoreError(
            f"store {store}: has the one level {float(dataset['level']):g} hPa, but does not say whether '{unclear[0]}' is on it, expected "
            "a dimension of the variables that are. Make it one: dataset[NAME] = dataset[NAME].expand_dims('level')."
        )
    level = dataset["level"]
    dataset = dataset.drop_vars("level")
    on_level = {name: dataset[name].expand_dims(level=level.values[None]) for name in above}
    return dataset.assign(on_level).assign_coords(level=("level", level.values[None], level.attrs))


def _is_of_surface(array: xr.DataArray) -> bool:
    standard_name = str(array.attrs.get("standard_name", ""))
    return str(array.name).lower() in SURFACE or any(word in standard_name for word in OF_SURFACE)
