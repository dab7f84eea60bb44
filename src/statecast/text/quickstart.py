"""The first run on texts: pre-train on unlabelled paragraphs, learn their subjects from few and from all labels, generate, and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from statecast.config import read_recipe
from statecast.evaluation.bootstrap import Score
from statecast.evaluation.figures import learning_curves, training_curves
from statecast.evaluation.progress import Stopwatch
from statecast.evaluation.report import score_table, section, write_page
from statecast.evaluation.samples import scores_of_samples
from statecast.evaluation.scored import write_records
from statecast.outputs import new_output
from statecast.runs import finetune, pretrain
from statecast.text.evaluation.classes import evaluate_classes
from statecast.text.evaluation.continuation import evaluate_continuation
from statecast.text.evaluation.result import Result
from statecast.trained import TrainedModel

MASKED_TEXT = (
    "Codes of hidden tokens of paragraphs that training did not see, given the others. The log score is the mean of -log p(code) in nats; "
    "the marginal answers each with the frequencies of training: its log score is the entropy of single tokens."
)
SUBJECTS = (
    "streams.label={label: subject, classes: [fft, integrate, interpolate, linalg, ndimage, optimize, signal, sparse, "
    "spatial, special, stats]}"
)
"""All of the sample: few labels may lack some."""
CURVE_TEXT = "Macro-F1 of the subject of a paragraph, by the number of labelled paragraphs that training has."


@dataclass(frozen=True)
class Plan:
    """How much of what the first run does.

    labels     labelled paragraphs that classifiers learn from, few and many
    steps      of each training, by the kind of its run
    overrides  of the recipe of every training
    """

    labels: tuple[int, ...] = (300, 5500)
    steps: Mapping[str, int] = field(default_factory=lambda: {"pretrained": 500, "classes": 150, "generator": 150})
    overrides: Sequence[str] = ()


def quickstart(
    out: str | Path = "runs/text", *, plan: Plan | None = None, overwrite: bool = False, progress: bool = True
) -> list[Score]:
    """Run the whole path on `sample:docs` and write `out`: run directories, `scores.json` and `report.html`. Returns the scores.

    The fine-tuned classifier is compared with a model of the same architecture and steps whose initial weights are random, with logistic
    regression on the frozen features of the pre-trained model, and with TF-IDF, each from the same labels.

    Raises OutputError if `out` exists and may not be overwritten.
    """
    plan = plan or Plan()
    watch = Stopwatch()
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        base = read_recipe("text", [_steps(plan, "pretrained"), *plan.overrides])
        with watch.time("pre-training"):
            pretrained = pretrain(base, directory / "pretrained", progress=progress)
        results = {}
        for labels in plan.labels:
            results[labels] = _classes(pretrained, labels, directory, plan, watch, progress)
        generating = read_recipe("text-generate", [_steps(plan, "generator"), *plan.overrides, SUBJECTS], inherit=base)
        with watch.time("generator"):
            generator = finetune(generating, pretrained, directory / "generator", progress=progress, title="generator")
        with watch.time("evaluation of tokens"):
            masked = scores_of_samples(pretrained)
            drawn = evaluate_continuation({"model": generator}, generator.recipe)
        scores = [*masked, *_labelled(results), *drawn.scores]
        write_records(scores, directory)
        sections = [
            section("Masked words", MASKED_TEXT, [], score_table(masked)),
            *results[plan.labels[-1]].sections,
            section("Learning curve", CURVE_TEXT, [learning_curves(_curves(results), "macro-F1")]),
            *drawn.sections,
        ]
        if curves := training_curves({"pretrained": directory / "pretrained", "generator": directory / "generator"}):
            sections.append(section("Training", "Loss; the thick line is the loss on validation.", [curves]))
        write_page("Texts", _facts(pretrained, watch), sections, directory / "report.html")
    return scores


def _steps(plan: Plan, run: str) -> str:
    return f"training.steps={plan.steps[run]}"


def _classes(
    pretrained: TrainedModel, labels: int, directory: Path, plan: Plan, watch: Stopwatch, progress: bool
) -> Result:
    """Fine-tuned and from scratch on the first so many labels, and the baselines that learn from the same."""
    few = [_steps(plan, "classes"), *plan.overrides, f"data.train=[0,{labels - 1}]", SUBJECTS]
    recipe = read_recipe("text-classes", few, inherit=pretrained.recipe)
    same_codes = f"streams.text.tokenizer={directory / 'pretrained/model/streams/text.json'}"
    untrained = read_recipe("text-classes", [*few, same_codes], inherit=pretrained.recipe)
    with watch.time(f"classes from {labels} labels"):
        tuned = finetune(recipe, pretrained, directory / f"classes-{labels}", progress=progress, title="classes")
        scratch = pretrain(untrained, directory / f"scratch-{labels}", progress=progress, title="from scratch")
    with watch.time("evaluation of classes"):
        models = {"pre-trained": tuned, "from scratch": scratch, "frozen": pretrained}
        return evaluate_classes(models, tuned.recipe)


def _labelled(results: Mapping[int, Result]) -> list[Score]:
    """The scores of all numbers of labels, which their task names."""
    found = []
    for labels, result in results.items():
        for score in result.scores:
            task = f"{score.task}, {labels} labels"
            found.append(Score(score.forecast, task, score.metric, score.value, score.low, score.high, score.n))
    return found


def _curves(results: Mapping[int, Result]) -> dict[str, dict[int, float]]:
    """Macro-F1 of each classifier by the number of labels."""
    points: dict[str, dict[int, float]] = {}
    for labels, result in results.items():
        for score in result.scores:
            if score.metric == "macro_f1":
                points.setdefault(score.forecast, {})[labels] = score.value
    return points


def _facts(pretrained: TrainedModel, watch: Stopwatch) -> list[tuple[str, str]]:
    first, last = pretrained.recipe.data.train
    rows = [
        ("paragraphs", ", ".join(pretrained.recipe.data.files)),
        ("pre-trained on", f"paragraphs {first} to {last}, without labels"),
        ("parameters", f"{pretrained.parameters:,}"),
    ]
    return [*rows, *((part, f"{seconds:.0f} s") for part, seconds in watch.seconds.items())]
