"""Evaluation of a model of jets on jets that it has not learned from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from statecast.evaluation.report import write_page
from statecast.evaluation.samples import SampleEvaluation, evaluate_samples
from statecast.evaluation.scored import ScoredEvaluation, write_records
from statecast.labels import LabelCodec
from statecast.outputs import new_output
from statecast.particles.evaluation.baselines import Kind, fit_classifier, probabilities
from statecast.particles.evaluation.observables import TAGGING, as_features, observables
from statecast.particles.evaluation.report import TaggingResult, score_tables, tagging_section
from statecast.particles.evaluation.tagging import tagging_scores
from statecast.particles.held_out import held_out_jets, require_unseen, whole_jets
from statecast.particles.inference.tag import asked_labels, class_probabilities
from statecast.particles.jets import NO_LABEL, JetError, Jets
from statecast.trained import TrainedModel, load_compared

BASELINE_JETS = 20_000  # labelled jets that the baselines learn from, at most
BASELINES: dict[str, Kind] = {"boosting on substructure": "boosting", "logistic on substructure": "logistic"}


def evaluate(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path = "evaluation",
    *,
    against: str | Path | TrainedModel | None = None,
    report: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> ScoredEvaluation | SampleEvaluation:
    """Verify a model on jets that it did not learn from, and write `scores.json` into `out`.

    data, period  files, and the first and the last jet; None: the validation split of the model's recipe
    against       another model that answers the same question
    report        False: a tagger's `report.html` is not written

    A tagger gets accuracy, log score, AUC and background rejection, beside gradient boosting and logistic regression on five substructure
    variables, which learn from the labels that the tagger learned from (at most 20 000). Any other model is verified by
    `evaluation.samples.evaluate_samples`.

    Raises SeenError for jets that a model has learned from, ModelError if there is none to verify on.
    """
    models = load_compared(run, against)
    trained = models["model"]
    recipe = trained.domain.with_data(trained.recipe, data, period)
    for model in models.values():
        require_unseen(model, recipe.data)
    if trained.recipe.event or not _is_tagger(trained):
        return evaluate_samples(trained, data, period, out, against=against, overwrite=overwrite, progress=progress)
    held_out = _labelled(held_out_jets(recipe.data))
    result = tagging_result(models, labelled_jets(trained), held_out)
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        write_records(result.scores, directory)
        if report:
            facts = [("jets", ", ".join(recipe.data.held_out_files)), ("parameters", f"{trained.parameters:,}")]
            write_page("Evaluation", facts, [tagging_section(result)], directory / "report.html")
    return ScoredEvaluation(Path(out), result.scores, score_tables)


def _is_tagger(trained: TrainedModel) -> bool:
    """Whether the model answers one class."""
    asked = trained.recipe.task.asked_streams(trained.codecs)
    codecs = [trained.codecs[name] for name in asked]
    return len(codecs) == 1 and isinstance(codecs[0], LabelCodec) and bool(codecs[0].classes)


def labelled_jets(trained: TrainedModel) -> Jets:
    """Jets that a tagger learned its labels from, at most `BASELINE_JETS`."""
    data = trained.recipe.data
    first, last = data.train
    return _labelled(whole_jets(data.files, (first, min(last, first + BASELINE_JETS - 1)), data))


def _labelled(jets: Jets) -> Jets:
    """The jets that have a label. Raises JetError if there is none."""
    if jets.labels is None or (jets.labels == NO_LABEL).all():
        raise JetError("the files have no labels, expected the class of each jet. Use labelled jets.")
    return jets[np.flatnonzero(jets.labels != NO_LABEL)]


def tagging_result(models: dict[str, TrainedModel], labelled: Jets, held_out: Jets) -> TaggingResult:
    """Several taggers, and the baselines that learn from `labelled`, on the same held-out jets."""
    classes = next(iter(asked_labels(next(iter(models.values()))).values())).classes
    found = {name: class_probabilities(model, held_out) for name, model in models.items()}
    found |= baseline_probabilities(labelled, held_out, classes)
    assert held_out.labels is not None
    scores = tagging_scores(found, held_out.labels, classes)
    return TaggingResult(found, held_out.labels, classes, len(labelled), scores)


def baseline_probabilities(
    labelled: Jets, held_out: Jets, classes: Sequence[str]
) -> dict[str, Float[np.ndarray, "J C"]]:
    """The probabilities of the substructure baselines."""
    assert labelled.labels is not None
    theirs, ours = (as_features(observables(jets), TAGGING) for jets in (labelled, held_out))
    found = {}
    for name, kind in BASELINES.items():
        found[name] = probabilities(fit_classifier(kind, theirs, labelled.labels), ours, classes)
    return found
