"""Figures of the report on jets draw what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from statecast.particles.evaluation import figures


def drawn(figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return np.asarray(Image.open(buffer))


def test_roc_curves_have_a_line_for_each_tagger():
    random = np.random.default_rng(0)
    is_signal = np.arange(500) % 2 == 0
    scores = {name: random.standard_normal(500) + shift * is_signal for name, shift in (("model", 2), ("baseline", 1))}
    figure = figures.roc_curves(scores, is_signal, "top", "QCD")
    (axis,) = figure.axes
    assert [text.get_text().split(" (")[0] for text in axis.get_legend().get_texts()] == ["model", "baseline"]
    heights = [np.interp(0.5, *line.get_data()) for line in axis.get_lines()]
    assert heights[0] > heights[1] > 2  # the better tagger rejects more
    assert drawn(figure).std() > 5


def test_distributions_have_a_panel_and_a_ratio_for_each_observable():
    random = np.random.default_rng(0)
    truth = {"mass_gev": random.normal(170, 10, 5000), "tau21": random.uniform(0, 1, 5000)}
    figure = figures.distributions(truth, {"same": truth})
    assert len(figure.axes) == 4 and figure.axes[2].get_xlabel() == "jet mass [GeV]"
    ratio = figure.axes[2].patches[0].get_data().values
    assert ratio[np.isfinite(ratio)] == pytest.approx(1.0)
    assert drawn(figure).std() > 5


def test_label_efficiency_shows_the_mean_over_seeds():
    figure = figures.label_efficiency([100, 1000], {"model": [[0.8, 0.9], [0.9, 0.96]]})
    assert list(figure.axes[0].get_lines()[0].get_ydata()) == pytest.approx([0.85, 0.93])


def test_a_jet_is_drawn_at_its_particles():
    figure = figures.jet_map(*np.array([[0.1, -0.2], [0.0, 0.3], [0.6, 0.4], [0.9, 0.1]]), "a jet", "attention")
    discs = figure.axes[0].collections[0]
    assert discs.get_offsets().tolist() == [[0.1, 0.0], [-0.2, 0.3]]
    assert discs.get_sizes()[0] > discs.get_sizes()[1] and drawn(figure).std() > 5


def test_bins_of_counts_hold_the_same_number_of_whole_numbers():
    counts = np.random.default_rng(0).poisson(40, 5000).astype(float)
    edges = figures.bin_edges(counts)
    assert np.diff(edges) == pytest.approx(1.0) and edges[0] % 1 == 0.5
    assert len(figures.bin_edges(counts + 0.1)) == figures.BINS + 1
