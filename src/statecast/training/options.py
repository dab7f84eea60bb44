"""Options of training."""

import sys
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from statecast.options import MOST, Options


class TrainingOptions(Options):
    """Muon or AdamW with warm-up and cosine decay, run by Lightning's Trainer."""

    steps: int = Field(1000, ge=1, le=10**7, description="optimiser steps")
    batch_size: int = Field(2, ge=1, le=2**16, description="samples per step, over all processes")
    accumulate: int = Field(
        1,
        ge=1,
        le=10**6,
        description="number of parts into which the samples of a step are divided (gradient accumulation)",
    )
    optimiser: Literal["muon", "adamw"] = Field(
        "muon",
        description="muon: orthogonal steps for the matrices of linear maps (Jordan et al. 2024), AdamW for the rest",
    )
    learning_rate: float = Field(3.5e-3, gt=0, le=100, description="learning rate at the end of the warm-up")
    warm_up: float = Field(
        0.05, ge=0, lt=1, description="fraction of the steps during which the learning rate rises from zero"
    )
    final_learning_rate: float = Field(
        0.02, ge=0, le=1, description="final learning rate of the cosine, as a fraction of `learning_rate`"
    )
    weight_decay: float = Field(
        0.05,
        ge=0,
        le=100,
        description="weight decay of matrices; biases, norms, embeddings and the geometry of attention do not decay",
    )
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    largest_loss: float = Field(1000.0, gt=0, description="a larger loss stops the run; climatology has a loss below 1")
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of an exponential moving average of the weights, which becomes the result; none: no average",
    )
    validate_every: int = Field(200, ge=1, le=MOST, description="steps between validations")
    validation_samples: int = Field(32, ge=1, le=10**6, description="questions per validation, the same ones each time")
    checkpoint_every: int = Field(200, ge=1, le=MOST, description="steps between checkpoints")
    keep_checkpoints: int = Field(
        2, ge=1, le=10**6, description="checkpoints to keep, besides the best by validation loss"
    )
    result: Literal["last", "best"] = Field(
        "last", description="last: the final weights; best: the weights with the lowest validation loss"
    )
    workers: int = Field(0, ge=0, le=1024, description="processes that read data; 0: the training process reads them")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="arithmetic, by Lightning's name"
    )
    activation_checkpointing: bool = Field(
        False,
        description="recompute activations inside blocks in the backward pass: less memory, a third more time",
    )
    compile: bool = Field(False, description="compile the model with torch.compile; on a CPU this needs a C++ compiler")
    footprint: bool = Field(
        True, description="estimate energy and emissions with codecarbon, and write RUN/footprint.json"
    )
    region: str = Field(
        "WORLD",
        description="origin of the electricity: a two- or three-letter ISO code, or WORLD for the mean",
    )
    loggers: tuple[Literal["csv", "tensorboard", "mlflow", "wandb"], ...] = Field(
        ("csv", "tensorboard"), description="formats of the logs of losses, under RUN/logs"
    )


class DeviceError(ValueError):
    """An option is not available on these devices."""


@dataclass(frozen=True)
class Devices:
    """The devices of a training. `fsdp` shards weights, gradients and the optimiser's state over the processes."""

    devices: int = 1
    nodes: int = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"

    @property
    def processes(self) -> int:
        return self.devices * self.nodes

    @property
    def shards(self) -> bool:
        return self.strategy == "fsdp" and self.processes > 1


ONE_DEVICE = Devices()


def is_first_process() -> bool:
    """Whether this is the first process of a training, which writes all outputs."""
    lightning = sys.modules.get("lightning.fabric.utilities.rank_zero")
    return lightning is None or getattr(lightning.rank_zero_only, "rank", 0) == 0  # without it nothing is trained
