"""Positions of windows: the whole domain, or a random neighbourhood whose centre is uniform on the sphere."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from statecast.fields.sources import Grid
from statecast.patches import Patch

SEED = 0  # of the places where neighbourhoods are verified: the same in every run


@dataclass(frozen=True)
class Place:
    """A window: its first time step, number of steps, rows, and columns (which may cross the date line)."""

    start: int
    steps: int
    rows: slice
    columns: np.ndarray

    @property
    def time_steps(self) -> slice:
        """The time steps of the record that the window covers."""
        return slice(self.start, self.start + self.steps)

    def from_step(self, step: int) -> "Place":
        """The later part of the window, from its step `step` on."""
        return Place(self.start + step, self.steps - step, self.rows, self.columns)


def part_of(grid: Grid, place: Place) -> Grid:
    """The grid of a window; longitudes keep increasing across the date line."""
    lon = grid.lon[place.columns]
    return Grid(grid.lat[place.rows], np.unwrap(lon, period=360.0) if len(lon) else lon)


def whole_domain(grid: Grid, start: int, steps: int) -> Place:
    """The window over every row and column, from step `start`."""
    return Place(start, steps, slice(0, len(grid.lat)), np.arange(len(grid.lon)))


def window_around(place: Place, of: Grid, grid: Grid, shape: tuple[int, int]) -> Place:
    """The window of `shape` (rows, columns) on another grid around the centre of `place`, a window of the grid `of`.

    A window that would cross an edge of the grid is shifted to end there.
    """
    if shape == grid.shape:
        return whole_domain(grid, place.start, place.steps)
    rows, columns = shape
    lat = of.lat[place.rows].mean()
    lon = np.unwrap(of.lon[place.columns], period=360.0).mean()
    centres = np.convolve(grid.lat, np.full(rows, 1 / rows), mode="valid")
    first_row = int(np.abs(centres - lat).argmin())
    middle = grid.lon[0] + (columns - 1) / 2 * grid.column_spacing_deg  # of a window that starts at the first column
    turn = lon - middle
    turn = turn % 360.0 if grid.is_periodic else (turn + 180.0) % 360.0 - 180.0
    first_column = round(turn / grid.column_spacing_deg)
    if not grid.is_periodic:
        first_column = min(max(first_column, 0), grid.shape[1] - columns)
    of_window = (first_column + np.arange(columns)) % grid.shape[1]
    return Place(place.start, place.steps, slice(first_row, first_row + rows), of_window)


def same_size(extent: tuple[int, int], of: Grid, grid: Grid, patch: Patch) -> tuple[int, int]:
    """Rows and columns of `grid` that cover the same number of degrees as `extent` on the grid `of`: whole tokens, at least one."""
    rows = extent[0] * of.spacing_deg / grid.spacing_deg
    columns = extent[1] * of.column_spacing_deg / grid.column_spacing_deg
    return _whole_tokens(rows, patch[1], grid.shape[0]), _whole_tokens(columns, patch[2], grid.shape[1])


def _whole_tokens(points: float, size: int, most: int) -> int:
    return max(1, min(round(points / size), most // size)) * size


def smallest_domain(grids: Mapping[str, Grid]) -> str:
    """The stream on whose grid windows are drawn: the one with the smallest area on the sphere; the first if several are equal."""
    return min(grids, key=lambda name: _covered(grids[name]))


def largest_domain(grids: Mapping[str, Grid]) -> str:
    """The stream whose grid has the largest area on the sphere; the first if several are equal."""
    return max(grids, key=lambda name: _covered(grids[name]))


def _covered(grid: Grid) -> float:
    return round(float(grid.cell_area.sum()), 6)


@dataclass(frozen=True)
class WindowSampler:
    """Draws windows of `steps` time steps and `extent` (rows, columns); the whole domain if `extent` is None.

    The centre of a neighbourhood is uniform on the part of the sphere covered by the cells of the grid. A centre closer
    to an edge than half the extent gets the window that ends at the edge: windows do not cross the poles, so points near
    a pole occur in fewer distinct windows, but never twice in the same window. Columns are periodic if the grid spans
    the globe.

    Raises ValueError if the extent exceeds the grid.
    """

    grid: Grid
    starts: np.ndarray
    steps: int
    extent: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.extent and (self.extent[0] > self.grid.shape[0] or self.extent[1] > self.grid.shape[1]):
            raise ValueError(
                f"window extent {list(self.extent)} exceeds the grid of {list(self.grid.shape)} points. "
                "Choose a smaller one."
            )

    @cached_property
    def _area_up_to_row(self) -> Float[np.ndarray, " H"]:
        """Cumulative share of the domain's area up to each row; the last value is 1."""
        area = self.grid.cell_area.sum(axis=1).cumsum()
        return area / area[-1]

    def draw(self, generator: np.random.Generator) -> Place:
        """Draw a window, using one to three random numbers from `generator`."""
        start = int(generator.choice(self.starts))
        if self.extent is None:
            return whole_domain(self.grid, start, self.steps)
        rows, columns = self.extent
        centre = int(np.searchsorted(self._area_up_to_row, generator.uniform(), side="right"))
        share = generator.uniform()
        first_row = int(np.clip(centre - rows // 2, 0, len(self.grid.lat) - rows))
        return Place(start, self.steps, slice(first_row, first_row + rows), self._columns(share, columns))

    def _columns(self, share: float, columns: int) -> np.ndarray:
        total = len(self.grid.lon)
        centre = int(share * total)
        first = centre - columns // 2
        if not self.grid.is_periodic:
            first = min(max(first, 0), total - columns)
        return (first + np.arange(columns)) % total


@dataclass(frozen=True)
class Windows:
    """Where windows lie: the one place where this is decided.

    grids   of each stream
    shapes  rows and columns of the window of each stream
    extent  that was asked for; None: the whole domain
    """

    grids: Mapping[str, Grid]
    shapes: Mapping[str, tuple[int, int]]
    extent: tuple[int, int] | None

    @classmethod
    def of(cls, extent: tuple[int, int] | None, grids: Mapping[str, Grid], patches: Mapping[str, Patch]) -> "Windows":
        """`extent` is that of the first stream, streams on other grids cover as many degrees; None: the whole domain of each."""
        if extent is None:
            return cls(grids, {name: grid.shape for name, grid in grids.items()}, None)
        first = next(iter(grids.values()))
        shapes = {
            name: extent if grid.is_like(first) else same_size(extent, first, grid, patches[name])
            for name, grid in grids.items()
        }
        return cls(grids, shapes, extent)

    @property
    def is_whole(self) -> bool:
        """True if the window of every stream is its whole domain."""
        return all(self.shapes[name] == grid.shape for name, grid in self.grids.items())

    @property
    def drawn_on(self) -> str:
        """The stream on whose grid windows are drawn."""
        return smallest_domain(self.grids)

    def sampler(self, starts: np.ndarray, steps: int) -> "WindowSampler":
        """Draws windows of so many steps. Raises ValueError if they exceed the grid."""
        grid, shape = self.grids[self.drawn_on], self.shapes[self.drawn_on]
        return WindowSampler(grid, starts, steps, None if self.extent is None else shape)

    def around(self, place: Place) -> dict[str, Place]:
        """The window of each stream that belongs to `place`, a window of the grid they are drawn on, see `window_around`."""
        of = self.grids[self.drawn_on]
        return {
            name: place if grid.is_like(of) else window_around(place, of, grid, self.shapes[name])
            for name, grid in self.grids.items()
        }

    def whole(self, start: int, steps: int) -> dict[str, Place]:
        """The whole domain of each stream."""
        return {name: whole_domain(grid, start, steps) for name, grid in self.grids.items()}

    def drawn(self, start: int, steps: int) -> dict[str, Place]:
        """The whole domain of each stream, or a neighbourhood drawn as in training: a function of `start` alone."""
        if self.is_whole:
            return self.whole(start, steps)
        place = self.sampler(np.array([start]), steps).draw(np.random.default_rng([SEED, start]))
        return self.around(place)
