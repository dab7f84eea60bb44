"""Cost of a training step, and what running the encoder on the shown tokens alone saves.

    python benchmarks/step.py [--threads 2] [--seconds 8] [--profile] [--smoke]

For a few sizes: samples/s, seconds a step and of the optimiser in it, peak memory, FLOPs, share of this machine's measured f32 matmul peak;
and the ratio to the same trunk as a BERT-style encoder that carries mask tokens through every layer (same width, layers, tokens, 80 %
hidden, same heads, loss and optimiser, whose matrix products for orthogonal steps are no FLOPs of the model). Each pair is timed in turns
in one process, so that the ratio holds on a noisy machine. With `--profile` instead: what a step's time is spent on, by kind of operation,
and the share of the peak of the matrix products alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from atmorep import Layout, MaskTokenModel, random_question
from statecast.fields.anchors import FieldSpec, field_spec
from statecast.models import ModelOptions, StateModel
from statecast.models.heads import EnsembleHead, masked_mean
from statecast.models.operations import count_flops
from statecast.streams import Question
from statecast.training.optimiser import make_optimiser
from statecast.training.options import TrainingOptions

HIDDEN = 0.8
STREAM = "fields"
SIZES = {  # width, encoder layers, decoder layers, heads, (time, rows, columns) of the patch grid, values a channel and token, samples
    "quickstart": (96, 2, 2, 4, (4, 12, 24), 8, 2),
    "small": (256, 6, 2, 4, (4, 12, 24), 18, 2),
    "atmorep window": (384, 8, 2, 12, (12, 6, 12), 18, 1),
}
CHANNELS, TOKEN_DEG = 13, 15.0


def spec_of(size: str) -> FieldSpec:
    *_, values, _ = SIZES[size]
    return field_spec(CHANNELS, (2, 1, values // 2), 6.0, TOKEN_DEG)


def make_question(size: str) -> Question:
    """A window of a regular patch grid with 80 % of its tokens hidden, random values."""
    *_, grid, _, samples = SIZES[size]
    return random_question(spec_of(size), Layout(grid, samples, HIDDEN), [STREAM])


def make_models(size: str) -> tuple[StateModel, MaskTokenModel]:
    width, encoder, decoder, heads, *_ = SIZES[size]
    options = ModelOptions(width=width, encoder_layers=encoder, decoder_layers=decoder, heads=heads)
    spec = spec_of(size)
    return StateModel(options, {STREAM: spec}), MaskTokenModel(options, spec, STREAM)


def step(model: nn.Module, question: Question, optimiser: torch.optim.Optimizer) -> float:
    """One training step; the seconds that the optimiser took of it."""
    asked, said = question.queries[STREAM], model.answer(question)[STREAM]
    loss = masked_mean(EnsembleHead().loss(said.members, asked.values), asked.observed, asked.weight)
    optimiser.zero_grad()
    loss.backward()
    began = time.perf_counter()
    optimiser.step()
    return time.perf_counter() - began


def time_in_turns(
    models: tuple[nn.Module, nn.Module], question: Question, seconds: float
) -> tuple[float, float, float]:
    """Median seconds a step of each, one step of the first, one of the second, and so on; and those of the first one's optimiser."""
    optimisers = [make_optimiser(model, TrainingOptions())[0] for model in models]
    times: list[list[float]] = [[], []]
    of_optimiser: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times[0]) < 4:
        for model, optimiser, kept in zip(models, optimisers, times, strict=True):
            start = time.perf_counter()
            stepping = step(model, question, optimiser)
            kept.append(time.perf_counter() - start)
            if model is models[0]:
                of_optimiser.append(stepping)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:]), statistics.median(of_optimiser[1:])


