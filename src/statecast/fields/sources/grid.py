"""Latitude-longitude grids: cell areas, periodicity, spacing."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Grid:
    """Coordinates of the cell centres, both ascending; latitudes need not be equally spaced (Gaussian grids)."""

    lat: Float[np.ndarray, " H"]
    lon: Float[np.ndarray, " W"]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.lat), len(self.lon)

    @property
    def size(self) -> int:
        return len(self.lat) * len(self.lon)

    def is_like(self, other: "Grid") -> bool:
        """True if both grids have the same points but for rounding: a thousandth of a degree, or a twentieth of a finer spacing."""
        if self.shape != other.shape:
            return False
        tolerance = min(1e-3, abs(self.spacing_deg) / 20, abs(self.column_spacing_deg) / 20)
        same_lat = np.allclose(self.lat, other.lat, rtol=0, atol=tolerance)
        return same_lat and np.allclose(self.lon, other.lon, rtol=0, atol=tolerance)

    @property
    def spacing_deg(self) -> float:
        """Mean distance between neighbouring rows in degrees; between columns if there is only one row."""
        axis = self.lat if len(self.lat) > 1 else self.lon
        return float(np.diff(axis).mean()) if len(axis) > 1 else 1.0

    @property
    def column_spacing_deg(self) -> float:
        """Mean distance between neighbouring columns in degrees; between rows if there is only one column."""
        return float(np.diff(self.lon).mean()) if len(self.lon) > 1 else self.spacing_deg

    @cached_property
    def is_periodic(self) -> bool:
        """True if the columns span the globe: the gap across the date line equals the gap between columns."""
        if len(self.lon) < 2:
            return False
        gap = self.lon[0] + 360.0 - self.lon[-1]
        return bool(abs(gap - np.diff(self.lon).mean()) < 0.01 * gap)

    @property
    def box(self) -> str:
        """The range of its points, as text."""
        return f"{self.lat[0]:g} to {self.lat[-1]:g} N, {self.lon[0]:g} to {self.lon[-1]:g} E"

    def overlaps(self, other: "Grid") -> bool:
        """True if some place lies within cells of both grids, regardless of the origin of their longitudes."""
        (south, north), (their_south, their_north) = (_edges(g.lat, -90.0, 90.0)[[0, -1]] for g in (self, other))
        if max(south, their_south) >= min(north, their_north):
            return False
        (west, east), (their_west, their_east) = (_edges(g.lon, -np.inf, np.inf)[[0, -1]] for g in (self, other))
        eastwards = (their_west - west) % 360.0  # from our western edge to theirs
        return bool(eastwards < east - west or eastwards + their_east - their_west > 360.0)

    def holds(self, lat: Float[np.ndarray, " N"], lon: Float[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """True for the points that lie in its cells."""
        south, north = _edges(self.lat, -90.0, 90.0)[[0, -1]]
        west, east = _edges(self.lon, -np.inf, np.inf)[[0, -1]]
        in_columns = self.is_periodic | ((lon - west) % 360.0 <= east - west)
        return in_columns & (lat >= south) & (lat <= north)

    @cached_property
    def cell_area(self) -> Float[np.ndarray, "H W"]:
        """Area of each cell as a share of the sphere: Δsin(lat) Δlon / 4π. The areas of a global grid sum to 1.

        Rows meet halfway between their centres. The first and last row reach the pole if it is less than one row away,
        and otherwise extend as far outwards as inwards, as do the first and last column of a regional grid.
        """
        rows = np.diff(np.sin(np.deg2rad(np.clip(_edges(self.lat, -90.0, 90.0), -90.0, 90.0))))
        if self.is_periodic:
            wrapped = np.concatenate([[self.lon[-1] - 360.0], self.lon, [self.lon[0] + 360.0]])
            columns = (wrapped[2:] - wrapped[:-2]) / 2
        else:
            columns = np.diff(_edges(self.lon, -np.inf, np.inf))
        return rows[:, None] * np.deg2rad(columns)[None, :] / (4 * np.pi)


def _edges(centres: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    first_step, last_step = centres[1] - centres[0], centres[-1] - centres[-2]
    first = lowest if centres[0] - lowest < first_step else centres[0] - first_step / 2
    last = highest if highest - centres[-1] < last_step else centres[-1] + last_step / 2
    return np.concatenate([[first], middle, [last]])
