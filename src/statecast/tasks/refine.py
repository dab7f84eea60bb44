"""Refinement along the order axis: every n-th step is visible, those between are asked, as of a six-hourly record that is to be hourly.

Axes: T step of the window.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from statecast.streams import Question, Tokens, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskError, TaskOptions, ask_a_share, at_steps, slab_of


class Refine(TaskOptions):
    """Ask the steps between every n-th one, inside tokens as well as whole tokens.

    In training the first visible step is drawn anew for each step of the optimiser, so that a window may begin anywhere between two.
    """

    needs_order: ClassVar[bool] = True

    kind: Literal["refine"] = "refine"
    every: int = Field(2, ge=2, le=10_000, description="steps of the record from one visible step to the next")
    slabs: Slabs = Field(3, description="token slabs of the window; they have to hold more than `every` steps")
    asked: Share = Field(1.0, description=ASKED)

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        ordered = [tokens for tokens in window.values() if tokens.spec.order is not None]
        steps = max(_steps(tokens) for tokens in ordered)
        first = int(step.integers(max(1, min(self.every, steps - self.every))))
        return ask_a_share(self._split(window, first), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All that lies between asked, the first step of the window visible."""
        return self._split(window, 0)

    def visible_steps(self, steps: int, first: int = 0) -> Bool[np.ndarray, " T"]:
        """True for every n-th step of a window, of which `first` is the first."""
        return (np.arange(steps) - first) % self.every == 0

    def asked_steps(self, steps: int, first: int = 0) -> Bool[np.ndarray, " T"]:
        """True for those that lie between two visible ones."""
        visible = np.flatnonzero(self.visible_steps(steps, first))
        between = np.zeros(steps, dtype=bool)
        between[visible[0] : visible[-1]] = True
        return between & ~self.visible_steps(steps, first)

    def require_depths(self, depths: Mapping[str, int]) -> None:
        """Raises TaskError unless the middle slab of any window lies between two visible steps: so a record is refined slab by slab."""
        depth = max(depths.values())
        aside = -(-(self.every - 1) // depth)  # slabs that hold a visible step for certain
        if self.slabs < 2 * aside + 1:
            raise TaskError(
                f"task.slabs: {self.slabs} slabs of {depth} steps don't always hold a visible step on both sides of the middle, with "
                f"task.every {self.every}. Take at least {2 * aside + 1}."
            )

    def _split(self, window: Window, first: int) -> Question:
        context, queries = {}, {}
        for name, tokens in window.items():
            tokens = tokens.numbered()
            if tokens.spec.order is None:
                context[name] = tokens
                continue
            steps = _steps(tokens)
            context[name] = at_steps(tokens, self.visible_steps(steps, first))
            queries[name] = at_steps(tokens, self.asked_steps(steps, first))
        return Question(context, queries)


def _steps(tokens: Tokens) -> int:
    """Steps of the window."""
    return (int(slab_of(tokens).max()) + 1) * tokens.spec.dimensions[1]
