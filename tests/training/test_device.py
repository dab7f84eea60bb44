"""Training on a GPU is training on a CPU. Lightning chooses the device, so these need a real GPU."""

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator

from statecast.training import TrainingOptions
from statecast.training.fit import fit
from statecast.training.saved import checkpoint_weights, last_checkpoint
from statecast.training.throughput import peak_flops

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("default"),  # of compilers and libraries that other machines have
]
OPTIONS = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3, "loggers": (), "footprint": False, "checkpoint_every": 2}


@pytest.fixture
def trained(questions, make_model, tmp_path):
    def trained(name: str, *, progress: bool = False, resume: bool = False, **options) -> dict[str, torch.Tensor]:
        """The weights after a training in a directory of that name."""
        model = make_model()
        fit(
            model,
            questions,
            None,
            TrainingOptions(**(OPTIONS | options)),
            tmp_path / name,
            progress=progress,
            resume=resume,
        )
        assert {weight.device.type for weight in model.state_dict().values()} == {"cpu"}
        return dict(model.state_dict())

    return trained


def assert_close(found, expected, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_the_weights_after_a_training_are_those_of_the_cpu(trained, monkeypatch):
    on_gpu = trained("gpu", progress=True)
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: False))
    assert_close(on_gpu, trained("cpu"), 2e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16-mixed"},
        {"activation_checkpointing": True},
        {"compile": True},
        {"compile": True, "precision": "bf16-mixed"},
    ],
    ids=str,
)
def test_options_of_speed_and_memory_change_no_more_than_rounding(trained, options):
    tolerance = 2e-2 if "precision" in options else 2e-3
    assert_close(trained("fast", **options), trained("plain"), tolerance)


def test_workers_and_pinned_memory_change_no_bit(trained, deterministic):
    one, two = trained("one"), trained("two", workers=2)
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.fixture
def deterministic():
    """CUDA's own kernels add in any order otherwise."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_a_checkpoint_of_a_gpu_loads_on_a_cpu_and_resumes_bit_for_bit(trained, deterministic, tmp_path):
    whole = trained("whole")
    trained("run", steps=4)
    (tmp_path / "run" / "checkpoints" / "step-00000004.ckpt").unlink(missing_ok=True)
    checkpoint = last_checkpoint(tmp_path / "run" / "checkpoints")
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    assert {value.device.type for value in weights.values()} == {"cpu"}
    assert set(checkpoint_weights(checkpoint)) == set(whole)
    resumed = trained("run", resume=True)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_the_peak_of_the_card_is_known():
    assert peak_flops(torch.device("cuda", 0), "bf16-mixed") > 1e13
