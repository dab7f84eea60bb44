"""Does pre-training pay? Skill against the share of the data that fine-tuning may see, beside training from scratch.

    python benchmarks/transfer.py --out runs/transfer [--questions forecast downscale] [--seeds 0 1 2] [--jobs 2] [--scale 1.0]
                                  [--leave-out refit statistics] [--figure transfer.png] [--smoke]

Arms, all of the same architecture, all asked the same samples in the same order:

pretrained  fine-tuned from the pre-trained model, all weights, with the climatology and spread of the streams that it knows
refit       the same weights, but statistics from the fraction alone
heads       as pretrained, but only the heads (and what is new) learn
scratch     new weights, statistics from the fraction alone, as many steps of fine-tuning
statistics  new weights, as many steps, with the statistics that pre-training knew: beside `pretrained` the gain of the weights alone
total       as scratch, with the steps of pre-training and fine-tuning together

A fraction is the last part of the training period: what somebody has whose instrument has been running for so long. It is in the season of
the held-out months, so small fractions do better here than a piece of another season would. Spread evenly, 1 % would be one window all
the same. Streams that are new take their statistics from the fraction in every arm, their climatology beside an inherited one from both
(decision 14). The forecast's target was in pre-training too, as hidden later slabs: its
fractions tell what a short fine-tuning adds to a record that is known as a whole. The target of downscaling is a store that pre-training
never saw.

All runs keep the weights with the best loss on the validation period, so that none loses by overfitting a small fraction. The learning rate
is the best of `Sweep.rates` on that period with the first seed, for each question and each of pretrained, heads, scratch, with 3 % of the
data (taken below 17 %) and with all of it; refit takes that of pretrained, statistics and total that of scratch. The held-out months decide
nothing.

Prints RMSE over that of persistence or bilinear interpolation (fitted to all of the data), mean over variables and levels ± standard
deviation over the seeds; how much more data an arm needs for the skill of a pre-trained model; steps to a skill with all data; and CPU
time. One JSON a run under --out; what is there is used again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise, product
from math import exp, inf, log
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from shared import (
    LEADS_H,
    PLAIN,
    SAMPLE,
    SMALL,
    WHOLE,
    Extent,
    edge_note,
    in_parallel,
    kept,
    lead_label,
    recipes,
    records_of,
    spread,
    with_steps,
)
from statecast import finetune, load, open_fields, pretrain, read_recipe
from statecast.config import Recipe
from statecast.fields.evaluation.verify import verify
from statecast.fields.source import recipe_stores, stream_sources
from statecast.fields.sources.dates import select_period
from statecast.trained import TrainedModel, build

PATCH, BATCH = 2, 2
ARMS = ("pretrained", "refit", "heads", "scratch", "statistics", "total")
TUNED = {arm: arm for arm in ("pretrained", "heads", "scratch")}
TUNED |= {"refit": "pretrained", "statistics": "scratch", "total": "scratch"}  # whose learning rate an arm takes
SAME_WITH_ALL = {
    "refit": "pretrained",
    "statistics": "scratch",
}  # with all data the fraction's statistics are those known
STEPWISE = ("pretrained", "scratch")  # the arms that are also trained for parts of the steps
OPTIONAL = tuple(arm for arm in ARMS if arm not in STEPWISE)
VALIDATIONS = 8  # of a run, evenly spread; numbers of steps are multiples of it
VALIDATE_EVERY_H, HELD_OUT_EVERY_H = 30.0, 66.0  # all hours of the day in turn


@dataclass(frozen=True)
class Target:
    """A question of the benchmark: what its recipe is changed by, its baseline, lead times, and the steps of its window."""

    overrides: tuple[str, ...]
    baseline: str
    leads_h: tuple[float | None, ...]
    window: int


QUESTIONS = {
    "forecast": Target(("task.leads=6", "task.asked=0.25"), "persistence", LEADS_H, 14),
    "downscale": Target((), "bilinear", (None,), 2),
}


@dataclass(frozen=True)
class Sweep:
    """How large the whole is. Steps are those of pre-training and of fine-tuning."""

    out: Path
    pretraining: int
    tuning: int
    fractions: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    tuned_at: tuple[float, ...] = (0.03, 1.0)
    rates: tuple[float, ...] = (1.75e-3, 3.5e-3, 7e-3, 1.4e-2)
    arms: tuple[str, ...] = ARMS
    parts: tuple[int, ...] = (4, 2, 1)  # steps over these, with all data
    every_h: float = HELD_OUT_EVERY_H
    validate_every_h: float = VALIDATE_EVERY_H
    validation_samples: int = 16
    extent: Extent = WHOLE


@dataclass(frozen=True)
class Run:
    """One training; `fraction` 0 is the pre-trained model as it is."""

    question: str
    arm: str
    fraction: float
    steps: int
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.question}-{self.arm}-{self.fraction:g}-{self.steps}-{self.learning_rate:g}-{self.seed}"


# Training


def base_recipe(sweep: Sweep, seed: int) -> Recipe:
    """The pre-training of `benchmarks/skill.py`, without anything beside the training."""
    base = recipes(SAMPLE, PATCH, 1.0, sweep.extent)[0]
    base["data"] |= {"validate": None}
    base["training"] |= PLAIN
    return with_steps(read_recipe(base | {"seed": seed}), sweep.pretraining)


def pretrained_path(sweep: Sweep, seed: int) -> Path:
    return sweep.out / f"seed-{seed}" / f"pretrained-{sweep.pretraining}"


def make_pretrained(sweep: Sweep, seed: int) -> float:
    """Pre-trains if it isn't done; the CPU time that it took."""
    out = pretrained_path(sweep, seed)

    def make() -> list[dict[str, Any]]:
        began = time.process_time()
        pretrain(base_recipe(sweep, seed), out, progress=False, overwrite=True)
        return [{"cpu_s": round(time.process_time() - began, 1)}]

    return kept(out.with_suffix(".json"), make)[0]["cpu_s"]


