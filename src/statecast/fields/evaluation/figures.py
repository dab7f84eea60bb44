"""The figures of the report. Axes: E member, T time, V channel, H row, W column; L lead time."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from statecast.evaluation import Verification
from statecast.fields.sources import Grid
from statecast.fields.streams import Channel

STYLE = {  # colour and line of each forecast; unknown names take the model's
    "model": ("#1f5fbf", "-"),
    "scratch": ("#d9822b", "-"),
    "before": ("#8e44ad", "-"),
    "beside": ("#d9822b", "-"),
    "persistence": ("#7f7f7f", "--"),
    "climatology": ("#7f7f7f", ":"),
    "climatology_distribution": ("#7f7f7f", "-."),
    "interpolation": ("#2a9d6f", "--"),
    "linear": ("#2a9d6f", "--"),
    "regression": ("#2a9d6f", "--"),
}
SEQUENTIAL, DIVERGING, SPREAD = "viridis", "RdBu_r", "magma"
MAP_WIDTH = 3.1  # inches a panel


@cache
def coastlines() -> list[Float[np.ndarray, "N 2"]]:
    """Polylines of longitude and latitude in degrees, -180 to 180 (Natural Earth 1:110m, public domain)."""
    text = files("statecast.fields.evaluation").joinpath("coastlines_110m.json").read_text(encoding="utf-8")
    return [np.array(line, dtype=float) for line in json.loads(text)["lines"]]


def skill_by_lead_time(verifications: Sequence[Verification], metric: str = "rmse") -> Figure:
    """One panel a channel: the score of each forecast against lead time, with its 95 % interval."""
    shown = [v for v in verifications if _has_curve(v, metric)]
    channels, units = shown[0].labels("channel"), shown[0].labels("units")
    columns = min(5, len(channels))
    rows = -(-len(channels) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.2 * rows + 0.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True)).ravel()
    curves = [(v, v.value(metric), *v.interval(metric)) for v in shown if metric in v.metrics]
    for number, axis in enumerate(axes):
        axis.set_visible(number < len(channels))
        if number < len(channels):
            for verification, *lines in curves:
                _draw_curve(axis, verification, *(line[:, number] for line in lines))
            _finish_panel(axis, f"{channels[number]} ({units[number]})")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    figure.supxlabel("lead time (h)", fontsize=9)
    return figure


def _has_curve(verification: Verification, metric: str) -> bool:
    """The mean of climatology's distribution is the climatology, which has a curve of its own."""
    if verification.labels("lead_time_h")[0] is None:
        return False
    return not (metric == "rmse" and verification.forecast == "climatology_distribution")


def _draw_curve(
    axis: Axes,
    verification: Verification,
    value: Float[np.ndarray, " L"],
    low: Float[np.ndarray, " L"],
    high: Float[np.ndarray, " L"],
) -> None:
    colour, line = STYLE.get(verification.forecast, STYLE["model"])
    leads = np.array(verification.labels("lead_time_h"), dtype=float)
    axis.plot(leads, value, line, color=colour, marker=".", label=verification.forecast.replace("_", " "))
    axis.fill_between(leads, low, high, color=colour, alpha=0.15, linewidth=0)


def _finish_panel(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)


def reliability(verification: Verification) -> Figure:
    """Rank histogram over all channels at each lead time, and spread over skill against lead time."""
    if verification.ranks is None:
        raise ValueError(f"forecast {verification.forecast} has one member, and so no ranks.")
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = verification.ranks.sum(axis=1)
    shares = counts / counts.sum(axis=-1, keepdims=True)
    lead_times = verification.labels("lead_time_h")
    for lead, share in zip(lead_times, shares, strict=True):
        left.plot(np.arange(len(share)), share * len(share), drawstyle="steps-mid", label=f"+{lead:g} h", linewidth=1)
    left.axhline(1, color="k", linewidth=0.6)
    left.set(xlabel="rank of the truth among the members", ylabel="frequency / flat", title="Rank histogram")
    left.legend(fontsize=7, frameon=False)
    ratio = verification.value("spread_skill")
    for v, channel in enumerate(verification.labels("channel")):
        right.plot(lead_times, ratio[:, v], marker=".", linewidth=1, label=channel)
    right.axhline(1, color="k", linewidth=0.6)
    right.set(xlabel="lead time (h)", ylabel="spread / RMSE", title="Spread over skill (1 is reliable)")
    right.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def forecast_maps(grid: Grid, rows: Sequence[tuple[Channel, str, np.ndarray, np.ndarray]]) -> Figure:
    """Truth, ensemble mean, its error and the spread. `rows` holds (channel, units, truth H W, members E H W) for each variable."""
    figure, axes = map_panels(len(rows), ("truth", "prediction (mean of members)", "error", "spread"), grid)
    for (channel, units, truth, members), panels in zip(rows, axes, strict=True):
        mean, spread = members.mean(axis=0), members.std(axis=0, ddof=1) if len(members) > 1 else np.zeros_like(truth)
        low, high = np.nanpercentile(truth, [1, 99])
        worst = max(np.nanpercentile(np.abs(mean - truth), 99), 1e-12)
        panels[0].set_ylabel(f"{channel}\n({units})", fontsize=9)
        draw_map(panels[0], grid, truth, SEQUENTIAL, low, high)
        draw_map(panels[1], grid, mean, SEQUENTIAL, low, high)
        draw_map(panels[2], grid, mean - truth, DIVERGING, -worst, worst)
        draw_map(panels[3], grid, spread, SPREAD, 0.0, worst)
    return figure


