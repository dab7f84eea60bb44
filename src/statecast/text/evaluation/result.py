"""What the evaluation of one kind of question gives: scores, facts and sections of the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.evaluation.bootstrap import Score, interval, resampled
from statecast.text.recipe import TextRecipe
from statecast.text.source import TextSource
from statecast.trained import TrainedModel

Sums = Float[np.ndarray, "S K"]
"""For each sample K numbers, whose sums over the samples a score is a function of."""


@dataclass(frozen=True)
class Result:
    """Scores, and what a report says beside them."""

    scores: Sequence[Score]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Mapping[str, Any]]


def held_out_source(trained: TrainedModel, recipe: TextRecipe) -> Any:
    """The split of validation of a recipe, in the codes of a model."""
    chosen = trained.recipe.model_copy(update={"data": recipe.data})
    return trained.domain.open(chosen, "validate", trained.codecs)


def training_samples(trained: TrainedModel) -> list[np.ndarray]:
    """The codes of each sample of training."""
    source = trained.domain.open(trained.recipe, "train", trained.codecs)
    assert isinstance(source, TextSource)
    return [source.record.codes[source.record.span(number)].numpy() for number in range(len(source.record))]


def score_of_sums(
    name: str, task: str, metric: str, sums: Sums, statistic: Callable[[Float[np.ndarray, " K"]], float]
) -> Score:
    """A score that is a function of sums over the samples, with its interval."""
    draws = resampled(np.zeros(len(sums)))

    def of_samples(chosen: Sums) -> float:
        return statistic(chosen.sum(axis=0))

    low, high = interval(of_samples, (sums,), draws)
    return Score(name, task, metric, of_samples(sums), low, high, len(sums))


def f1(counts: Float[np.ndarray, " K"]) -> float:
    """2 TP / (2 TP + FP + FN) of the counts (TP, FP, FN); 0 if nothing is there and nothing was found."""
    right, wrong, missed = counts
    return float(2 * right / max(1.0, 2 * right + wrong + missed))


def precision(counts: Float[np.ndarray, " K"]) -> float:
    return float(counts[0] / max(1.0, counts[0] + counts[1]))


def recall(counts: Float[np.ndarray, " K"]) -> float:
    return float(counts[0] / max(1.0, counts[0] + counts[2]))


COUNT_SCORES: Mapping[str, Callable[[Float[np.ndarray, " K"]], float]] = {
    "f1": f1,
    "precision": precision,
    "recall": recall,
}


def scores_of_counts(name: str, task: str, counts: Sums) -> list[Score]:
    """F1, precision and recall of the counts of each sample."""
    return [score_of_sums(name, task, metric, counts, statistic) for metric, statistic in COUNT_SCORES.items()]
