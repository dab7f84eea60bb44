"""Interpolation along the order axis: both ends of the window are visible, the middle is asked."""

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from statecast.streams import Question, Tokens, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskOptions, ask_a_share, is_within, slab_of_steps, split


class Interpolate(TaskOptions):
    """Ask what lies between two known slabs."""

    needs_order: ClassVar[bool] = True

    kind: Literal["interpolate"] = "interpolate"
    before: Slabs = Field(1, description="token slabs that are visible before the gap")
    between: Slabs = Field(1, description="token slabs that are asked")
    after: Slabs = Field(1, description="token slabs that are visible after the gap")
    asked: Share = Field(1.0, description=ASKED)

    @property
    def window_slabs(self) -> int:
        return self.before + self.between + self.after

    def visible_steps(self, steps: int) -> Bool[np.ndarray, " T"]:
        slab = slab_of_steps(steps, self.window_slabs)
        return (slab < self.before) | (slab >= self.before + self.between)

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        return ask_a_share(self.complete(window), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All of the middle asked, nothing drawn at random."""
        ordered = {name: tokens for name, tokens in window.items() if tokens.spec.order is not None}
        return split(window, {name: self._is_between(tokens) for name, tokens in ordered.items()})

    def _is_between(self, tokens: Tokens) -> np.ndarray:
        is_before = is_within(tokens, self.before, self.window_slabs)
        return is_within(tokens, self.before + self.between, self.window_slabs) & ~is_before
