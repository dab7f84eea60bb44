"""Weights of regridding as sparse matrices. Axes: G target point, S source cell, H target row, W target column.

Overlaps of cells come from shapely, neighbours and triangles from scipy; each row of a matrix adds up to the part of the target point
that the source covers.
"""

from importlib.util import find_spec

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, kron
from scipy.spatial import Delaunay, cKDTree

from statecast.fields.prepare.cells import Cells, degrees_of, edges, unit_vectors
from statecast.fields.prepare.errors import PrepareError

SIDE_POINTS = 4  # parts into which a side of a cell is cut, so that it follows its great circle
POLYGONS_AT_ONCE = 50_000
AT_POLE = 90 - 1e-3  # degrees: 100 m
REACH = 1.5  # spacings of the source within which a target still belongs to it
LONGEST_SIDE = 4.0  # spacings: a longer side of a triangle closes a gap or the outer margin of the source


def weights(cells: Cells, lat: np.ndarray, lon: np.ndarray, method: str) -> csr_matrix:
    """The matrix [G S] from cells to the points of a latitude-longitude grid, row by row.

    conservative   share of the target cell that each source cell covers: the area integral is kept       Jones 1999, first order
    bilinear       linear in both directions between rows and columns; in the triangle around the point on any other grid
    nearest        1 for the nearest centre

    A target that the source does not cover has weights that add up to less than 1, or to 0.
    Raises PrepareError if the corners of the cells, or a package that the method needs, are missing.
    """
    if method == "conservative":
        return _separable(cells, lat, lon, _overlap_1d) if cells.axes else _overlaps(cells, lat, lon)
    if method == "bilinear":
        return _separable(cells, lat, lon, _linear_1d) if cells.axes else _in_triangles(cells, lat, lon)
    return _separable(cells, lat, lon, _nearest_1d) if cells.axes else _nearest(cells, lat, lon)


def _separable(cells: Cells, lat: np.ndarray, lon: np.ndarray, of_axis) -> csr_matrix:  # type: ignore[no-untyped-def]
    assert cells.axes is not None
    rows, columns = cells.axes
    of_rows, of_columns = of_axis(rows, lat, is_lon=False), of_axis(columns, lon, is_lon=True)
    return csr_matrix(kron(csr_matrix(of_rows), csr_matrix(of_columns), format="csr"))


def row_edges(lat: np.ndarray) -> np.ndarray:
    """Edges of rows, which reach a pole that is less than a row away; ascending or descending as the rows."""
    between = edges(lat) if len(lat) > 1 else np.array([lat[0] - 0.5, lat[0] + 0.5])
    sign = 1.0 if between[-1] > between[0] else -1.0
    ends = np.array([-90.0, 90.0]) * sign
    step = np.abs(np.diff(between)).max() if len(lat) > 1 else 0.0
    for i, end in ((0, ends[0]), (-1, ends[1])):
        if abs(between[i] - end) < 0.5 * step or abs(between[i]) > 90:
            between[i] = end
    return between


def _column_edges(lon: np.ndarray) -> np.ndarray:
    return edges(lon) if len(lon) > 1 else np.array([lon[0] - 0.5, lon[0] + 0.5])


def _overlap_1d(source: np.ndarray, target: np.ndarray, *, is_lon: bool) -> np.ndarray:
    """Share of each target interval that each source interval covers, in longitude or in the sine of latitude: [target source]."""
    if not is_lon:
        s, t = (np.sin(np.deg2rad(row_edges(axis))) for axis in (source, target))
        return _shares(s, t)
    s, t = _column_edges(_ascending_lon(source)[0]), _column_edges(target)
    shares = sum(_shares(s + turn, t) for turn in (-720.0, -360.0, 0.0, 360.0, 720.0))
    back = np.empty_like(shares)
    back[:, _ascending_lon(source)[1]] = shares
    return back


