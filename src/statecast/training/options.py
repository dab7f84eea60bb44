"""How a model is trained."""

from dataclasses import dataclass
from typing import Literal

from lightning.fabric.utilities.rank_zero import rank_zero_only
from pydantic import BaseModel, ConfigDict, Field


class TrainingOptions(BaseModel):
    """Muon or AdamW with warm-up and cosine decay, on Lightning's Trainer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(2, ge=1, description="samples a step, over all processes")
    accumulate: int = Field(1, ge=1, description="parts that the samples of a step are taken in, one after the other")
    optimiser: Literal["muon", "adamw"] = Field(
        "muon",
        description="muon: orthogonal steps for the matrices of linear maps (Jordan et al. 2024), AdamW for the rest",
    )
    learning_rate: float = Field(3.5e-3, gt=0, description="at the end of the warm-up")
    warm_up: float = Field(
        0.05, ge=0, lt=1, description="share of the steps over which the learning rate rises from zero"
    )
    final_learning_rate: float = Field(
        0.02, ge=0, le=1, description="share of the learning rate that the cosine ends at"
    )
    weight_decay: float = Field(
        0.05, ge=0, description="on matrices only: not on biases, norms, embeddings and the geometry of attention"
    )
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    largest_loss: float = Field(
        1000.0, gt=0, description="a loss above it stops the run as exploded; climatology has one below 1"
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of an exponential moving average of the weights, which is then the result"
    )
    validate_every: int = Field(200, ge=1, description="steps between validations")
    validation_samples: int = Field(32, ge=1, description="questions of each validation, always the same ones")
    checkpoint_every: int = Field(200, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="checkpoints that stay, beside the best by validation loss")
    result: Literal["last", "best"] = Field(
        "last", description="the weights that the run ends with, or those with the best validation loss"
    )
    workers: int = Field(0, ge=0, description="processes that read data; 0: in the training process")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Lightning's name of the arithmetic"
    )
    activation_checkpointing: bool = Field(
        False, description="compute the inside of the blocks again on the way back: less memory, a third more time"
    )
    compile: bool = Field(False, description="torch.compile the model; needs a C++ compiler on a CPU")
    footprint: bool = Field(True, description="estimate energy and emissions by codecarbon, into RUN/footprint.json")
    region: str = Field(
        "WORLD",
        description="where the electricity comes from: an ISO code of two or three letters, or WORLD for the mean",
    )
    loggers: tuple[Literal["csv", "tensorboard", "mlflow", "wandb"], ...] = Field(
        ("csv", "tensorboard"), description="where losses are written, under RUN/logs"
    )


class DeviceError(ValueError):
    """Devices that can't do what is asked of them."""


@dataclass(frozen=True)
class Devices:
    """What a training runs on. `fsdp` shards weights, gradients and the optimiser's state over the processes."""

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
    """Whether this process is the one of its training that writes."""
    return getattr(rank_zero_only, "rank", 0) == 0
