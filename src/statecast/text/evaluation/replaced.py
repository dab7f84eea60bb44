"""Evaluation of which tokens were replaced. Axes: S sample, N token, V code, K count (right, wrong, missed)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from statecast.evaluation.report import score_table, section
from statecast.text.evaluation.answers import Answered, answers
from statecast.text.evaluation.baselines import Unigrams, best_threshold
from statecast.text.evaluation.result import Result, Sums, held_out_source, scores_of_counts, training_samples
from statecast.text.recipe import TextRecipe
from statecast.trained import TrainedModel

TEXT = (
    "Which tokens of documents that training did not see were replaced: those whose score exceeds a threshold. The score of the model is "
    "the log-odds; that of the rule of rare tokens is how rare a token is in training. Of each, the threshold for every second sample is "
    "that of the largest F1 on the other samples: few tokens are replaced, so that a probability of 0.5 would hardly ever be exceeded."
)

Scores = Sequence[Float[np.ndarray, " N"]]
Truths = Sequence[Bool[np.ndarray, " N"]]
"""Of the tokens of each sample: how much speaks for a replacement, and whether there was one."""


def evaluate_replaced(models: Mapping[str, TrainedModel], recipe: TextRecipe, *, progress: bool = False) -> Result:
    """F1, precision and recall of the models and of a rule, whose thresholds are chosen alike."""
    trained = next(iter(models.values()))
    name, _ = trained.recipe.text
    frequency = Unigrams.fit(training_samples(trained), trained.codecs[name].spec.vocabulary).probability
    counts: dict[str, Sums] = {}
    for key, model in models.items():
        said = list(answers(model, held_out_source(model, recipe), name, progress=progress))
        truths = [_truth(each, name) for each in said]
        counts[key] = counts_across([_log_odds(each) for each in said], truths)
        if model is trained:
            of_rule = counts_across([-frequency[_shown(each, name)] for each in said], truths)
    scores = []
    for key, of_key in {**counts, "rare tokens": of_rule}.items():
        scores += scores_of_counts(key, "replaced", of_key)
    return Result(scores, [], [section("Replaced tokens", TEXT, [], score_table(scores))])


def counts_across(scores: Scores, truths: Truths) -> Sums:
    """For each sample the tokens that are rightly and wrongly called replaced, and the missed ones, by the threshold of other samples."""
    counts = np.zeros((len(scores), 3))
    for half in (0, 1):
        others = range(1 - half, len(scores), 2)
        if len(others):
            scored, known = (np.concatenate([each[number] for number in others]) for each in (scores, truths))
            threshold = best_threshold(scored, known)
            for number in range(half, len(scores), 2):
                is_said, is_true = scores[number] >= threshold, truths[number]
                counts[number] = (is_said & is_true).sum(), (is_said & ~is_true).sum(), (~is_said & is_true).sum()
    return counts


def _log_odds(each: Answered) -> Float[np.ndarray, " N"]:
    assert each.said.logits is not None
    return each.said.logits[:, 0].numpy()


def _truth(each: Answered, name: str) -> Bool[np.ndarray, " N"]:
    codes = each.question.queries[name].codes
    assert codes is not None
    return codes.numpy() == 1


def _shown(each: Answered, name: str) -> np.ndarray:
    """The visible code of each asked token."""
    asked, shown = each.question.queries[name], each.question.context[name]
    assert asked.about is not None and shown.codes is not None
    return shown.codes[asked.about].numpy()