def matmul_peak(seconds: float = 2.0, size: int = 2048) -> float:
    """FLOP/s of the best of several f32 matrix products."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def measure(size: str, seconds: float) -> dict[str, float]:
    torch.manual_seed(0)
    question, models = make_question(size), make_models(size)
    samples = SIZES[size][-1]
    flops = [count_flops(model, question) for model in models]  # type: ignore[arg-type]
    ours, peer, of_optimiser = time_in_turns(models, question, seconds)
    peak = matmul_peak(min(2.0, seconds))
    return {
        "tokens": len(question.context[STREAM]) + len(question.queries[STREAM]),
        "parameters": sum(p.numel() for p in models[0].parameters()),
        "samples_per_s": samples / ours,
        "s_per_step": ours,
        "optimiser_s_per_step": of_optimiser,
        "gflop_per_sample": flops[0] / samples / 1e9,
        "share_of_peak": flops[0] / ours / peak,
        "peak_gflop_per_s": peak / 1e9,
        "peer_s_per_step": peer,
        "peer_gflop_per_sample": flops[1] / samples / 1e9,
        "speed_up": peer / ours,
    }


def peak_memory_mib(size: str, which: int, threads: int) -> float:
    """Peak resident memory of a process that takes two steps of one model, less its peak when it had imported and built all."""
    options = {"--only": size, "--which": which, "--threads": threads}
    command = [sys.executable, __file__, *(str(word) for option in options.items() for word in option)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def only(size: str, which: int) -> None:
    question, model = make_question(size), make_models(size)[which]
    optimiser, _ = make_optimiser(model, TrainingOptions())
    built = peak_mib()
    for _ in range(2):
        step(model, question, optimiser)
    print(peak_mib() - built)


def peak_mib() -> float:
    """Of this process so far."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss of a child starts from its parent's peak
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention": ("aten::_scaled_dot_product", "_scaled_dot_product"),
    "optimiser": ("aten::_fused_adamw",),
    "anchors": ("aten::_cdist", "aten::argmin", "aten::min"),
    "norms and activations": ("aten::gelu", "aten::_fused_rms_norm", "aten::rms_norm", "aten::native_layer_norm"),
}


def profile_step(size: str, steps: int = 4) -> dict[str, float]:
    """Share of the CPU time of a step by kind of operation, and of the peak that the matrix products reach while they run."""
    torch.manual_seed(0)
    question, (model, _) = make_question(size), make_models(size)
    optimiser, _ = make_optimiser(model, TrainingOptions())
    for _ in range(2):
        step(model, question, optimiser)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profiler:
        for _ in range(steps):
            step(model, question, optimiser)
    own = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    flops = {event.key: event.flops for event in profiler.key_averages()}
    total, shares, left = sum(own.values()), {}, sum(own.values())
    for kind, names in KINDS.items():
        spent = sum(time for key, time in own.items() if key.startswith(names))
        shares[kind], left = spent / total, left - spent
    products = [key for key in own if key.startswith(KINDS["matrix products"])]
    rate = sum(flops[key] for key in products) / (1e-6 * sum(own[key] for key in products))
    return shares | {"other": left / total, "peak share of the matrix products": rate / matmul_peak()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each timing")
    parser.add_argument("--profile", action="store_true", help="what a step's time is spent on")
    parser.add_argument("--smoke", action="store_true", help="one size, a moment, memory of ours alone")
    parser.add_argument("--only", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--which", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.only:
        only(arguments.only, arguments.which)
        return
    print(f"torch {torch.__version__}, {arguments.threads} threads, {HIDDEN:.0%} hidden, ensemble of 16")
    for size in list(SIZES)[: 1 if arguments.smoke else None]:
        if arguments.profile:
            print(size, json.dumps({kind: round(share, 3) for kind, share in profile_step(size).items()}))
            continue
        figures = measure(size, 0.5 if arguments.smoke else arguments.seconds)
        for name, which in (("memory_mib", 0), ("peer_memory_mib", 1))[: 1 if arguments.smoke else None]:
            figures[name] = peak_memory_mib(size, which, arguments.threads)
        print(size, json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
