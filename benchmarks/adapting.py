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
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from peers import spread
from skill import SMALL, WHOLE, Extent, mean_ratios, once
from statecast import evaluate, finetune, pretrain
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
class Effort:
    """What is read, hours between starts, from when an update learns, and what recipes are changed by, those of updates apart."""

    extent: Extent = WHOLE
    every_h: float = 42.0
    since: str = "2001-01-01"
    overrides: tuple[str, ...] = ()
    of_update: tuple[str, ...] = (f"training.steps={UPDATE_STEPS}",)


FEW = ("training.steps=2", "training.validation_samples=2")
SMOKE = Effort(SMALL, 96.0, "2001-02-15", (*SMALL.of_stream, *FEW), FEW)


def records_at(scores: Path) -> list[dict[str, Any]]:
    return json.loads((scores / "scores.json").read_text())


def after_over_before(scores: Path) -> float:
    """RMSE of the model over that of the one before, mean over channels, tasks and lead times."""
    values = {
        (r["forecast"], r["task"], r["variable"], r["level_hpa"], r["lead_time_h"]): r["value"]
        for r in records_at(scores)
        if r["metric"] == "rmse"
    }
    return float(np.mean([v / values["before", *key[1:]] for key, v in values.items() if key[0] == "model"]))


def changed(folder: Path, base: TrainedModel, effort: Effort) -> Found:
    """RMSE over persistence's at each lead time, and how many weights could change."""
    found: Found = {}
    for name, change in CHANGES.items():
        run, scores = folder / name.replace(" ", "-"), folder / f"{name.replace(' ', '-')}-scores"
        model = once(
            run,
            lambda run=run, change=change: finetune(
                "quickstart-forecast", base, run, overrides=[*change, *effort.overrides]
            ),
        )
        if not scores.is_dir():
            evaluate(model, "sample:atmosphere", effort.extent.held_out, scores, every_h=effort.every_h)
        ratios = mean_ratios(records_at(scores), "rmse")
        found |= {(name, f"+{lead:g} h"): ratios["forecast", "model", lead, "persistence"] for lead in LEADS_H}
        found[name, "weights"] = yaml.safe_load((run / "run.yaml").read_text())["changed_parameters"]
    return found


def forgotten(folder: Path, base: TrainedModel, effort: Effort) -> Found:
    found: Found = {}
    for name, change in FORGETTING.items():
        run, scores = folder / f"radar-{name}", folder / f"radar-{name}-old-question"
        model = once(
            run,
            lambda run=run, change=change: finetune(
                "quickstart-radar", base, run, overrides=[*change, *RADAR, *effort.overrides]
            ),
        )
        if not scores.is_dir():
            period, every_h = effort.extent.held_out, effort.every_h
            evaluate(model, "sample:atmosphere", period, scores, against=base, every_h=every_h)
        found["forgetting", name] = after_over_before(scores)
    return found


def updated(folder: Path, effort: Effort) -> Found:
    found: Found = {}
    since, overrides = effort.since, effort.of_update
    for replay in REPLAYS:
        run = folder / f"update-{replay:g}"
        once(
            run,
            lambda run=run, replay=replay: (
                update(folder / "all", "sample:atmosphere", since, run, replay=replay, overrides=overrides).trained
            ),
        )
        found |= {
            (f"replay {replay:g}", period): after_over_before(run / "update" / period) for period in ("old", "new")
        }
    return found


def run_seed(seed: int, out: Path, effort: Effort) -> Found:
    folder = out / f"seed-{seed}"
    overrides = [f"seed={seed}", *effort.extent.overrides, *effort.overrides]
    base = once(folder / "pretrained", lambda: pretrain("quickstart", folder / "pretrained", overrides=overrides))
    return changed(folder, base, effort) | forgotten(folder, base, effort) | updated(folder, effort)


def print_table(runs: Sequence[Found]) -> None:
    for key in runs[0]:
        values = np.array([run[key] for run in runs])
        print(f"{key[0]:16s} {key[1]:8s} {f'{values.mean():.0f}' if key[1] == 'weights' else spread(values)}")


def draw(runs: Sequence[Found]) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for lead, marker in zip(LEADS_H, "os", strict=True):
        values = np.array([[run[name, f"+{lead:g} h"] for name in CHANGES] for run in runs])
        weights = [np.mean([run[name, "weights"] for run in runs]) for name in CHANGES]
        left.errorbar(weights, values.mean(0), values.std(0), fmt=marker, capsize=3, label=f"+{lead:g} h")
        for i, (name, x, y) in enumerate(zip(CHANGES, weights, values.mean(0), strict=True)):
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
    seeds, effort = ([0], SMOKE) if arguments.smoke else (arguments.seeds, Effort())
    runs = [run_seed(seed, out, effort) for seed in seeds]
    print_table(runs)
    if arguments.figure:
        draw(runs).savefig(arguments.figure, dpi=130)


if __name__ == "__main__":
    main()