def period_of(training: tuple[str, str], fraction: float, fewest: int) -> list[str]:
    """First and last time of the last part of the training period, which holds at least a window."""
    times = select_period(open_fields(SAMPLE), training).indexes["time"]
    steps = min(len(times), max(fewest, round(fraction * len(times))))
    return [times[-steps].isoformat(), times[-1].isoformat()]


def recipe_of(sweep: Sweep, run: Run) -> Recipe:
    target = QUESTIONS[run.question]
    training = {
        "steps": max(1, run.steps),
        "batch_size": BATCH,
        "learning_rate": run.learning_rate,
        "validate_every": max(1, run.steps // VALIDATIONS),
        "validation_samples": sweep.validation_samples,
        "checkpoint_every": max(1, run.steps),
        "result": "best",
        "footprint": "false",
        "loggers": "[]",
    }
    train = period_of(sweep.extent.train, run.fraction, target.window)
    data = {"train": json.dumps(train), "validate": json.dumps(sweep.extent.validate)}
    overrides = [f"training.{k}={v}" for k, v in training.items()] + [f"data.{k}={v}" for k, v in data.items()]
    overrides += [*target.overrides, *(["adaptation.change=heads"] if run.arm == "heads" else [])]
    return read_recipe(f"quickstart-{run.question}", overrides, inherit=base_recipe(sweep, run.seed))


def start_of(sweep: Sweep, run: Run, recipe: Recipe) -> TrainedModel:
    """What fine-tuning starts from: the pre-trained model, or only its weights, or only what it knows of its streams."""
    start = load(pretrained_path(sweep, run.seed))
    if run.arm == "refit":
        sources = stream_sources(recipe, recipe_stores(recipe), known={})
        return replace(start, codecs={name: sources[name].tokenizer for name in start.codecs})
    if run.arm == "statistics":
        return replace(start, model=build(start.model.options, start.codecs, run.seed))
    return start


def trained(sweep: Sweep, run: Run) -> TrainedModel:
    recipe = recipe_of(sweep, run)
    with tempfile.TemporaryDirectory() as folder, patch("statecast.fields.forgetting.may_forget", return_value=False):
        out = Path(folder) / "run"
        if run.arm in ("scratch", "total"):
            return pretrain(recipe, out, progress=False)
        start = start_of(sweep, run, recipe)
        if run.fraction == 0:
            return replace(start, recipe=recipe)
        return finetune(recipe, start, out, progress=False)


# Scores


def rmse_of(model: TrainedModel, question: str, period: tuple[str, str], every_h: float) -> dict[str, Any]:
    """RMSE of the model and of the question's baseline: a row a lead time, a number a channel."""
    target = QUESTIONS[question]
    found = verify({"model": model}, records_of(model, period), None, every_h=every_h, progress=False)
    of = {v.forecast: v for v in found}
    rows = [of["model"].labels("lead_time_h").index(lead) for lead in target.leads_h]
    return {
        key: of[name].value("rmse")[rows].tolist() for key, name in (("model", "model"), ("baseline", target.baseline))
    }


def measured(sweep: Sweep, run: Run) -> dict[str, Any]:
    """What is kept of a run: on the validation period and on the held-out months."""
    began = time.process_time()
    model = trained(sweep, run)
    took = time.process_time() - began
    return asdict(run) | {
        "cpu_s": round(took, 1),
        "parameters": model.parameters,
        "train": list(model.recipe.data.train),
        "validation": rmse_of(model, run.question, sweep.extent.validate, sweep.validate_every_h),
        "held_out": rmse_of(model, run.question, sweep.extent.held_out, sweep.every_h),
    }


def result_of(sweep: Sweep, run: Run) -> dict[str, Any]:
    """The result of a run, which is made if it isn't there yet."""
    path = sweep.out / "runs" / f"{sweep.pretraining}-{run.name}.json"
    is_new = not path.is_file()
    result = kept(path, lambda: [measured(sweep, run)])[0]
    if is_new:
        cells = [f"{x:.3f}" for x in ratios(result, result, "held_out")]
        print(f"{run.name:60s} {' '.join(cells)}   {result['cpu_s']:.0f} s", flush=True)
    return result


def ratios(result: dict[str, Any], reference: dict[str, Any], period: str) -> Float[np.ndarray, " L"]:
    """RMSE over the baseline's of the reference at each lead time, mean over the channels.

    The baselines of downscaling are made from the statistics of the run, so a run with little data would be held against a poor one.
    """
    return np.nanmean(np.array(result[period]["model"]) / np.array(reference[period]["baseline"]), axis=1)


# The sweep


@dataclass(frozen=True)
class Plan:
    """Every run of a sweep, by what it is asked for; `rates` are the learning rates that were chosen."""

    sweep: Sweep
    questions: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: dict[tuple[str, str, float], float]

    def run(self, question: str, arm: str, fraction: float, seed: int, steps: int | None = None) -> Run:
        rate = self.rates[question, TUNED[arm], nearest(fraction, self.sweep.tuned_at)]
        arm = SAME_WITH_ALL.get(arm, arm) if fraction == 1 else arm
        steps = steps or (self.total if arm == "total" else self.sweep.tuning)
        return Run(question, arm, fraction, steps, rate, seed)

    @property
    def total(self) -> int:
        return self.sweep.pretraining + self.sweep.tuning

    def as_is(self, seed: int) -> Run:
        """A forecast of the pre-trained model without fine-tuning."""
        return Run("forecast", "pretrained", 0.0, 0, 1e-3, seed)

    def steps(self) -> list[int]:
        return [self.sweep.tuning // part for part in self.sweep.parts]

    def runs(self) -> list[Run]:
        """The longest first, so that the last ones to end are short."""
        largest = max(self.sweep.fractions)
        each = [
            self.run(q, a, f, s)
            for q, a, f, s in product(self.questions, self.sweep.arms, self.sweep.fractions, self.seeds)
        ]
        each += [
            self.run(q, a, largest, s, n) for q, a, n, s in product(self.questions, STEPWISE, self.steps(), self.seeds)
        ]
        each += [self.as_is(seed) for seed in self.seeds if "forecast" in self.questions]
        return sorted(dict.fromkeys(each), key=lambda run: -run.steps)


def nearest(fraction: float, choices: Sequence[float]) -> float:
    return min(choices, key=lambda choice: abs(log(choice / fraction)))


def choose_rates(sweep: Sweep, questions: Sequence[str], seed: int, jobs: int) -> dict[tuple[str, str, float], float]:
    """The best learning rate on the validation period, by question, arm and fraction."""
    keys = list(product(questions, dict.fromkeys(TUNED[arm] for arm in sweep.arms), sweep.tuned_at))
    runs = [Run(q, arm, at, sweep.tuning, rate, seed) for q, arm, at in keys for rate in sweep.rates]
    results = in_parallel(partial(result_of, sweep), runs, jobs)
    found: dict[tuple[str, str, float], dict[float, float]] = {}
    for run, result in zip(runs, results, strict=True):
        error = float(ratios(result, result, "validation").mean())
        found.setdefault((run.question, run.arm, run.fraction), {})[run.learning_rate] = error
    chosen = {key: min(errors, key=errors.__getitem__) for key, errors in found.items()}
    for (question, arm, at), rate in chosen.items():
        edge = edge_note(rate, sweep.rates)
        print(f"learning rate of {question} {arm} with {at:.0%} of the data: {rate:g}{edge}")
    return chosen


# Results


@dataclass(frozen=True)
class Scores:
    """RMSE over the baseline's of every run of a plan, with the baseline of the largest fraction."""

    plan: Plan
    results: dict[str, dict[str, Any]]

    def of(self, run: Run) -> Float[np.ndarray, " L"]:
        reference = self.plan.run(run.question, "scratch", max(self.plan.sweep.fractions), run.seed)
        return ratios(self.results[run.name], self.results[reference.name], "held_out")

    def by_fraction(self, question: str, arm: str) -> Float[np.ndarray, "S F L"]:
        fractions = self.plan.sweep.fractions
        return np.array(
            [[self.of(self.plan.run(question, arm, f, seed)) for f in fractions] for seed in self.plan.seeds]
        )

    def by_steps(self, question: str, arm: str) -> tuple[list[int], Float[np.ndarray, "S N L"]]:
        """With all data; from scratch up to the steps of pre-training and fine-tuning together."""
        largest, steps = max(self.plan.sweep.fractions), self.plan.steps()
        runs = [[self.plan.run(question, arm, largest, seed, n) for n in steps] for seed in self.plan.seeds]
        if arm == "scratch" and "total" in self.plan.sweep.arms:
            steps = [*steps, self.plan.total]
            runs = [[*row, self.plan.run(question, "total", largest, row[0].seed)] for row in runs]
        return steps, np.array([[self.of(run) for run in row] for row in runs])

    def as_is(self) -> Float[np.ndarray, "S L"]:
        return np.array([self.of(self.plan.as_is(seed)) for seed in self.plan.seeds])


def labels(question: str) -> list[str]:
    leads_h = QUESTIONS[question].leads_h
    return [question if lead is None else f"{question} {lead_label(lead)}" for lead in leads_h]


def needed(xs: Sequence[float], errors: Sequence[float], target: float) -> float:
    """The x at which a curve first comes down to a target, interpolated in log x; inf: it never does. The first x may be too many."""
    if errors[0] <= target:
        return xs[0]
    for (x0, e0), (x1, e1) in pairwise(zip(xs, errors, strict=True)):
        if e1 <= target:
            return exp(log(x0) + (e0 - target) / (e0 - e1) * log(x1 / x0))
    return inf


def times_as_much(xs: Sequence[float], errors: Sequence[float], x: float, target: float) -> str:
    """How many times x the curve needs, or what bounds it."""
    found = needed(xs, errors, target)
    if found == inf:
        return f"> {xs[-1] / x:.3g}"
    return f"{'<= ' if found == xs[0] else ''}{found / x:.2g}"


def print_fractions(scores: Scores) -> None:
    fractions = scores.plan.sweep.fractions
    print(
        f"\nRMSE over the baseline's, mean over variables and levels ± standard deviation of {len(scores.plan.seeds)} seeds"
    )
    print(f"{'share of the data':34s} " + " ".join(f"{f:>14.0%}" for f in fractions))
    for question in scores.plan.questions:
        for at, label in enumerate(labels(question)):
            for arm in scores.plan.sweep.arms:
                cells = [f"{spread(column):>14s}" for column in scores.by_fraction(question, arm)[..., at].T]
                print(f"{label:20s} {arm:13s} " + " ".join(cells))
            if question == "forecast":
                print(f"{label:20s} not fine-tuned {spread(scores.as_is()[:, at])}")


def print_efficiency(scores: Scores) -> None:
    """From the mean over the seeds; beside it each seed's own."""
    fractions = scores.plan.sweep.fractions
    print(
        "\nhow many times the data an arm needs for the skill of `pretrained` with a share of it (each seed's own beside)"
    )
    for question in scores.plan.questions:
        ours = scores.by_fraction(question, "pretrained")
        for arm, (at, label) in product(scores.plan.sweep.arms[1:], enumerate(labels(question))):
            theirs = scores.by_fraction(question, arm)
            for f, fraction in enumerate(fractions):
                factor = times_as_much(fractions, theirs.mean(0)[:, at], fraction, ours.mean(0)[f, at])
                own = [
                    times_as_much(fractions, c[:, at], fraction, o[f, at]) for c, o in zip(theirs, ours, strict=True)
                ]
                print(f"{label:20s} {arm:11s} {fraction:4.0%}  {factor:>8s}   ({', '.join(own)})")


def print_steps(scores: Scores) -> None:
    print(
        "\nsteps from scratch over steps of fine-tuning for the same skill, all data; pre-training's own steps not counted"
    )
    for question in scores.plan.questions:
        (mine, ours), (steps, theirs) = (scores.by_steps(question, arm) for arm in STEPWISE)
        for at, label in enumerate(labels(question)):
            for n, count in enumerate(mine):
                factor = times_as_much(steps, theirs.mean(0)[:, at], count, ours.mean(0)[n, at])
                print(f"{label:20s} {count:5d} steps: {spread(ours[:, n, at])}; scratch takes {factor} times as many")


def print_costs(scores: Scores, pretraining_s: Sequence[float]) -> None:
    print(f"\nCPU time, mean: pre-training {np.mean(pretraining_s):.0f} s ({scores.plan.sweep.pretraining} steps)")
    for question, arm in product(scores.plan.questions, scores.plan.sweep.arms):
        runs = [
            scores.plan.run(question, arm, f, s) for f, s in product(scores.plan.sweep.fractions, scores.plan.seeds)
        ]
        took = np.mean([scores.results[run.name]["cpu_s"] for run in runs])
        print(f"{question:10s} {arm:11s} {took:4.0f} s ({max(run.steps for run in runs)} steps)")


def draw(scores: Scores, path: Path) -> None:
    columns = [(q, at, label) for q in scores.plan.questions for at, label in enumerate(labels(q))]
    figure = Figure(figsize=(3.6 * len(columns), 6.6), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    for (question, at, label), (above, below) in zip(columns, axes.T, strict=True):
        for arm in scores.plan.sweep.arms:
            percent = 100 * np.array(scores.plan.sweep.fractions)
            _band(above, percent, scores.by_fraction(question, arm)[..., at], f"C{ARMS.index(arm)}", arm)
        if question == "forecast":
            above.axhline(scores.as_is()[:, at].mean(), color="grey", linestyle=":", label="not fine-tuned")
        for arm in STEPWISE:
            steps, errors = scores.by_steps(question, arm)
            _band(below, steps, errors[..., at], f"C{ARMS.index(arm)}", arm)
        above.set(title=label, xscale="log", xlabel="share of the data / %")
        below.set(xscale="log", xlabel="steps, with all data")
        for axis, ticks in ((above, percent), (below, steps)):
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
            axis.set_ylabel(f"RMSE / that of {QUESTIONS[question].baseline}")
            axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize="small")
    axes[1, 0].legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _band(axis: Any, x: Sequence[float], errors: Float[np.ndarray, "S X"], colour: str, label: str) -> None:
    mean, std = errors.mean(axis=0), errors.std(axis=0, ddof=min(1, len(errors) - 1))
    axis.plot(x, mean, marker="o", markersize=3, color=colour, label=label)
    axis.fill_between(x, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--questions", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of steps")
    parser.add_argument("--leave-out", nargs="+", choices=OPTIONAL, default=[], help="arms that are not run")
    parser.add_argument("--figure", type=Path, help="a PNG of the curves")
    parser.add_argument(
        "--smoke", action="store_true", help="one seed, two fractions, few arms and steps; forecast only"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps = lambda n: VALIDATIONS * 4 * max(1, round(arguments.scale * n / VALIDATIONS / 4))  # noqa: E731
    arms = tuple(arm for arm in ARMS if arm not in arguments.leave_out)
    sweep = Sweep(arguments.out, steps(320), steps(128), arms=arms)
    questions, seeds = arguments.questions, arguments.seeds
    if arguments.smoke:
        few = Sweep(arguments.out / "smoke", 2, 2, (0.03, 0.1), (0.1,), (3.5e-3,), ("pretrained", "scratch"), (1,))
        sweep = replace(few, every_h=2000.0, validate_every_h=2000.0, validation_samples=2, extent=SMALL)
        questions, seeds = ["forecast"], [0]
    pretraining_s = in_parallel(partial(make_pretrained, sweep), seeds, arguments.jobs)
    rates = choose_rates(sweep, questions, seeds[0], arguments.jobs)
    plan = Plan(sweep, tuple(questions), tuple(seeds), rates)
    runs = plan.runs()
    results = in_parallel(partial(result_of, sweep), runs, arguments.jobs)
    scores = Scores(plan, {run.name: result for run, result in zip(runs, results, strict=True)})
    for table in (print_fractions, print_efficiency, print_steps):
        table(scores)
    print_costs(scores, pretraining_s)
    if arguments.figure:
        draw(scores, arguments.figure)


if __name__ == "__main__":
    main()
