"""From the layouts of archives to one: dimensions time and level (hPa), and those of the horizontal grid, whatever they are."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from statecast.fields.prepare.accumulations import rate_of_steps
from statecast.fields.prepare.cells import AXES, coordinate_of
from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.inputs import Input
from statecast.fields.prepare.spec import SourceOptions, Spec, VariableOptions
from statecast.fields.sources.dimensions import LEAD_TIMES, at_valid_times, at_values, listed
from statecast.fields.sources.errors import StoreError
from statecast.fields.sources.levels import is_pressure, single_level_as_dimension, with_pressure_in_hpa
from statecast.fields.sources.places import require_degrees, with_degrees
from statecast.fields.sources.times import only_times, relative_times, with_exact_times
from statecast.fields.sources.units import tell

TIME_NAMES = ("valid_time", "time", "t", "date", "dates", "TIME")
LEVEL_NAMES = ("level", "plev", "lev", "isobaricInhPa", "isobaricInPa", "pressure_level", "pressure", "isobaric")
IN_NAME = re.compile(r"^(?P<name>.+?)(_(?P<level>\d{1,4})|(?P<bare>\d{3,4}))$")  # t_50 and t850, but not u10
EXPVER = "expver"
SAME_PLACE = 1e-4  # degrees or hPa: coordinates of several inputs, or times, differ by rounding
FEATURES = ("timeseries", "point", "profile", "trajectory", "timeseriesprofile", "trajectoryprofile")
ROLES = ("timeseries_id", "profile_id", "trajectory_id")
STATIONS = ("station", "stations", "site", "sites", "station_id", "stationid", "obs")


def require_selected(inputs: Sequence[Input], source: SourceOptions) -> None:
    """Say once what is taken of a dimension that has more. Raises PrepareError for one that is selected and no input has."""
    for dimension, value in source.selection.items():
        known = {str(n) for i in inputs for n in (*i.dataset.dims, *i.dataset.coords)} | set(source.rename.values())
        if dimension in source.select and dimension not in known and source.layout == "cf":
            raise PrepareError(
                f"source.select: no input has the dimension '{dimension}', to take {value} of it. Correct its name, or leave it out."
            )
        given = next((i.dataset for i in inputs if i.dataset.sizes.get(dimension, 0) > 1), None)
        if given is not None and dimension in given.coords:
            tell(
                f"{dimension} {value if isinstance(value, str) else f'{value:g}'} is taken, of {listed(given, dimension)}."
            )


def standard(given: Input, spec: Spec) -> xr.Dataset:
    """An input with standard time and level. Raises PrepareError for a dimension that must be selected from, and has not been."""
    dataset = _unpacked(given, spec.source) if spec.source.layout == "anemoi" else given.dataset
    dataset = _renamed(dataset, spec.source.rename)
    _require_a_grid(dataset, given.name)
    dataset = _one_version(dataset)
    try:
        dataset = _at_one_lead_time(dataset, spec.source.selection, given.name)
        dataset = _with_valid_times(dataset, options_of(dataset, spec), given.name)
        dataset = _on_one_grid(dataset, given.name)
        dataset = _with_levels(dataset, given.name)
        dataset = _with_rows_and_columns(dataset, given.name, spec.source.healpix)
    except StoreError as error:
        raise PrepareError(str(error).replace("store ", "input ", 1)) from error
    return _levels_stacked(dataset) if spec.source.levels_in_names else dataset


def _at_one_lead_time(dataset: xr.Dataset, select: Mapping[str, float | str], name: str) -> xr.Dataset:
    """At the selected values; where that leaves one lead time, at valid times. Those of GRIB, `step`, are put one after another."""
    dataset = at_values(dataset, select, name)
    single = {lead: 0 for lead in LEAD_TIMES if lead != "step" and dataset.sizes.get(lead) == 1}
    leads = [lead for lead in LEAD_TIMES if lead in single or lead in select]
    return at_valid_times(dataset.isel(single), leads, name)


def options_of(dataset: xr.Dataset, spec: Spec) -> dict[str, VariableOptions]:
    """The options of each variable of the inputs, by its name there."""
    wanted = {options.name or name: options for name, options in spec.variables.items()}
    known = {str(name): spec.known.get(str(name), VariableOptions()) for name in dataset.data_vars}
    return {name: merged(wanted.get(name), options) for name, options in known.items()}


def merged(own: VariableOptions | None, known: VariableOptions) -> VariableOptions:
    """Options of a variable, those that its entry sets before those that are known of it."""
    if own is None:
        return known
    return known.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


def _require_a_grid(dataset: xr.Dataset, name: str) -> None:
    """Raises PrepareError for a table of stations, of which regridding would make a field."""
    said = str(dataset.attrs.get("featureType", "")).lower()
    has_stations = any(c.attrs.get("cf_role") in ROLES for c in dataset.variables.values())
    if said in FEATURES or has_stations or any(str(dim).lower() in STATIONS for dim in dataset.dims):
        raise PrepareError(
            f"input {name}: holds stations, profiles or tracks, expected fields. They are a stream of their own, see docs/stations.md."
        )


def _on_one_grid(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """With latitudes and longitudes of the first time, where each time has the same. Raises PrepareError if they move, as in a swath."""
    for axis in AXES:
        coordinate = coordinate_of(dataset, axis)
        if coordinate is None or "time" not in coordinate.dims or coordinate.name == "time":
            continue
        first = coordinate.isel(time=0)
        if coordinate.ndim < 3 or float(np.abs(coordinate - first).max()) > SAME_PLACE:
            raise PrepareError(
                f"input {name}: {coordinate.name} changes with time, as in a swath or along a track, expected one grid. Grid it first, or "
                "write its values as a table of points, see docs/stations.md."
            )
        dataset = dataset.assign_coords({str(coordinate.name): first.drop_vars("time").variable})
    return dataset


def _renamed(dataset: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    here = {old: new for old, new in names.items() if old in dataset.dims or old in dataset.variables}
    return dataset.rename(here)


def _one_version(dataset: xr.Dataset) -> xr.Dataset:
    """ERA5 and its first release ERA5T as one record: at each point the final value, where there is one."""
    if EXPVER not in dataset.dims:
        return dataset.drop_vars(EXPVER, errors="ignore")
    versions = dataset.sortby(EXPVER) if EXPVER in dataset.coords else dataset
    merged = versions.isel({EXPVER: 0}, drop=True)
    for version in range(1, dataset.sizes[EXPVER]):
        merged = merged.fillna(versions.isel({EXPVER: version}, drop=True))
    return merged.assign({n: a.assign_attrs(dataset[n].attrs) for n, a in merged.data_vars.items()})


def _with_valid_times(dataset: xr.Dataset, options: Mapping[str, VariableOptions], name: str) -> xr.Dataset:
    if "step" in dataset.dims and "time" in dataset.coords:
        return _steps_flattened(dataset, options, name)
    if "valid_time" in dataset.coords and dataset["valid_time"].dims == ("time",):
        dataset = dataset.assign_coords(time=dataset["valid_time"].values)
    elif "valid_time" in dataset.coords and not dataset["valid_time"].dims and "time" not in dataset.dims:
        dataset = dataset.drop_vars("time", errors="ignore").rename(valid_time="time")
    found = [n for n in _cf_times(dataset) if n in dataset.coords] or only_times(dataset)
    if not found:
        return dataset
    time = found[0]
    if dataset[time].ndim == 1 and dataset[time].dims[0] != time:
        dataset = dataset.swap_dims({dataset[time].dims[0]: time})
    if time != "time":
        dataset = dataset.drop_vars("time", errors="ignore").rename({time: "time"})
    if "time" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    _require_times(dataset["time"], name)
    dataset = dataset.drop_vars(["valid_time", "step"], errors="ignore").sortby("time")
    return with_exact_times(dataset)


def _cf_times(dataset: xr.Dataset) -> list[str]:
    on_dimension = [n for n in TIME_NAMES if n in dataset.dims]
    by_name = [n for n in TIME_NAMES if n in dataset.coords]
    by_attributes = [str(n) for n in dataset.cf.coordinates.get("time", []) if dataset[n].ndim <= 1]
    return [*[n for n in by_attributes if n in dataset.dims], *on_dimension, *by_attributes, *by_name]


def _require_times(times: xr.DataArray, name: str) -> None:
    if times.dtype.kind != "M" and not hasattr(times.values.reshape(-1)[0], "calendar"):
        raise PrepareError(
            f"input {name}: time holds {times.dtype}, expected units such as 'hours since 2000-01-01'. {relative_times(times)}."
        )
    if times.dtype.kind == "M" and np.isnat(times.values).any():
        at = int(np.flatnonzero(np.isnat(times.values))[0])
        raise PrepareError(f"input {name}: time[{at}] is no time (NaT), expected one. Mend it there.")


def _steps_flattened(dataset: xr.Dataset, options: Mapping[str, VariableOptions], name: str) -> xr.Dataset:
    """Forecasts of several steps, one after the other, by the time that they are valid for; of two, that of the later start."""
    since_start = [n for n, o in options.items() if o.accumulation == "start" and "step" in dataset[n].dims]
    dataset = dataset.assign({n: rate_of_steps(dataset[n], options[n]) for n in since_start})
    if "time" not in dataset.dims:
        dataset = dataset.expand_dims("time")
    valid = (dataset["time"] + dataset["step"]).transpose("time", "step").values.reshape(-1)
    flat = dataset.drop_vars("valid_time", errors="ignore").stack(_row=("time", "step"), create_index=False)
    flat = flat.drop_vars(["time", "step"], errors="ignore").rename(_row="time").assign_coords(time=valid)
    order = np.argsort(valid, kind="stable")
    last = np.append(np.diff(valid[order]) != np.timedelta64(0), True)
    flat = flat.isel(time=order[last])
    return flat.transpose("time", ...)


def _with_levels(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Pressures as the dimension `level`, in hPa, also a single one. Raises StoreError for numbers that may count levels of a model."""
    levels = sorted(str(n) for n in dataset.coords if dataset[n].dims == (n,) and _is_pressure(dataset[n]))
    single = sorted(str(n) for n in dataset.coords if dataset[n].ndim == 0 and is_pressure(dataset[n]))
    if not levels and not single:
        return dataset
    level = (levels or single)[0]
    renamed = dataset if level == "level" else dataset.drop_vars("level", errors="ignore").rename({level: "level"})
    in_hpa = with_pressure_in_hpa(renamed, name, level)
    return in_hpa if levels else single_level_as_dimension(in_hpa, name, _fields(in_hpa))


