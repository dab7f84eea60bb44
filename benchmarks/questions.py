"""Skill in the other questions, over several seeds: the commands of docs/questions.md on the embedded sample.

    python benchmarks/questions.py --out runs/questions [--seeds 0 1 2] [--questions interpolate refine ...] [--smoke]

For each seed: pre-train the quickstart, fine-tune it to interpolate, to refine in time, to fill the gaps of a satellite, to tell the rain,
to downscale and to correct rain towards radars, verify each on months that no training saw. Prints RMSE and CRPS over each baseline's: mean
over the channels, its spread over the seeds, the worst channel; and the scores of events. What a stopped run left is used again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skill import SMALL, WHOLE, Extent, mean_ratios, once, worst_ratio
from statecast import evaluate, finetune, pretrain

QUESTIONS = ("interpolate", "refine", "fill", "rain", "downscale", "radar")
EVERY_H, SMOKE_EVERY_H = 12.0, 96.0


def run_seed(
    seed: int,
    out: Path,
    overrides: list[str],
    questions: Sequence[str] = QUESTIONS,
    every_h: float = EVERY_H,
    extent: Extent = WHOLE,
) -> list[dict[str, Any]]:
    """The scores of these questions, from starts so many hours apart."""
    folder, records = out / f"seed-{seed}", []
    of_all = [*extent.of_stream, *overrides]
    base = once(
        folder / "pretrained",
        lambda: pretrain(
            "quickstart", folder / "pretrained", overrides=[f"seed={seed}", *extent.overrides, *overrides]
        ),
    )
    for question in questions:
        run, scores = folder / question, folder / f"{question}-scores"
        recipe = f"quickstart-{question}"
        model = once(run, lambda run=run, recipe=recipe: finetune(recipe, base, run, overrides=of_all))
        if not scores.is_dir():
            evaluate(model, "sample:atmosphere", extent.held_out, scores, every_h=every_h)
        found = json.loads((scores / "scores.json").read_text())
        records += [record | {"task": f"{question} {record['task']}"} for record in found]
    return records


def print_ratios(runs: list[list[dict[str, Any]]], metric: str) -> None:
    seeds = [mean_ratios(run, metric) for run in runs]
    print(
        f"\n{metric.upper()} over the baseline's, mean over variables and levels, mean ± standard deviation over {len(runs)} seeds"
    )
    for key in seeds[0]:
        task, forecast, lead, base = key
        if forecast == "model" and base != forecast:
            values = np.array([seed[key] for seed in seeds])
            worst, channel = max(worst_ratio(run, task, lead, base, metric) for run in runs)
            when = "" if lead is None else f"+{lead:g} h"
            print(f"{task:24s} {when:6s} / {base:16s} {_spread(values)}  worst {worst:.3f} ({channel})")


def print_events(runs: list[list[dict[str, Any]]]) -> None:
    """Scores of events, whose best value is 1."""
    print(f"\nscores of events, mean ± standard deviation over {len(runs)} seeds")
    found: dict[tuple[str, ...], list[float]] = {}
    for record in (r for run in runs for r in run if r["metric"].startswith(("ets", "csi", "frequency_bias"))):
        key = (record["task"], record["metric"], f"{record['variable']}@{record['level_hpa']}", record["forecast"])
        found.setdefault(key, []).append(record["value"])
    for (task, metric, channel, forecast), values in sorted(found.items()):
        print(f"{task:24s} {metric:20s} {channel:12s} {forecast:18s} {_spread(np.array(values))}")


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/questions"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--questions", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    parser.add_argument(
        "--smoke", action="store_true", help="one seed, two questions, a few steps; in a folder of its own"
    )
    arguments = parser.parse_args()
    overrides = ["training.steps=2", "training.validation_samples=2"] if arguments.smoke else []
    seeds, every_h, extent = ([0], SMOKE_EVERY_H, SMALL) if arguments.smoke else (arguments.seeds, EVERY_H, WHOLE)
    questions = QUESTIONS[:2] if arguments.smoke else arguments.questions
    out = arguments.out / ("smoke" if arguments.smoke else "")
    runs = [run_seed(seed, out, overrides, questions, every_h, extent) for seed in seeds]
    for metric in ("rmse", "crps"):
        print_ratios(runs, metric)
    print_events(runs)


if __name__ == "__main__":
    main()
