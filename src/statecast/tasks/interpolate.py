"""Temporal interpolation: both ends of the window are shown, the middle is asked.

A slab is the depth in time of one token, of the deepest if the streams' tokens differ.
"""

from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from statecast.streams import Question, Window
from statecast.tasks.forecast import Slabs, ask_a_share, is_within


class Interpolate(BaseModel):
    """Ask what lies between two known times."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["interpolate"] = "interpolate"
    before: Slabs = Field(1, description="token slabs that are shown before the gap")
    between: Slabs = Field(1, description="token slabs that are asked")
    after: Slabs = Field(1, description="token slabs that are shown after the gap")
    asked: float = Field(
        1.0, gt=0, le=1, description="share of the asked tokens that a training sample asks, at random"
    )

    @property
    def slabs(self) -> int:
        """Token slabs of the window."""
        return self.before + self.between + self.after

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question with the same number of tokens in every sample of a step."""
        return ask_a_share(self.complete(window), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All of the middle asked, nothing drawn at random."""
        context, queries = {}, {}
        for name, tokens in window.items():
            is_before = is_within(tokens, self.before, self.slabs)
            middle = is_within(tokens, self.before + self.between, self.slabs) & ~is_before
            context[name] = tokens[torch.from_numpy(np.flatnonzero(~middle))]
            queries[name] = tokens[torch.from_numpy(np.flatnonzero(middle))]
        return Question(context, queries)
