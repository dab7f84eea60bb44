"""Fields at points. Axes: N point, S station, H row, W column, B any leading axes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy import sparse

from statecast.fields.sources import Grid
from statecast.fields.tokenizers.first_guess import linear_weights, longitudes_near


@dataclass(frozen=True)
class PointGrid:
    """What the statistics of anomalies ask of a grid: all points count alike."""

    points: int

    @property
    def shape(self) -> tuple[int, int]:
        return 1, self.points

    @cached_property
    def cell_area(self) -> Float[np.ndarray, "1 S"]:
        return np.full((1, self.points), 1.0 / self.points)


def at_points(grid: Grid, lat: Float[np.ndarray, " N"], lon: Float[np.ndarray, " N"]) -> sparse.csr_array:
    """The matrix (N, H W) of bilinear interpolation to points; beyond the outermost rows and columns the nearest point."""
    points = Grid(lat, lon)
    wrapped = np.append(grid.lon, grid.lon[0] + 360.0) if grid.is_periodic else grid.lon
    rows, columns = linear_weights(grid.lat, lat), linear_weights(wrapped, longitudes_near(grid, points))
    weights, indices = [], []
    for r in _corners(rows, len(lat)):
        for c in _corners(columns, len(lat)):
            weights.append(r[1] * c[1])
            indices.append(r[0] * len(grid.lon) + c[0] % len(grid.lon))
    first = np.tile(np.arange(len(lat)), len(weights))
    values = (np.concatenate(weights), (first, np.concatenate(indices)))
    return sparse.csr_array(sparse.coo_array(values, shape=(len(lat), grid.size)))


def _corners(weights: sparse.csr_array, points: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Index and weight of each of the points that a value is interpolated from, on one axis."""
    index, weight = (part.reshape(points, -1) for part in (weights.indices, weights.data))
    return [(index[:, k], weight[:, k]) for k in range(index.shape[1])]


def interpolated(fields: Float[np.ndarray, "*B H W"], matrix: sparse.csr_array) -> Float[np.ndarray, "*B N"]:
    """Fields at the points of a matrix, see `at_points`."""
    flat = matrix @ fields.reshape(-1, matrix.shape[1]).T
    return np.ascontiguousarray(flat.T).reshape(*fields.shape[:-2], matrix.shape[0]).astype(fields.dtype)


def around_points(
    grid: Grid, lat: Float[np.ndarray, " S"], lon: Float[np.ndarray, " S"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Each point with its surroundings, 3 x 3 points one grid spacing apart, row by row from the south-west."""
    north, east = np.meshgrid((-1, 0, 1), (-1, 0, 1), indexing="ij")
    lats = lat[:, None] + north.ravel() * grid.spacing_deg
    lons = lon[:, None] + east.ravel() * grid.column_spacing_deg
    return np.clip(lats, -90.0, 90.0).ravel(), (lons % 360.0).ravel()