def _fields(dataset: xr.Dataset) -> list[str]:
    return [str(n) for n, a in dataset.data_vars.items() if is_field(a)]


def is_field(array: xr.DataArray) -> bool:
    """Whether an array has numbers at places."""
    is_bounds = any(str(d).lower() in ("bnds", "bounds", "nv", "nvertex", "vertices", "nbnds") for d in array.dims)
    return array.dtype.kind in "fiu" and any(d not in ("time", "level") for d in array.dims) and not is_bounds


def _with_rows_and_columns(dataset: xr.Dataset, name: str, healpix: str | None) -> xr.Dataset:
    """Rows and columns along latitudes and longitudes as `open_fields` has them, so that inputs fit together; other grids as they are."""
    found = {short: coordinate_of(dataset, axis) for short, axis in zip(("lat", "lon"), AXES, strict=True)}
    if healpix or any(c is None or c.ndim != 1 for c in found.values()):
        return dataset
    lat, lon = (c for c in found.values() if c is not None)
    if lat.dims == lon.dims:
        return dataset
    for short, coordinate in (("lat", lat), ("lon", lon)):
        require_degrees(dataset, short, str(coordinate.name), name)
        dataset = _as_dimension(dataset, coordinate, short)
    dataset = with_degrees(dataset, name)
    for short in ("lat", "lon"):
        index = dataset.indexes[short]
        if index.is_monotonic_decreasing and len(index) > 1:
            dataset = dataset.isel({short: slice(None, None, -1)})
        elif not index.is_monotonic_increasing:
            dataset = dataset.isel({short: np.argsort(index.values)})
    return dataset


