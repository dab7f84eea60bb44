"""The first run on jets: pre-train on unlabelled jets, learn to tag from few labels, generate, evaluate and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from statecast.config import Recipe, read_recipe
from statecast.evaluation.bootstrap import Score
from statecast.evaluation.progress import Stopwatch
from statecast.evaluation.samples import scores_of_samples
from statecast.evaluation.scored import write_records
from statecast.explain.tokens import explain_token
from statecast.outputs import new_output
from statecast.particles.evaluation.baselines import independent_constituents
from statecast.particles.evaluation.evaluate import tagging_result
from statecast.particles.evaluation.generation import joint_scores, wasserstein_scores
from statecast.particles.evaluation.observables import GENERATION, observables
from statecast.particles.evaluation.report import ExplainedJet, GenerationResult, TaggingResult, write_jet_report
from statecast.particles.inference.generate import generate
from statecast.particles.jets import Jets
from statecast.particles.sources.files import read_jets
from statecast.runs import finetune, pretrain
from statecast.trained import TrainedModel

HELD_OUT = (16_000, 17_999)
"""First and last jet of the sample that no training and no validation sees."""
MASKED_JETS = 300  # of the held-out ones, on which masked particles are scored


@dataclass(frozen=True)
class Plan:
    """How much of what the first run does.

    labels     labelled jets that the taggers learn from
    generated  jets that are drawn
    steps      of each fine-tuning, by the name of its run: fewer than in the recipes, so that all is done in minutes
    overrides  of the recipe of every training
    """

    labels: int = 1000
    generated: int = 1000
    steps: Mapping[str, int] = field(default_factory=lambda: {"tagger": 200, "generator": 400})
    held_out: tuple[int, int] = HELD_OUT
    masked_jets: int = MASKED_JETS
    overrides: Sequence[str] = ()


def quickstart(
    out: str | Path = "runs/jets", *, plan: Plan | None = None, overwrite: bool = False, progress: bool = True
) -> list[Score]:
    """Run the whole path on `sample:jets` and write `out`: the run directories `pretrained/`, `tagger/`, `scratch/` and `generator/`,
    `scores.json` and `report.html`. Returns the scores.

    The tagger is compared with a model of the same architecture and steps whose initial weights are random, and with logistic regression
    and gradient boosting on five substructure variables, all from the same labels. Generated jets are compared with a second sample of true
    jets and with jets of independent constituents.

    Raises OutputError if `out` exists and may not be overwritten.
    """
    plan = plan or Plan()
    watch = Stopwatch()
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        models = _train(directory, plan, watch, progress)
        training = _jets(models["pretrained"].recipe, models["pretrained"].recipe.data.train)
        held_out = _jets(models["pretrained"].recipe, plan.held_out)
        with watch.time("evaluation"):
            masked = masked_scores(models["pretrained"], plan)
            tagging = _tag(models, training, held_out, plan)
            generation = generation_result(models["generator"], training, held_out, plan.generated, progress=progress)
            explained = [_explain(models["tagger"], plan, number) for number in _examples(held_out)]
        scores = [*masked, *tagging.scores, *generation.scores]
        write_records(scores, directory)
        runs = {name: directory / name for name in models}
        write_jet_report(
            _facts(models, held_out, watch), masked, tagging, generation, explained, runs, directory / "report.html"
        )
    return scores


def _train(directory: Path, plan: Plan, watch: Stopwatch, progress: bool) -> dict[str, TrainedModel]:
    """The pre-trained model, the tagger, its control from scratch, and the generator."""
    base = read_recipe("jets-substructure", plan.overrides)
    steps = {name: f"training.steps={count}" for name, count in plan.steps.items()}
    few = [steps["tagger"], *plan.overrides, f"data.train=[0,{plan.labels - 1}]"]
    tagging = read_recipe("jets-tag", few, inherit=base)
    generating = read_recipe("jets-generate", [steps["generator"], *plan.overrides], inherit=base)
    with watch.time("pre-training"):
        pretrained = pretrain(base, directory / "pretrained", progress=progress)
    with watch.time("tagger"):
        tagger = finetune(tagging, pretrained, directory / "tagger", progress=progress, title="tagger")
    with watch.time("tagger from scratch"):
        scratch = pretrain(tagging, directory / "scratch", progress=progress, title="from scratch")
    with watch.time("generator"):
        generator = finetune(generating, pretrained, directory / "generator", progress=progress, title="generator")
    return {"pretrained": pretrained, "tagger": tagger, "scratch": scratch, "generator": generator}


def _jets(recipe: Recipe, numbers: tuple[int, int]) -> Jets:
    return read_jets(recipe.data.files, numbers[0], numbers[1] + 1)  # type: ignore[attr-defined]


def masked_scores(pretrained: TrainedModel, plan: Plan) -> list[Score]:
    """Log score and accuracy of the codes of hidden particles, on held-out jets."""
    first = plan.held_out[0]
    period = (str(first), str(first + plan.masked_jets - 1))
    recipe = pretrained.domain.with_data(pretrained.recipe, None, period)
    return scores_of_samples(replace(pretrained, recipe=recipe))


def _tag(models: Mapping[str, TrainedModel], training: Jets, held_out: Jets, plan: Plan) -> TaggingResult:
    taggers = {"pre-trained": models["tagger"], "scratch": models["scratch"]}
    return tagging_result(taggers, training[: plan.labels], held_out)


def generation_result(
    generator: TrainedModel, training: Jets, held_out: Jets, count: int, *, progress: bool
) -> GenerationResult:
    """So many generated jets, as many of independent constituents, and as many of training, all against the held-out ones."""
    drawn = generate(generator, count, progress=progress)
    chance = np.random.default_rng(0)
    independent = independent_constituents(training, count, chance)
    other = training[np.sort(chance.choice(len(training), min(count, len(training)), replace=False))]
    truth = observables(held_out)
    samples = {"model": drawn, "independent constituents": independent, "truth": other}
    generated = {name: observables(jets) for name, jets in samples.items()}
    compared = {name: {key: values[key] for key in GENERATION} for name, values in generated.items()}
    scores = [*wasserstein_scores(truth, compared), *joint_scores(truth, generated, GENERATION)]
    return GenerationResult(truth, generated, scores)


def _examples(held_out: Jets) -> list[int]:
    """The first jet of each class."""
    assert held_out.labels is not None
    return [int(np.flatnonzero(held_out.labels == name)[0]) for name in np.unique(held_out.labels)]


def _explain(tagger: TrainedModel, plan: Plan, number: int) -> ExplainedJet:
    period = (str(plan.held_out[0]), str(plan.held_out[1]))
    explained = explain_token(tagger, period=period, sample=number, token="label")
    attention = explained["particles_rollout"].values
    jet = _seen(tagger.recipe, plan.held_out[0] + number)
    assert jet.labels is not None
    return ExplainedJet(jet, attention / attention.max(), f"jet {plan.held_out[0] + number}: {jet.labels[0]}")


def _seen(recipe: Any, number: int) -> Jets:
    """One jet with as many particles as the model sees."""
    return read_jets(recipe.data.files, number, number + 1, most_constituents=recipe.data.most_constituents)


def _facts(models: Mapping[str, TrainedModel], held_out: Jets, watch: Stopwatch) -> list[tuple[str, str]]:
    recipe: Any = models["pretrained"].recipe
    first, last = recipe.data.train
    rows = [
        ("jets", ", ".join(recipe.data.files)),
        ("pre-trained on", f"jets {first} to {last}, without labels"),
        ("evaluated on", f"{len(held_out)} jets that training did not see"),
        ("parameters", f"{models['pretrained'].parameters:,}"),
    ]
    return [*rows, *((part, f"{seconds:.0f} s") for part, seconds in watch.seconds.items())]
