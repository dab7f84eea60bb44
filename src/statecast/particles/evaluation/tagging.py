"""Scores of taggers: how well a score separates signal from background.

Axes: J jet, C class.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped

from statecast.evaluation.bootstrap import Score, Statistic, interval, resampled
from statecast.evaluation.classes import SMALLEST_PROBABILITY, accuracy, log_score
from statecast.particles.jets import JetError

SIGNAL_EFFICIENCIES = (0.3, 0.5)


def roc(
    score: Float[np.ndarray, " J"], is_signal: Bool[np.ndarray, " J"]
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Efficiencies of background and of signal, both increasing from 0 to 1, for all thresholds on the score."""
    from sklearn.metrics import roc_curve

    background, signal, _ = roc_curve(is_signal, score)
    return background, signal


def auc(score: Float[np.ndarray, " J"], is_signal: Bool[np.ndarray, " J"]) -> float:
    """Area under the ROC curve: the probability that a signal jet has a higher score than a background jet; ties count half.

    Mann and Whitney 1947, from the mean rank of the signal.
    """
    from scipy.stats import rankdata

    signal = int(is_signal.sum())
    background = len(score) - signal
    above = rankdata(score)[is_signal].sum() - signal * (signal + 1) / 2
    return float(above / (signal * background))


def rejection(score: Float[np.ndarray, " J"], is_signal: Bool[np.ndarray, " J"], signal_efficiency: float) -> float:
    """Background rejection 1 / ε_B at a signal efficiency ε_S, interpolated linearly in ε_B between thresholds.

    If no background jet passes, the number of background jets: a lower bound.
    """
    background, signal = roc(score, is_signal)
    efficiency = float(np.interp(signal_efficiency, signal, background))
    smallest = 1 / np.count_nonzero(~is_signal)
    return 1 / max(efficiency, smallest)


def tagging_scores(
    probabilities: Mapping[str, Float[np.ndarray, "J C"]],
    labels: Shaped[np.ndarray, " J"],
    classes: Sequence[str],
    *,
    background: str | None = None,
    task: str = "tag",
) -> list[Score]:
    """The scores of several taggers on the same jets: accuracy, log score, and for each signal class AUC and background rejections.

    probabilities  of each class, by the name of the tagger; their resamplings are the same, so that intervals can be compared
    background     class against which each other class is separated, by p_signal / (p_signal + p_background); none: the first class

    Raises JetError if a label is none of the classes or if a class has no jet.
    """
    codes = class_codes(labels, classes)
    background = classes[0] if background is None else background
    draws = resampled(codes)
    scores = []
    for tagger, probability in probabilities.items():
        for name, statistic in (("accuracy", accuracy), ("log_score", log_score)):
            low, high = interval(statistic, (probability, codes), draws)
            scores.append(Score(tagger, task, name, statistic(probability, codes), low, high, len(codes)))
        for signal in classes:
            if signal != background:
                pair = (list(classes).index(signal), list(classes).index(background))
                scores += _separation(tagger, task, probability, codes, pair, (signal, background))
    return scores


def class_codes(labels: Shaped[np.ndarray, " J"], classes: Sequence[str]) -> Shaped[np.ndarray, " J"]:
    """The position of each label among the classes. Raises JetError if a label is none of them or a class has no jet."""
    unknown = sorted(set(labels.tolist()) - set(classes))
    if unknown:
        raise JetError(f"label {unknown[0]}: expected one of {', '.join(classes)}. Leave these jets out.")
    codes = np.array([classes.index(label) for label in labels.tolist()])
    missing = [name for number, name in enumerate(classes) if not (codes == number).any()]
    if missing:
        raise JetError(f"there is no jet of class {missing[0]}, expected jets of all classes. Use more jets.")
    return codes


def _separation(
    tagger: str,
    task: str,
    probability: Float[np.ndarray, "J C"],
    codes: Shaped[np.ndarray, " J"],
    pair: tuple[int, int],
    names: tuple[str, str],
) -> list[Score]:
    """Separation of one signal class from the background."""
    chosen = np.isin(codes, pair)
    is_signal = codes[chosen] == pair[0]
    score = discriminant(probability[chosen], *pair)
    draws = resampled(is_signal)
    labels = (("signal", names[0]), ("background", names[1]))
    statistics: dict[str, Statistic] = {"auc": auc}
    for efficiency in SIGNAL_EFFICIENCIES:
        statistics[f"rejection_{efficiency * 100:.0f}"] = _rejection_at(efficiency)
    scores = []
    for name, statistic in statistics.items():
        low, high = interval(statistic, (score, is_signal), draws)
        scores.append(Score(tagger, task, name, statistic(score, is_signal), low, high, len(score), labels))
    return scores


def _rejection_at(efficiency: float) -> Statistic:
    def statistic(score: Float[np.ndarray, " J"], is_signal: Bool[np.ndarray, " J"]) -> float:
        return rejection(score, is_signal, efficiency)

    return statistic


def discriminant(probability: Float[np.ndarray, "J C"], signal: int, background: int) -> Float[np.ndarray, " J"]:
    """p_signal / (p_signal + p_background), the most powerful score of the two classes (Neyman and Pearson 1933)."""
    total = probability[:, signal] + probability[:, background]
    return probability[:, signal] / np.maximum(total, SMALLEST_PROBABILITY)
