"""The first run on showers: simulate some, pre-train, learn to generate, compare with true ones, and report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from statecast.config import read_recipe
from statecast.evaluation.bootstrap import Score
from statecast.evaluation.figures import training_curves
from statecast.evaluation.progress import Stopwatch
from statecast.evaluation.report import section, write_page
from statecast.evaluation.scored import write_records
from statecast.outputs import new_output
from statecast.particles.showers.evaluation.evaluate import (
    generation_result,
    held_out_showers,
    known_showers,
)
from statecast.particles.showers.evaluation.generation import ShowerResult
from statecast.particles.showers.evaluation.report import generation_section
from statecast.particles.showers.sources.simulate import simulate_showers
from statecast.runs import finetune, pretrain
from statecast.trained import TrainedModel


@dataclass(frozen=True)
class Plan:
    """How much of what the first run does.

    showers    numbers of simulated showers to learn from and to compare with
    steps      of each training, by the name of its run
    overrides  of the recipe of every training
    """

    showers: tuple[int, int] = (8000, 1000)
    geometry: str = "small"
    steps: Mapping[str, int] = field(default_factory=lambda: {"pretrained": 150, "generator": 500})
    overrides: Sequence[str] = ()


def quickstart(
    out: str | Path = "runs/showers", *, plan: Plan | None = None, overwrite: bool = False, progress: bool = True
) -> list[Score]:
    """Run the whole path: simulate showers to the file `OUT.hdf5`, and write `out` with the run directories `pretrained/` and `generator/`,
    `scores.json` and `report.html`. Returns the scores.

    The showers are those of a parametrisation, see `sources.profile`. Raises OutputError if `out` exists and may not be overwritten.
    """
    plan = plan or Plan()
    watch = Stopwatch()
    showers = Path(out).with_name(f"{Path(out).name}.hdf5")
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        with watch.time("simulation"):
            count = sum(plan.showers)
            simulate_showers(
                showers, showers=count, geometry=plan.geometry, workers=1, overwrite=overwrite, progress=False
            )
        models = _train(directory, showers, plan, watch, progress)
        with watch.time("evaluation"):
            generator = models["generator"]
            held_out = held_out_showers(generator.recipe)
            result = generation_result({"model": generator}, known_showers(generator), held_out, progress=progress)
        write_records(result.scores, directory)
        _report(models, result, watch, directory)
    return list(result.scores)


def _train(directory: Path, showers: Path, plan: Plan, watch: Stopwatch, progress: bool) -> dict[str, TrainedModel]:
    learned, held_out = plan.showers
    data = {"files": json.dumps(str(showers)), "geometry": plan.geometry, "train": f"[0,{learned - 1}]"}
    data["validate"] = f"[{learned},{learned + held_out - 1}]"
    said = [f"data.{key}={value}" for key, value in data.items()]
    base = read_recipe("showers", [*said, f"training.steps={plan.steps['pretrained']}", *plan.overrides])
    said = [each for each in plan.overrides if not each.startswith("streams.")]  # streams are inherited
    said.append(f"training.steps={plan.steps['generator']}")
    generating = read_recipe("showers-generate", said, inherit=base)
    with watch.time("pre-training"):
        pretrained = pretrain(base, directory / "pretrained", progress=progress)
    with watch.time("generator"):
        generator = finetune(generating, pretrained, directory / "generator", progress=progress, title="generator")
    return {"pretrained": pretrained, "generator": generator}


def _report(models: Mapping[str, TrainedModel], result: ShowerResult, watch: Stopwatch, directory: Path) -> None:
    recipe = models["generator"].recipe
    first, last = recipe.data.train
    facts = [
        ("showers", f"a parametrisation, not Geant4; geometry {recipe.data.geometry}"),
        ("trained on", f"showers {first} to {last}"),
        ("parameters", f"{models['generator'].parameters:,}"),
        *((part, f"{seconds:.0f} s") for part, seconds in watch.seconds.items()),
    ]
    sections = [generation_section(result)]
    if curves := training_curves({name: directory / name for name in models}):
        sections.append(section("Training", "Loss; the thick line is the loss on showers of validation.", [curves]))
    write_page("Showers", facts, sections, directory / "report.html")
