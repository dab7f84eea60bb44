"""Has a training step become slower, relative to a fixed loop of plain torch that is timed in the same run?

    python benchmarks/regression.py [--turns 12] [--record] [--smoke]

The step of the quickstart's sizes, with each head, and the loop take turns on one thread; the best CPU time of each counts, so that other
work on the machine, which only adds time, does not decide. A step whose ratio to the loop is 15 % above the one in
benchmarks/results/step-ratios.json is refused with exit code 1. Ratios of another kind of CPU say nothing: there the script says so, and
refuses nothing. `--record` writes them anew, after a change that is meant or on a new machine; do so with nothing else running.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import gelu, scaled_dot_product_attention

from atmorep import Layout, random_question
from statecast.fields.anchors import field_spec
from statecast.models import ModelOptions, StateModel
from statecast.models.losses import question_loss
from statecast.outputs import new_output
from statecast.training.optimiser import make_optimiser
from statecast.training.options import TrainingOptions

RECORDED = Path(__file__).parent / "results" / "step-ratios.json"
ALLOWED = 1.15
STREAM, LAYOUT = "fields", Layout((4, 12, 24), samples=2)
TOKENS, WIDTH, HEADS, LAYERS = 1152, 128, 4, 3  # of the loop: about as long as a step
KINDS = {"ensemble": ModelOptions(), "flow": ModelOptions(head="flow")}


def make_step(options: ModelOptions) -> Callable[[], None]:
    """A training step of the quickstart's size."""
    torch.manual_seed(0)
    spec = field_spec(13, (2, 1, 4), 6.0, token_deg=15.0)
    model, question = StateModel(options, {STREAM: spec}).train(), random_question(spec, LAYOUT, [STREAM])
    optimiser, _ = make_optimiser(model, TrainingOptions())

    def step() -> None:
        optimiser.zero_grad()
        question_loss(model, model.attempt(question), question).backward()
        optimiser.step()

    return step


def make_loop() -> Callable[[], None]:
    """A few layers of products and attention, forward and backward. Never to be changed: all recorded ratios are to it."""
    torch.manual_seed(0)
    weights = [torch.randn(WIDTH, size, requires_grad=True) for size in (3 * WIDTH, 4 * WIDTH)]
    back = torch.randn(4 * WIDTH, WIDTH, requires_grad=True)
    start = torch.randn(2, TOKENS, WIDTH)

    def loop() -> None:
        x = start
        for _ in range(LAYERS):
            parts = (x @ weights[0] / WIDTH**0.5).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
            x = x + scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
            x = x + gelu(x @ weights[1] / WIDTH**0.5) @ back / WIDTH
            x = x / x.square().mean(dim=-1, keepdim=True).sqrt()
        x.square().mean().backward()

    return loop


def measured_ratios(turns: int) -> dict[str, float]:
    """CPU time of each kind of step over that of the loop, both the best of some turns."""
    runs = {"loop": make_loop()} | {kind: make_step(options) for kind, options in KINDS.items()}
    best = dict.fromkeys(runs, float("inf"))
    for turn in range(turns + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if turn:  # the first warms up
                best[name] = min(best[name], time.process_time() - began)
    return {kind: best[kind] / best["loop"] for kind in KINDS}


def slower(found: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """A line for each step that is refused."""
    return [
        f"{kind}: a step takes {found[kind]:.2f} of the loop, {found[kind] / ratio:.2f} times the {ratio:.2f} that was recorded. Find what "
        "made it slower or, if that is meant, record anew by --record."
        for kind, ratio in recorded.items()
        if found[kind] > ALLOWED * ratio
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument(
        "--record", action="store_true", help="write the ratios, instead of holding them against those recorded"
    )
    parser.add_argument("--smoke", action="store_true", help="two turns, held against nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measured_ratios(2 if arguments.smoke else arguments.turns)
    cpu = torch.backends.cpu.get_cpu_capability()
    print(f"{cpu}: " + ", ".join(f"{kind} {ratio:.2f} of the loop" for kind, ratio in found.items()))
    if arguments.smoke:
        return
    if arguments.record:
        with new_output(RECORDED, overwrite=True) as path:
            path.write_text(json.dumps({"cpu": cpu, "torch": torch.__version__, "ratios": found}, indent=1) + "\n")
        return
    recorded = json.loads(RECORDED.read_text())
    if recorded["cpu"] != cpu:
        print(f"the recorded ratios are of {recorded['cpu']}: nothing to hold these against")
        return
    refused = slower(found, recorded["ratios"])
    print("\n".join(refused) or f"no step is {ALLOWED - 1:.0%} slower than recorded")
    if refused:
        sys.exit(1)


if __name__ == "__main__":
    main()
