"""The quickstart: the whole path on the embedded atmosphere, from a store to a report.

Pre-train, fine-tune to forecast, train the same model from scratch with the same fine-tuning budget, verify all of them on months that
no training saw, report.
"""

from collections.abc import Sequence
from pathlib import Path

from statecast.config import read_recipe
from statecast.evaluation import Verification, write_scores
from statecast.evaluation.progress import Stopwatch, progress_bar
from statecast.fields.evaluation.reconstruction import verify_reconstruction
from statecast.fields.evaluation.report import RunFacts, write_report
from statecast.fields.evaluation.verify import verify
from statecast.fields.recipe import FieldRecipe
from statecast.fields.sources import Record, open_fields
from statecast.outputs import new_output
from statecast.runs import finetune, pretrain

HELD_OUT = ("2001-01-01", "2001-02-28")
RECONSTRUCTED_SHARE = 0.75


def quickstart(
    out: str | Path = "runs/quickstart",
    *,
    pretraining: str | FieldRecipe = "quickstart",
    finetuning: str = "quickstart-forecast",
    tuning_overrides: Sequence[str] = (),
    period: tuple[str, str] = HELD_OUT,
    overwrite: bool = False,
    progress: bool = True,
) -> list[Verification]:
    """Run the whole path and write `out`: `pretrained/`, `forecast/` and `scratch/` (run directories), `model/` (the fine-tuned model),
    `scores.json`, `scores.nc` and `report.html`. Returns what was verified.

    The control, `scratch`, has the fine-tuned model's architecture, task, samples, number of steps and learning rate, which is the one
    that served best from scratch; only its first weights are new.
    Raises OutputError if `out` exists and may not be overwritten.
    """
    base = pretraining if isinstance(pretraining, FieldRecipe) else read_recipe(pretraining)
    assert isinstance(base, FieldRecipe)
    watch = Stopwatch()
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        runs = {name: directory / name for name in ("pretrained", "forecast", "scratch")}
        with watch.time("pre-training"):
            pretrained = pretrain(base, runs["pretrained"], progress=progress)
        with watch.time("fine-tuning"):
            tuning = read_recipe(finetuning, tuning_overrides, inherit=base)
            model = finetune(tuning, pretrained, runs["forecast"], progress=progress)
        with watch.time("control from scratch"):
            scratch = pretrain(tuning, runs["scratch"], title="from scratch", progress=progress)
        dataset = open_fields(base.data.store)
        record = Record.open(dataset, next(iter(base.fields.values())), period)
        with watch.time("evaluation"):
            verifications = verify(
                {"model": model, "scratch": scratch},
                {next(iter(base.streams)): record},
                {next(iter(base.streams)): dataset},
                every_h=18.0,
                progress=progress,
                title="forecasts",
            )
            with progress_bar("reconstruction", progress) as show_progress:
                verifications += verify_reconstruction(
                    pretrained, record, hidden=(RECONSTRUCTED_SHARE,), every_h=72.0, progress=show_progress
                )
        write_scores(verifications, directory)
        model.save(directory / "model")
        facts = RunFacts("Quickstart", model, base.data.store, period, watch.seconds, runs, pretrained)
        write_report(facts, {next(iter(base.streams)): record}, verifications, directory / "report.html")
    return verifications
