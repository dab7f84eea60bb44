"""The cells of any horizontal grid: where their centres and corners lie. Axes: S cell, K corner, y row, x column."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr

from statecast.fields.prepare.errors import PrepareError
from statecast.fields.prepare.inputs import is_too_late_for_pyproj
from statecast.fields.sources.places import degrees_per

Corners = tuple[np.ndarray, np.ndarray]
AXES = {"latitude": ("lat", "latitude", "nav_lat", "xlat"), "longitude": ("lon", "longitude", "nav_lon", "xlong")}
PROJECTED = {"X": ("projection_x_coordinate", "grid_longitude"), "Y": ("projection_y_coordinate", "grid_latitude")}
DEEP = 20  # a HEALPix pixel is cut 2^20 times in each direction: the centre of its outermost part is its corner
HEALPIX_SIDE_POINTS = 8  # per side: those near the poles are curved
SPREAD = 1e-3  # relative: longitudes of a row of a reduced grid are equally spaced up to this


@dataclass(frozen=True)
class Cells:
    """Cells in the order of their array, flattened over `dims`.

    lat, lon      centres in degrees
    corners       longitudes and latitudes of the corners, [S K] each, in order around the cell; None: not known
    axes          latitudes and longitudes of the rows and columns of a latitude-longitude grid; None: of another grid
    is_straight   True if the sides run straight from corner to corner in longitude and the sine of latitude, not along great circles
    """

    dims: tuple[str, ...]
    lat: np.ndarray
    lon: np.ndarray
    corners: Callable[[], Corners] | None
    axes: tuple[np.ndarray, np.ndarray] | None = None
    is_straight: bool = False

    @cached_property
    def vectors(self) -> np.ndarray:
        """Unit vectors of the centres, [S 3]."""
        return unit_vectors(self.lat, self.lon)


def unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    lat, lon = np.deg2rad(lat), np.deg2rad(lon)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def cells_of(dataset: xr.Dataset, healpix: str | None = None) -> Cells:
    """The grid of a dataset: latitude-longitude, rotated or projected, curvilinear, reduced, HEALPix or unstructured.

    Raises PrepareError if it has no coordinates from which latitudes and longitudes follow.
    """
    lat, lon = (None if c is None else c.load() for c in (coordinate_of(dataset, axis) for axis in AXES))
    order = healpix or _healpix_order(dataset)
    if order is not None:
        return _healpix(dataset, order, lat)
    if lat is not None and lon is not None:
        if lat.ndim == lon.ndim == 1 and lat.dims != lon.dims:
            return _rectilinear(lat, lon)
        if lat.ndim == lon.ndim == 2 and lat.dims == lon.dims:
            return _curvilinear(dataset, lat, lon)
        if lat.ndim == lon.ndim == 1:
            return _unstructured(dataset, lat, lon)
    return _projected(dataset)


def coordinate_of(dataset: xr.Dataset, axis: str) -> xr.DataArray | None:
    """Latitudes or longitudes, `axis` of `AXES`, as the dataset has them; None if it has none."""
    by_attributes = [str(n) for n in dataset.cf.coordinates.get(axis, [])]
    by_name = [n for n in (*AXES[axis], *(name.upper() for name in AXES[axis])) if n in dataset.variables]
    found = [dataset[n] for n in (*by_attributes, *by_name) if dataset[n].attrs.get("standard_name", axis) == axis]
    return found[0] if found else None


def _rectilinear(lat: xr.DataArray, lon: xr.DataArray) -> Cells:
    rows, columns = _in_degrees(lat), _in_degrees(lon)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return Cells((str(lat.dims[0]), str(lon.dims[0])), y.ravel(), x.ravel(), None, (rows, columns), is_straight=True)


def _in_degrees(coordinate: xr.DataArray) -> np.ndarray:
    """Of ICON and others they are radians."""
    return degrees_per(coordinate, "lat") * coordinate.values.astype(float)


def _curvilinear(dataset: xr.Dataset, lat: xr.DataArray, lon: xr.DataArray) -> Cells:
    dims = tuple(map(str, lat.dims))
    bounds = _bounds(dataset, lat, lon)
    y, x = _in_degrees(lat), _in_degrees(lon)
    return Cells(dims, y.ravel(), x.ravel(), (lambda: bounds) if bounds else (lambda: _corners_between(y, x)))


def _bounds(dataset: xr.Dataset, lat: xr.DataArray, lon: xr.DataArray) -> Corners | None:
    """Corners that the dataset has as CF bounds."""
    names = [str(c.attrs.get("bounds") or c.encoding.get("bounds") or "") for c in (lon, lat)]
    if not all(name in dataset.variables for name in names):
        return None
    per_unit = degrees_per(lon, "lon"), degrees_per(lat, "lat")  # bounds are in the units of what they bound
    found = [f * dataset[n].values.astype(float).reshape(lat.size, -1) for f, n in zip(per_unit, names, strict=True)]
    return (found[0], found[1]) if found[0].shape[1] >= 3 else None


def _corners_between(lat: np.ndarray, lon: np.ndarray) -> Corners:
    """Corners halfway between four centres, on the sphere; those at the margin lie as far outwards as the next ones inwards."""
    padded = unit_vectors(lat, lon)
    for axis in (0, 1):
        first, last = (2 * padded.take(i, axis) - padded.take(j, axis) for i, j in ((0, 1), (-1, -2)))
        padded = np.concatenate([np.expand_dims(first, axis), padded, np.expand_dims(last, axis)], axis)
    middle = padded[1:, 1:] + padded[1:, :-1] + padded[:-1, 1:] + padded[:-1, :-1]
    y, x = degrees_of(middle)
    return _around(x), _around(y)


def degrees_of(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of vectors of any length."""
    flat = np.hypot(vectors[..., 0], vectors[..., 1])
    return np.rad2deg(np.arctan2(vectors[..., 2], flat)), np.rad2deg(np.arctan2(vectors[..., 1], vectors[..., 0]))


