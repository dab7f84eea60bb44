"""Refinement in time: every n-th step is shown, those between are asked, as of a record of every six hours that is to have every hour.

Axes: N token, P value in a token, V channel, S time step of a token, R point of a step, T time step of the window.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool
from pydantic import BaseModel, ConfigDict, Field

from statecast.streams import Question, Tokens, Window
from statecast.tasks.forecast import Slabs, ask_a_share, slab_of


class Refine(BaseModel):
    """Ask the steps between every n-th one, inside tokens as well as whole tokens.

    In training the first step that is shown is drawn anew for each step of the optimiser, so that a window may begin anywhere between two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["refine"] = "refine"
    every: int = Field(2, ge=2, description="steps of the store from one that is shown to the next")
    slabs: Slabs = Field(3, description="token slabs of the window; they have to hold more than `every` steps")
    asked: float = Field(
        1.0, gt=0, le=1, description="share of the asked tokens that a training sample asks, at random"
    )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question with the same number of tokens in every sample of a step."""
        steps = max(_slabs(tokens) * _depth(tokens) for tokens in window.values())
        first = int(step.integers(max(1, min(self.every, steps - self.every))))
        return ask_a_share(self._split(window, first), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All that lies between asked, the first step of the window shown."""
        return self._split(window, 0)

    def shown_steps(self, steps: int, first: int = 0) -> Bool[np.ndarray, " T"]:
        """True for those of a window that are shown."""
        return (np.arange(steps) - first) % self.every == 0

    def asked_steps(self, steps: int, first: int = 0) -> Bool[np.ndarray, " T"]:
        """True for those that lie between two that are shown."""
        shown = np.flatnonzero(self.shown_steps(steps, first))
        between = np.zeros(steps, dtype=bool)
        between[shown[0] : shown[-1]] = True
        return between & ~self.shown_steps(steps, first)

    def _split(self, window: Window, first: int) -> Question:
        context, queries = {}, {}
        for name, tokens in window.items():
            steps = _slabs(tokens) * _depth(tokens)
            context[name] = at_steps(tokens, self.shown_steps(steps, first))
            queries[name] = at_steps(tokens, self.asked_steps(steps, first))
        return Question(context, queries)


def at_steps(tokens: Tokens, steps: Bool[np.ndarray, " T"]) -> Tokens:
    """The tokens of one sample that have some of these steps of the window, with nothing observed at others."""
    depth = _depth(tokens)
    of_tokens = torch.from_numpy(steps.reshape(-1, depth))[torch.from_numpy(slab_of(tokens))]  # N S
    here = of_tokens.any(dim=-1).nonzero()[:, 0]
    return tokens[here].only(of_tokens[here])


def _slabs(tokens: Tokens) -> int:
    return int(slab_of(tokens).max()) + 1


def _depth(tokens: Tokens) -> int:
    assert tokens.layout is not None, "the task splits tokens, which have to say of what they are made"
    return tokens.layout[1]
