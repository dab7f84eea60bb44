"""How a model is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingOptions(BaseModel):
    """AdamW with warm-up and cosine decay, on Lightning's Trainer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(2, ge=1, description="samples a step")
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
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of an exponential moving average of the weights, which is then the result"
    )
    validate_every: int = Field(200, ge=1, description="steps between validations")
    validation_samples: int = Field(32, ge=1, description="questions of each validation, always the same ones")
    workers: int = Field(0, ge=0, description="processes that read data; 0: in the training process")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Lightning's name of the arithmetic"
    )
    loggers: tuple[Literal["csv", "tensorboard"], ...] = Field(
        ("csv", "tensorboard"), description="where losses are written, under RUN/logs"
    )