def _as_dimension(dataset: xr.Dataset, coordinate: xr.DataArray, name: str) -> xr.Dataset:
    found, dim = str(coordinate.name), str(coordinate.dims[0])
    dataset = dataset.set_coords(found)
    dataset = dataset if found == dim else dataset.swap_dims({dim: found})
    return dataset if found == name else dataset.drop_vars(name, errors="ignore").rename({found: name})


def _is_pressure(coordinate: xr.DataArray) -> bool:
    units = str(coordinate.attrs.get("units", "")).strip()
    by_name = coordinate.name in LEVEL_NAMES and not units and coordinate.dtype.kind in "fiu"
    return is_pressure(coordinate) or by_name


def _levels_stacked(dataset: xr.Dataset) -> xr.Dataset:
    """Variables such as `t_500` and `t_850` as one, `t`, with a level; one alone, or without a level in its name, stays as it is."""
    levels: dict[str, dict[float, str]] = {}
    for name in map(str, dataset.data_vars):
        if match := IN_NAME.match(name):
            levels.setdefault(match["name"], {})[float(match["level"] or match["bare"])] = name
    levels = {name: of for name, of in levels.items() if min(of) >= 1}
    arrays = {}
    for name, of in levels.items():
        parts = [dataset[of[level]].assign_coords(level=level) for level in sorted(of)]
        array = xr.concat(
            parts, dim="level", coords="minimal", compat="override", join="override", combine_attrs="override"
        )
        arrays[name] = array.transpose("time", "level", ...) if "time" in array.dims else array
    dataset = dataset.drop_vars([name for of in levels.values() for name in of.values()])
    stacked = dataset.assign(arrays)
    if "level" in stacked.coords:
        stacked["level"].attrs.update({"standard_name": "air_pressure", "units": "hPa", "positive": "down"})
    return stacked


