"""Follow a storm: what the forecast of the deepest mid-latitude low of the held-out months comes from, 72, 48 and 24 hours before.

    python benchmarks/storm.py --model RUN [--data sample:atmosphere] [--out docs/figures] [--smoke]

The low is the deepest departure of msl from climatology between 35 and 65 degrees north or south. Each map shows the state at a time
before it (msl's departure, contours) and the sensitivity to that state of the forecast of msl at the low's centre: the gradient's size,
the root of the sum of its squares over all channels and steps, each for one standard deviation of its anomaly. Within the model's reach
that is one question; further back the ensemble's mean goes on from its own last steps and the gradient is taken through all of
its blocks (`statecast.fields.explain.forecast_sensitivity`). Writes storm_attention.png (72, 48, 24 h) and storm_attention.gif (every
step from 72 h on), prints where the centre of the sensitivity lies.
"""

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shared import SAMPLE, centre_offset_deg, given_or_tiny, require_model
from statecast import open_fields
from statecast.fields.evaluation.figures import MAP_WIDTH, draw_map
from statecast.fields.explain.figures import mark
from statecast.fields.explain.forecast_sensitivity import forecast_sensitivity
from statecast.fields.sources import Grid, Record
from statecast.fields.sources.dates import select_period
from statecast.fields.tokenizers.windows import whole_domain
from statecast.trained import TrainedModel

HELD_OUT = ("2001-01-05", "2001-02-28")  # the chain needs three days and a history before the low
STRIP_H, EVERY_H = (72.0, 48.0, 24.0), 6.0
LATITUDES = (35.0, 65.0)
WEST_DEG, EAST_DEG = 110.0, 50.0  # of the low: more of the map lies where it came from
LEVELS_HPA = (-30, -20, -10, 10, 20, 30)


def departures(trained: TrainedModel, dataset: xr.Dataset) -> xr.DataArray:
    """msl's departure from climatology in hPa (time, lat, lon) over the held-out months."""
    tokenizer = next(t for t in trained.codecs.values() if "msl" in t.stream.variables)
    record = Record.open(select_period(dataset, HELD_OUT), tokenizer.stream)
    climatology = tokenizer.climatology_at(record, whole_domain(record.grid, 0, len(record)))
    number = [c.variable for c in record.channels].index("msl")
    field = (record.read(slice(None)) - climatology)[:, number] / 100
    axes = {axis: record.dataset[axis].values for axis in ("time", "lat", "lon")}
    return xr.DataArray(field, axes, ("time", "lat", "lon"))


def deepest(field: xr.DataArray) -> xr.DataArray:
    """The lowest value at middle latitudes, as a scalar with its place and time."""
    middle = field.where((np.abs(field.lat) >= LATITUDES[0]) & (np.abs(field.lat) <= LATITUDES[1]))
    return middle[middle.argmin(...)]


def sizes(trained: TrainedModel, dataset: xr.Dataset, low: xr.DataArray, when: Any, lead_time_h: float) -> xr.DataArray:
    """Size of the sensitivity (lat, lon) in hPa, to all that is shown up to `lead_time_h` before the low."""
    start = (when - timedelta(hours=float(lead_time_h))).isoformat()
    query = (float(low.lat), float(low.lon), "msl")
    field = forecast_sensitivity(trained, dataset, start, query, float(lead_time_h))
    return np.sqrt((field.fillna(0) ** 2).sum(["time", "channel"])) / 100


def draw(axis: Axes, size: xr.DataArray, state: xr.DataArray, lead_time_h: float, largest: float) -> None:
    """The size of the sensitivity in colours, the state in contours, a cross where the low will be."""
    grid, lon = Grid(size.lat.values, size.lon.values), float(size.query_lon)
    middle = lon - (WEST_DEG - EAST_DEG) / 2
    draw_map(axis, grid, size.values, "BuPu", 0.0, largest, centre_deg=middle)
    turned = (grid.lon - middle + 180) % 360
    order = np.argsort(turned)
    columns = turned[order] - 180 + middle
    for levels, colour in (
        ([v for v in LEVELS_HPA if v < 0], "#c0392b"),
        ([v for v in LEVELS_HPA if v > 0], "#7f8c8d"),
    ):
        axis.contour(columns, grid.lat, state.values[:, order], levels=levels, colors=colour, linewidths=0.9)
    mark(axis, size)
    axis.set_xlim(lon - WEST_DEG, lon + EAST_DEG)
    axis.set_ylim(*((20, 80) if size.query_lat > 0 else (-80, -20)))
    axis.set_title(f"{lead_time_h:g} h before: {str(state.time.values)[:13].replace('T', ' ')} UTC", fontsize=9)


def centre(size: xr.DataArray) -> tuple[float, float]:
    """Latitude, and longitude less that of the point, of the centre of size squared."""
    weight = size**2
    lat = float((weight * size.lat).sum() / weight.sum())
    return lat, centre_offset_deg(weight, float(size.query_lon))


def strip(found: dict[float, xr.DataArray], states: dict[float, xr.DataArray], out: Path) -> None:
    """The maps of STRIP_H one beside the other."""
    shown = [lead for lead in STRIP_H if lead in found]  # one of them in a smoke test
    figure = Figure(figsize=(MAP_WIDTH * 1.35 * len(shown), 2.3), layout="constrained")
    for axis, lead in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        draw(axis, found[lead], states[lead], lead, float(found[lead].max()))
    figure.savefig(out, dpi=110)


def animation(found: dict[float, xr.DataArray], states: dict[float, xr.DataArray], out: Path) -> None:
    """All maps one after the other, each with its own scale."""
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    FigureCanvasAgg(figure)

    def frame(lead: float) -> list[Any]:
        figure.clear()
        draw(figure.subplots(), found[lead], states[lead], lead, float(found[lead].max()))
        return []

    FuncAnimation(figure, frame, frames=list(found), blit=False).save(out, writer=PillowWriter(fps=2), dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="run or model that forecasts; may be left out with --smoke")
    parser.add_argument("--data", default=SAMPLE)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    parser.add_argument("--smoke", action="store_true", help="two maps only")
    arguments = parser.parse_args()
    require_model(parser, "--model", arguments.model, arguments.smoke)
    arguments.out.mkdir(parents=True, exist_ok=True)
    trained, dataset = given_or_tiny(arguments.model), open_fields(arguments.data)
    field = departures(trained, dataset)
    low = deepest(field.isel(time=slice(12, None)))
    when = field.indexes["time"][int(np.flatnonzero(field.time.values == low.time.values)[0])]
    print(
        f"deepest low: {float(low):.1f} hPa from climatology at {float(low.lat):.1f} N, {float(low.lon):.1f} E on {when}"
    )
    leads = [30.0, 24.0] if arguments.smoke else list(np.arange(STRIP_H[0], 0, -EVERY_H))
    found = {lead: sizes(trained, dataset, low, when, lead) for lead in leads}
    states = {lead: field.sel(time=when - timedelta(hours=float(lead))) for lead in leads}
    for lead in (lead for lead in leads if lead in STRIP_H or arguments.smoke):
        lat, apart = centre(found[lead])
        print(
            f"  {lead:3g} h before: centre of the sensitivity at {lat:.1f} N, {apart:+.1f} degrees of longitude from the low"
        )
    strip(found, states, arguments.out / "storm_attention.png")
    animation(found, states, arguments.out / "storm_attention.gif")


if __name__ == "__main__":
    main()