def _ascending_lon(lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes as an ascending row without a break in it, and their order in the source."""
    order = np.argsort(lon % 360.0)
    ascending = (lon % 360.0)[order]
    widest = int(np.diff(ascending, append=ascending[0] + 360.0).argmax())
    order = np.roll(order, -widest - 1)
    return np.unwrap((lon % 360.0)[order], period=360.0), order


def _shares(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    low, high = (np.minimum(target[1:], target[:-1]), np.maximum(target[1:], target[:-1]))
    s_low, s_high = (np.minimum(source[1:], source[:-1]), np.maximum(source[1:], source[:-1]))
    overlap = np.minimum(high[:, None], s_high) - np.maximum(low[:, None], s_low)
    return np.maximum(overlap, 0.0) / (high - low)[:, None]


def _linear_1d(source: np.ndarray, target: np.ndarray, *, is_lon: bool) -> np.ndarray:
    """Linear weights between the two neighbours, [target source]; beyond the ends none, but at a pole the nearest row."""
    order = np.argsort(source)
    ascending, columns = source[order], order
    if is_lon:
        ascending, order = _ascending_lon(source)
        step = np.diff(ascending).mean() if len(ascending) > 1 else 360.0
        if abs(ascending[0] + 360.0 - ascending[-1] - step) < 0.1 * step:  # around the globe
            ascending, order = np.append(ascending, ascending[0] + 360.0), np.append(order, order[0])
        target = ascending[0] + (target - ascending[0] + 1e-9) % 360.0 - 1e-9
        columns = order
    found = np.zeros((len(target), len(source)))
    upper = np.clip(np.searchsorted(ascending, target, side="right"), 1, max(1, len(ascending) - 1))
    lower = upper - 1 if len(ascending) > 1 else upper * 0
    upper = np.minimum(upper, len(ascending) - 1)
    width = ascending[upper] - ascending[lower]
    share = np.divide(target - ascending[lower], width, out=np.zeros(len(target)), where=width > 0)
    step = np.abs(np.diff(ascending)).mean() if len(ascending) > 1 else 1.0
    reach = 1e-6 if is_lon else np.where(90 - np.abs(target) < step, 1.0, 1e-6)
    inside = (share >= -reach) & (share <= 1 + reach)
    share = np.clip(share, 0.0, 1.0)
    rows = np.arange(len(target))
    np.add.at(found, (rows[inside], columns[lower[inside]]), (1 - share)[inside])
    np.add.at(found, (rows[inside], columns[upper[inside]]), share[inside])
    return found


def _nearest_1d(source: np.ndarray, target: np.ndarray, *, is_lon: bool) -> np.ndarray:
    """1 for the nearest of a row, [target source]; none beyond the margins of its cells, but at a pole the nearest row."""
    away = np.abs(target[:, None] - source[None, :])
    away = np.abs((away + 180.0) % 360.0 - 180.0) if is_lon else away
    near = away.argmin(axis=1)
    step = np.abs(np.diff(np.sort(source))).max() if len(source) > 1 else 1.0
    half = (0.5 + 1e-6) * step
    inside = (away.min(axis=1) <= half) | ((90 - np.abs(target) < step) & (away.min(axis=1) <= step) & (not is_lon))
    found = np.zeros(away.shape)
    found[np.flatnonzero(inside), near[inside]] = 1.0
    return found


def _overlaps(cells: Cells, lat: np.ndarray, lon: np.ndarray) -> csr_matrix:
    """Overlaps of polygons in longitude and the sine of latitude, in which areas are those of the sphere."""
    if cells.corners is None:
        raise PrepareError(
            "the corners of the cells of the inputs are not known, which conservative needs. Take bilinear or nearest."
        )
    if find_spec("shapely") is None:
        raise PrepareError("conservative regridding needs shapely. Install statecast with the extra `regrid`.")
    import shapely

    x_edges, y_edges = _column_edges(lon), np.sin(np.deg2rad(row_edges(lat)))
    west, south = (a.ravel() for a in np.meshgrid(x_edges[:-1], np.minimum(y_edges[1:], y_edges[:-1])))
    east, north = (a.ravel() for a in np.meshgrid(x_edges[1:], np.maximum(y_edges[1:], y_edges[:-1])))
    boxes = shapely.box(west, south, east, north)
    tree = shapely.STRtree(boxes)
    corner_lon, corner_lat = cells.corners()
    entries = []
    for start in range(0, len(cells.lat), POLYGONS_AT_ONCE):
        part = slice(start, start + POLYGONS_AT_ONCE)
        polygons, owners = _polygons(corner_lon[part], corner_lat[part], cells.is_straight, x_edges[[0, -1]])
        of, box = tree.query(polygons, predicate="intersects")
        area = shapely.area(shapely.intersection(polygons[of], boxes[box]))
        entries.append((area / shapely.area(boxes[box]), box, owners[of] + start))
    share, box, cell = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return csr_matrix(coo_matrix((share, (box, cell)), shape=(len(boxes), len(cells.lat))))


def _polygons(lon: np.ndarray, lat: np.ndarray, is_straight: bool, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygons of cells in (longitude, sine of latitude), as often as a turn of 360° brings them into `extent`, and their cells."""
    import shapely

    if not is_straight:
        lon, lat = _densified(lon, lat)
    around = np.concatenate([lon, lon[:, :1]], axis=1)
    unwrapped = np.unwrap(around, axis=1, period=360.0)
    x, y = unwrapped[:, :-1], np.sin(np.deg2rad(lat))
    turned = unwrapped[:, -1] - unwrapped[:, 0]
    shapes = shapely.polygons(np.stack([x, y], axis=-1))
    for cell in np.flatnonzero(np.abs(turned) > 180.0):  # a pole lies inside: close the ring along it
        pole = np.sign(y[cell].mean())
        ring = np.column_stack([unwrapped[cell], np.append(y[cell], y[cell, 0])])
        shapes[cell] = shapely.Polygon([*ring, (unwrapped[cell, -1], pole), (unwrapped[cell, 0], pole)])
    for cell in np.flatnonzero((np.abs(lat) > AT_POLE).any(axis=1) & (np.abs(turned) <= 180.0)):
        shapes[cell] = shapely.Polygon(_along_the_pole(lon[cell], y[cell], np.abs(lat[cell]) > AT_POLE))
    is_broken = ~shapely.is_valid(shapes)
    shapes[is_broken] = shapely.make_valid(shapes[is_broken])
    west, _, east, _ = shapely.bounds(shapes).T
    copies, owners = [], []
    for turn in range(-3, 4):
        inside = np.flatnonzero((east + turn * 360.0 > extent[0]) & (west + turn * 360.0 < extent[1]))
        copies.append(shapely.transform(shapes[inside], lambda c, by=turn * 360.0: c + np.array([by, 0.0])))
        owners.append(inside)
    return np.concatenate(copies), np.concatenate(owners)


def _along_the_pole(lon: np.ndarray, y: np.ndarray, at_pole: np.ndarray) -> np.ndarray:
    """A ring with a corner at a pole, which has every longitude: it is drawn at those of the corners before and after."""
    first = int(np.flatnonzero(~at_pole)[0])
    lon, y, at_pole = (np.roll(a, -first) for a in (lon, y, at_pole))
    pole = np.flatnonzero(at_pole)
    before, after = lon[pole[0] - 1], lon[(pole[-1] + 1) % len(lon)]
    x = np.concatenate([lon[: pole[0]], [before, after], lon[pole[-1] + 1 :]])
    ring = np.unwrap(x, period=360.0)
    sign = np.sign(y[pole[0]])
    return np.column_stack([ring, np.concatenate([y[: pole[0]], [sign, sign], y[pole[-1] + 1 :]])])


def _densified(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """More corners, on the great circles between the given ones."""
    here = unit_vectors(lat, lon)
    after = np.roll(here, -1, axis=1)
    shares = np.arange(SIDE_POINTS)[:, None] / SIDE_POINTS
    points = here[:, :, None] * (1 - shares) + after[:, :, None] * shares
    y, x = degrees_of(points.reshape(len(lon), -1, 3))
    return x, y


def _nearest(cells: Cells, lat: np.ndarray, lon: np.ndarray) -> csr_matrix:
    distance, cell = cKDTree(cells.vectors).query(_targets(lat, lon))
    inside = distance <= REACH * _spacing(cells)[cell]
    points = np.flatnonzero(inside)
    return csr_matrix((np.ones(len(points)), (points, cell[inside])), shape=(len(distance), len(cells.lat)))


def _targets(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return unit_vectors(*(a.ravel() for a in np.meshgrid(lat, lon, indexing="ij")))


def _spacing(cells: Cells) -> np.ndarray:
    """Distance of each centre to its third neighbour, at least to the second of a row: about the longer side of its cell."""
    near, _ = cKDTree(cells.vectors).query(cells.vectors, k=min(5, len(cells.lat)))
    return np.asarray(near[:, -1])


def _in_triangles(cells: Cells, lat: np.ndarray, lon: np.ndarray) -> csr_matrix:
    """Barycentric weights in the triangles of a Delaunay triangulation of the sphere, made in the stereographic plane of each half."""
    targets, spacing = _targets(lat, lon), _spacing(cells)
    entries = []
    for pole in (1.0, -1.0):
        of_half = np.flatnonzero(targets[:, 2] * pole >= 0)
        near = np.flatnonzero(cells.vectors[:, 2] * pole > -0.5)
        if len(of_half) == 0 or len(near) < 3:
            continue
        triangles = Delaunay(_stereographic(cells.vectors[near], pole))
        found = triangles.find_simplex(_stereographic(targets[of_half], pole))
        point, simplex = of_half[found >= 0], triangles.simplices[found[found >= 0]]
        corner = near[simplex]
        share = _barycentric(cells.vectors[corner], targets[point])
        sides = np.linalg.norm(cells.vectors[corner] - cells.vectors[np.roll(corner, 1, axis=1)], axis=-1)
        is_cell = sides.max(axis=1) <= LONGEST_SIDE * spacing[corner].min(axis=1)
        entries.append((share[is_cell].ravel(), np.repeat(point[is_cell], 3), corner[is_cell].ravel()))
    if not entries:
        return csr_matrix((len(targets), len(cells.lat)))
    share, point, corner = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return csr_matrix(coo_matrix((share, (point, corner)), shape=(len(targets), len(cells.lat))))


def _stereographic(vectors: np.ndarray, pole: float) -> np.ndarray:
    """The plane in which the half around `pole` is a disc; it keeps circles, and so the Delaunay triangles of the sphere."""
    return vectors[:, :2] / (1.0 + pole * vectors[:, 2])[:, None]


def _barycentric(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    volumes = np.abs(np.linalg.det(corners))
    corners = np.where((volumes > 1e-18)[:, None, None], corners, np.eye(3))  # three centres in a line have no inside
    shares = np.linalg.solve(corners.transpose(0, 2, 1), points[..., None])[..., 0]
    shares = np.clip(shares, 0.0, None)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
