"""Share of a device's arithmetic: operations of real questions, a peak that is one."""

import pytest
import torch

from statecast.models.operations import count_flops
from statecast.streams import stack_questions
from statecast.training.throughput import matmul_peak, peak_flops, question_flops


def test_the_operations_of_a_batch_are_what_torch_counts(questions, make_model):
    model, batch = make_model(), stack_questions([questions[0], questions[1]])
    assert question_flops(model, batch) == count_flops(model, batch)


def test_the_peak_of_a_cpu_is_measured_and_above_what_a_small_product_reaches():
    peak = peak_flops(torch.device("cpu"), "32-true")
    assert peak > matmul_peak(seconds=0.02, size=8) > 0


def test_a_device_without_a_data_sheet_has_no_peak():
    assert peak_flops(torch.device("meta"), "32-true") is None


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_every_precision_of_a_recipe_has_a_peak(precision, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr("lightning.fabric.accelerators.cuda._is_ampere_or_later", lambda *_: True)
    peak = peak_flops(torch.device("cuda"), precision)
    assert peak == {"32-true": 19.5e12, "bf16-mixed": 312e12, "16-mixed": 312e12}[precision]