def _around(corners: np.ndarray) -> np.ndarray:
    """From corners [y + 1, x + 1] to those around each cell, [S 4]."""
    return np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=-1).reshape(-1, 4)


def _projected(dataset: xr.Dataset) -> Cells:
    """Cells of rows and columns on a map, or on a sphere with another pole, as their CF grid mapping says."""
    y, x = (_along(dataset, axis) for axis in ("Y", "X"))
    mappings = _mappings(dataset)
    if not mappings or y is None or x is None:
        have = ", ".join(map(str, dataset.coords)) or "none"
        raise PrepareError(
            f"the inputs have no latitudes and longitudes, and no grid mapping with its axes (coordinates: {have}). "
            "Add them, or name them by source.rename."
        )
    if len(mappings) > 1:
        raise PrepareError(
            f"the inputs have several grid mappings ({', '.join(mappings)}), expected one. Leave all but one out, or prepare them apart."
        )
    to_degrees = _projection(next(iter(mappings.values())))
    rows, columns = _in_metres(y), _in_metres(x)
    lat, lon = to_degrees(*np.meshgrid(rows, columns, indexing="ij"))

    def corners() -> Corners:
        y_corners, x_corners = to_degrees(*np.meshgrid(edges(rows), edges(columns), indexing="ij"))
        return _around(x_corners), _around(y_corners)

    return Cells((str(y.dims[0]), str(x.dims[0])), lat.ravel(), lon.ravel(), corners)


