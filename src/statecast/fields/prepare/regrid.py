"""To another latitude-longitude grid, and to pressure levels. Axes: S source cell, H row, W column, L level."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.sparse import csr_matrix

from statecast.fields.prepare.cells import Cells, cells_of
from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.spec import GridOptions, RegionOptions, Spec
from statecast.fields.prepare.units import to_units
from statecast.fields.prepare.weights import weights

WHOLE = 1 - 1e-6  # weights that add up to this are whole, up to rounding
TRUE_WINDS = ("eastward_wind", "northward_wind")
GRID_WINDS = ("x_wind", "y_wind", "grid_eastward_wind", "grid_northward_wind")


def on_latitudes_and_longitudes(dataset: xr.Dataset, spec: Spec) -> xr.Dataset:
    """The dataset on the grid of the spec, or on its own if that is one of latitudes and longitudes.

    Raises PrepareError for another grid without `grid`, and for winds along its axes that are not turned.
    """
    cells = cells_of(dataset, spec.source.healpix)
    if spec.grid is None and cells.axes is None and (regular := _as_rectilinear(dataset, cells)) is not None:
        return regular
    if spec.grid is None:
        if cells.axes is None:
            raise PrepareError(
                f"the inputs are not on latitudes and longitudes (dimensions {', '.join(cells.dims)}), expected them, or a grid to "
                "regrid to. Give one, for example grid={method: conservative, spacing: 0.25}."
            )
        return dataset
    if cells.axes is None:
        dataset = _winds_turned(dataset, cells, spec.source.winds)
    return _regridded(dataset, cells, spec.grid, spec.region)


def target_axes(grid: GridOptions, region: RegionOptions | None) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of the cell centres of the store."""
    if grid.lat and grid.lon:
        return _axis(*grid.lat), _axis(*grid.lon)
    step = grid.spacing or 1.0
    south, north = region.lat if region else (-90.0, 90.0)
    west, east = region.lon if region else (0.0, 360.0)
    east = east if east > west else east + 360.0
    return _axis(south + step / 2, north - step / 2, step), _axis(west + step / 2, east - step / 2, step)


def _axis(first: float, last: float, step: float) -> np.ndarray:
    return np.round(first + step * np.arange(int(np.floor((last - first) / step + 1e-6)) + 1), 9)


def _as_rectilinear(dataset: xr.Dataset, cells: Cells) -> xr.Dataset | None:
    """Cells in one row that are the points of a latitude-longitude grid, as rows and columns; None if they are not."""
    if len(cells.dims) != 1:
        return None
    lat, lon = np.unique(cells.lat), np.unique(cells.lon)
    if len(lat) * len(lon) != len(cells.lat):
        return None
    row, column = np.searchsorted(lat, cells.lat), np.searchsorted(lon, cells.lon)
    order = np.argsort(row * len(lon) + column)
    if not np.array_equal((row * len(lon) + column)[order], np.arange(len(order))):
        return None

    def unfolded(values: np.ndarray) -> np.ndarray:
        return values[..., order].reshape(*values.shape[:-1], len(lat), len(lon))

    return _applied(dataset, cells, unfolded, lat, lon)


