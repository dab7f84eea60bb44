"""Evaluation of a model of showers on showers that it has not learned from."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from statecast.evaluation.bootstrap import Score
from statecast.evaluation.report import write_page
from statecast.evaluation.samples import SampleEvaluation, evaluate_samples
from statecast.evaluation.scored import ScoredEvaluation, write_records
from statecast.outputs import new_output
from statecast.particles.held_out import require_unseen
from statecast.particles.showers.evaluation.baselines import independent_voxels, nearest_showers
from statecast.particles.showers.evaluation.generation import FEWEST, TASK, ShowerResult, shower_result
from statecast.particles.showers.evaluation.report import FLOOR, generation_section, score_tables
from statecast.particles.showers.geometry import ShowerError
from statecast.particles.showers.inference.generate import draw
from statecast.particles.showers.record import ShowerRecord, read_record
from statecast.particles.showers.sources.files import Showers
from statecast.tasks import Cascade
from statecast.trained import ModelError, TrainedModel, load_compared

MOST_SHOWERS = 10_000  # that are compared
KNOWN_SHOWERS = 20_000  # of training, from which baselines draw


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
    """Draw a shower for each of the held-out incident energies (at most 10 000) and compare them, as the CaloChallenge does.

    data, period  a file, and the first and the last shower; None: the validation split of the model's recipe
    against       another model that generates showers of the same geometry

    Beside them: `truth`, as many showers of training, the floor; `nearest energy` and `independent voxels`, see `baselines`. A model that
    does not generate is verified by `evaluation.samples.evaluate_samples`. Writes `scores.json` and `report.html` into `out`.

    Raises SeenError for showers that a model has learned from, ShowerError for fewer than 50.
    """
    models = load_compared(run, against)
    trained = models["model"]
    recipe = trained.domain.with_data(trained.recipe, data, period)
    for model in models.values():
        require_unseen(model, recipe.data)
    if not isinstance(recipe.task, Cascade):
        return evaluate_samples(trained, data, period, out, against=against, overwrite=overwrite, progress=progress)
    held_out = held_out_showers(recipe)
    result = generation_result(models, known_showers(trained), held_out, progress=progress)
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        write_records(result.scores, directory)
        if report:
            facts = [("showers", ", ".join(recipe.data.held_out_files)), ("parameters", f"{trained.parameters:,}")]
            write_page("Evaluation", facts, [generation_section(result)], directory / "report.html")
    return ScoredEvaluation(Path(out), result.scores, score_tables)


def held_out_showers(recipe: Any) -> ShowerRecord:
    """The showers of the validation split. Raises ModelError if there is none, ShowerError if they are too few."""
    data = recipe.data
    if data.validate_on is None:
        raise ModelError("the recipe has no validation split, and no period is given. Give --period FIRST LAST.")
    record = read_record(data.held_out_files, (0, None) if data.validate_on == "all" else data.validate_on, data)
    if len(record) < FEWEST:
        raise ShowerError(
            f"{len(record)} showers are too few to compare, expected at least {FEWEST}. Name a wider range."
        )
    return record


def known_showers(trained: TrainedModel) -> Showers:
    """Showers of training, at most `KNOWN_SHOWERS`."""
    data = trained.recipe.data
    first, last = data.train
    return read_record(data.files, (first, min(last, first + KNOWN_SHOWERS - 1)), data).showers


def generation_result(
    models: Mapping[str, TrainedModel], known: Showers, held_out: ShowerRecord, *, progress: bool = False
) -> ShowerResult:
    """Showers of each model, of the baselines, and of the truth again, all against the held-out ones."""
    truth = held_out.showers[:MOST_SHOWERS]
    samples, times = {}, []
    for name, model in models.items():
        began = time.perf_counter()
        samples[name] = draw(model, truth.incident_mev, progress=progress)
        duration = 1e3 * (time.perf_counter() - began) / len(truth)
        times.append(Score(name, TASK, "ms_per_shower", duration, duration, duration, len(truth)))
    random = np.random.default_rng(0)
    samples["nearest energy"] = nearest_showers(known, truth.incident_mev)
    samples["independent voxels"] = independent_voxels(known, truth.incident_mev, random)
    samples[FLOOR] = known[np.sort(random.choice(len(known), min(len(truth), len(known)), replace=False))]
    result = shower_result(truth, samples, held_out.geometry)
    return ShowerResult(result.truth, result.generated, [*result.scores, *times])
