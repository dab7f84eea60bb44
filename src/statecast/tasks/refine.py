"""Refinement along the order axis: every n-th step is visible, those between are asked, as of a six-hourly record that is to be hourly.

Axes: N token, S step of a token, T step of the window.
"""

from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool
from pydantic import Field

from statecast.streams import Question, Tokens, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskOptions, ask_a_share, slab_of


class Refine(TaskOptions):
    """Ask the steps between every n-th one, inside tokens as well as whole tokens.

    In training the first visible step is drawn anew for each step of the optimiser, so that a window may begin anywhere between two.
    """

    needs_order: ClassVar[bool] = True

    kind: Literal["refine"] = "refine"
    every: int = Field(2, ge=2, description="steps of the record from one visible step to the next")
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

    def shown_steps(self, steps: int, first: int = 0) -> Bool[np.ndarray, " T"]:
        """True for the visible steps of a window."""
        return (np.arange(steps) - first) % self.every == 0

    def asked_steps(self, steps: int, first: int = 0) -> Bool[np.ndarray, " T"]:
        """True for those that lie between two visible ones."""
        shown = np.flatnonzero(self.shown_steps(steps, first))
        between = np.zeros(steps, dtype=bool)
        between[shown[0] : shown[-1]] = True
        return between & ~self.shown_steps(steps, first)

    def _split(self, window: Window, first: int) -> Question:
        context, queries = {}, {}
        for name, tokens in window.items():
            tokens = tokens.numbered()
            if tokens.spec.order is None:
                context[name] = tokens
                continue
            steps = _steps(tokens)
            context[name] = at_steps(tokens, self.shown_steps(steps, first))
            queries[name] = at_steps(tokens, self.asked_steps(steps, first))
        return Question(context, queries)


def at_steps(tokens: Tokens, steps: Bool[np.ndarray, " T"]) -> Tokens:
    """The tokens of one sample that have some of these steps of the window, with nothing observed at others."""
    depth = tokens.spec.dimensions[1]
    of_tokens = torch.from_numpy(steps.reshape(-1, depth))[torch.from_numpy(slab_of(tokens))]  # N S
    here = of_tokens.any(dim=-1).nonzero()[:, 0]
    return tokens[here].only(of_tokens[here])


def _steps(tokens: Tokens) -> int:
    """Steps of the window."""
    return (int(slab_of(tokens).max()) + 1) * tokens.spec.dimensions[1]
