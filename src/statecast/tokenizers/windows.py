"""Where a window lies: the whole domain, or a random neighbourhood whose centre is uniform on the sphere."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from statecast.sources import Grid


@dataclass(frozen=True)
class Place:
    """A window: its first time step, number of steps, rows, and columns (which may run across the date line)."""

    start: int
    steps: int
    rows: slice
    columns: np.ndarray


def whole_domain(grid: Grid, start: int, steps: int) -> Place:
    """The window over every row and column, from step `start`."""
    return Place(start, steps, slice(0, len(grid.lat)), np.arange(len(grid.lon)))


@dataclass(frozen=True)
class WindowSampler:
    """Draws windows of `steps` time steps and `extent` (rows, columns); the whole domain if `extent` is None.

    The centre of a neighbourhood is uniform on the part of the sphere that the cells of the grid cover. A centre closer
    to an edge than half the extent gets the window that ends at the edge: windows don't cross the poles, so points near
    one are seen by fewer distinct windows, none is seen twice in one. Columns are periodic if the grid goes round the
    globe.

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
        """Share of the domain's area in each row and those before it; the last is 1."""
        area = self.grid.cell_area.sum(axis=1).cumsum()
        return area / area[-1]

    def draw(self, generator: np.random.Generator) -> Place:
        """A window; two or three numbers are drawn from `generator`."""
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
