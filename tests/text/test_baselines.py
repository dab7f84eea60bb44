"""What models of texts are compared with, against closed forms and libraries."""

import numpy as np
import pytest
from seqeval.metrics import f1_score, precision_score
from sklearn.metrics import f1_score as sklearn_f1

from statecast.evaluation.classes import class_scores, confusion, macro_f1
from statecast.text.evaluation.baselines import Bigrams, Unigrams, best_threshold, in_order, tf_idf
from statecast.text.evaluation.replaced import counts_across
from statecast.text.evaluation.result import f1
from statecast.text.evaluation.tags import entity_counts, most_frequent, tag_scores

SAMPLES = [np.array(codes) for codes in ([0, 1, 2, 1], [0, 1, 1], [3, 0])]


def test_the_probabilities_of_bigrams_sum_to_one_after_any_code():
    model = Bigrams.fit(SAMPLES, 5)
    for first in range(6):  # 4 never occurs; 5 is the beginning
        assert sum(model.probability(first, second) for second in range(5)) == pytest.approx(1)


def test_a_bigram_has_the_probability_of_interpolated_kneser_ney():
    """Pairs: ^0 twice, 01 twice; 12, 21, 11, ^3, 30 once: d = 5 / (5 + 2 * 2); 1 follows 0, 2 and 1, of 7 different pairs."""
    d = 5 / 9
    lower = (3 + 1) / (7 + 5)
    assert Bigrams.fit(SAMPLES, 5).probability(0, 1) == pytest.approx((2 - d) / 2 + d * 1 / 2 * lower)


def test_unigrams_count_each_code_once_more():
    nats = Unigrams.fit(SAMPLES, 5).nats(np.array([1, 4]))
    assert nats == pytest.approx(-np.log([5 / 14, 1 / 14]))


def test_the_best_threshold_has_the_largest_f1():
    score, truth = -np.array([0.1, 0.2, 0.2, 0.5]), np.array([True, True, False, False])
    assert best_threshold(score, truth) == -0.2  # F1 4/5; 2/3 at -0.1
    assert best_threshold(score, np.array([True, False, False, False])) == -0.1


def test_a_sample_is_judged_by_the_threshold_of_the_other_samples():
    """The first and third are perfect at their own threshold of 0.9; by that of the second, 0.1, all of their tokens are positive."""
    truth = np.array([True, False])
    counts = counts_across([np.array([0.9, 0.5]), np.array([0.1, 0.0]), np.array([0.9, 0.5])], [truth] * 3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_tf_idf_knows_a_class_by_its_words():
    said = tf_idf(["wave tide", "star wind"] * 5, ["sea", "sky"] * 5, ["tide", "wind"], ["sea", "sky", "fire"])
    assert said.argmax(axis=1).tolist() == [0, 1] and said[:, 2].tolist() == [0, 0]


def test_probabilities_are_in_the_order_of_the_classes():
    class Model:
        classes_ = np.array(["b", "a"])

        def predict_proba(self, inputs):
            return np.array([[0.7, 0.3]])

    assert in_order(Model(), None, ["a", "b", "c"]).tolist() == [[0.3, 0.7, 0.0]]


def test_scores_of_classes_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    probability, truth = random.dirichlet(np.ones(4), 200), random.integers(3, size=200)  # the fourth is never true
    answered = probability.argmax(axis=1)
    assert macro_f1(probability, truth) == pytest.approx(sklearn_f1(truth, answered, average="macro"))
    assert confusion(probability, truth).sum(axis=1).tolist() == np.bincount(truth, minlength=4).tolist()
    scores = {score.metric: score for score in class_scores({"a": probability}, truth, "t")}
    assert scores["accuracy"].value == pytest.approx((answered == truth).mean())
    assert scores["accuracy"].low < scores["accuracy"].value < scores["accuracy"].high


def test_scores_of_entities_are_those_of_seqeval():
    truth = [["B-A", "I-A", "O", "B-B"], ["O", "B-B", "O", "O"]]
    said = [["B-A", "O", "O", "B-B"], ["B-A", "B-B", "O", "O"]]
    scores = {score.metric: score.value for score in tag_scores("m", said, truth)}
    assert scores["f1"] == pytest.approx(f1_score(truth, said))
    assert scores["precision"] == pytest.approx(precision_score(truth, said))
    assert scores["f1 B"] == 1.0 and f1(entity_counts(said, truth, "A").sum(axis=0)) == 0.0


def test_a_word_has_the_tag_that_it_has_most_often():
    words, tags = [["a", "b"], ["a"], ["a"]], [["O", "B-X"], ["B-X"], ["B-X"]]
    assert most_frequent(words, tags, [["a", "b", "new"]]) == [["B-X", "B-X", "O"]]
