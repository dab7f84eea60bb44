"""Evaluation of a model of images on pictures that it has not learned from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from statecast.evaluation.bootstrap import Score, interval, resampled
from statecast.evaluation.report import write_page
from statecast.evaluation.samples import SampleEvaluation, evaluate_samples
from statecast.images.evaluation.judge import PictureJudge
from statecast.images.evaluation.report import sections
from statecast.images.evaluation.scores import average_precision
from statecast.images.source import ImageSource
from statecast.outputs import new_output
from statecast.trained import ModelError, TrainedModel, load


@dataclass(frozen=True)
class ImageEvaluation(SampleEvaluation):
    """Also the scores that are no means over pictures, and the pages of the report."""

    further: Sequence[Score] = ()

    @property
    def written(self) -> Path:
        return self.out / "report.html"

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        title, rows = super().tables()[0]
        for score in self.further:
            numbers = (f"{score.value:.4g}", f"{score.low:.4g} to {score.high:.4g}", str(score.n))
            rows.append([dict(score.labels)["stream"], score.forecast, score.metric, *numbers])
        return [(title, rows)]


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
) -> ImageEvaluation:
    """Verify a model on pictures that it did not learn from; write `scores.json`, `answers.nc` and `report.html` into `out`.

    data, period  files, and the first and the last picture; None: the validation split of the model's recipe
    against       another model that answers the same question
    report        False: no `report.html`

    The scores are those of `evaluation.samples.evaluate_samples` and of `scores.picture_scores`. Beside the model stand: for pixels the
    mean colour and linear interpolation, or what was shown and its local mean; for masks Otsu's threshold; for classes logistic
    regression on the pixels that the model learned from; for boxes connected components; for places chance.

    Raises ImageError for pictures that don't fit, ModelError if there is none to verify on.
    """
    trained = load(run)
    with new_output(out, overwrite=overwrite) as directory:
        evaluation, judge = verify(trained, directory, data, period, against=against, progress=progress)
        if report:
            facts = [
                ("pictures", ", ".join(judge.held_out.record.files)),
                ("evaluated on", f"{len(judge.held_out.record)} samples that training did not see"),
                ("parameters", f"{trained.parameters:,}"),
            ]
            write_page("Evaluation", facts, sections(judge, evaluation.tables()), directory / "report.html")
    return replace(evaluation, out=Path(out))


def verify(
    trained: TrainedModel,
    directory: Path,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    *,
    against: str | Path | TrainedModel | None = None,
    progress: bool = True,
) -> tuple[ImageEvaluation, PictureJudge]:
    """What `evaluate` does, into a new `directory` and without the report; also returns the examples and objects for one."""
    recipe = trained.domain.with_data(trained.recipe, data, period)
    source = trained.domain.open(recipe, "validate", trained.codecs)
    if not isinstance(source, ImageSource):
        raise ModelError("the recipe has no validation split, and no period is given. Give --period FIRST LAST.")
    judge = PictureJudge(trained, source)
    found = evaluate_samples(trained, data, period, directory, against=against, judge=judge, progress=progress)
    further = object_scores(judge)
    file = directory / "scores.json"
    records = json.loads(file.read_text(encoding="utf-8")) + [score.record() for score in further]
    file.write_text(json.dumps(records, indent=1, allow_nan=False), encoding="utf-8")
    return ImageEvaluation(directory, found.verifications, found.answers, further), judge


def object_scores(judge: PictureJudge) -> list[Score]:
    """Average precision of the boxes of each forecast, with intervals over pictures; none where no objects were asked."""
    if not judge.found:
        return []
    samples = [judge.sample(number) for number in range(len(judge.held_out.record))]
    boxes = [sample.boxes for sample in samples if sample.boxes is not None]
    edges, classes = [each.edges for each in boxes], [each.classes for each in boxes]
    draws = resampled(np.zeros(len(boxes), int), 50)
    scores = []
    stream = next(iter(judge.trained.recipe.task.asked_streams(judge.trained.codecs)), "")
    for name, found in judge.found.items():

        def precision(numbers: np.ndarray, found: Sequence = found) -> float:
            chosen = [int(number) for number in numbers]
            return average_precision(
                [found[n] for n in chosen], [edges[n] for n in chosen], [classes[n] for n in chosen]
            )

        everything = np.arange(len(boxes))
        low, high = interval(precision, [everything], draws)
        task = str(judge.trained.recipe.task.kind)
        scores.append(
            Score(name, task, "average_precision", precision(everything), low, high, len(boxes), (("stream", stream),))
        )
    return scores
