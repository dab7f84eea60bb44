"""Does the loader keep up with the model, and do two processes do as much as two threads?

    python benchmarks/throughput.py [--recipe quickstart] [--turns 3] [--smoke]

Prints milliseconds a sample of the loader in the training process, those of a training step with it, and samples/s of one process with
two threads beside two processes with one thread each (gloo), at the same batch. A step is what a longer training takes more than a shorter
one, so that starting up is left out; the two kinds of training take turns, and the best of each counts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from statecast.fields.preparation import make_questions, recipe_stores, stream_sources

from statecast.config import Recipe, read_recipe

FEW, MANY = 40, 160
PLAIN = ["data.validate=null", "training.footprint=false", "training.loggers=[]"]


def loader_seconds(recipe: Recipe, samples: int) -> float:
    """Mean time of reading, normalising and splitting a sample."""
    questions = make_questions(recipe, stream_sources(recipe, recipe_stores(recipe), {}), samples, recipe.seed)
    began = time.perf_counter()
    for sample in range(samples):
        questions[sample]
    return (time.perf_counter() - began) / samples


def training_seconds(recipe: str, steps: int, processes: int, threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "statecast", "pretrain", recipe, *PLAIN, f"training.steps={steps}"]
        command += ["--out", str(Path(folder) / "run"), "--devices", str(processes), "--quiet"]
        began = time.perf_counter()
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=True, capture_output=True)
        return time.perf_counter() - began


def step_seconds(recipe: str, processes: int, threads: int, few: int, many: int) -> float:
    times = [training_seconds(recipe, steps, processes, threads) for steps in (few, many)]
    return (times[1] - times[0]) / (many - few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="a moment")
    arguments = parser.parse_args()
    few, many, turns = (2, 6, 1) if arguments.smoke else (FEW, MANY, arguments.turns)
    recipe = read_recipe(arguments.recipe, PLAIN)
    loader = loader_seconds(recipe, 8 if arguments.smoke else 100)
    pairs = [
        [step_seconds(arguments.recipe, *kind, few, many) for kind in ((1, 2), (2, 1))]  # processes, threads
        for _ in range(turns)
    ]
    threads, processes = (min(times) for times in zip(*pairs, strict=True))
    batch = recipe.training.batch_size
    print(f"loader: {1e3 * loader:.1f} ms a sample; a step's share of a sample: {1e3 * threads / batch:.1f} ms")
    print(f"the loader is {threads / batch / loader:.1f} times as fast as the step")
    print(f"1 process x 2 threads: {batch / threads:.2f} samples/s; 2 processes x 1 thread: {batch / processes:.2f}")
    print(f"2 processes of 1 thread do {threads / processes:.2f} of what 1 process of 2 threads does")


if __name__ == "__main__":
    main()
