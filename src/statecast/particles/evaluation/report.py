"""The report on a run on jets: one page with tables and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.evaluation.bootstrap import Score
from statecast.evaluation.figures import training_curves
from statecast.evaluation.report import score_table, section, write_page
from statecast.particles.evaluation import figures
from statecast.particles.evaluation.observables import GENERATION
from statecast.particles.evaluation.tagging import class_codes, discriminant
from statecast.particles.jets import Jets, wrapped

TAGGING_METRICS = {"accuracy": ".3f", "auc": ".4f", "rejection_50": ".0f", "rejection_30": ".0f"}


@dataclass(frozen=True)
class TaggingResult:
    """Taggers on the same jets: the probability of each class by the name of the tagger, and the true labels."""

    probabilities: Mapping[str, Float[np.ndarray, "J C"]]
    labels: np.ndarray
    classes: tuple[str, ...]
    trained_on: int
    scores: Sequence[Score]


@dataclass(frozen=True)
class GenerationResult:
    """Observables of true jets and of each generated sample."""

    truth: Mapping[str, Float[np.ndarray, " J"]]
    generated: Mapping[str, Mapping[str, Float[np.ndarray, " J"]]]
    scores: Sequence[Score]


@dataclass(frozen=True)
class ExplainedJet:
    """One jet, and the attention of its tag to each of its particles."""

    jet: Jets
    attention: Float[np.ndarray, " N"]
    title: str


def write_jet_report(
    facts: Sequence[tuple[str, str]],
    masked: Sequence[Score],
    tagging: TaggingResult,
    generation: GenerationResult,
    explained: Sequence[ExplainedJet],
    runs: Mapping[str, Path],
    out: Path,
) -> None:
    """Write the page to the file `out`."""
    sections = [
        section("Masked particles", MASKED_TEXT, [], table=score_table(masked)),
        tagging_section(tagging),
        generation_section(generation),
        section("What the tagger attends to", ATTENTION_TEXT, [_attention_map(each) for each in explained]),
    ]
    if curves := training_curves(runs):
        sections.append(section("Training", "Loss; the thick line is the loss on jets of validation.", [curves]))
    write_page("Jets", facts, sections, out)


MASKED_TEXT = (
    "Codes of hidden particles, given the visible ones, on jets that training did not see. The log score is the mean of -log p(code) in "
    "nats; the baseline predicts the frequency of each code in training."
)
ATTENTION_TEXT = (
    "Attention roll-out of the answer to each particle of a jet (Abnar and Zuidema 2020). "
    "The area of a disc is the particle's share of the pT."
)


def score_tables(scores: Sequence[Score]) -> list[tuple[str, list[list[str]]]]:
    """A titled table of each task."""
    special = {"tag": tagging_table, "generate": generation_table}
    tables = []
    for task in dict.fromkeys(score.task for score in scores):
        of_task = [score for score in scores if score.task == task]
        tables.append((task.replace("_", " "), special.get(task, score_table)(of_task)))
    return tables


def tagging_section(result: TaggingResult) -> dict[str, Any]:
    """Scores of the taggers, and their ROC curves for each signal class."""
    text = (
        f"{len(result.labels)} jets that training did not see; all taggers learned from the same {result.trained_on} labels. "
        "Rejections are those of the background at 50 and 30 % signal efficiency."
    )
    codes = class_codes(result.labels, result.classes)
    drawn = []
    for number, signal in enumerate(result.classes[1:], start=1):
        chosen = np.isin(codes, (0, number))
        scores = {name: discriminant(values[chosen], number, 0) for name, values in result.probabilities.items()}
        drawn.append(figures.roc_curves(scores, codes[chosen] == number, signal, result.classes[0]))
    return section("Tagging", text, drawn, table=tagging_table(result.scores))


def tagging_table(scores: Sequence[Score]) -> list[list[str]]:
    """Rows of a table: each tagger and signal class, with each score and its interval."""
    rows = [["tagger", "signal", *TAGGING_METRICS]]
    taggers = dict.fromkeys(score.forecast for score in scores)
    signals = dict.fromkeys(dict(score.labels).get("signal") for score in scores if score.labels)
    for tagger in taggers:
        for signal in signals:
            row = [tagger, str(signal)]
            for metric, digits in TAGGING_METRICS.items():
                row.append(_cell(scores, tagger, signal, metric, digits))
            rows.append(row)
    return rows


def _cell(scores: Sequence[Score], tagger: str, signal: Any, metric: str, digits: str) -> str:
    for score in scores:
        of_signal = dict(score.labels).get("signal", signal)
        if (score.forecast, score.metric, of_signal) == (tagger, metric, signal):
            return f"{score.value:{digits}} ({score.low:{digits}} to {score.high:{digits}})"
    return "-"


def generation_section(result: GenerationResult) -> dict[str, Any]:
    """Distances of generated jets to the truth, and the distributions."""
    count = len(next(iter(result.truth.values())))
    text = (
        f"Wasserstein distances to {count} true jets, in the unit of each observable, with bootstrap errors; Fréchet and kernel distances "
        "(FPD, KPD) and the AUC of a classifier (0.5 is perfect) on all of them. `truth` is another sample of true jets: what is there by "
        "chance."
    )
    truth = {name: result.truth[name] for name in GENERATION}
    shown = {name: of_jets for name, of_jets in result.generated.items() if name != "truth"}
    drawn = [figures.distributions(truth, shown)]
    return section("Generation", text, drawn, table=generation_table(result.scores))


def generation_table(scores: Sequence[Score]) -> list[list[str]]:
    """Rows of a table: each generator, with its distance in each observable and in all together."""
    names = list(dict.fromkeys(_measure(score) for score in scores))
    rows = [["generator", *names]]
    for generator in dict.fromkeys(score.forecast for score in scores):
        cells = [f"{s.value:.3g} ({s.low:.2g} to {s.high:.2g})" for s in scores if s.forecast == generator]
        rows.append([generator, *cells])
    return rows


def _measure(score: Score) -> str:
    """The observable of a distance, or the name of a score of all observables."""
    return str(dict(score.labels).get("observable", score.metric))


def _attention_map(explained: ExplainedJet) -> Any:
    jet = explained.jet
    eta = jet.particles["eta"] - jet.of_jets["eta"][0]
    phi = wrapped(jet.particles["phi"] - jet.of_jets["phi"][0])
    fraction = jet.particles["pt_gev"] / jet.particles["pt_gev"].sum()
    return figures.jet_map(eta, phi, fraction, explained.attention, explained.title, "attention")