def _unpacked(given: Input, source: SourceOptions) -> xr.Dataset:
    """An anemoi dataset, whose values lie in one array `data` of (time, variable, ensemble, cell), as variables by name."""
    dataset = given.dataset
    names = dataset.attrs.get("variables")
    if not isinstance(names, list) or "data" not in dataset:
        raise PrepareError(
            f"input {given.name}: is no anemoi dataset: it has no array `data` with an attribute `variables`."
        )
    data = dataset["data"]
    time, variable, member, cell = map(str, data.dims)
    about = dataset.attrs.get("variables_metadata") or {}
    wanted = source.selection.get("number", source.selection.get(member))
    if data.sizes[member] > 1 and wanted is None:
        raise PrepareError(
            f"input {given.name}: has {data.sizes[member]} members of an ensemble. Select one, for example source.select={{number: 0}}."
        )
    data = data.isel({member: int(float(wanted or 0))})
    fields = {str(n): data.isel({variable: i}).rename({time: "time", cell: "cell"}) for i, n in enumerate(names)}
    arrays = {n: a.assign_attrs(_anemoi_attrs(about.get(n) or {})) for n, a in fields.items()}
    coords = {
        "time": given.dataset["dates"].values.astype("datetime64[ns]"),
        "latitude": ("cell", dataset["latitudes"].values, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": ("cell", dataset["longitudes"].values, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    return xr.Dataset(arrays, coords)


def _anemoi_attrs(about: Mapping[str, object]) -> dict[str, str]:
    return {"units": str(about["units"])} if isinstance(about.get("units"), str) else {}
