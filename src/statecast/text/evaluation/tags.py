"""Evaluation of a tag of each word: named entities. Axes: D document, K count (right, wrong, missed)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.evaluation.bootstrap import Score
from statecast.evaluation.report import score_table, section
from statecast.streams import UNKNOWN
from statecast.text.evaluation.answers import answers
from statecast.text.evaluation.result import COUNT_SCORES, Result, held_out_source, score_of_sums, scores_of_counts
from statecast.text.recipe import TextRecipe
from statecast.text.record import chosen_numbers, split_documents
from statecast.trained import TrainedModel

OUTSIDE = "O"
TEXT = (
    "Entities, each with its kind, begin and end, in documents that training did not see (seqeval). Most frequent: each word has the tag "
    "that it has most often in training, and none if training does not have it. Intervals are of resampled documents."
)

Tags = Sequence[Sequence[str]]
"""The tags of the words of each document."""


def entities() -> Any:
    """seqeval's function from tags to entities. Raises ModuleNotFoundError in one line where it is missing."""
    try:
        from seqeval.metrics.sequence_labeling import get_entities
    except ModuleNotFoundError:
        raise ModuleNotFoundError("scores of named entities need seqeval. pip install 'statecast[text]'") from None
    return get_entities


def evaluate_tags(models: Mapping[str, TrainedModel], recipe: TextRecipe, *, progress: bool = False) -> Result:
    """F1, precision and recall of entities, of all kinds together, and the F1 of each kind."""
    trained = next(iter(models.values()))
    (name,) = trained.recipe.task.asked_streams(trained.codecs)
    column, data = trained.recipe.tags[name].tags, trained.recipe.data
    training = split_documents(trained.recipe, data.files, data.train).documents
    numbers = chosen_numbers(recipe.data, "validate")
    assert numbers is not None
    chosen = split_documents(recipe, recipe.data.held_out_files, numbers)
    found = {key: tags_of(model, recipe, name, progress=progress) for key, model in models.items()}
    words = [text.split(" ") for text in chosen.documents.texts]
    found["most frequent"] = most_frequent(
        [text.split(" ") for text in training.texts], training.tags_of(column), words
    )
    truth = chosen.documents.tags_of(column)
    scores: list[Score] = []
    for forecast, tags in found.items():
        scores += tag_scores(forecast, tags, truth)
    table = score_table(scores)
    return Result(scores, [], [section("Entities", f"{TEXT} {len(truth)} documents.", [], table)])


def tags_of(model: TrainedModel, recipe: TextRecipe, name: str, *, progress: bool = False) -> list[list[str]]:
    """The most probable tag of each word of each document of a split; the words of a document may lie in several windows."""
    source = held_out_source(model, recipe)
    names = model.codecs[name].categories
    rows: dict[int, list[str]] = {}
    for each in answers(model, source, name, progress=progress):
        asked = each.question.queries[name]
        assert asked.codes is not None and each.said.logits is not None
        best = each.said.logits.argmax(dim=-1)[asked.codes != UNKNOWN]
        rows.setdefault(int(source.record.places[each.number]), []).extend(names[code] for code in best.tolist())
    return list(rows.values())


def most_frequent(words: Sequence[Sequence[str]], tags: Tags, asked: Sequence[Sequence[str]]) -> list[list[str]]:
    """The tag that each asked word has most often among `words`, or none."""
    counts: dict[str, Counter[str]] = {}
    for of_document, theirs in zip(words, tags, strict=True):
        for word, tag in zip(of_document, theirs, strict=True):
            counts.setdefault(word, Counter())[tag] += 1
    best = {word: counted.most_common(1)[0][0] for word, counted in counts.items()}
    return [[best.get(word, OUTSIDE) for word in of_document] for of_document in asked]


def tag_scores(forecast: str, tags: Tags, truth: Tags) -> list[Score]:
    """F1, precision and recall of all entities, and the F1 of each kind that there is."""
    counts = {"": entity_counts(tags, truth, None)}
    kinds = sorted({entity[0] for of_document in truth for entity in entities()(list(of_document))})
    for kind in kinds:
        counts[kind] = entity_counts(tags, truth, kind)
    scores = scores_of_counts(forecast, "entities", counts[""])
    for kind in kinds:
        scores.append(score_of_sums(forecast, "entities", f"f1 {kind}", counts[kind], COUNT_SCORES["f1"]))
    return scores


def entity_counts(tags: Tags, truth: Tags, kind: str | None) -> Float[np.ndarray, "D 3"]:
    """For each document the entities of a kind, or of all, that are right, wrong and missed."""
    find, rows = entities(), []
    for said, true in zip(tags, truth, strict=True):
        assert len(said) == len(true), "every word has one answer"
        ours, theirs = ({each for each in find(list(of)) if kind in (None, each[0])} for of in (said, true))
        rows.append((len(ours & theirs), len(ours - theirs), len(theirs - ours)))
    return np.array(rows, float).reshape(-1, 3)