def _regridded(dataset: xr.Dataset, cells: Cells, grid: GridOptions, region: RegionOptions | None) -> xr.Dataset:
    lat, lon = target_axes(grid, region)
    matrix = weights(cells, lat, lon, grid.method).astype(np.float64)
    if matrix.nnz == 0:
        raise PrepareError(
            f"grid: latitudes {lat[0]:g} to {lat[-1]:g} and longitudes {lon[0]:g} to {lon[-1]:g} lie outside the inputs, which cover "
            f"{cells.lat.min():g} to {cells.lat.max():g} N, {cells.lon.min():g} to {cells.lon.max():g} E. Name a grid inside them."
        )
    shares = np.asarray(matrix.sum(axis=1)).ravel()

    def regridded(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(-1, values.shape[-1])
        return _weighted(flat, matrix, shares, grid.valid_share).reshape(*values.shape[:-1], len(lat), len(lon))

    out = _applied(dataset, cells, regridded, lat, lon)
    return out.assign({n: a.assign_attrs(comment=f"regridded: {grid.method}") for n, a in out.data_vars.items()})


def _weighted(flat: np.ndarray, matrix: csr_matrix, shares: np.ndarray, valid_share: float) -> np.ndarray:
    """Weighted means over known values; missing where these have less than `valid_share` of the weight of the target."""
    out = np.empty((len(flat), matrix.shape[0]), np.float32)
    for i, values in enumerate(flat):
        known = np.isfinite(values)
        total = matrix @ np.where(known, values, 0.0).astype(np.float64)
        weight = shares if known.all() else matrix @ known.astype(np.float64)
        enough = weight >= min(valid_share, WHOLE)
        out[i] = np.where(enough, total / np.where(enough, weight, 1.0), np.nan)
    return out


def _applied(dataset: xr.Dataset, cells: Cells, function, lat: np.ndarray, lon: np.ndarray) -> xr.Dataset:  # type: ignore[no-untyped-def]
    """`function` of the flattened horizontal dimensions of each variable that has them all."""

    def of_array(array: xr.DataArray) -> xr.DataArray:
        if not set(cells.dims) <= set(map(str, array.dims)):
            return array
        array = array.reset_coords(drop=True).transpose(..., *cells.dims)
        array = array.drop_vars([n for n in array.coords if set(array[n].dims) & set(cells.dims)])
        result = xr.apply_ufunc(
            lambda values: function(values.reshape(*values.shape[: values.ndim - len(cells.dims)], -1)),
            array.chunk(dict.fromkeys(cells.dims, -1)),
            input_core_dims=[list(cells.dims)],
            output_core_dims=[["_lat", "_lon"]],
            dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": {"_lat": len(lat), "_lon": len(lon)}},
            output_dtypes=[np.float32],
        )
        return result.assign_attrs({k: v for k, v in array.attrs.items() if k != "grid_mapping"})

    mapped = {str(n): of_array(a) for n, a in dataset.data_vars.items()}
    coords = {
        "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    on_grid = {n: a.rename(_lat="lat", _lon="lon") for n, a in mapped.items() if "_lat" in a.dims}
    return xr.Dataset(on_grid, attrs=dataset.attrs).assign_coords(coords)


def _winds_turned(dataset: xr.Dataset, cells: Cells, pairs: Sequence[tuple[str, str]]) -> xr.Dataset:
    """Components along the axes of a grid as those to the east and to the north.

    u_east = u cos α - v sin α,  v_north = u sin α + v cos α        α: from east to the x axis of the grid, anticlockwise
    """
    names = {name for pair in pairs for name in pair}
    for name, array in dataset.data_vars.items():
        if _runs_along_the_grid(array) is True and name not in names:
            raise PrepareError(
                f"variable '{name}': is a wind along the axes of the grid, not to the east or north. Name its pair by source.winds."
            )
    here = [pair for pair in pairs if set(pair) <= set(dataset.data_vars)]
    here = [pair for pair in here if all(_runs_along_the_grid(dataset[name]) is not False for name in pair)]
    if not here:
        return dataset
    if len(cells.dims) != 2:
        raise PrepareError(
            "source.winds: the inputs have no rows and columns, so the axes of their grid are not known. Leave it out."
        )
    angle = _angles(dataset, cells)
    turned = {}
    for u_name, v_name in here:
        u, v = dataset[u_name], dataset[v_name]
        for name, new, standard_name in (
            (u_name, u * np.cos(angle) - v * np.sin(angle), "eastward_wind"),
            (v_name, u * np.sin(angle) + v * np.cos(angle), "northward_wind"),
        ):
            attrs = {
                k: w for k, w in dataset[name].attrs.items() if k not in ("standard_name", "long_name", "grid_mapping")
            }
            turned[name] = (
                new.transpose(*dataset[name].dims)
                .drop_attrs(deep=False)
                .assign_attrs({**attrs, "standard_name": standard_name})
            )
    return dataset.assign(turned)


def _runs_along_the_grid(array: xr.DataArray) -> bool | None:
    """Whether attributes say that a wind runs along the axes of its grid (True), to the east or north (False), or neither (None)."""
    named, relative = array.attrs.get("standard_name"), array.attrs.get("GRIB_uvRelativeToGrid")
    is_wind = named in (*GRID_WINDS, *TRUE_WINDS)
    if not is_wind:
        return None
    return bool(relative) if relative is not None else named in GRID_WINDS


def _angles(dataset: xr.Dataset, cells: Cells) -> xr.DataArray:
    """The angle from east to the direction of the next column, in radians, at each cell."""
    shape = tuple(dataset.sizes[d] for d in cells.dims)
    vectors = cells.vectors.reshape(*shape, 3)
    ahead = np.gradient(vectors, axis=1)
    if _runs_backwards(dataset, cells.dims[1]):
        ahead = -ahead
    lat, lon = (np.deg2rad(a.reshape(shape)) for a in (cells.lat, cells.lon))
    east = np.stack([-np.sin(lon), np.cos(lon), 0 * lon], axis=-1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=-1)
    return xr.DataArray(np.arctan2((ahead * north).sum(-1), (ahead * east).sum(-1)), dims=cells.dims)


def _runs_backwards(dataset: xr.Dataset, dim: str) -> bool:
    return dim in dataset.coords and dataset.sizes[dim] > 1 and bool(dataset[dim][0] > dataset[dim][-1])


def on_levels(dataset: xr.Dataset, spec: Spec) -> xr.Dataset:
    """The levels of the spec: those of the inputs, or interpolated linearly in the logarithm of pressure; missing beyond the ends.

    Raises PrepareError for a level that the inputs don't have.
    """
    if not spec.levels:
        return dataset
    if "level" not in dataset.dims:
        raise PrepareError(
            "levels: the inputs have no pressure levels. Leave levels out, or add the inputs that have them."
        )
    wanted = np.sort(np.array(spec.levels, float))
    have = dataset["level"].values.astype(float)
    if spec.vertical == "select":
        index = np.abs(have[None, :] - wanted[:, None]).argmin(axis=1)
        if (far := np.abs(have[index] - wanted) > 1e-3).any():
            known = ", ".join(f"{p:g}" for p in have)
            raise PrepareError(
                f"levels: the inputs have no level {wanted[far][0]:g} hPa. Levels: {known}. Name one of these, or vertical=interpolate."
            )
        return dataset.isel(level=index)
    pressure = xr.DataArray(have, dims="level")
    return _interpolated(dataset, "level", pressure, wanted)


def from_model_levels(dataset: xr.Dataset, spec: Spec) -> xr.Dataset:
    """Variables on model levels, on the pressure levels of the spec. Raises PrepareError if the pressure or its dimension is unclear."""
    if spec.pressure is None:
        return dataset
    if spec.pressure not in dataset:
        raise PrepareError(
            f"pressure: the inputs have no variable '{spec.pressure}'. Name the one that holds the pressure of model levels."
        )
    if spec.vertical != "interpolate":
        raise PrepareError(
            "pressure: goes with vertical=interpolate, and levels to interpolate to. Give them, or leave pressure out."
        )
    pressure = dataset[spec.pressure]
    pressure = to_units(pressure.assign_attrs({"units": "Pa"} | pressure.attrs), "hPa")
    cells = cells_of(dataset, spec.source.healpix)
    vertical = [str(d) for d in pressure.dims if d != "time" and d not in cells.dims]
    if len(vertical) != 1:
        raise PrepareError(
            f"pressure: '{spec.pressure}' has the dimensions {', '.join(map(str, pressure.dims))}, expected one of levels."
        )
    return _interpolated(dataset.drop_vars(spec.pressure), vertical[0], pressure, np.sort(np.array(spec.levels, float)))


def _interpolated(dataset: xr.Dataset, dim: str, pressure: xr.DataArray, wanted: np.ndarray) -> xr.Dataset:
    def of_array(array: xr.DataArray) -> xr.DataArray:
        if dim not in array.dims:
            return array
        array = array.chunk({dim: -1}) if array.chunks is not None else array
        result = xr.apply_ufunc(
            lambda values, p: log_pressure_interpolation(values, p, wanted),
            array.drop_vars(dim, errors="ignore"),
            (pressure.chunk({dim: -1}) if pressure.chunks is not None else pressure).drop_vars(dim, errors="ignore"),
            input_core_dims=[[dim], [dim]],
            output_core_dims=[["_level"]],
            dask="parallelized",
            dask_gufunc_kwargs={"output_sizes": {"_level": len(wanted)}},
            output_dtypes=[np.float32],
        )
        order = ["_level" if d == dim else d for d in array.dims]
        return result.transpose(*order).assign_attrs(array.attrs).rename(_level="level")

    arrays = {str(n): of_array(a) for n, a in dataset.data_vars.items()}
    attrs = {"standard_name": "air_pressure", "units": "hPa", "positive": "down"}
    rest = dataset.drop_vars([*dataset.data_vars, *(n for n in dataset.coords if dim in dataset[n].dims)])
    return rest.assign(arrays).assign_coords(level=("level", wanted, attrs))


def log_pressure_interpolation(values: np.ndarray, pressure: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values [... L] at the pressures `wanted`: linear in log pressure between the two levels around each; NaN beyond the ends."""
    values, pressure = np.broadcast_arrays(values, pressure)
    order = np.argsort(pressure, axis=-1)
    p, v = np.log(np.take_along_axis(pressure, order, -1)), np.take_along_axis(values, order, -1)
    out = np.full((*values.shape[:-1], len(wanted)), np.nan, np.float32)
    for i, level in enumerate(np.log(wanted)):
        upper = np.clip((p < level - 1e-9).sum(axis=-1, keepdims=True), 1, p.shape[-1] - 1)
        ends = [
            (np.take_along_axis(p, u, -1)[..., 0], np.take_along_axis(v, u, -1)[..., 0]) for u in (upper - 1, upper)
        ]
        (p0, v0), (p1, v1) = ends
        share = np.divide(level - p0, p1 - p0, out=np.zeros_like(p0), where=p1 > p0)
        inside = (share >= -1e-6) & (share <= 1 + 1e-6)
        share = np.clip(share, 0, 1)
        with np.errstate(invalid="ignore"):
            between = np.where(share == 0, v0, np.where(share == 1, v1, (1 - share) * v0 + share * v1))
        out[..., i] = np.where(inside, between, np.nan)
    return out
