"""Variable translation: some streams are shown, others are asked at the same times."""

from collections.abc import Collection
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from statecast.streams import Question, Window
from statecast.tasks.forecast import Slabs, ask_a_share


class Translate(BaseModel):
    """Ask one kind of measurement of the others: rain of the pressure, the surface of the upper air."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["translate"] = "translate"
    to: tuple[str, ...] = Field(min_length=1, description="streams that are asked; all others are shown")
    slabs: Slabs = Field(1, description="token slabs of the window")
    asked: float = Field(
        1.0, gt=0, le=1, description="share of the asked tokens that a training sample asks, at random"
    )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question with the same number of tokens in every sample of a step."""
        return ask_a_share(self.complete(window), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All of the asked streams, nothing drawn at random."""
        return Question(
            {name: tokens for name, tokens in window.items() if name not in self.to},
            {name: window[name] for name in self.to},
        )

    def require(self, streams: Collection[str]) -> None:
        """Raises ValueError for a stream that is not among `streams`, or if none of them is left to show."""
        if unknown := [name for name in self.to if name not in streams]:
            raise ValueError(
                f"task.to: there is no stream {unknown[0]}. Streams: {', '.join(streams)}. Name one of them."
            )
        if set(streams) <= set(self.to):
            raise ValueError("task.to names every stream, so nothing is left to show. Leave one out, or add a stream.")
