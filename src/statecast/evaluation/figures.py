"""Figures of a report that know no domain."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
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


def confusion_matrix(matrix: Int[np.ndarray, "C C"], classes: Sequence[str]) -> Figure:
    """The share of each true class (rows) that is answered as each class (columns), with the counts written in."""
    size = 1.8 + 0.45 * len(classes)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set(xlabel="answered", ylabel="true")
    return figure


def learning_curves(points: Mapping[str, Mapping[int, float]], score: str) -> Figure:
    """A score against the number of labels of training, a line for each classifier: `{classifier: {labels: score}}`."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, of_classifier in points.items():
        labels = sorted(of_classifier)
        axes.plot(labels, [of_classifier[count] for count in labels], marker="o", markersize=4, label=name)
    axes.set(xscale="log", xlabel="labels of training", ylabel=score)
    axes.legend(fontsize=7, frameon=False)
    return figure
