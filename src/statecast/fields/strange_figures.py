"""Maps of what is strange. Axes: H row, W column."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from statecast.fields.evaluation.figures import draw_map, map_panels
from statecast.fields.sources import Grid

COLUMNS = 4
COLOURS = "YlOrRd"


def strange_maps(dataset: xr.Dataset) -> Figure:
    """Of each variable the largest excess over its threshold, with a dot where it is above 1."""
    names = [str(name) for name in dataset.data_vars if str(name).endswith("_excess")]
    rows = -(-len(names) // COLUMNS)
    columns = min(COLUMNS, len(names))
    figure, axes = map_panels(rows, [""] * columns, grid_of(dataset[names[0]]))
    for number, axis in enumerate(axes.ravel()):
        axis.set_visible(number < len(names))
        if number < len(names):
            field = relative(dataset, names[number])
            grid = grid_of(field)
            axis.set_title(names[number].removesuffix("_excess"), fontsize=9)
            draw_map(axis, grid, field.values, COLOURS, 0.0, 2.0)
            row, column = np.nonzero(field.values > 1)
            lon = (grid.lon[column] + 180) % 360 - 180 if grid.is_periodic else grid.lon[column]
            axis.plot(lon, grid.lat[row], ".k", markersize=2)
    return figure


def relative(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """The largest excess over all times and levels, in units of the threshold."""
    over = dataset[name] / np.maximum(np.abs(dataset[name.replace("_excess", "_threshold")]), 1.0)
    return over.max([dim for dim in over.dims if not str(dim).endswith(("lat", "lon"))])


def grid_of(field: xr.DataArray) -> Grid:
    lat, lon = (next(dim for dim in field.dims if str(dim).endswith(axis)) for axis in ("lat", "lon"))
    return Grid(field[lat].values, field[lon].values)
