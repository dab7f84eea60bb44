"""What fine-tuning may change, what it forgets, and what an update with new data keeps.

    python benchmarks/adapting.py --out runs/adapting [--seeds 0 1 2] [--figure adapting.png] [--smoke]

For each seed, from the quickstart's pre-training on the embedded sample:

changes     `quickstart-forecast` with each of CHANGES; RMSE over persistence's on months that no training saw
forgetting  160 steps of `quickstart-radar`, which adds two streams, with all weights free and with new ones alone; RMSE of masked
            reconstruction after it over that before it, on months that no training saw
update      the forecasting model goes on with January and February 2001, with half of the windows replayed and with next to none; RMSE
            after it over that before it on the last fifth of the new period and on the old validation period

Means over variables and levels (and lead times of updates) ± standard deviation over the seeds. What a stopped run left is used again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure

from shared import (
    FEW_STEPS,
    SAMPLE,
    SMOKE,
    Effort,
    Rows,
    evaluated_once,
    lead_label,
    mean_ratios,
    once,
    pretrained_once,
    rows_in,
    spread,
    values_of,
)
from statecast import finetune
from statecast.fields.continual import update
from statecast.trained import TrainedModel

CHANGES = {
    "all": [],
    "layer_decay 0.7": ["adaptation.layer_decay=0.7"],
    "last_blocks": ["adaptation.change=last_blocks"],
    "lora": ["adaptation.change=lora"],
    "heads": ["adaptation.change=heads"],
}
RADAR = ["training.steps=160"]
FORGETTING = {"all": [], "new": ["adaptation.change=new"]}
REPLAYS, UPDATE_STEPS = (0.5, 0.01), 100
LEADS_H = (6.0, 24.0)
Found = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Plan:
    """Which weights change, from when an update learns, and with which overrides."""

    changes: tuple[str, ...] = tuple(CHANGES)
    since: str = "2001-01-01"
    overrides: tuple[str, ...] = (f"training.steps={UPDATE_STEPS}",)


SMOKE_PLAN = Plan(("all", "lora", "heads"), "2001-02-15", FEW_STEPS)


def after_over_before(rows: Rows) -> float:
    """RMSE of the model over that of the one before, mean over channels, tasks and lead times."""
    values = values_of(rows, "rmse")
    ratios = []
    for (task, forecast, *place), value in values.items():
        if forecast == "model":
            ratios.append(value / values[task, "before", *place])
    return float(np.mean(ratios))


def changed(folder: Path, base: TrainedModel, effort: Effort, changes: Sequence[str]) -> Found:
    """RMSE over persistence's at each lead time, and how many weights could change."""
    found: Found = {}
    for name in changes:
        run = folder / name.replace(" ", "-")
        overrides = [*CHANGES[name], *effort.of_tuning]
        model = once(run, partial(finetune, "quickstart-forecast", base, run, overrides=overrides))
        ratios = mean_ratios(evaluated_once(folder / f"{run.name}-scores", model, SAMPLE, effort), "rmse")
        for lead in LEADS_H:
            found[name, lead_label(lead)] = ratios["forecast", "model", lead, "persistence"]
        found[name, "weights"] = yaml.safe_load((run / "run.yaml").read_text())["changed_parameters"]
    return found


def forgotten(folder: Path, base: TrainedModel, effort: Effort) -> Found:
    found: Found = {}
    for name, change in FORGETTING.items():
        run = folder / f"radar-{name}"
        overrides = [*change, *RADAR, *effort.of_tuning]
        model = once(run, partial(finetune, "quickstart-radar", base, run, overrides=overrides))
        rows = evaluated_once(folder / f"{run.name}-old-question", model, SAMPLE, effort, against=base)
        found["forgetting", name] = after_over_before(rows)
    return found


def updated(folder: Path, plan: Plan) -> Found:
    found: Found = {}
    for replay in REPLAYS:
        run = folder / f"update-{replay:g}"
        if not run.is_dir():
            update(folder / "all", SAMPLE, plan.since, run, replay=replay, overrides=plan.overrides)
        for period in ("old", "new"):
            found[f"replay {replay:g}", period] = after_over_before(rows_in(run / "update" / period))
    return found


def run_seed(seed: int, out: Path, effort: Effort, plan: Plan) -> Found:
    folder = out / f"seed-{seed}"
    base = pretrained_once(folder, seed, effort)
    return changed(folder, base, effort, plan.changes) | forgotten(folder, base, effort) | updated(folder, plan)


def print_table(runs: Sequence[Found]) -> None:
    for key in runs[0]:
        values = np.array([run[key] for run in runs])
        print(f"{key[0]:16s} {key[1]:8s} {f'{values.mean():.0f}' if key[1] == 'weights' else spread(values)}")


def draw(runs: Sequence[Found]) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [name for name, what in runs[0] if what == "weights"]
    for lead, marker in zip(LEADS_H, "os", strict=True):
        values = np.array([[run[name, lead_label(lead)] for name in names] for run in runs])
        weights = [np.mean([run[name, "weights"] for run in runs]) for name in names]
        left.errorbar(weights, values.mean(0), values.std(0), fmt=marker, capsize=3, label=lead_label(lead))
        for i, (name, x, y) in enumerate(zip(names, weights, values.mean(0), strict=True)):
            left.annotate(
                name, (x, y), fontsize=7, xytext=(0, 6 if i else -12), textcoords="offset points", ha="center"
            )
    left.set(xscale="log", xlabel="weights that may change", ylabel="RMSE / persistence")
    left.margins(0.2)
    left.legend(frameon=False)
    bars = [key for key in runs[0] if key[0] == "forgetting" or key[0].startswith("replay")]
    values = np.array([[run[key] for key in bars] for run in runs])
    right.bar(range(len(bars)), values.mean(0) - 1, yerr=values.std(0), bottom=1, capsize=3, color="#4477aa")
    right.axhline(1, color="black", linewidth=0.8)
    right.set_xticks(range(len(bars)), [f"{a}\n{b}" for a, b in bars], fontsize=7, rotation=30)
    right.set(ylabel="RMSE after / before")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/adapting"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--smoke", action="store_true", help="one seed, a few steps; its results lie apart")
    arguments = parser.parse_args()
    out = arguments.out / "smoke" if arguments.smoke else arguments.out
    seeds, effort, plan = arguments.seeds, Effort(), Plan()
    if arguments.smoke:
        seeds, effort, plan = [0], SMOKE, SMOKE_PLAN
    runs = [run_seed(seed, out, effort, plan) for seed in seeds]
    print_table(runs)
    if arguments.figure:
        draw(runs).savefig(arguments.figure, dpi=130)


if __name__ == "__main__":
    main()
