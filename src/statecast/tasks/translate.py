"""Translation between streams: some streams are visible, others are asked of the same window."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from statecast.streams import Question, TokenSpec, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskError, TaskOptions, ask_a_share, random_share


class Translate(TaskOptions):
    """Ask for one kind of measurement, given the others: rain, given the pressure; the class of a jet, given its particles.

    In training a share `left_out` of the visible tokens may be missing, as in word dropout (Iyyer et al. 2015) and patch dropout (Liu et
    al. 2022): few labels are then not learned by heart from single tokens.
    """

    newer = TaskOptions.newer | {"left_out"}
    kind: Literal["translate"] = "translate"
    to: tuple[str, ...] = Field(min_length=1, description="streams that are asked; all others are visible")
    slabs: Slabs = Field(1, description="token slabs of the window")
    asked: Share = Field(1.0, description=ASKED)
    left_out: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the visible tokens that a training sample lacks, at random; evaluation shows all",
    )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        question = ask_a_share(self.complete(window), self.asked, sample)
        if not self.left_out:
            return question
        shown = {}
        for name, tokens in question.context.items():
            kept = random_share(tokens, 1 - self.left_out, sample).index
            assert kept is not None
            shown[name] = tokens[kept.sort().values]
        return replace(question, context=shown)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All of the asked streams, nothing drawn at random."""
        window = {name: tokens.numbered() for name, tokens in window.items()}
        return Question(
            {name: tokens for name, tokens in window.items() if name not in self.to},
            {name: window[name] for name in self.to},
        )

    @property
    def hidden_streams(self) -> tuple[str, ...]:
        return self.to

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        self.require_streams(specs)

    def require_streams(self, streams: Collection[str]) -> None:
        """Raises TaskError for a stream that is not among `streams`, or if none of them is left to show."""
        if unknown := [name for name in self.to if name not in streams]:
            raise TaskError(
                f"task.to: there is no stream {unknown[0]}. Streams: {', '.join(streams)}. Name one of them."
            )
        if set(streams) <= set(self.to):
            raise TaskError("task.to names every stream, so nothing is left to show. Leave one out, or add a stream.")
