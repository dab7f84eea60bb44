"""The page and the tables on generated showers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from statecast.evaluation.bootstrap import Score
from statecast.evaluation.report import section
from statecast.particles.evaluation import figures
from statecast.particles.showers.evaluation.generation import ShowerResult
from statecast.particles.showers.evaluation.observables import kind_of

JOINT = ("voxel_auc", "classifier_auc", "fpd", "kpd", "wasserstein_mean", "sampling_fraction", "ms_per_shower")
FLOOR = "truth"
TEXT = (
    "Separation powers of histograms (0 is perfect), means over the layers; AUC of a classifier of voxels and of one of all observables "
    "(0.5 is perfect); Fréchet and kernel distances (FPD, KPD); the mean Wasserstein distance in standard deviations; deposited over "
    "incident energy. `truth` is another sample of true showers: what is there by chance."
)


def score_tables(scores: Sequence[Score]) -> list[tuple[str, list[list[str]]]]:
    """A table of separation powers by kind of observable, and one of all observables together; a column for each sample."""
    names = [name for name in dict.fromkeys(score.forecast for score in scores) if name != "evaluated"]
    kinds = list(dict.fromkeys(_kind(score) for score in scores if score.metric == "separation"))
    powers = [["separation power", "", *names]]
    for kind in kinds:
        powers.append([kind, "", *(_number(_mean(scores, name, kind)) for name in names)])
    rows = [["score", "", *names]]
    for metric in JOINT:
        cells = [_cell(scores, name, metric) for name in names]
        if any(cell != "-" for cell in cells):
            rows.append([metric, "", *cells])
    return [("Generated showers", powers), ("All observables together", rows)]


def _kind(score: Score) -> str:
    return kind_of(str(dict(score.labels)["observable"]))


def _mean(scores: Sequence[Score], name: str, kind: str) -> float:
    """Mean separation power over the layers of a kind of observable."""
    found = [s.value for s in scores if s.metric == "separation" and s.forecast == name and _kind(s) == kind]
    return float(np.mean(found))


def _cell(scores: Sequence[Score], name: str, metric: str) -> str:
    for score in scores:
        if (score.forecast, score.metric) == (name, metric):
            half = (score.high - score.low) / 2
            return _number(score.value) + (f" ± {half:.1g}" if half > 0 else "")
    return "-"


def _number(value: float) -> str:
    return f"{value:.3g}"


def generation_section(result: ShowerResult) -> dict[str, Any]:
    """Tables, and histograms generated against true."""
    shown = _shown(list(result.truth))
    samples = {name: found for name, found in result.generated.items() if name != FLOOR}
    drawn = []
    for names in shown:
        truth = {name: result.truth[name] for name in names}
        drawn.append(figures.distributions(truth, samples))
    count = len(result.truth["response"])
    tables = [rows for _, rows in score_tables(result.scores)]
    return section("Generated showers", f"{TEXT} Compared with {count} true showers.", drawn, tables=tables)


def _shown(names: Sequence[str]) -> list[list[str]]:
    """What is drawn: the whole shower, then each kind of observable in a layer near the maximum."""
    layers = [name for name in names if name.startswith("energy_")]
    of_layers = [layers[round(share * (len(layers) - 1))] for share in (0.1, 0.3, 0.5, 0.8)]
    number = of_layers[1].rpartition("_")[2]
    chosen = [f"{kind}_{number}" for kind in ("centre_x", "width_x", "radius", "sparsity")]
    return [["response", "sparsity", *dict.fromkeys(of_layers)], [name for name in chosen if name in names]]
