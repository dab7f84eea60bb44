"""What a training costs on a GPU: rate, share of the peak and memory, ours and AtmoRep's design; waiting for data; losses beside a CPU's.

    benchmarks/gpu.sh [--wheels DIR] [--out DIR] [--minutes 5] [--smoke]        the tests marked gpu, then this script
    python benchmarks/gpu.py --out DIR [--minutes 5] [--smoke]
    python benchmarks/gpu.py --requirements > needs.txt                        what a machine with torch alone lacks

The models `small`, `base` and `large` of the recipes on a window of one stream: 12 x 6 x 12 tokens of 3 x 9 x 9 points on 5 levels, 70 % of
them hidden, of which ours asks a quarter, as the recipes do, and AtmoRep's design answers all. In f32, bf16, and bf16 compiled, with
activations kept or recomputed. A batch is halved until it fits. Figures are the median of some steps after two, with the optimiser. A share
of the peak is of the data sheet's, by matrix products of the model (recomputed ones included); on a CPU that of a product measured. What
`--minutes` leaves no time for is named. All goes into DIR/gpu.json, the tables into DIR/gpu.md.
"""

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atmorep import AtmoRep, Layout, random_question
from shared import SMALL, training_questions
from statecast import read_recipe
from statecast.fields.anchors import FieldSpec, field_spec
from statecast.models import ModelOptions, StateModel
from statecast.models.losses import question_loss
from statecast.models.operations import count_flops
from statecast.outputs import new_output
from statecast.streams import Question, stack_questions
from statecast.trained import build
from statecast.training.batches import SharedBatches, make_loader
from statecast.training.fitting import compiled
from statecast.training.optimiser import make_optimiser
from statecast.training.options import TrainingOptions
from statecast.training.throughput import peak_flops

STREAM, LEVELS = "fields", (500.0, 700.0, 850.0, 925.0, 1000.0)
WINDOW = Layout((12, 6, 12), samples=64, hidden=0.7, asked=0.25, levels=LEVELS)
WARM, TIMED = 2, 5  # steps
COMPILING_S = 100  # that must be left before a model is compiled
PARITY_STEPS = 50
OF_TORCH = ("torch", "triton", "setuptools", "nvidia-")  # what the machine has
TESTS = ("pytest", "pytest-timeout", "hypothesis", "scikit-learn", "pyarrow")  # the last two for jets


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    size: str
    design: str
    precision: str
    compiled: bool = False
    recomputes: bool = False


def cases(smoke: bool) -> list[Case]:
    """The most wanted first: time may run out."""
    if smoke:
        return [Case("nano", design, "bf16-mixed") for design in ("ours", "atmorep")] + [
            Case("nano", "ours", "32-true", recomputes=True)
        ]
    sizes, found = ("base", "small", "large"), []
    found += [Case(size, design, "bf16-mixed") for size in sizes for design in ("ours", "atmorep")]
    found += [Case(size, "ours", "bf16-mixed", recomputes=True) for size in sizes]
    found += [Case(size, design, "32-true") for size in sizes for design in ("ours", "atmorep")]
    found += [
        Case(size, design, "bf16-mixed", compiled=True) for size in ("base", "small") for design in ("ours", "atmorep")
    ]
    found += [Case(size, "ours", "32-true", recomputes=True) for size in sizes]
    found += [
        Case("base", "ours", "bf16-mixed", compiled=True, recomputes=True),
        Case("large", "ours", "bf16-mixed", compiled=True),
    ]
    return found


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def loss_of(model: nn.Module, question: Question) -> Tensor:
    if isinstance(model, AtmoRep):
        return model.loss(question)
    assert isinstance(model, StateModel)
    return question_loss(model, model.attempt(question), question)


def stepper(
    model: nn.Module, options: TrainingOptions, device: str, *, is_compiled: bool
) -> Callable[[Question], float]:
    """One step on a question; returns its loss."""
    optimiser, _ = make_optimiser(model, options)
    loss_fn = compiled(loss_of) if is_compiled else loss_of
    is_low = options.precision == "bf16-mixed"

    def step(question: Question) -> float:
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=is_low):
            loss = loss_fn(model, question)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return loss.item()

    return step


