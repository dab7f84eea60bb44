"""GRIB files, by cfgrib: one dataset of all variables, at the times for which they are valid."""

from typing import Any
from warnings import catch_warnings, filterwarnings

import xarray as xr

from statecast.fields.sources.dimensions import with_axis
from statecast.fields.sources.errors import StoreError

PRESSURE = "isobaricInhPa"
FIXED = ("number", "step", "time", "valid_time", "latitude", "longitude", PRESSURE)


def open_grib(path: str, *, keep_steps: bool = False) -> xr.Dataset:
    """All variables of a GRIB file, lazily. A variable at a height of its own, such as 10 m, has no level.

    keep_steps  True: initial and lead times, `time` and `step`, are dimensions, also where there is one of them

    cfgrib reads what has the same level and steps as one dataset, and says nothing of what it leaves out otherwise. Raises StoreError if
    cfgrib is not installed and for variables that don't fit into one dataset.
    """
    try:
        import cfgrib
    except ImportError:
        raise StoreError("is a GRIB file, which needs the extra `grib`: pip install 'statecast[grib]'.") from None
    with catch_warnings():  # cfgrib merges with defaults that xarray is about to change
        filterwarnings("ignore", category=FutureWarning)
        opened = cfgrib.open_datasets(path, backend_kwargs={"indexpath": ""}, chunks=None)
    parts = [_part(_with_steps(part) if keep_steps else part) for part in opened]
    names = [str(name) for part in parts for name in part.data_vars]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        kinds = sorted({str(part[twice[0]].attrs.get("GRIB_typeOfLevel")) for part in parts if twice[0] in part})
        raise StoreError(
            f"variable '{twice[0]}' is in the file several times, on {' and on '.join(kinds)} or at different steps, expected once. "
            "Copy one of them to a file of its own: grib_copy -w typeOfLevel=isobaricInhPa IN OUT."
        )
    try:
        return xr.merge(parts, join="exact", compat="override", combine_attrs="override")
    except ValueError as error:
        raise StoreError(
            f"its variables ({', '.join(names)}) have different {_differing(parts)}, expected the same. Copy some of them to a file of its "
            "own: grib_copy -w shortName=t IN OUT."
        ) from error


def _with_steps(part: xr.Dataset) -> xr.Dataset:
    """Initial and lead times as dimensions; their valid time is their sum."""
    part = part.drop_vars("valid_time", errors="ignore")
    for name in ("step", "time"):
        if name in part.coords and name not in part.dims:
            part = with_axis(part, name)
    return part


def _part(part: xr.Dataset) -> xr.Dataset:
    """One of cfgrib's datasets at its valid times, a single pressure level as a dimension, without levels that are no pressure."""
    if "step" in part.coords and "step" not in part.dims and "valid_time" in part.coords:
        dims = part["valid_time"].dims
        part = part.drop_vars([name for name in ("time", "step") if name in part.coords and name not in dims])
        if dims == ("time",):
            part = part.assign_coords(time=part["valid_time"].variable)
        part = part.rename(valid_time="time") if not dims else part.drop_vars(["valid_time", "step"], errors="ignore")
    if PRESSURE in part.coords and PRESSURE not in part.dims:
        part = part.expand_dims(PRESSURE)
    others: list[Any] = [name for name in part.coords if name not in FIXED and part[name].ndim == 0]
    return part.drop_vars(others)


def _differing(parts: list[xr.Dataset]) -> str:
    """The axis on which not all of the datasets agree."""
    for axis in ("time", PRESSURE, "latitude", "longitude", "number", "step"):
        indexes = [part.indexes[axis] for part in parts if axis in part.indexes]
        if any(not indexes[0].equals(other) for other in indexes[1:]):
            return {"time": "times", PRESSURE: "pressure levels"}.get(axis, axis)
    return "coordinates"
