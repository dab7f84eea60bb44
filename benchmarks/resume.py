"""Kill a training at random moments, resume it each time, and compare with one that was never stopped.

    python benchmarks/resume.py [--kills 20] [--seed 0] [--smoke]

Each trial starts `statecast pretrain`, sends SIGKILL at a random moment after a random one of its checkpoints, resumes it to the end and
compares the weights; every second trial reads its data in a worker process. Prints how many of the trials ended with the same bits.
"""

import argparse
import contextlib
import os
import random
import signal
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


def run(out: Path, workers: int, *options: str) -> None:
    ended = subprocess.run([*command(out, workers), *options], capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(ended.args)}\nended with {ended.returncode}:\n{ended.stderr}")


def start(out: Path, workers: int, number: int) -> subprocess.Popen[bytes]:
    """The command, as soon as it has begun to write its checkpoint of that number."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command(out, workers), "--resume"], start_new_session=True, **quiet)
    checkpoints = out.with_name(f"{out.name}.unfinished") / "checkpoints"
    wanted = f"step-{number * EVERY:08d}"
    while process.poll() is None and not any(checkpoints.glob(f"{wanted}.*")):
        time.sleep(0.001)
    return process


def seconds_between_checkpoints(out: Path) -> float:
    """Of a whole run, from its first checkpoint to its end."""
    process = start(out, 0, 1)
    began = time.monotonic()
    assert process.wait() == 0
    return (time.monotonic() - began) * EVERY / STEPS


def killed_after(seconds: float, number: int, out: Path, workers: int) -> str:
    """Where the run stood when it was killed, so long after it began to write its checkpoint of that number."""
    process = start(out, workers, number)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with its data workers
    process.wait()
    written = sorted(p.name for p in out.with_name(f"{out.name}.unfinished").glob("checkpoints/*"))
    return "finished before" if out.exists() else f"killed with {', '.join(written) or 'no checkpoint'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--smoke", action="store_true", help="one kill")
    arguments = parser.parse_args()
    moments, same, kills = random.Random(arguments.seed), 0, 1 if arguments.smoke else arguments.kills
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        seconds = seconds_between_checkpoints(whole)
        for trial in range(kills):
            out, workers = Path(folder) / f"trial-{trial}", trial % 2
            number = moments.randint(1, STEPS // EVERY)
            where = killed_after(moments.uniform(0.0, 1.0) * seconds, number, out, workers)
            run(out, workers, "--resume")
            equal = all(torch.equal(value, weights(out)[name]) for name, value in weights(whole).items())
            same += equal
            print(f"{trial + 1:3d}  {workers} workers  {where}: {'same' if equal else 'DIFFERENT'} weights", flush=True)
    print(f"{same} of {kills} resumed runs ended with the weights of one that was not stopped, bit for bit")


if __name__ == "__main__":
    main()
