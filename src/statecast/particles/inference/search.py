"""A search for a signal among events, by a model that answers their process.

Axes: E event, K process.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from statecast.evaluation.bootstrap import Score
from statecast.labels import LabelCodec
from statecast.particles.evaluation.significance import (
    LUMINOSITY_FB,
    Scored,
    expected_events,
    likelihood_ratio,
    search_scores,
)
from statecast.particles.event_source import EventSource, chosen_events, event_record
from statecast.particles.events import NORMALISATION, Events
from statecast.particles.held_out import require_unseen
from statecast.particles.jets import JetError
from statecast.particles.record import Columns, Range
from statecast.particles.source import columns_of
from statecast.streams import stack_questions
from statecast.trained import ModelError, TrainedModel, load

BATCH = 128


@dataclass(frozen=True)
class Experiment:
    """What is searched for, and with how much data.

    signal            process that is searched for; the others are its background
    cross_section_fb  of processes, after the selection, in place of that of the simulation
    background_error  relative error of the expected background
    """

    signal: str
    luminosity_fb: float = LUMINOSITY_FB
    cross_section_fb: Mapping[str, float] | None = None
    background_error: float = 0.0


def process_label(trained: TrainedModel) -> tuple[str, LabelCodec]:
    """The stream of the process of events. Raises ModelError if the model does not answer it."""
    if trained.recipe.event is None:
        raise ModelError("the model is of single jets, expected one of events. Fine-tune it by the recipe jets-search.")
    for name in trained.recipe.task.asked_streams(trained.codecs):
        codec = trained.codecs[name]
        if isinstance(codec, LabelCodec) and codec.classes:
            return name, codec
    raise ModelError("the model does not answer the process of events. Fine-tune it by the recipe jets-search.")


@torch.inference_mode()
def process_probabilities(trained: TrainedModel, events: Events, batch: int = BATCH) -> Float[np.ndarray, "E K"]:
    """The probability of each process, in the order of the label's classes. Labels of the events are not read."""
    name, _ = process_label(trained)
    columns = replace(columns_of(trained.recipe, "validate", (0, None)), labels=())
    source = EventSource(event_record(events, trained.recipe, columns), trained.codecs)
    parts = []
    for first in range(0, len(events), batch):
        numbers = range(first, min(first + batch, len(events)))
        questions = [trained.recipe.task.complete(source.window(number)) for number in numbers]
        logits = trained.model.answer(stack_questions(questions).to(trained.device))[name].logits
        assert logits is not None
        parts.append(logits[:, 0].double().softmax(dim=-1).cpu().numpy())
    return np.concatenate(parts)


def read_range(files: Sequence[str], events: Range, most_constituents: int = 128) -> Events:
    """The events from the first to the last of a range. Raises JetError as `event_source.chosen_events`."""
    return Events.joined(list(chosen_events(Columns(tuple(files), events, most_constituents, (), (), ()))))


def cross_sections(events: Events, experiment: Experiment) -> dict[str, float]:
    """Cross-section in fb of each process after the selection. Raises JetError for events without labels or weights."""
    lacking = [name for name in NORMALISATION if name not in events.of_events]
    if events.labels is None or lacking:
        what = lacking[0] if lacking else "process"
        raise JetError(f"the events have no {what}, expected simulated events. Give a file of `data simulate events`.")
    of_events = events.of_events["cross_section_fb"]
    known = {str(name): float(of_events[events.labels == name].mean()) for name in np.unique(events.labels)}
    changed = dict(experiment.cross_section_fb or {})
    for name in (experiment.signal, *changed):
        if name not in known:
            raise JetError(f"process {name}: the events have {', '.join(known)}. Name one of them.")
    return known | changed


def expected_of(events: Events, experiment: Experiment, sections: Mapping[str, float]) -> Float[np.ndarray, " E"]:
    """The number of events that each simulated one stands for."""
    assert events.labels is not None
    return expected_events(events.labels, events.of_events["weight"], sections, experiment.luminosity_fb)


def search_score(
    probability: Float[np.ndarray, "E K"],
    classes: Sequence[str],
    training_labels: np.ndarray,
    experiment: Experiment,
    sections: Mapping[str, float],
) -> Float[np.ndarray, " E"]:
    """The likelihood ratio of the signal over the mixture of its backgrounds, from the probabilities of a classifier."""
    priors = np.array([np.mean(training_labels == name) for name in classes])
    expected = np.array([sections[name] for name in classes]) * experiment.luminosity_fb
    return likelihood_ratio(probability, priors, expected, list(classes).index(experiment.signal))


def search(
    run: str | Path | TrainedModel,
    files: str | Sequence[str],
    test: Range,
    experiment: Experiment,
    *,
    validation: Range | None = None,
) -> list[Score]:
    """Expected significance of a search by a model of events, see `significance.search_scores`.

    test        events of the files of which the numbers are
    validation  events of the files on which the cut is chosen; None: the validation split of the model's recipe

    Raises ModelError for a model that does not answer the process; JetError for events that are not there or in both ranges, SeenError
    for events that the model has learned from.
    """
    trained = load(run)
    names = (files,) if isinstance(files, str) else tuple(files)
    _, codec = process_label(trained)
    data = trained.recipe.data
    chosen = validation if validation is not None else data.validate_on
    if chosen is None or chosen == "all":
        raise JetError("the recipe of the model has no range of validation to choose the cut on. Name one.")
    _require_apart(chosen, test)
    for first, last in (chosen, test):
        span = (first, sys.maxsize if last is None else last)
        require_unseen(trained, data.model_copy(update={"validate_files": names, "validate_on": span}))
    of_training = read_range(data.files, data.train, 1)
    assert of_training.labels is not None
    sections = cross_sections(read_range(names, (0, None), 1), experiment)
    scored = []
    for span in (chosen, test):
        events = read_range(names, span, data.most_constituents)
        assert events.labels is not None
        said = process_probabilities(trained, events)
        score = search_score(said, codec.classes, of_training.labels, experiment, sections)
        scored.append(Scored(events.labels, expected_of(events, experiment, sections), {"model": score}))
    return search_scores(scored[0], scored[1], experiment.signal, background_error=experiment.background_error)


def _require_apart(validation: Range, test: Range) -> None:
    last = test[1] if test[1] is not None else float("inf")
    if validation[1] is None or (validation[0] <= last and test[0] <= validation[1]):
        raise JetError(
            f"events {validation[0]} to {validation[1]} of validation overlap the test, {test[0]} to {test[1]}: a cut is best where it is "
            "chosen. Name others."
        )
