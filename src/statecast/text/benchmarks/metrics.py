"""Scores of answers and of texts beside references. Axes: S case, B resampling; a statistic has one number for each case."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.evaluation.verification import Verification
from statecast.text.benchmarks.questions import BenchmarkError

CHOICES = "multiple choice"
BLEU_ORDER = 4
ROUGE = ("rouge1", "rouge2", "rougeL")
ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_WORD = re.compile(r"[^\w\s]")

Statistics = Mapping[str, Float[np.ndarray, "S"]]
Means = Mapping[str, Float[np.ndarray, "*B"]]


def of_choices(name: str, right: Sequence[int], log_likelihoods: Sequence[Sequence[float]]) -> Verification:
    """Accuracy, macro-F1 and log score of questions with choices.

    The chosen answer is the one with the largest (log) likelihood. F1 is the mean over the answers' positions of 2 TP / (2 TP + FP + FN);
    the log score is the mean of -log p of the right answer, in nats, where the likelihoods of the choices of a question are made to add up
    to 1.
    """
    count = max(map(len, log_likelihoods))
    chosen = [int(np.argmax(each)) for each in log_likelihoods]
    statistics = {"correct": np.array([float(a == b) for a, b in zip(chosen, right, strict=True)])}
    statistics["nats"] = np.array([_nats(each, answer) for each, answer in zip(log_likelihoods, right, strict=True)])
    for position in range(count):
        said = np.array(chosen) == position
        true = np.array(right) == position
        statistics |= {f"hit_{position}": (said & true).astype(float), f"either_{position}": said.astype(float) + true}

    def scores(means: Means, members: int) -> dict[str, Float[np.ndarray, "*B"]]:
        halves = [(means[f"hit_{k}"], means[f"either_{k}"]) for k in range(count)]
        ratios = [
            np.divide(2 * hit, either, out=np.full(either.shape, np.nan), where=either > 0) for hit, either in halves
        ]
        return {"accuracy": means["correct"], "f1_macro": np.nanmean(ratios, axis=0), "log_score": means["nats"]}

    return _verification(name, CHOICES, statistics, scores)


def of_chance(choices: Sequence[int]) -> Verification:
    """The same of an answer at random, for questions with so many choices each."""
    numbers = np.array(choices, float)
    statistics = {"correct": 1 / numbers, "nats": np.log(numbers)}
    return _verification(
        "chance", CHOICES, statistics, lambda means, _: {"accuracy": means["correct"], "log_score": means["nats"]}
    )


def of_texts(name: str, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Verification:
    """Texts beside one or several references each.

    accuracy          share of the texts that equal a reference, without capitals, articles and punctuation
    f1                of the words in common with a reference (SQuAD, Rajpurkar et al. 2016)
    bleu              of the corpus, by sacrebleu, 0 to 100 (Papineni et al. 2002; Post 2018: tokens 13a, exponential smoothing)
    rouge1, 2, L      F1 by rouge-score, with stems (Lin 2004)
    meteor            by nltk, of equal words and equal stems, without synonyms, which need WordNet (Banerjee & Lavie 2005)

    Of several references the one that fits best counts, except in BLEU. Raises BenchmarkError if a library is missing.
    """
    cases = len(predictions)
    rows = [_of_text(text, refs) for text, refs in zip(predictions, references, strict=True)]
    statistics = {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def scores(means: Means, members: int) -> dict[str, Float[np.ndarray, "*B"]]:
        said = {key: means[key] for key in ("accuracy", "f1", *ROUGE, "meteor")}
        return {**said, "bleu": _bleu({key: value * cases for key, value in means.items()})}

    return _verification(name, "texts", statistics, scores)


def of_perplexity(name: str, nats: Sequence[float], tokens: Sequence[int], texts: Sequence[str]) -> Verification:
    """Perplexity of texts: exp of the mean of -log p of a token; of a word, and bits of a byte, which compare models of other tokens."""
    statistics = {
        "nats": np.array(nats, float),
        "tokens": np.array(tokens, float),
        "words": np.array([float(len(text.split())) for text in texts]),
        "bytes": np.array([float(len(text.encode())) for text in texts]),
    }

    def scores(means: Means, members: int) -> dict[str, Float[np.ndarray, "*B"]]:
        return {
            "perplexity": np.exp(means["nats"] / means["tokens"]),
            "word_perplexity": np.exp(means["nats"] / means["words"]),
            "bits_per_byte": means["nats"] / means["bytes"] / math.log(2),
        }

    return _verification(name, "perplexity", statistics, scores)


def _verification(name: str, task: str, statistics: Statistics, scores: Any) -> Verification:
    cases = len(next(iter(statistics.values())))
    return Verification(name, task, (), statistics, np.arange(float(cases)), scores=scores)


def _nats(log_likelihoods: Sequence[float], answer: int) -> float:
    values = np.array(log_likelihoods)
    return float(np.logaddexp.reduce(values) - values[answer])


def _of_text(text: str, references: Sequence[str]) -> dict[str, float]:
    found = {
        "accuracy": float(any(_plain(text) == _plain(reference) for reference in references)),
        "f1": max(_overlap(_plain(text).split(), _plain(reference).split()) for reference in references),
        "meteor": _meteor(text, references),
    }
    return found | _rouge(text, references) | _counts_of_bleu(text, references)


def _plain(text: str) -> str:
    """In small letters, without articles and punctuation."""
    return " ".join(ARTICLES.sub(" ", NO_WORD.sub("", text.lower())).split())


def _overlap(words: Sequence[str], reference: Sequence[str]) -> float:
    """2 |common| / (|words| + |reference|), words counted as often as they occur; 1 if both are empty."""
    if not words and not reference:
        return 1.0
    return 2 * (Counter(words) & Counter(reference)).total() / (len(words) + len(reference))


def _counts_of_bleu(text: str, references: Sequence[str]) -> dict[str, float]:
    """Of one text, whose sums over the corpus make up its BLEU."""
    score = _sacrebleu().BLEU(effective_order=True).sentence_score(text, list(references))
    counts = {f"bleu_right_{n}": float(count) for n, count in enumerate(score.counts)}
    counts |= {f"bleu_all_{n}": float(total) for n, total in enumerate(score.totals)}
    return counts | {"bleu_length": float(score.sys_len), "bleu_reference_length": float(score.ref_len)}


def _bleu(sums: Means) -> Float[np.ndarray, "*B"]:
    library = _sacrebleu()

    def score(*numbers: float) -> float:
        right, total, lengths = numbers[:BLEU_ORDER], numbers[BLEU_ORDER : 2 * BLEU_ORDER], numbers[2 * BLEU_ORDER :]
        counts = [[round(number) for number in part] for part in (right, total, lengths)]
        return float(library.BLEU.compute_bleu(counts[0], counts[1], *counts[2], smooth_method="exp").score)

    orders = range(BLEU_ORDER)
    names = (
        [f"bleu_right_{n}" for n in orders]
        + [f"bleu_all_{n}" for n in orders]
        + ["bleu_length", "bleu_reference_length"]
    )
    return np.vectorize(score, otypes=[float])(*(sums[name] for name in names))


def _rouge(text: str, references: Sequence[str]) -> dict[str, float]:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError:
        raise _missing("rouge-score") from None
    scores = RougeScorer(list(ROUGE), use_stemmer=True).score_multi(list(references), text)
    return {name: float(scores[name].fmeasure) for name in ROUGE}


class _NoSynonyms:
    """In place of WordNet, which nltk would fetch."""

    def synsets(self, word: str) -> list[Any]:
        return []


def _meteor(text: str, references: Sequence[str]) -> float:
    try:
        from nltk.translate.meteor_score import meteor_score
    except ModuleNotFoundError:
        raise _missing("nltk") from None
    words = [NO_WORD.sub(" ", each).split() for each in (text, *references)]
    return float(meteor_score(words[1:], words[0], wordnet=_NoSynonyms()))


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError:
        raise _missing("sacrebleu") from None
    return metrics


def _missing(library: str) -> BenchmarkError:
    return BenchmarkError(
        f"scores of texts need the library {library}. Install it with `pip install 'statecast[text]'`."
    )