def make_model(case: Case, spec: FieldSpec) -> nn.Module:
    options: ModelOptions = read_recipe(case.size, ["data.store=sample:atmosphere"]).model
    torch.manual_seed(0)
    if case.design == "atmorep":
        return AtmoRep(options, spec, STREAM)
    model = StateModel(options, {STREAM: spec})
    model.recomputes = case.recomputes
    return model.train()


def measured(case: Case, layout: Layout, device: str) -> dict[str, Any]:
    """Rate, share of the peak and memory of one case, with the largest batch that fits."""
    asked = 1.0 if case.design == "atmorep" else layout.asked  # which carries all hidden tokens, and answers them
    samples = layout.samples
    while samples:
        try:
            return _measured(case, replace(layout, samples=samples, asked=asked), device)
        except torch.cuda.OutOfMemoryError:
            samples //= 2
            torch.cuda.empty_cache()
    return {"note": "one sample does not fit"}


def _measured(case: Case, layout: Layout, device: str) -> dict[str, Any]:
    spec, samples = field_spec(1, (3, 9, 9), 1.0, token_deg=9.0), layout.samples
    model, question = make_model(case, spec), random_question(spec, layout, [STREAM])
    flops = count_flops(model, random_question(spec, replace(layout, samples=1), [STREAM]))  # type: ignore[arg-type]
    model, question = model.to(device), question.to(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step = stepper(model, TrainingOptions(precision=case.precision), device, is_compiled=case.compiled)  # type: ignore[arg-type]
    times = []
    for _ in range(WARM + TIMED):
        began = time.perf_counter()
        step(question)
        synchronise(device)
        times.append(time.perf_counter() - began)
    seconds = statistics.median(times[WARM:])
    peak = peak_flops(torch.device(device), case.precision)
    return {
        "samples": samples,
        "parameters": sum(p.numel() for p in model.parameters()),
        "first_step_s": times[0],
        "samples_per_s": samples / seconds,
        "gflop_per_sample": flops / 1e9,
        "share_of_peak": samples * flops / seconds / peak if peak else None,
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }


def waiting(device: str, smoke: bool) -> list[dict[str, float]]:
    """Share of the time of a training of the quickstart's model that waits for its samples, by the number of workers."""
    found = []
    for workers in (0,) if smoke else (0, 4, 8):
        steps = 2 if smoke else 60
        recipe = read_recipe("quickstart", [*(SMALL.overrides if smoke else ()), f"training.workers={workers}"])
        questions = training_questions(recipe, (steps + WARM) * recipe.training.batch_size)
        model = build(recipe.model, questions.source.codecs, 0).to(device)
        step = stepper(model, recipe.training, device, is_compiled=False)
        batches = SharedBatches(len(questions), recipe.training.batch_size)
        waited, began = 0.0, 0.0
        for number, (question, seconds) in enumerate(timed(iter(make_loader(questions, batches, recipe.training)))):
            if number == WARM:
                waited, began = 0.0, time.perf_counter()
            waited += seconds if number > WARM else 0.0
            step(question.to(device))
        synchronise(device)
        total = time.perf_counter() - began
        found.append(
            {
                "workers": workers,
                "share_waiting": waited / total,
                "samples_per_s": steps * recipe.training.batch_size / total,
            }
        )
    return found


def timed(items: Iterator[Question]) -> Iterator[tuple[Question, float]]:
    """Each item, and how long it was waited for."""
    while True:
        began = time.perf_counter()
        item = next(items, None)
        if item is None:
            return
        yield item, time.perf_counter() - began


def parity(device: str, smoke: bool) -> dict[str, Any]:
    """Losses of the same training in f32 on the CPU and on the device."""
    steps = 3 if smoke else PARITY_STEPS
    recipe = read_recipe("quickstart", SMALL.overrides if smoke else [])
    questions = training_questions(recipe, steps * recipe.training.batch_size)
    losses = {}
    for where in ("cpu", device):
        model = build(recipe.model, questions.source.codecs, 0).to(where)
        step = stepper(model, recipe.training, where, is_compiled=False)
        size = recipe.training.batch_size
        batches = (stack_questions([questions[n * size + k] for k in range(size)]) for n in range(steps))
        losses[where] = [step(batch.to(where)) for batch in batches]
    differences = [abs(a / b - 1) for a, b in zip(losses["cpu"], losses[device], strict=True)]
    return {"steps": steps, "largest_difference": max(differences), "first_difference": differences[0]} | {
        "losses": losses
    }


def rows_of(found: dict[str, Any]) -> Iterator[str]:
    """The tables, in Markdown."""
    yield f"{found['device']}, torch {found['torch']}, {found['date']}"
    yield ""
    yield "| size | design | arithmetic | compiled | recomputed | batch | samples/s | share of peak | memory, GiB | first step, s |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in found["cases"]:
        yes = {True: "yes", False: "no"}
        words = [row["size"], row["design"], row["precision"], yes[row["compiled"]], yes[row["recomputes"]]]
        if "note" in row:
            yield f"| {' | '.join(words)} | {row['note']} | | | | |"
            continue
        share, memory = ("" if row[key] is None else f"{row[key]:.2f}" for key in ("share_of_peak", "memory_gib"))
        yield f"| {' | '.join(words)} | {row['samples']} | {row['samples_per_s']:.2f} | {share} | {memory} | {row['first_step_s']:.1f} |"
    yield ""
    for row in found["waiting"]:
        yield f"{row['workers']} workers: {row['share_waiting']:.2f} of the time waits for data, {row['samples_per_s']:.2f} samples/s"
    same = found["parity"]
    yield f"losses of {same['steps']} steps differ from the CPU's by {same['largest_difference']:.2e} at most"


def requirements() -> list[str]:
    """Pinned, all that statecast and its tests need here but torch; for `pip download --no-deps -r`."""
    found: dict[str, str] = {}
    waiting_for = ["statecast", *TESTS]
    while waiting_for:
        name = re.split(r"[^A-Za-z0-9._-]", waiting_for.pop())[0].lower().replace("_", "-")
        if name in found or name in OF_TORCH or name.startswith(OF_TORCH[-1]):
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # of another platform
            continue
        found[name] = package.version
        waiting_for += [need for need in package.requires or [] if "extra ==" not in need]
    return sorted(f"{name}=={version}" for name, version in found.items() if name != "statecast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--minutes", type=float, default=5.0, help="that the table of sizes may take")
    parser.add_argument(
        "--requirements", action="store_true", help="print what the machine needs beside torch, and stop"
    )
    parser.add_argument("--smoke", action="store_true", help="a tiny model, on the CPU too")
    arguments = parser.parse_args()
    if arguments.requirements:
        print("\n".join(requirements()))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not arguments.smoke:
        parser.error("torch sees no GPU. Give --smoke to see on a CPU that all runs.")
    layout = Layout((2, 3, 4), 2, WINDOW.hidden, WINDOW.asked, LEVELS[:2]) if arguments.smoke else WINDOW
    began, rows = time.monotonic(), []
    for case in cases(arguments.smoke):
        left = 60 * arguments.minutes - (time.monotonic() - began)
        if left < (COMPILING_S if case.compiled else 10):
            rows.append(asdict(case) | {"note": "no time was left"})
            continue
        rows.append(asdict(case) | measured(case, layout, device))
        torch._dynamo.reset()
        print(json.dumps(rows[-1]), flush=True)
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU {platform.machine()}"
    found = {"device": name, "torch": torch.__version__, "date": datetime.now(UTC).date().isoformat(), "cases": rows}
    found |= {"waiting": waiting(device, arguments.smoke), "parity": parity(device, arguments.smoke)}
    text = "\n".join(rows_of(found))
    print(text)
    with new_output(arguments.out, overwrite=True) as folder:
        folder.mkdir()
        (folder / "gpu.json").write_text(json.dumps(found, indent=1))
        (folder / "gpu.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
