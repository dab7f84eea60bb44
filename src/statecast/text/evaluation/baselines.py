"""What models of texts are compared with: counts of words, and of pairs of codes.

Axes: D document, C class, F feature, N token, V code.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

Codes = Sequence[Int[np.ndarray, " N"]]
"""The codes of each sample."""


def sklearn_missing() -> ModuleNotFoundError:
    return ModuleNotFoundError("the baselines of texts need scikit-learn. pip install 'statecast[text]'")


def tf_idf(texts: Sequence[str], labels: Sequence[str], held_out: Sequence[str], classes: Sequence[str]) -> Any:
    """Probabilities by logistic regression on the frequencies of words and of pairs of words, the rare ones weighing more."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ModuleNotFoundError:
        raise sklearn_missing() from None
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, token_pattern=r"(?u)\S+")
    model = make_pipeline(words, LogisticRegression(C=10.0, max_iter=1000))
    return in_order(model.fit(texts, labels), held_out, classes)


def on_features(
    features: Float[np.ndarray, "D F"],
    labels: Sequence[str],
    held_out: Float[np.ndarray, "E F"],
    classes: Sequence[str],
) -> Float[np.ndarray, "E C"]:
    """Probabilities by logistic regression on standardised features, such as the output of an encoder that does not change."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError:
        raise sklearn_missing() from None
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    return in_order(model.fit(features, labels), held_out, classes)


def in_order(model: Any, inputs: Any, classes: Sequence[str]) -> Float[np.ndarray, "E C"]:
    """The probability of each of `classes`, in their order; 0 for one that no label of training has."""
    said = model.predict_proba(inputs)
    found = np.zeros((len(said), len(classes)))
    for column, name in enumerate(model.classes_):
        found[:, list(classes).index(str(name))] = said[:, column]
    return found


@dataclass(frozen=True)
class Unigrams:
    """p(w) by how often a code occurs in training, each once more."""

    probability: Float[np.ndarray, " V"]

    @classmethod
    def fit(cls, samples: Codes, vocabulary: int) -> "Unigrams":
        counts = np.bincount(np.concatenate(samples), minlength=vocabulary) + 1.0
        return cls(counts / counts.sum())

    def nats(self, codes: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """-log p of each code."""
        return -np.log(self.probability[codes])


@dataclass(frozen=True)
class Bigrams:
    """p(w | v) of the code v before it, by interpolated Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999, eq. 18).

        p(w | v) = max(c(v w) - d, 0) / c(v) + d N(v ·) / c(v) p(w),    p(w) = (N(· w) + 1) / (N(· ·) + V)

    N counts different pairs; d = n1 / (n1 + 2 n2), with n1 and n2 pairs that occur once and twice. A sample begins after the code V.
    """

    pairs: Mapping[tuple[int, int], int]
    of_first: Int[np.ndarray, " V_plus_1"]
    followers: Int[np.ndarray, " V_plus_1"]
    lower: Float[np.ndarray, " V"]
    discount: float

    @classmethod
    def fit(cls, samples: Codes, vocabulary: int) -> "Bigrams":
        pairs: Counter[tuple[int, int]] = Counter()
        for codes in samples:
            pairs.update(zip([vocabulary, *codes[:-1].tolist()], codes.tolist(), strict=True))
        firsts, seconds = (np.array([pair[place] for pair in pairs]) for place in (0, 1))
        once, twice = (sum(count == times for count in pairs.values()) for times in (1, 2))
        lower = np.bincount(seconds, minlength=vocabulary) + 1.0
        return cls(
            pairs,
            np.bincount(firsts, weights=list(pairs.values()), minlength=vocabulary + 1).astype(int),
            np.bincount(firsts, minlength=vocabulary + 1),
            lower / lower.sum(),
            once / max(1, once + 2 * twice),
        )

    def probability(self, first: int, second: int) -> float:
        """p(second | first)."""
        count = int(self.of_first[first])
        if count == 0:
            return float(self.lower[second])
        own = max(self.pairs.get((first, second), 0) - self.discount, 0.0)
        return (own + self.discount * int(self.followers[first]) * float(self.lower[second])) / count

    def nats(self, codes: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """-log p of each code, given the one before it."""
        before = [len(self.lower), *codes[:-1].tolist()]
        return -np.log([self.probability(v, w) for v, w in zip(before, codes.tolist(), strict=True)])


def best_threshold(score: Float[np.ndarray, " N"], is_positive: Bool[np.ndarray, " N"]) -> float:
    """The score from which on tokens are best called positive: that of the largest F1 on these tokens."""
    order = np.argsort(-score, kind="stable")
    right = np.cumsum(is_positive[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + is_positive.sum())
    is_last = np.append(score[order][1:] != score[order][:-1], True)  # of tokens with the same score all or none
    return float(score[order][np.argmax(np.where(is_last, f1, -1))])
