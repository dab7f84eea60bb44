"""The report of a search for strange samples: which they are, which token of each, and how their scores lie among the usual ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from statecast.evaluation.report import section, write_page
from statecast.surprise.tables import Tables
from statecast.surprise.usual import Usual

SAMPLES = (
    "The samples of the highest score: the mean excess of their tokens, which is -log p in nats, of values less its expectation. 'highest "
    "tenth' is the mean over the tenth of the tokens that is most surprising. Beside each sample stands its strangest token; strangeness "
    "is 1 at the threshold of its channel."
)
SCORES = (
    "Scores of all samples, and of windows of the training split. A model is less surprised by what it learned from."
)
HEADINGS = ["sample", "score", "highest tenth", "strangest token", "which", "strangeness"]


def write_report(
    tables: Tables,
    usual: Usual | None,
    facts: Sequence[tuple[str, str]],
    out: Path,
    more: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the page to the file `out`; `more` are sections of the domain."""
    sections = [
        section("The strangest samples", SAMPLES, [], strangest_table(tables)),
        section("Scores", SCORES, [score_figure(tables, usual)]),
        *more,
    ]
    write_page("Anomalies", facts, sections, out)


def strangest_table(tables: Tables) -> list[list[str]]:
    """The strangest samples, and which token of each."""
    rows = [HEADINGS]
    of = tables.samples
    for n in tables.strangest():
        token = f"{of['stream'][n]}:{of['token'][n]} {of['channel'][n]}"
        numbers = [f"{of[key][n]:.3f}" for key in ("score", "score_highest")]
        rows.append([str(of["sample"][n]), *numbers, token, str(of["which"][n]), f"{of['strangeness'][n]:.2f}"])
    return rows


def score_figure(tables: Tables, usual: Usual | None) -> Figure:
    """Histograms of the scores of the samples and of the usual windows."""
    found = {"this record": tables.samples["score"].astype(float)}
    if usual is not None:
        found["training"] = usual.scores
    known = {name: values[np.isfinite(values)] for name, values in found.items()}
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axis = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate(list(known.values())), bins=30)
    for name, values in known.items():
        if len(values):
            axis.hist(values, edges.tolist(), density=True, histtype="step", label=name)
    axis.set_xlabel("score (nats)")
    axis.set_ylabel("density")
    axis.legend(frameon=False)
    return figure