def _mappings(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Attributes of the grid mappings, by name; that of latitudes and longitudes, which maps may have too, only if there is no other."""
    found = {str(n): v.attrs for n, v in dataset.variables.items() if "grid_mapping_name" in v.attrs}
    maps = {name: attrs for name, attrs in found.items() if attrs["grid_mapping_name"] != "latitude_longitude"}
    return maps or found


def _along(dataset: xr.Dataset, axis: str) -> xr.DataArray | None:
    said = {
        str(n) for n, c in dataset.coords.items() if c.ndim == 1 and c.attrs.get("standard_name") in PROJECTED[axis]
    }
    names = sorted(said)
    names += [n for n in dataset.cf.axes.get(axis, []) if dataset[n].ndim == 1]
    names += [
        n for n in (axis.lower(), f"r{'lat' if axis == 'Y' else 'lon'}") if n in dataset.coords and dataset[n].ndim == 1
    ]
    return dataset[names[0]] if names else None


def _in_metres(axis: xr.DataArray) -> np.ndarray:
    return axis.values.astype(float) * (
        1000.0 if str(axis.attrs.get("units", "")).strip() in ("km", "kilometer", "kilometre") else 1.0
    )


def _projection(attrs: dict[str, Any]) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The function from y and x to latitude and longitude."""
    if find_spec("pyproj") is None:
        raise PrepareError("the inputs are projected, which needs pyproj. Install statecast with the extra `regrid`.")
    if is_too_late_for_pyproj():
        raise PrepareError(
            "the inputs are projected, but ecCodes was loaded before pyproj, which it breaks. Import pyproj first."
        )
    import pyproj

    try:
        projected = pyproj.CRS.from_cf(
            {k: v.item() if hasattr(v, "item") and np.ndim(v) == 0 else v for k, v in attrs.items()}
        )
    except (pyproj.exceptions.CRSError, KeyError, ValueError, TypeError) as error:
        raise PrepareError(
            f"the grid mapping '{attrs['grid_mapping_name']}' can't be read ({error}). Mend its attributes."
        ) from None
    transform = pyproj.Transformer.from_crs(projected, projected.source_crs or projected.geodetic_crs, always_xy=True)

    def to_degrees(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lon, lat = transform.transform(x, y)
        return np.asarray(lat), np.asarray(lon)

    return to_degrees


def edges(centres: np.ndarray) -> np.ndarray:
    """Edges halfway between centres, and as far outwards as inwards at the ends."""
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _unstructured(dataset: xr.Dataset, lat: xr.DataArray, lon: xr.DataArray) -> Cells:
    y, x = _in_degrees(lat), _in_degrees(lon)
    dims = (str(lat.dims[0]),)
    if bounds := _bounds(dataset, lat, lon):
        return Cells(dims, y, x, lambda: bounds)
    rows = _rows(y, x)
    return Cells(dims, y, x, (lambda: _corners_in_rows(y, x, rows)) if rows else None, is_straight=bool(rows))


def _rows(lat: np.ndarray, lon: np.ndarray) -> list[np.ndarray]:
    """The cells of each row, south to north, of a grid whose rows go around the globe in equal steps, such as a reduced Gaussian one."""
    order = np.lexsort((lon % 360.0, np.round(lat, 6)))
    starts = np.flatnonzero(np.diff(np.round(lat[order], 6), prepend=-999.0))
    rows = np.split(order, starts[1:])
    if len(rows) < 2 or len(rows) > len(lat) / 3:
        return []
    for row in rows:
        steps = np.diff(np.sort(lon[row] % 360.0), append=np.min(lon[row] % 360.0) + 360.0)
        if np.ptp(steps) > SPREAD * 360.0 / len(row) * 10:
            return []
    return rows


def _corners_in_rows(lat: np.ndarray, lon: np.ndarray, rows: list[np.ndarray]) -> Corners:
    between = np.clip(edges(np.array([lat[row[0]] for row in rows])), -90.0, 90.0)
    between[[0, -1]] = -90.0, 90.0
    x, y = np.empty((len(lat), 4)), np.empty((len(lat), 4))
    for i, row in enumerate(rows):
        half = 180.0 / len(row)
        x[row] = lon[row, None] + np.array([-half, half, half, -half])
        y[row] = between[[i, i, i + 1, i + 1]]
    return x, y


def _healpix_order(dataset: xr.Dataset) -> str | None:
    for variable in dataset.variables.values():
        attrs = {str(k).lower(): v for k, v in variable.attrs.items()}
        if attrs.get("grid_mapping_name") == "healpix" or "healpix_nside" in attrs:
            order = str(attrs.get("healpix_order", attrs.get("indexing_scheme", "nested"))).lower()
            return "nested" if order.startswith("nest") else "ring"
    return None


def _healpix(dataset: xr.Dataset, order: str, lat: xr.DataArray | None) -> Cells:
    if find_spec("healpix") is None:
        raise PrepareError(
            "the inputs are on a HEALPix grid, which needs healpix. Install statecast with the extra `regrid`."
        )
    import healpix

    sides = {str(d): (n / 12) ** 0.5 for d, n in dataset.sizes.items() if d not in ("time", "level")}
    found = [(d, round(s)) for d, s in sides.items() if s >= 1 and s == round(s)]
    if lat is not None and lat.ndim == 1:
        found = [(d, s) for d, s in found if d == lat.dims[0]]
    if not found:
        raise PrepareError(
            f"healpix: no dimension has 12 n² cells ({dict(dataset.sizes)}). Leave healpix out, or give all cells."
        )
    dim, side = found[0]
    pixels = np.arange(12 * side**2)
    lon, y = healpix.pix2ang(side, pixels, nest=order == "nested", lonlat=True)
    nested = pixels if order == "nested" else healpix.ring2nest(side, pixels)
    return Cells((dim,), np.asarray(y), np.asarray(lon), lambda: _healpix_corners(side, nested), is_straight=True)


def _healpix_corners(side: int, nested: np.ndarray) -> Corners:
    """The corners of pixels, and points on each side between them, as centres of the outermost of 4^k parts."""
    import healpix

    deep = min(DEEP, 29 - round(np.log2(side)))
    last = 2**deep - 1
    along = [last * i // HEALPIX_SIDE_POINTS for i in range(HEALPIX_SIDE_POINTS)]
    ring = (
        [(i, 0) for i in along]
        + [(last, i) for i in along]
        + [(last - i, last) for i in along]
        + [(0, last - i) for i in along]
    )
    parts = np.array([_interleaved(x) | (_interleaved(y) << 1) for x, y in ring], dtype=np.int64)
    lon, lat = healpix.pix2ang(
        side << deep, (nested[:, None].astype(np.int64) << (2 * deep)) + parts, nest=True, lonlat=True
    )
    return np.asarray(lon), np.asarray(lat)


def _interleaved(number: int) -> int:
    return sum(((number >> bit) & 1) << (2 * bit) for bit in range(number.bit_length()))
