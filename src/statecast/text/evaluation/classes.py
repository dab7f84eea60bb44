"""Evaluation of a class of each document. Axes: D document, C class."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from statecast.evaluation.classes import class_scores, confusion, frequencies, surprise
from statecast.evaluation.figures import confusion_matrix
from statecast.evaluation.report import score_table, section
from statecast.labels import LabelCodec
from statecast.text.evaluation.answers import answers, embeddings
from statecast.text.evaluation.baselines import on_features, tf_idf
from statecast.text.evaluation.result import Result, held_out_source
from statecast.text.recipe import TextRecipe
from statecast.text.record import Chosen, chosen_numbers, split_documents
from statecast.trained import ModelError, TrainedModel

WORST = 10
LONGEST_SHOWN = 300  # letters of a document in the report
TEXT = (
    "A class of each document that training did not see. TF-IDF: logistic regression on the frequencies of words and pairs of words, from "
    "the same labels; frequencies: how frequent each class is in training. Intervals are of resampled documents."
)
WORST_TEXT = "The documents to whose true class the model gives the smallest probability."


class Labelled:
    """Documents that have a label, with their numbers in the files."""

    def __init__(self, chosen: Chosen, column: str) -> None:
        values = chosen.documents.column(column)
        has_label = np.array([number for number, value in enumerate(values) if value is not None])
        if not len(has_label):
            raise ModelError(f"no document of the split has a label in column {column}. Name others.")
        self.places = chosen.places[has_label]
        self.texts = [chosen.documents.texts[number] for number in has_label]
        self.labels = [str(values[number]) for number in has_label]

    def codes(self, classes: Sequence[str]) -> Int[np.ndarray, " D"]:
        return np.array([classes.index(label) for label in self.labels])


def evaluate_classes(models: Mapping[str, TrainedModel], recipe: TextRecipe, *, progress: bool = False) -> Result:
    """Scores of the models that answer the label, and of the baselines."""
    trained = next(iter(models.values()))
    (name,) = trained.recipe.task.asked_streams(trained.codecs)
    codec: LabelCodec = trained.codecs[name]
    column, classes = trained.recipe.labels[name].label, codec.classes
    data = trained.recipe.data
    training = Labelled(split_documents(trained.recipe, data.files, data.train), column)
    numbers = chosen_numbers(recipe.data, "validate")
    assert numbers is not None
    held_out = Labelled(split_documents(recipe, recipe.data.held_out_files, numbers), column)
    found: dict[str, Float[np.ndarray, "D C"]] = {}
    for key, model in models.items():
        found |= _said(key, model, recipe, name, training, held_out, classes, progress)
    found["TF-IDF"] = tf_idf(training.texts, training.labels, held_out.texts, classes)
    found["frequencies"] = frequencies(training.codes(classes), classes, len(held_out.texts))
    return result_of(found, held_out, classes, len(training.texts))


def result_of(
    found: Mapping[str, Float[np.ndarray, "D C"]], held_out: Labelled, classes: Sequence[str], trained_on: int
) -> Result:
    """The result for the probabilities of each forecast, of which the first is the model's."""
    truth = held_out.codes(classes)
    scores = class_scores(found, truth, "classes")
    own = next(iter(found.values()))
    drawn = [confusion_matrix(confusion(own, truth), classes)]
    sections = [
        section(
            "Classes", f"{TEXT} {len(truth)} documents, {trained_on} labels of training.", drawn, score_table(scores)
        ),
        section("Worst", WORST_TEXT, [], _worst(own, truth, held_out, classes)),
    ]
    return Result(scores, [("labels of training", str(trained_on))], sections)


def _said(
    key: str,
    model: TrainedModel,
    recipe: TextRecipe,
    name: str,
    training: Labelled,
    held_out: Labelled,
    classes: Sequence[str],
    progress: bool,
) -> dict[str, Float[np.ndarray, "D C"]]:
    """The probabilities by a model, or by logistic regression on its features where it does not answer the label."""
    if name in model.codecs:
        if model.codecs[name].classes != classes:
            raise ModelError(
                f"against: answers the classes {', '.join(model.codecs[name].classes)}, not those of MODEL."
            )
        return {key: probabilities(model, recipe, name, held_out.places, progress=progress)}
    features = [embeddings(model, each.texts) for each in (training, held_out)]
    return {"frozen": on_features(features[0], training.labels, features[1], classes)}


def probabilities(
    model: TrainedModel, recipe: TextRecipe, name: str, places: Int[np.ndarray, " D"], *, progress: bool = False
) -> Float[np.ndarray, "D C"]:
    """The probability of each class for the documents with these numbers; of a document in several windows the mean over them."""
    source = held_out_source(model, recipe)
    rows: dict[int, list[np.ndarray]] = {}
    for each in answers(model, source, name, progress=progress):
        assert each.said.logits is not None
        rows.setdefault(int(source.record.places[each.number]), []).append(each.said.logits[0].softmax(dim=-1).numpy())
    return np.stack([np.mean(rows[int(place)], axis=0) for place in places]).astype(float)


def _worst(
    probability: Float[np.ndarray, "D C"], truth: Int[np.ndarray, " D"], held_out: Labelled, classes: Sequence[str]
) -> list[list[str]]:
    rows = [["document", "true", "answered", "p(true)", "text"]]
    nats = surprise(probability, truth)
    for number in np.argsort(-nats, kind="stable")[:WORST]:
        text = " ".join(held_out.texts[number].split())
        shown = text[:LONGEST_SHOWN] + ("…" if len(text) > LONGEST_SHOWN else "")
        answered = classes[probability[number].argmax()]
        place = str(held_out.places[number])
        rows.append([place, classes[truth[number]], answered, f"{probability[number, truth[number]]:.3f}", shown])
    return rows
