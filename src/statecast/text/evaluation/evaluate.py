"""Evaluation of a model of texts on documents that it has not learned from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from statecast.evaluation.report import write_page
from statecast.evaluation.samples import SampleEvaluation, evaluate_samples
from statecast.evaluation.scored import ScoredEvaluation, write_records
from statecast.labels import LabelCodec
from statecast.numbered import real_places, require_unseen
from statecast.outputs import new_output
from statecast.text.codec import TagCodec
from statecast.text.evaluation.classes import evaluate_classes
from statecast.text.evaluation.continuation import evaluate_continuation
from statecast.text.evaluation.replaced import evaluate_replaced
from statecast.text.evaluation.result import Result
from statecast.text.evaluation.tags import evaluate_tags
from statecast.text.recipe import TextRecipe
from statecast.text.samples import SAMPLES, sample_path
from statecast.text.streams import LabelStream
from statecast.trained import ModelError, TrainedModel, load_compared


def evaluate(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path = "evaluation",
    *,
    against: str | Path | TrainedModel | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ScoredEvaluation | SampleEvaluation:
    """Verify a model on documents that it did not learn from; write `scores.json` and `report.html` into `out`.

    data, period  files, and the first and the last document; None: the validation split of the model's recipe
    against       a model that answers the same question; for a label also one that does not, such as the pre-trained one: logistic
                  regression on its frozen features is then among the forecasts

    classes     accuracy, macro-F1 and log score, beside TF-IDF with logistic regression and the frequencies of the classes; confusion
                matrix; the ten documents that the model is most wrong about
    tags        F1 of entities (seqeval), beside the most frequent tag of each word
    next        perplexity of a token, beside unigrams and bigrams
    replaced    precision, recall and F1, beside a rule that calls rare tokens replaced

    Any other model is verified by `evaluation.samples.evaluate_samples`, beside the frequency of each code.

    Raises SeenError for documents that a model has learned from, ModelError if there is none to verify on.
    """
    models = load_compared(run, against)
    trained = models["model"]
    recipe: TextRecipe = trained.domain.with_data(trained.recipe, data, period)
    if recipe.data.validate_on is None:
        raise ModelError("the recipe has no validation split, and no period is given. Give --period FIRST LAST.")
    for model in models.values():
        require_unseen(model.learned, recipe.data, real_files)
    score = evaluator(trained)
    if score is None:
        return evaluate_samples(trained, data, period, out, against=against, overwrite=overwrite, progress=progress)
    result = score(models, recipe, progress=progress)
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        write_records(result.scores, directory)
        facts = [("documents", ", ".join(recipe.data.held_out_files)), ("parameters", f"{trained.parameters:,}")]
        write_page("Evaluation", [*facts, *result.facts], result.sections, directory / "report.html")
    return ScoredEvaluation(Path(out), result.scores)


def evaluator(trained: TrainedModel) -> Callable[..., Result] | None:
    """What scores the answers of this model; None: what scores those of any."""
    task = trained.recipe.task
    if task.kind in ("next", "detect"):
        return evaluate_continuation if task.kind == "next" else evaluate_replaced
    codecs: list[Any] = [trained.codecs[name] for name in task.asked_streams(trained.codecs)]
    if len(codecs) != 1:
        return None
    if isinstance(codecs[0], TagCodec):
        return evaluate_tags
    is_class = isinstance(codecs[0], LabelCodec) and bool(codecs[0].classes)
    return evaluate_classes if is_class and isinstance(codecs[0].stream, LabelStream) else None


def real_files(names: Sequence[str]) -> set[Path]:
    """The files that names stand for."""
    return real_places([sample_path(name) if name in SAMPLES else name for name in names])
