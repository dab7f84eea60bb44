"""Evaluation of which tokens were replaced. Axes: S sample, N token, K count (right, wrong, missed)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from statecast.evaluation.bootstrap import Score
from statecast.evaluation.report import score_table, section
from statecast.streams import Question
from statecast.text.evaluation.answers import answers
from statecast.text.evaluation.baselines import Unigrams, rare_rule
from statecast.text.evaluation.result import Result, held_out_source, scores_of_counts, training_samples
from statecast.text.recipe import TextRecipe
from statecast.trained import TrainedModel

QUESTIONS = 500  # of training, on which the threshold of the rule is chosen
TEXT = (
    "Which tokens of documents that training did not see were replaced: those to which the model gives a probability above 0.5. Rare "
    "tokens: a rule for tokens that training has less often than a threshold, which is chosen on training for the largest F1."
)


def evaluate_replaced(models: Mapping[str, TrainedModel], recipe: TextRecipe, *, progress: bool = False) -> Result:
    """F1, precision and recall of the models and of a rule."""
    trained = next(iter(models.values()))
    name, _ = trained.recipe.text
    frequency = Unigrams.fit(training_samples(trained), trained.codecs[name].spec.vocabulary).probability
    threshold = _threshold(trained, name, frequency)
    scores: list[Score] = []
    for key, model in models.items():
        counts, of_rule = [], []
        for each in answers(model, held_out_source(model, recipe), name, progress=progress):
            assert each.said.logits is not None
            shown, truth = _shown(each.question, name)
            counts.append(_counts(each.said.logits[:, 0].numpy() > 0, truth))
            of_rule.append(_counts(frequency[shown] <= threshold, truth))
        scores += scores_of_counts(key, "replaced", np.array(counts, float))
        if model is trained:
            rule = scores_of_counts("rare tokens", "replaced", np.array(of_rule, float))
    scores += rule
    return Result(scores, [], [section("Replaced tokens", TEXT, [], score_table(scores))])


def _threshold(trained: TrainedModel, name: str, frequency: Float[np.ndarray, " V"]) -> float:
    """The threshold of the rule, from questions about samples of training."""
    pairs = list(_training_questions(trained, name))
    shown, truth = (np.concatenate([pair[place] for pair in pairs]) for place in (0, 1))
    return rare_rule(frequency[shown], truth)


def _training_questions(trained: TrainedModel, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    source = trained.domain.open(trained.recipe, "train", trained.codecs)
    assert source is not None
    cases = source.cases()
    for number in range(min(QUESTIONS, len(cases))):
        yield _shown(trained.recipe.task.complete(cases[number], number), name)


def _shown(question: Question, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The visible code of each asked token, and whether it was replaced."""
    asked, shown = question.queries[name], question.context[name]
    assert asked.codes is not None and asked.about is not None and shown.codes is not None
    return shown.codes[asked.about].numpy(), asked.codes.numpy() == 1


def _counts(said: Bool[np.ndarray, " N"], truth: Bool[np.ndarray, " N"]) -> Sequence[int]:
    return int((said & truth).sum()), int((said & ~truth).sum()), int((~said & truth).sum())
