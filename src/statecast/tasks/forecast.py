"""Forecast: the first slabs of the window are visible, the later ones are asked."""

from typing import ClassVar, Literal, Self

import numpy as np
from jaxtyping import Bool
from pydantic import Field, model_validator

from statecast.streams import Question, Window
from statecast.tasks.base import (
    ASKED,
    Share,
    Slabs,
    TaskOptions,
    is_within,
    random_share,
    slab_of,
    slab_of_steps,
    split,
)


class Forecast(TaskOptions):
    """Ask what comes next on the order axis: the future, given the past. Streams without an order axis are visible throughout."""

    needs_order: ClassVar[bool] = True
    asks_ahead: ClassVar[bool] = True

    kind: Literal["forecast"] = "forecast"
    history: Slabs = Field(2, description="token slabs that are visible")
    leads: Slabs = Field(4, description="token slabs that are asked, one after the other")
    asked: Share = Field(1.0, description=ASKED)
    near: float = Field(
        1.0,
        ge=0,
        le=100,
        description="how much more often near slabs are asked, where `asked` is below 1: slab k as often as 1 / k^near",
    )
    rollout: Slabs = Field(
        1,
        description="blocks of leads that training goes through one after the other, each shown the answer to the last",
    )

    @model_validator(mode="after")
    def _a_rollout_asks_all(self) -> Self:
        if self.rollout > 1 and self.asked < 1:
            raise ValueError(
                f"rollout is {self.rollout} and asked {self.asked:g}: a roll-out continues from its own answer and needs all of it. "
                "Set asked to 1."
            )
        return self

    @property
    def window_slabs(self) -> int:
        """Slabs of the window of one block, which evaluation and forecasts use."""
        return self.history + self.leads

    @property
    def training_slabs(self) -> int:
        """Slabs of the window of training: all blocks."""
        return self.history + self.leads * self.rollout

    @property
    def rollout_blocks(self) -> int:
        return self.rollout

    def visible_steps(self, steps: int) -> Bool[np.ndarray, " T"]:
        return slab_of_steps(steps, self.window_slabs) < self.history

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question about all blocks of a roll-out."""
        question = self._split(window, self.training_slabs)
        queries = {
            name: random_share(tokens, self.asked, sample, weight=(1.0 + slab_of(tokens)) ** -self.near)
            for name, tokens in question.queries.items()
        }
        return Question(question.context, queries)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All of the future of one block asked, nothing drawn at random."""
        return self._split(window, self.window_slabs)

    def _split(self, window: Window, slabs: int) -> Question:
        ordered = {name: tokens for name, tokens in window.items() if tokens.spec.order is not None}
        return split(window, {name: ~is_within(tokens, self.history, slabs) for name, tokens in ordered.items()})
