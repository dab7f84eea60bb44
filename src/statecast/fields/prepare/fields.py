"""From inputs to the fields of a store, lazily: nothing is read here but coordinates."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import cf_xarray  # noqa: F401  (registers the accessor Dataset.cf)
import numpy as np
import xarray as xr

from statecast.fields.prepare.accumulations import as_rate, at_every
from statecast.fields.prepare.cells import AXES, coordinate_of
from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.inputs import Input
from statecast.fields.prepare.layouts import SAME_PLACE, is_field, merged, require_selected, standard
from statecast.fields.prepare.own_times import as_ones, at_own_times, own_times, require_shared_times
from statecast.fields.prepare.regrid import from_model_levels, on_latitudes_and_longitudes, on_levels
from statecast.fields.prepare.spec import RegionOptions, Spec, VariableOptions
from statecast.fields.prepare.times import seconds_of
from statecast.fields.prepare.units import conversion_if_any, to_units
from statecast.fields.sources import StoreError, open_fields
from statecast.fields.sources.record import select_period
from statecast.fields.sources.units import Conversion, tell

KEPT_ATTRIBUTES = ("units", "standard_name", "long_name", "cell_methods", "comment")
TEMPERATURES = (
    "K",
    "kelvin",
    "degC",
    "Celsius",
    "degree_Celsius",
    "degF",
)  # CF wants to know that these are no differences


def fields_of(inputs: Sequence[Input], spec: Spec) -> xr.Dataset:
    """The fields that the spec makes of the inputs: dimensions time, level, lat and lon, each ascending, lazily, in float32.

    Raises PrepareError for inputs that don't fit together or the spec, in one line.
    """
    require_selected(inputs, spec.source)
    parts = [(given.name, standard(given, spec)) for given in inputs]
    dataset = combined(parts)
    own = own_times(dataset, parts)
    dataset, options, sources = _variables(dataset, spec)
    own = own.drop_vars(list(own.data_vars)).assign({n: own[of] for n, of in sources.items() if of in own})
    dataset = _each(dataset, lambda name, array: at_own_times(array, own, lambda of: as_rate(of, options[name])))
    dataset = _each(dataset, lambda name, array: to_units(array, options[name].units))
    dataset = from_model_levels(dataset, spec)
    dataset = on_latitudes_and_longitudes(dataset, spec)
    dataset = _require_known_dimensions(_opened(dataset))
    dataset = in_region(dataset, spec.region) if spec.grid is None else dataset
    dataset = on_levels(dataset, spec)
    over = {name: given.over for name, given in options.items()}
    own = own.assign_coords(time=dataset["time"]) if own else own
    if spec.period:
        dataset, own = (select_period(one, spec.period) if one else one for one in (dataset, own))
    dataset = at_every(dataset, spec.every_h, over, own)
    require_shared_times(at_every(as_ones(own), spec.every_h, over, own).notnull())
    return _each(dataset, lambda name, array: _described(array, options[name]))


def _opened(dataset: xr.Dataset) -> xr.Dataset:
    try:
        return open_fields(dataset)
    except StoreError as error:
        raise PrepareError(str(error).replace("store dataset:", "the inputs:", 1)) from error


def _each(dataset: xr.Dataset, function: Callable[[str, xr.DataArray], xr.DataArray]) -> xr.Dataset:
    return dataset.assign({str(name): function(str(name), array) for name, array in dataset.data_vars.items()})


def combined(parts: Sequence[tuple[str, xr.Dataset]]) -> xr.Dataset:
    """Inputs that hold some times of some variables each, as one: all times of any, with gaps where a variable has none.

    Raises PrepareError for a time that two inputs have of the same variable, and for inputs on different grids or in other units.
    """
    parts = _on_the_same_points(parts)
    names = sorted({str(n) for _, part in parts for n in part.data_vars if is_field(part[n])})
    if not names:
        raise PrepareError(
            "the inputs hold no fields: no variable has numbers at places. Check the layout and the group."
        )
    arrays = {name: _joined(name, [(source, part[name]) for source, part in parts if name in part]) for name in names}
    _require_the_same_axes(arrays)
    first = parts[0][1]
    try:
        merged = xr.merge(list(arrays.values()), join="outer", compat="override", combine_attrs="override")
    except (ValueError, TypeError) as error:
        raise PrepareError(
            f"the inputs can't be put together ({str(error).splitlines()[0]}). Prepare them apart."
        ) from None
    beside = {
        str(n): first[n]
        for n in first.variables
        if n not in merged.variables and set(first[n].dims) <= {*merged.dims, *_corner_dims(first)}
    }
    return merged.assign_coords({n: c for n, c in beside.items() if "time" not in c.dims})


def _corner_dims(dataset: xr.Dataset) -> set[str]:
    named = [str(dataset[n].attrs.get("bounds") or dataset[n].encoding.get("bounds") or "") for n in dataset.coords]
    return {str(d) for name in named if name in dataset.variables for d in dataset[name].dims}


def _on_the_same_points(parts: Sequence[tuple[str, xr.Dataset]]) -> list[tuple[str, xr.Dataset]]:
    """Parts with the latitudes and longitudes of the first on the same dimensions, from which they may differ by rounding only."""
    known: dict[tuple[str, ...], tuple[str, xr.DataArray]] = {}
    alike = []
    for source, part in parts:
        for axis in AXES:
            coordinate = coordinate_of(part, axis)
            if coordinate is None or coordinate.ndim == 0:
                continue
            key = axis, *map(str, coordinate.dims)
            if key not in known:
                known[key] = source, coordinate.load()
                continue
            where, first = known[key]
            values = np.asarray(coordinate.variable[...])  # not kept: those of many files would fill the memory
            if first.shape != values.shape or not _is_close(first.values, values, turn=axis == "longitude"):
                raise PrepareError(
                    f"input {source}: has other values of {coordinate.name} than {where}, expected the same. Prepare them apart."
                )
            part = part.assign_coords({str(coordinate.name): first.variable})
        alike.append((source, part))
    return alike


def _require_the_same_axes(arrays: dict[str, xr.DataArray]) -> None:
    """Variables share the rows and columns of their grid, whose axes may differ by rounding; replaces these in `arrays`."""
    known: dict[str, tuple[str, xr.DataArray]] = {}
    for name, array in arrays.items():
        for dim in map(str, array.dims):
            if dim in ("time", "level") or dim not in array.coords:
                continue
            other, first = known.setdefault(dim, (name, array[dim]))
            if first.shape != array[dim].shape or not _is_close(first.values, array[dim].values):
                raise PrepareError(
                    f"'{name}' has other values of {dim} than '{other}', expected the same. Prepare them apart."
                )
            arrays[name] = arrays[name].assign_coords({dim: first})


def _joined(name: str, parts: list[tuple[str, xr.DataArray]]) -> xr.DataArray:
    on_levels: dict[tuple[float, ...], list[tuple[str, xr.DataArray]]] = {}
    for source, array in parts:
        on_levels.setdefault(tuple(array["level"].values) if "level" in array.dims else (), []).append((source, array))
    levels = [level for each in on_levels for level in each]
    if len(on_levels) == 1 or () in on_levels or len(set(levels)) < len(levels):
        return _joined_in_time(name, parts)
    joined = [(part[0][0], _joined_in_time(name, part)) for part in on_levels.values()]
    source, first = joined[0]
    alike = [_plain(_like(name, first, source, other, where, apart="level")) for where, other in joined]
    return xr.concat(
        alike, dim="level", coords="minimal", compat="override", join="outer", combine_attrs="override"
    ).sortby("level")


def _joined_in_time(name: str, parts: list[tuple[str, xr.DataArray]]) -> xr.DataArray:
    source, first = parts[0]
    if len(parts) == 1 or "time" not in first.dims:
        return _plain(first)
    alike = [(_plain(_like(name, first, source, other, where)), where) for where, other in parts]
    ordered = sorted(alike, key=lambda pair: pair[0]["time"].values[0])
    for (before, one), (after, two) in pairwise(ordered):
        common = np.intersect1d(seconds_of(before["time"]), seconds_of(after["time"]))
        if len(common):
            at = after["time"].values[np.searchsorted(seconds_of(after["time"]), common[0])]
            raise PrepareError(
                f"inputs {one} and {two}: both hold '{name}' at {at}, expected each time once. Leave one out."
            )
    return xr.concat(
        [array for array, _ in ordered],
        dim="time",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="override",
    ).sortby("time")


def _plain(array: xr.DataArray) -> xr.DataArray:
    """Without scalar coordinates, such as a height or a member, which differ from one variable to the next."""
    return array.drop_vars([n for n in array.coords if array[n].ndim == 0])


def _like(
    name: str, first: xr.DataArray, source: str, other: xr.DataArray, where: str, apart: str = "time"
) -> xr.DataArray:
    """An array with the units and coordinates of the first, which may differ by rounding only, but along `time` and `apart`."""
    if set(other.dims) != set(first.dims):
        raise PrepareError(
            f"input {where}: '{name}' has the dimensions {', '.join(map(str, other.dims))}, in {source} it has "
            f"{', '.join(map(str, first.dims))}. Prepare them apart."
        )
    other = _in_units_of(first, source, other, where).transpose(*first.dims)
    for dim in map(str, first.dims):
        if dim in ("time", apart) or (dim not in first.coords and first.sizes[dim] == other.sizes[dim]):
            continue
        if first.sizes[dim] != other.sizes[dim] or not _is_close(first[dim].values, other[dim].values):
            raise PrepareError(
                f"input {where}: '{name}' has other values of {dim} than in {source}, expected the same. Prepare them apart."
            )
        other = other.assign_coords({dim: first[dim]})
    at = [n for n in first.coords if n not in first.dims and "time" not in first[n].dims]
    return other.drop_vars(
        [n for n in other.coords if n not in other.dims and "time" not in other[n].dims]
    ).assign_coords({n: first[n] for n in at})


def _in_units_of(first: xr.DataArray, source: str, other: xr.DataArray, where: str) -> xr.DataArray:
    """An array in the units of the first. A conversion is told; raises PrepareError for units of something else, or of one alone."""
    have, units = (str(array.attrs.get("units", "")).strip() for array in (other, first))
    if have == units:
        return other
    rule = conversion_if_any(other, units)
    if rule is None:
        raise PrepareError(
            f"input {where}: '{other.name}' is in '{have}', in {source} in '{units}'. Convert one, or prepare them apart."
        )
    if rule != Conversion(1.0, 0.0):
        tell(f"'{other.name}' is converted from '{have}' in {where} to '{units}', as in {source}.")
    return to_units(other, units)


def _is_close(one: np.ndarray, two: np.ndarray, *, turn: bool = False) -> bool:
    """Whether coordinates are the same but for rounding. turn: 360 more is the same"""
    if one.dtype.kind in "fiu" and two.dtype.kind in "fiu":
        apart = two.astype(float) - one.astype(float)
        apart = (apart + 180.0) % 360.0 - 180.0 if turn else apart
        return bool((np.abs(apart) <= SAME_PLACE + 1e-6 * np.abs(one.astype(float))).all())
    return bool((one == two).all())


def _variables(dataset: xr.Dataset, spec: Spec) -> tuple[xr.Dataset, dict[str, VariableOptions], dict[str, str]]:
    """The variables of the spec under their names there, with the options and the source of each; all fields if it names none."""
    wanted: Mapping[str, VariableOptions] = spec.variables or {str(n): VariableOptions() for n in dataset.data_vars}
    found = {name: _find(dataset, options.name or name) for name, options in wanted.items()}
    keep = [spec.pressure] if spec.pressure else []
    pressures = {n: dataset[n] for n in keep if n in dataset and n not in found.values()}
    options = {name: merged(wanted[name], spec.known.get(source, VariableOptions())) for name, source in found.items()}
    arrays = {name: dataset[source].rename(name) for name, source in found.items()} | pressures
    used = {dim for array in arrays.values() for dim in array.dims}
    unused = [
        n for n, c in dataset.coords.items() if c.ndim == 1 and c.dims[0] not in used
    ]  # such as levels of what is left out
    rest = dataset.drop_vars([*dataset.data_vars, *unused])
    return rest.assign(arrays), options | {n: VariableOptions() for n in pressures}, found


def _find(dataset: xr.Dataset, name: str) -> str:
    if name in dataset.data_vars:
        return name
    by_standard_name = [str(n) for n, a in dataset.data_vars.items() if a.attrs.get("standard_name") == name]
    if len(by_standard_name) == 1:
        return by_standard_name[0]
    raise PrepareError(
        f"variables: the inputs have no '{name}'. Variables: {', '.join(map(str, dataset.data_vars))}. Name one of these by `from`."
    )


def _require_known_dimensions(dataset: xr.Dataset) -> xr.Dataset:
    for name, array in dataset.data_vars.items():
        for dim in map(str, array.dims):
            if dim in ("time", "level", "lat", "lon"):
                continue
            if array.sizes[dim] > 1:
                raise PrepareError(
                    f"variable '{name}': has the dimension '{dim}' of {array.sizes[dim]}, expected time, lat, lon and pressure levels. "
                    f"Take one value of it by source.select, for example source.select={{{dim}: {_first(dataset, dim)}}}."
                )
            dataset = dataset.assign({str(name): dataset[name].isel({dim: 0}, drop=True)})
    known = [n for n in dataset.coords if n not in ("time", "level", "lat", "lon")]
    return dataset.drop_vars(known)


def _first(dataset: xr.Dataset, dim: str) -> object:
    return dataset[dim].values[0] if dim in dataset.coords else 0


def in_region(dataset: xr.Dataset, region: RegionOptions | None) -> xr.Dataset:
    """The points in a box, inclusive; across the date line where west exceeds east. Raises PrepareError if there are none."""
    if region is None:
        return dataset
    lat, lon = dataset["lat"].values, dataset["lon"].values
    west, east = region.lon
    rows = np.flatnonzero((lat >= region.lat[0] - 1e-6) & (lat <= region.lat[1] + 1e-6))
    width = 360.0 if east - west >= 360 else (east - west) % 360.0
    columns = np.flatnonzero(((lon - west + 1e-6) % 360.0) <= width + 2e-6)
    if len(rows) == 0 or len(columns) == 0:
        raise PrepareError(
            f"region: holds no point of the inputs, which cover {lat[0]:g} to {lat[-1]:g} N, {lon[0]:g} to {lon[-1]:g} E. "
            "Name a part of these."
        )
    return open_fields(dataset.isel(lat=rows, lon=columns))


def _described(array: xr.DataArray, options: VariableOptions) -> xr.DataArray:
    attrs = {k: array.attrs[k] for k in KEPT_ATTRIBUTES if k in array.attrs and array.attrs[k] not in ("", "unknown")}
    if options.standard_name:
        attrs["standard_name"] = options.standard_name
    if attrs.get("units") in TEMPERATURES:
        attrs["units_metadata"] = "temperature: on_scale"
    order = [d for d in ("time", "level", "lat", "lon") if d in array.dims]
    return array.transpose(*order).astype(np.float32).drop_attrs(deep=False).assign_attrs(attrs)
