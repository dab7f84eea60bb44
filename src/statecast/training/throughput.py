"""Operations per second of a training, and the peak of its device."""

import time

import torch
from lightning.fabric.utilities.throughput import get_available_flops

from statecast.models import StateModel
from statecast.models.operations import sample_flops
from statecast.streams import Question, token_counts

H200 = {torch.float32: 66.9e12, torch.bfloat16: 989.4e12, torch.float16: 989.4e12}
"""The chip is that of an H100. Lightning 2.6 does not know its name, and doubles its peak, which holds for sparse matrices."""
DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def question_flops(model: StateModel, question: Question, blocks: int = 1) -> int:
    """Operations of a step on all samples of a question, answered in `blocks` blocks; see `models.operations.sample_flops`."""
    shown = token_counts(question.context)
    asked = {name: count // blocks for name, count in token_counts(question.queries).items()}
    samples = len(next(iter(question.queries.values())).values)
    return blocks * samples * sample_flops(model.options, model.specs, shown, asked, recomputes=model.recomputes)


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Peak FLOP/s of a device: from the data sheet for a GPU known to Lightning, measured on a CPU, None for other devices."""
    if device.type == "cpu":
        return matmul_peak(seconds=0.3, size=1024)
    if device.type == "cuda" and "H200" in torch.cuda.get_device_name(device):
        return H200[DTYPES[precision]]
    known = get_available_flops(device, DTYPES[precision])
    return float(known) if known else None


def matmul_peak(seconds: float, size: int) -> float:
    """FLOP/s of the fastest of several float32 matrix products on the CPU, with all of torch's threads."""
    a, b = torch.ones(size, size), torch.ones(size, size)
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