ANSWERED = ("reconstruction", "truth", "error where hidden")


def spectra(power: Mapping[str, Float[np.ndarray, " K"]], channel: Channel, units: str) -> Figure:
    """Power along the rows by wavenumber, of the truth and of what is held beside it."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, values in power.items():
        axis.plot(np.arange(1, len(values) + 1), values, label=name, linewidth=3 if name == "truth" else 1.5)
    axis.set(xscale="log", yscale="log", xlabel="waves along the row", ylabel=f"power ({units})²", title=str(channel))
    axis.legend(fontsize=8)
    return figure


def reconstruction_maps(
    grid: Grid,
    channel: Channel,
    units: str,
    truth: Float[np.ndarray, "T H W"],
    hidden: Bool[np.ndarray, "T H W"],
    mean: Float[np.ndarray, "T H W"],
    guess: Float[np.ndarray, "T H W"] | None = None,
) -> Figure:
    """A masked cube at some of its times: what is shown (or the first guess), the answer, the truth, the error where it was hidden."""
    steps = np.unique(np.linspace(0, len(truth) - 1, 4).round().astype(int))
    figure, axes = map_panels(len(steps), ("shown" if guess is None else "first guess", *ANSWERED), grid)
    low, high = np.nanpercentile(truth, [1, 99])
    worst = max(np.nanpercentile(np.abs(mean - truth), 99), 1e-12)
    for step, panels in zip(steps, axes, strict=True):
        panels[0].set_ylabel(f"step {step + 1} of {len(truth)}\n{channel} ({units})", fontsize=8)
        first = np.where(hidden[step], np.nan, truth[step]) if guess is None else guess[step]
        draw_map(panels[0], grid, first, SEQUENTIAL, low, high)
        draw_map(panels[1], grid, mean[step], SEQUENTIAL, low, high)
        draw_map(panels[2], grid, truth[step], SEQUENTIAL, low, high)
        draw_map(panels[3], grid, np.where(hidden[step], mean[step] - truth[step], np.nan), DIVERGING, -worst, worst)
    return figure


def map_panels(
    rows: int, titles: Sequence[str], grid: Grid, *, height_deg: float | None = None, width_deg: float | None = None
) -> tuple[Figure, np.ndarray]:
    """A figure with rows of maps, one column a title, and its axes; each shows the whole grid if no height and width are given."""
    aspect = (height_deg or np.ptp(grid.lat)) / max(width_deg or np.ptp(grid.lon), 1e-9)
    figure = Figure(figsize=(MAP_WIDTH * len(titles), (MAP_WIDTH * aspect + 0.15) * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, len(titles), squeeze=False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    return figure, axes


def draw_map(
    axis: Axes,
    grid: Grid,
    field: Float[np.ndarray, "H W"],
    colours: str,
    low: float,
    high: float,
    *,
    centre_deg: float = 0.0,
) -> None:
    """A field on a plain latitude-longitude map with coastlines; a global grid is turned so that `centre_deg` is in the middle."""
    lon = grid.lon
    if grid.is_periodic:
        turned = (lon - centre_deg + 180) % 360
        order = np.argsort(turned)
        lon, field = turned[order] - 180 + centre_deg, field[:, order]
    mesh = axis.pcolormesh(lon, grid.lat, field, cmap=colours, vmin=low, vmax=high, shading="nearest", rasterized=True)
    shifts = {360.0 * np.floor((edge + 180) / 360) for edge in (lon.min(), lon.max())}
    lines = [line + np.array([shift, 0.0]) for line in coastlines() for shift in shifts]
    axis.add_collection(LineCollection(lines, colors="k", linewidths=0.4))
    axis.set(
        xlim=(lon.min() - grid.spacing_deg / 2, lon.max() + grid.spacing_deg / 2),
        ylim=(grid.lat.min(), grid.lat.max()),
        xticks=[],
        yticks=[],
    )
    axis.set_facecolor("#dddddd")
    bar = axis.figure.colorbar(mesh, ax=axis, shrink=0.8, pad=0.01)
    bar.ax.tick_params(labelsize=6)
