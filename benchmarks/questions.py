"""Skill in the other questions, over several seeds: the commands of docs/questions.md on the embedded sample.

    python benchmarks/questions.py --out runs/questions [--seeds 0 1 2] [--smoke]

For each seed: pre-train the quickstart, fine-tune it to interpolate, to fill the gaps of a satellite and to tell the rain, verify each on
months that no training saw. Prints RMSE over each baseline's: mean over the channels, its spread over the seeds, the worst channel. What a
stopped run left is used again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from skill import HELD_OUT, mean_ratios, once, worst_ratio
from statecast import evaluate, finetune, pretrain

QUESTIONS = ("interpolate", "fill", "rain")


def run_seed(seed: int, out: Path, overrides: list[str]) -> list[dict[str, Any]]:
    """The scores of all questions."""
    folder, records = out / f"seed-{seed}", []
    base = once(
        folder / "pretrained",
        lambda: pretrain("quickstart", folder / "pretrained", overrides=[f"seed={seed}", *overrides]),
    )
    for question in QUESTIONS:
        run, scores = folder / question, folder / f"{question}-scores"
        recipe = f"quickstart-{question}"
        model = once(run, lambda run=run, recipe=recipe: finetune(recipe, base, run, overrides=overrides))
        if not scores.is_dir():
            evaluate(model, "sample:atmosphere", HELD_OUT, scores)
        records += json.loads((scores / "scores.json").read_text())
    return records


def print_table(runs: list[list[dict[str, Any]]]) -> None:
    seeds = [mean_ratios(run, "rmse") for run in runs]
    print(f"RMSE over the baseline's, mean over variables and levels, mean ± standard deviation over {len(runs)} seeds")
    for key in seeds[0]:
        task, forecast, lead, base = key
        if forecast == "model" and base != forecast:
            values = np.array([seed[key] for seed in seeds])
            spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            worst, channel = max(worst_ratio(run, task, lead, base) for run in runs)
            when = "" if lead is None else f"+{lead:g} h"
            print(f"{task:12s} {when:6s} / {base:14s} {values.mean():.3f}{spread}  worst {worst:.3f} ({channel})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/questions"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--smoke", action="store_true", help="one seed, a few steps")
    arguments = parser.parse_args()
    overrides = ["training.steps=4", "training.validation_samples=2"] if arguments.smoke else []
    seeds = [0] if arguments.smoke else arguments.seeds
    print_table([run_seed(seed, arguments.out, overrides) for seed in seeds])


if __name__ == "__main__":
    main()
