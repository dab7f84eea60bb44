"""Figures of a report on jets, in the style of the field.

Axes: J jet, K threshold.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from statecast.particles.evaluation.tagging import auc, roc

COLOURS = ("#1f5fbf", "#d9822b", "#2a9d6f", "#8e44ad", "#c0392b", "#7f7f7f")
BINS = 40
SHOWN = (0.5, 99.5)  # percentiles of the truth that a histogram spans

AXIS_LABELS = {
    "mass_gev": "jet mass [GeV]",
    "pt_gev": r"jet $p_T$ [GeV]",
    "soft_drop_mass_gev": "soft-drop mass [GeV]",
    "multiplicity": "number of constituents",
    "tau21": r"$\tau_{21}$",
    "tau32": r"$\tau_{32}$",
}


def roc_curves(
    scores: Mapping[str, Float[np.ndarray, " J"]], is_signal: Bool[np.ndarray, " J"], signal: str, background: str
) -> Figure:
    """Background rejection against signal efficiency for each tagger, on a logarithmic scale, with its AUC."""
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axis = figure.subplots()
    for colour, (name, score) in zip(COLOURS, scores.items(), strict=False):
        of_background, of_signal = roc(score, is_signal)
        passing = of_background > 0
        label = f"{name} (AUC {auc(score, is_signal):.3f})"
        axis.plot(of_signal[passing], 1 / of_background[passing], color=colour, label=label)
    axis.set(xlabel=f"efficiency of {signal}", ylabel=f"rejection of {background}", yscale="log", xlim=(0, 1))
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.2)
    return figure


def distributions(
    truth: Mapping[str, Float[np.ndarray, " J"]], generated: Mapping[str, Mapping[str, Float[np.ndarray, " J"]]]
) -> Figure:
    """The distribution of each observable in the truth and in each generated sample; below, the ratio to the truth."""
    names = list(truth)
    figure = Figure(figsize=(3.1 * len(names), 3.6), layout="constrained")
    panels = figure.subplots(2, len(names), squeeze=False, height_ratios=(3, 1), sharex="col")
    for (above, below), name in zip(panels.T, names, strict=True):
        _draw_distribution(above, below, name, truth[name], {key: values[name] for key, values in generated.items()})
    panels[0, 0].set_ylabel("probability density")
    panels[1, 0].set_ylabel("ratio")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    return figure


def _draw_distribution(
    above: Axes, below: Axes, name: str, truth: np.ndarray, generated: Mapping[str, np.ndarray]
) -> None:
    import mplhep

    edges = bin_edges(truth)
    of_truth, _ = np.histogram(truth, edges, density=True)
    mplhep.histplot(of_truth, edges, ax=above, histtype="fill", color="#cccccc", label="truth")
    for colour, (key, values) in zip(COLOURS, generated.items(), strict=False):
        density, _ = np.histogram(values, edges, density=True)
        ratio = np.divide(density, of_truth, out=np.full(len(of_truth), np.nan), where=of_truth > 0)
        mplhep.histplot(density, edges, ax=above, color=colour, label=key, yerr=False)
        mplhep.histplot(ratio, edges, ax=below, color=colour, yerr=False)
    below.axhline(1, color="k", linewidth=0.6)
    below.set(ylim=(0, 2), xlabel=AXIS_LABELS.get(name, name))
    for axis in (above, below):
        axis.tick_params(labelsize=7)


def bin_edges(values: Float[np.ndarray, " J"]) -> Float[np.ndarray, " K"]:
    """Edges of some 40 bins over the central 99 % of the values; bins of whole numbers hold the same number of them each."""
    low, high = np.percentile(values, SHOWN)
    if not (values == values.round()).all():
        return np.linspace(low, high, BINS + 1)
    width = max(1, round((high - low) / BINS))
    return np.arange(np.floor(low) - 0.5, high + width, width)


def label_efficiency(
    labels: Sequence[int], curves: Mapping[str, Sequence[Sequence[float]]], metric: str = "AUC"
) -> Figure:
    """A score against the number of labels for each tagger: the mean over seeds, and the range of the seeds."""
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    for colour, (name, of_labels) in zip(COLOURS, curves.items(), strict=False):
        means = [float(np.mean(seeds)) for seeds in of_labels]
        lows, highs = [min(seeds) for seeds in of_labels], [max(seeds) for seeds in of_labels]
        axis.plot(labels, means, marker="o", markersize=3, color=colour, label=name)
        axis.fill_between(labels, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="labelled jets", ylabel=metric, xscale="log")
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.2)
    return figure


def jet_map(
    delta_eta: Float[np.ndarray, " N"],
    delta_phi: Float[np.ndarray, " N"],
    pt_fraction: Float[np.ndarray, " N"],
    shade: Float[np.ndarray, " N"],
    title: str,
    meaning: str,
) -> Figure:
    """The particles of one jet in the plane of Δη and Δφ: the area of a disc is its share of the pT, its colour `shade`."""
    figure = Figure(figsize=(4.4, 3.6), layout="constrained")
    axis = figure.subplots()
    discs = axis.scatter(delta_eta, delta_phi, s=2000 * pt_fraction + 4, c=shade, cmap="viridis", alpha=0.8)
    axis.set(xlabel=r"$\Delta\eta$", ylabel=r"$\Delta\phi$", title=title, xlim=(-0.9, 0.9), ylim=(-0.9, 0.9))
    axis.set_aspect("equal")
    figure.colorbar(discs, ax=axis, label=meaning)
    return figure
