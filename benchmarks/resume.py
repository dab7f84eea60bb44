"""Kill a training at random moments, resume it each time, and compare with one that was never stopped.

    python benchmarks/resume.py [--kills 20] [--seed 0] [--smoke]

Each trial starts `statecast pretrain`, sends SIGKILL after a random share of the time that a whole run takes, resumes it to the end and
compares the weights. Prints how many of the trials ended with the same bits.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

STEPS, EVERY = 40, 3


def command(out: Path, workers: int) -> list[str]:
    overrides = [f"training.steps={STEPS}", f"training.checkpoint_every={EVERY}", "training.validate_every=10"]
    overrides += ["training.validation_samples=2", f"training.workers={workers}", "training.footprint=false"]
    overrides += ["model.width=32", "model.encoder_layers=1", "model.heads=2", "model.members=4"]
    return [sys.executable, "-m", "statecast", "pretrain", "quickstart", *overrides, "--out", str(out), "--quiet"]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def run(out: Path, workers: int, *options: str) -> float:
    began = time.monotonic()
    subprocess.run([*command(out, workers), *options], check=True, capture_output=True)
    return time.monotonic() - began


def killed_after(seconds: float, out: Path, workers: int) -> str:
    """Where the run stood when it was killed."""
    process = subprocess.Popen(
        [*command(out, workers), "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(process.pid, 9)  # with its data workers
    process.wait()
    written = sorted(p.name for p in out.with_name(f"{out.name}.unfinished").glob("checkpoints/*"))
    return "finished before" if out.exists() else f"after {seconds:.1f} s with {', '.join(written) or 'no checkpoint'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--smoke", action="store_true", help="one kill")
    arguments = parser.parse_args()
    moments, same, kills = random.Random(arguments.seed), 0, 1 if arguments.smoke else arguments.kills
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        seconds = run(whole, 0)
        for trial in range(kills):
            out, workers = Path(folder) / f"trial-{trial}", trial % 2
            where = killed_after(moments.uniform(0.3, 1.0) * seconds, out, workers)
            run(out, workers, "--resume")
            equal = all(torch.equal(value, weights(out)[name]) for name, value in weights(whole).items())
            same += equal
            print(f"{trial + 1:3d}  {workers} workers  {where}: {'same' if equal else 'DIFFERENT'} weights", flush=True)
    print(f"{same} of {kills} resumed runs ended with the weights of one that was not stopped, bit for bit")


if __name__ == "__main__":
    main()
