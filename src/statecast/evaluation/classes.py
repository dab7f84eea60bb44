"""Scores of classifiers of any samples, with intervals from resampled samples.

Axes: J sample, C class.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from statecast.evaluation.bootstrap import Score, interval, resampled

SMALLEST_PROBABILITY = 1e-12


def accuracy(probability: Float[np.ndarray, "J C"], code: Shaped[np.ndarray, " J"]) -> float:
    """Fraction of the samples whose most probable class is their own."""
    return float((probability.argmax(axis=1) == code).mean())


def log_score(probability: Float[np.ndarray, "J C"], code: Shaped[np.ndarray, " J"]) -> float:
    """Mean of -log p(class) in nats; 0 is perfect."""
    return float(surprise(probability, code).mean())


def surprise(probability: Float[np.ndarray, "J C"], code: Shaped[np.ndarray, " J"]) -> Float[np.ndarray, " J"]:
    """-log p(class) of each sample, in nats."""
    of_truth = np.take_along_axis(probability, code[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(of_truth, SMALLEST_PROBABILITY))


def macro_f1(probability: Float[np.ndarray, "J C"], code: Shaped[np.ndarray, " J"]) -> float:
    """Mean over the classes of 2 TP / (2 TP + FP + FN), for the most probable class; a class that is neither true nor answered has none."""
    matrix = confusion(probability, code)
    right, total = matrix.diagonal(), matrix.sum(axis=0) + matrix.sum(axis=1)
    return float((2 * right[total > 0] / total[total > 0]).mean())


def confusion(probability: Float[np.ndarray, "J C"], code: Shaped[np.ndarray, " J"]) -> Int[np.ndarray, "C C"]:
    """How many samples of each true class (rows) have each most probable class (columns)."""
    classes = probability.shape[1]
    pairs = code * classes + probability.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


CLASS_SCORES = {"accuracy": accuracy, "macro_f1": macro_f1, "log_score": log_score}


def class_scores(
    probabilities: Mapping[str, Float[np.ndarray, "J C"]], code: Shaped[np.ndarray, " J"], task: str
) -> list[Score]:
    """The scores of several classifiers on the same samples, by the name of the classifier; all see the same resamplings."""
    draws = resampled(code)
    scores = []
    for name, probability in probabilities.items():
        for metric, statistic in CLASS_SCORES.items():
            low, high = interval(statistic, (probability, code), draws)
            scores.append(Score(name, task, metric, statistic(probability, code), low, high, len(code)))
    return scores


def frequencies(code: Shaped[np.ndarray, " K"], classes: Sequence[str], samples: int) -> Float[np.ndarray, "J C"]:
    """What knows only how frequent each class is in training says of every sample."""
    counts = np.bincount(code, minlength=len(classes)) + 1.0  # Laplace: none is impossible
    return np.tile(counts / counts.sum(), (samples, 1))
