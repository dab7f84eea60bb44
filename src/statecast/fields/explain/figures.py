"""Maps of an explanation, with the asked point in the middle. Axes: H row, W column."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from statecast.fields.evaluation.figures import DIVERGING, draw_map, map_panels
from statecast.fields.explain.labelled import sensitivities
from statecast.fields.sources import Grid

SHARES = "BuPu"  # of attention: white is 0
SHOWN_CHANNELS, SHOWN_TIMES = 4, 3
AROUND_LAT_DEG, AROUND_LON_DEG = (
    40.0,
    75.0,
)  # around the point, on maps of the sensitivity: as far as weather moves in a day


def sensitivity_maps(explained: xr.Dataset) -> Figure:
    """Sensitivity to the most influential channels, at the last visible times, around the point."""
    fields = [field.isel(time=slice(-SHOWN_TIMES, None)) for field in sensitivities(explained)]
    channels = [field.isel(channel=number) for field in fields for number in range(field.sizes["channel"])]
    strongest = sorted(channels, key=_weight, reverse=True)[:SHOWN_CHANNELS]
    titles = [f"{short(time)}" for time in explained.time.values[-SHOWN_TIMES:]]
    around = {"height_deg": 2 * AROUND_LAT_DEG, "width_deg": 2 * AROUND_LON_DEG}
    figure, axes = map_panels(len(strongest), titles, _grid_of(strongest[0]), **around)
    for channel, panels in zip(strongest, axes, strict=True):
        grid = _grid_of(channel)
        largest = max(float(np.nanmax(np.abs(channel.values))), 1e-30)
        panels[0].set_ylabel(f"to {channel.channel.item()}\n({channel.attrs['units']} per std)", fontsize=8)
        for panel, values in zip(panels, channel.values, strict=True):
            draw_map(panel, grid, values, DIVERGING, -largest, largest, centre_deg=float(explained.query_lon))
            mark(panel, explained)
            zoom(panel, explained)
    return figure


def head_maps(explained: xr.Dataset, stream: str, name: str) -> Figure:
    """A map for each layer (rows) and head (columns): attention to the tokens of a stream, summed over times and levels."""
    attention = together(explained[f"{stream}_{name}"], stream)
    grid = token_grid(explained, stream)
    titles = [f"head {k + 1}" for k in range(attention.sizes["head"])]
    figure, axes = map_panels(len(attention), titles, grid)
    for number, (layer, panels) in enumerate(zip(attention.values, axes, strict=True)):
        panels[0].set_ylabel(f"layer {number + 1}", fontsize=9)
        for panel, field in zip(panels, layer, strict=True):
            draw_map(panel, grid, field, SHARES, 0.0, np.nanmax(field), centre_deg=float(explained.query_lon))
            mark(panel, explained)
    return figure


def rollout_maps(explained: xr.Dataset, streams: Sequence[str]) -> Figure:
    """Attention roll-out of each stream (rows) at the last times of its tokens (columns)."""
    fields = [
        together(explained[f"{s}_rollout"], s, keep_time=True).isel({f"{s}_time": slice(-SHOWN_TIMES, None)})
        for s in streams
    ]
    columns = max(len(field) for field in fields)
    figure, axes = map_panels(len(streams), [""] * columns, token_grid(explained, streams[0]))
    for stream, field, panels in zip(streams, fields, axes, strict=True):
        panels[0].set_ylabel(stream, fontsize=9)
        for number, panel in enumerate(panels):
            panel.set_visible(number < len(field))
            if number < len(field):
                panel.set_title(short(field[f"{stream}_time"].values[number]), fontsize=9)
                largest = float(np.nanmax(field.values))
                draw_map(
                    panel,
                    token_grid(explained, stream),
                    field.values[number],
                    SHARES,
                    0.0,
                    largest,
                    centre_deg=float(explained.query_lon),
                )
                mark(panel, explained)
    return figure


def counterfactual_maps(explained: xr.Dataset) -> Figure:
    """The anomaly of the answer and its difference under the other α, for the asked variable and level."""
    variable, _, level = explained.attrs["query"].partition("@")
    fields = [explained[f"{variable}_{suffix}"] for suffix in ("anomaly", "difference")]
    fields = [field.sel(level=float(level)) if level else field for field in fields]
    grid = _grid_of(fields[0])
    figure, axes = map_panels(1, ("answer, departure from climatology", "difference under the other α"), grid)
    axes[0][0].set_ylabel(f"{explained.attrs['query']} ({fields[0].attrs['units']})", fontsize=9)
    for panel, field in zip(axes[0], fields, strict=True):
        largest = max(float(np.nanpercentile(np.abs(field.values), 99.5)), 1e-30)
        draw_map(panel, grid, field.values, DIVERGING, -largest, largest, centre_deg=float(explained.query_lon))
        mark(panel, explained)
    return figure


def together(array: xr.DataArray, stream: str, *, keep_time: bool = False) -> xr.DataArray:
    """Attention summed over levels, and over times; NaN where no token is visible."""
    axes = [f"{stream}_level", *([] if keep_time else [f"{stream}_time"])]
    return array.sum([axis for axis in axes if axis in array.dims], min_count=1)


def token_grid(explained: xr.Dataset, stream: str) -> Grid:
    """The centres of a stream's tokens."""
    return Grid(explained[f"{stream}_lat"].values, explained[f"{stream}_lon"].values)


def _weight(gradient: xr.DataArray) -> float:
    """Squared gradient per cell area, a sum over the globe that doesn't depend on the grid."""
    return float((gradient.fillna(0) ** 2).sum() / _grid_of(gradient).cell_area.mean())


def _grid_of(field: xr.DataArray) -> Grid:
    return Grid(field.lat.values, field.lon.values)


def mark(axis: Axes, explained: xr.Dataset | xr.DataArray) -> None:
    """Draw a cross at the asked point."""
    low, high = axis.get_xlim()
    lon = float(explained.query_lon)
    lon = next((lon + turn for turn in (0.0, -360.0, 360.0) if low <= lon + turn <= high), lon)
    axis.plot([lon], [float(explained.query_lat)], "+", color="k", markersize=9, markeredgewidth=2.4)
    axis.plot([lon], [float(explained.query_lat)], "+", color="w", markersize=7, markeredgewidth=0.9)


def zoom(axis: Axes, explained: xr.Dataset | xr.DataArray) -> None:
    """Limit the map to the surroundings of the point."""
    lat, lon = float(explained.query_lat), float(explained.query_lon)
    south, north = axis.get_ylim()
    first = float(np.clip(lat - AROUND_LAT_DEG, south, max(south, north - 2 * AROUND_LAT_DEG)))
    west, east = axis.get_xlim()
    axis.set_ylim(first, min(first + 2 * AROUND_LAT_DEG, north))
    axis.set_xlim(max(west, lon - AROUND_LON_DEG), min(east, lon + AROUND_LON_DEG))


def short(time: np.datetime64 | object) -> str:
    """A time to the hour, in any calendar."""
    return str(time)[:13].replace("T", " ") + " UTC"
