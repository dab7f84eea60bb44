"""What a fine-tuning that changed the streams of a model has forgotten: the skill in the old question before and after."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from statecast.adaptation import transfer
from statecast.evaluation import Verification, write_scores
from statecast.fields.evaluation.verify import verify
from statecast.fields.recipe import FieldRecipe
from statecast.fields.source import recipe_stores
from statecast.fields.sources import Record
from statecast.fields.tokenizers import FieldTokenizer
from statecast.trained import TrainedModel, build

Tokenizers = Mapping[str, FieldTokenizer]


def prepare_report(
    base: TrainedModel, trained: TrainedModel, *, progress: bool
) -> Callable[[Path], Callable[[Path], None]] | None:
    """What is to be done after a fine-tuning that may forget: write the report, then print where it lies. None if there is none to write.

    Prints one line on standard error if a report is due and can't be made.
    """
    recipe = trained.recipe
    if not may_forget(base, trained.codecs, recipe):
        return None
    if reason := why_no_report(base, trained.codecs, recipe):
        print_no_report(reason)
        return None

    def write(directory: Path) -> Callable[[Path], None]:
        verifications = report_forgetting(base, trained, recipe, directory, progress=progress)
        return lambda run: print_forgetting(verifications, run)

    return write


def may_forget(base: TrainedModel, tokenizers: Tokenizers, recipe: FieldRecipe) -> bool:
    """Whether a fine-tuning has other streams or channels than its base, and weights that the base had are free."""
    return recipe.adaptation.change != "new" and _known(base.codecs) != _known(tokenizers)


def _known(tokenizers: Tokenizers) -> dict[str, set[str]]:
    """The channels of each stream of fields; labels beside them make no one forget."""
    fields = {name: codec for name, codec in tokenizers.items() if isinstance(codec, FieldTokenizer)}
    return {name: {str(channel) for channel in codec.climatology.channels} for name, codec in fields.items()}


def why_no_report(base: TrainedModel, tokenizers: Tokenizers, recipe: FieldRecipe) -> str | None:
    """Why the old question can't be asked of the fine-tuned model; None if it can."""
    if recipe.data.validate_on is None:
        return "data.validate is null. Name a period that no training has seen."
    if beside := [name for name, codec in base.codecs.items() if not isinstance(codec, FieldTokenizer)]:
        return f"the old question is about stream {beside[0]} too, which is none of fields."
    for name, known in base.codecs.items():
        if name not in tokenizers:
            return f"stream {name}, which the old question is about, is left out."
        if gone := [c for c in known.channels if c not in tokenizers[name].channels]:
            return f"stream {name} has no {gone[0]} any more, which the old question is about."
        if gone := sorted(set(known.stream.first_guess) - set(tokenizers[name].stream.first_guess)):
            return f"stream {name} has no first guess of {gone[0]} any more, which the old question starts from."
    return None


def as_before(trained: TrainedModel, base: TrainedModel) -> TrainedModel:
    """The fine-tuned weights in a model of the streams and channels, and with the question, of the one that it goes on from.

    What is new is not seen, as where it was not observed, and not asked. Every channel of `base` must be left, see `why_no_report`.
    """
    model = build(base.model.options, base.codecs, 0, base.model.axes)
    report = transfer(trained.model, trained.codecs, model, base.codecs)
    assert not report.new and not report.mixed, report
    return TrainedModel(model.eval(), base.codecs, base.recipe).to(base.device)


def report_forgetting(
    base: TrainedModel, trained: TrainedModel, recipe: FieldRecipe, directory: Path, *, progress: bool
) -> list[Verification]:
    """Verify both models on the validation period by what the old one was trained for; write `forgetting/scores.json` and `.nc`."""
    stores = recipe_stores(recipe)
    records = {n: Record.open(stores[n], t.stream, recipe.data.validate_on) for n, t in base.codecs.items()}
    models = {"model": as_before(trained, base), "before": base}
    title = "old question, before and after"
    verifications = verify(models, records, None, every_h=24.0, progress=progress, title=title)
    (directory / "forgetting").mkdir(exist_ok=True)
    write_scores(verifications, directory / "forgetting")
    return verifications


def print_no_report(reason: str) -> None:
    print(f"no forgetting report, because {reason}", file=sys.stderr)


def print_forgetting(verifications: Sequence[Verification], run: Path) -> None:
    """A short table on standard error, and where the scores lie."""
    table = Table("old question", "RMSE after / before, mean", "worst channel", "its ratio", title="forgotten")
    for task, mean, channel, worst in forgotten(verifications):
        table.add_row(task, f"{mean:.3f}", channel, f"{worst:.3f}")
    console = Console(stderr=True)
    console.print(table)
    console.print(f"forgetting: {run / 'forgetting' / 'scores.json'}", soft_wrap=True, highlight=False)


def forgotten(verifications: Sequence[Verification]) -> list[tuple[str, float, str, float]]:
    """Of each task: RMSE after over before, its mean over channels and lead times; the channel that lost most, its mean over lead times."""
    rows = []
    for task in dict.fromkeys(v.task for v in verifications):
        of = {v.forecast: v for v in verifications if v.task == task}
        after, before = of["model"].value("rmse"), of["before"].value("rmse")
        ratios = np.divide(after, before, out=np.full(before.shape, np.nan), where=before > 0)
        scored = np.flatnonzero(np.isfinite(ratios).all(axis=0))
        if len(scored):
            means = ratios[:, scored].mean(axis=0)
            worst = int(means.argmax())
            channel = of["model"].labels("channel")[scored[worst]]
            rows.append((task, float(means.mean()), channel, float(means[worst])))
    return rows
