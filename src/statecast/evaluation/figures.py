"""Figures of a report that know no domain."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CURVES = {  # colour, width and marker of each loss; a marker, as a short run is validated once
    "loss": ("#9db8e0", 0.8, ""),
    "validation_loss": ("#1f5fbf", 1.8, "o"),
}


def training_curves(runs: Mapping[str, Path]) -> Figure | None:
    """Loss against steps of each run directory that kept a CSV log; None if none did."""
    from statecast.training.logs import read_metrics  # needs Lightning, which evaluations of other parts do without

    figure = Figure(figsize=(4.0 * max(1, len(runs)), 2.8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, max(1, len(runs)), sharey=True))
    drawn = 0
    for axis, (name, run) in zip(axes, runs.items(), strict=False):
        rows = read_metrics(run)
        if rows:
            _draw_losses(axis, rows)
            axis.set(title=name, xlabel="step", ylabel="loss" if drawn == 0 else "")
            axis.legend(fontsize=7, frameon=False)
            drawn += 1
    return figure if drawn else None


def _draw_losses(axis: Axes, rows: list[dict[str, float]]) -> None:
    for key, (colour, width, marker) in CURVES.items():
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            steps, losses = zip(*points, strict=True)
            label = key.replace("_", " ")
            axis.plot(steps, losses, color=colour, linewidth=width, marker=marker, markersize=3, label=label)
