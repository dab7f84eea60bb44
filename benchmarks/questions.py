"""Skill in the other questions, over several seeds: the commands of docs/questions.md on the embedded sample.

    python benchmarks/questions.py --out runs/questions [--seeds 0 1 2] [--questions interpolate refine ...] [--smoke]

For each seed: pre-train the quickstart, fine-tune it to interpolate, to refine in time, to fill the gaps of a satellite, to tell the rain,
to downscale and to correct rain towards radars, verify each on months that no training saw. Prints RMSE and CRPS over each baseline's: mean
over the channels, its spread over the seeds, the worst channel; and the scores of events. What a stopped run left is used again.
"""

import argparse
from pathlib import Path

from shared import QUESTIONS_EVERY_H, SMOKE, Effort, print_events, print_ratios, run_questions

QUESTIONS = ("interpolate", "refine", "fill", "rain", "downscale", "radar")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/questions"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--questions", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    parser.add_argument(
        "--smoke", action="store_true", help="one seed, two questions, a few steps; in a folder of its own"
    )
    arguments = parser.parse_args()
    seeds, questions, effort = arguments.seeds, arguments.questions, Effort(every_h=QUESTIONS_EVERY_H)
    if arguments.smoke:
        seeds, questions, effort = [0], QUESTIONS[:2], SMOKE
    out = arguments.out / ("smoke" if arguments.smoke else "")
    runs = [run_questions(seed, out, questions, effort) for seed in seeds]
    for metric in ("rmse", "crps"):
        print_ratios(runs, metric)
    print_events(runs)


if __name__ == "__main__":
    main()
