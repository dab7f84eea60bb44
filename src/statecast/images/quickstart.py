"""The first run on images: inpainting, jigsaw and colourisation of photographs, and digits from few labels, with a report.

Axes: S sample, F feature.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from statecast.config import read_recipe
from statecast.domain import Source
from statecast.evaluation.bootstrap import Score, interval, resampled
from statecast.evaluation.figures import training_curves
from statecast.evaluation.progress import Stopwatch
from statecast.evaluation.report import section, write_page
from statecast.images.evaluation.baselines import fit_logistic
from statecast.images.evaluation.evaluate import verify
from statecast.images.evaluation.report import sections
from statecast.outputs import new_output
from statecast.representation import encode_window
from statecast.runs import finetune, pretrain
from statecast.trained import TrainedModel

OF_PHOTOGRAPHS = {"inpainting": "images", "jigsaw": "images-jigsaw", "colour": "images-colour"}
"""The recipe of each run on photographs."""
HELD_OUT = (1297, 1796)
"""First and last digit that no training and no validation sees."""

Tables = list[tuple[str, list[list[str]]]]


@dataclass(frozen=True)
class Plan:
    """How much of what the first run does.

    labels       labelled digits that are learned from
    steps        of each training, by the name of its run, where not those of the recipe
    held_out     first and last digit that the models are verified on
    photographs  first and last strip that the models are verified on; none: those of validation
    overrides    of the recipe of every training
    """

    labels: int = 200
    steps: Mapping[str, int] = field(default_factory=lambda: {"classes": 200, "scratch": 200})
    held_out: tuple[int, int] = HELD_OUT
    photographs: tuple[str, str] | None = None
    overrides: Sequence[str] = ()

    def of(self, run: str) -> list[str]:
        """The overrides of one run."""
        return [*([f"training.steps={self.steps[run]}"] if run in self.steps else []), *self.overrides]


def quickstart(
    out: str | Path = "runs/images", *, plan: Plan | None = None, overwrite: bool = False, progress: bool = True
) -> Tables:
    """Run the whole path and write `out`: the run directories `inpainting/`, `jigsaw/`, `colour/`, `digits/` (pre-trained without labels),
    `classes/` (fine-tuned with few labels) and `scratch/` (its control), `scores.json` and `report.html`. Returns the tables of scores.

    Photographs and digits are those that scikit-learn ships. Raises OutputError if `out` exists and may not be overwritten, ImageError if
    the extra `images` is not installed.
    """
    plan, watch = plan or Plan(), Stopwatch()
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        models = _train(directory, plan, watch, progress)
        pages, tables, records = [], [], []
        with watch.time("evaluation"):
            for name, model in models.items():
                first, last = plan.held_out
                period = plan.photographs if name in OF_PHOTOGRAPHS else (str(first), str(last))
                evaluation, judge = verify(model, directory / name / "scores", period=period, progress=progress)
                found = [(f"{name}: {title}", rows) for title, rows in evaluation.tables()]
                if name == "classes":
                    frozen = frozen_accuracy(models["digits"], model, plan)
                    numbers = (f"{frozen.value:.4g}", f"{frozen.low:.4g} to {frozen.high:.4g}", str(frozen.n))
                    found[0][1].append(["digit", frozen.forecast, frozen.metric, *numbers])
                    records.append({"run": name, **frozen.record()})
                pages += sections(judge, found)
                tables += found
                scored = json.loads((directory / name / "scores" / "scores.json").read_text(encoding="utf-8"))
                records += [{"run": name, **record} for record in scored]
        (directory / "scores.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
        _report(directory, models, pages, watch)
    return tables


def _train(directory: Path, plan: Plan, watch: Stopwatch, progress: bool) -> dict[str, TrainedModel]:
    models = {}
    for name, recipe in {**OF_PHOTOGRAPHS, "digits": "images-digits"}.items():
        with watch.time(name):
            models[name] = pretrain(read_recipe(recipe, plan.of(name)), directory / name, progress=progress, title=name)
    few = f"data.train=[0,{plan.labels - 1}]"
    base = models["digits"]
    for name in ("classes", "scratch"):
        tuned = read_recipe("images-classes", [*plan.of(name), few], inherit=base.recipe)
        with watch.time(name):
            if name == "classes":
                models[name] = finetune(tuned, base, directory / name, progress=progress, title=name)
            else:
                models[name] = pretrain(tuned, directory / name, progress=progress, title=name)
    return models


def frozen_accuracy(base: TrainedModel, tuned: TrainedModel, plan: Plan) -> Score:
    """Accuracy of logistic regression on the mean features of the pre-trained encoder, from the labels that the tuned model had."""
    period = (str(plan.held_out[0]), str(plan.held_out[1]))
    held_out = tuned.domain.with_data(tuned.recipe, None, period)
    learned, digits = _features(base, tuned.domain.open(tuned.recipe, "train", tuned.codecs))
    features, truth = _features(base, tuned.domain.open(held_out, "validate", tuned.codecs))
    right = (fit_logistic(learned, digits.tolist()).predict(features) == truth).astype(float)
    low, high = interval(lambda each: float(each.mean()), [right], resampled(np.zeros(len(right), int)))
    name = "logistic on frozen features"
    return Score(name, "translate", "accuracy", float(right.mean()), low, high, len(right), (("stream", "digit"),))


def _features(base: TrainedModel, source: Source | None) -> tuple[Float[np.ndarray, "S F"], Int[np.ndarray, " S"]]:
    """Mean features of the pixels, and codes of the digits, of all samples of a split."""
    assert source is not None
    cases, last = source.cases(), len(base.model.encoder)
    features, codes = [], []
    for number in range(len(cases)):
        window = cases[number]
        features.append(encode_window(base, {"pixels": window["pixels"]}, last)["pixels"].mean(dim=0).numpy())
        digit = window["digit"].codes
        assert digit is not None
        codes.append(int(digit[0]))
    return np.stack(features), np.array(codes)


def _report(directory: Path, models: Mapping[str, TrainedModel], pages: list[dict[str, Any]], watch: Stopwatch) -> None:
    facts = [
        ("pictures", "photographs and digits that scikit-learn ships"),
        ("parameters", ", ".join(f"{name} {model.parameters:,}" for name, model in models.items())),
        *((part, f"{seconds:.0f} s") for part, seconds in watch.seconds.items()),
    ]
    if curves := training_curves({name: directory / name for name in models}):
        pages.append(section("Training", "Loss; the thick line is the loss on pictures of validation.", [curves]))
    write_page("Images", facts, pages, directory / "report.html")
