"""Cascade: streams are asked one after the other, each given those before it."""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from statecast.streams import Question, TokenSpec, Window
from statecast.tasks.base import TaskError, TaskOptions

Together = Annotated[tuple[str, ...], Field(min_length=1)]


class Cascade(TaskOptions):
    """Ask coarse streams before fine ones: what is asked later is asked given what came before.

        p(a, b, ... | c) = p(a | c) p(b | a, c) ...

    with c the streams that are not in `order`. Each training step asks one of the factors, drawn by weight. Evaluation of single answers
    asks the last factor; generation draws one after the other.
    """

    kind: Literal["cascade"] = "cascade"
    order: tuple[Together, ...] = Field(
        min_length=1, description="streams that are asked, in their order; those in one list are asked together"
    )
    weights: tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...] = Field(
        (), description="how often each list is asked; none: all alike"
    )

    @model_validator(mode="after")
    def _each_list_has_a_weight(self) -> Self:
        if self.weights and len(self.weights) != len(self.order):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.order)} lists, expected one for each.")
        names = [name for together in self.order for name in together]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"order: {twice[0]} is asked twice. Name it once.")
        return self

    @property
    def hidden_streams(self) -> tuple[str, ...]:
        """Those that are never visible: the last ones."""
        return self.order[-1]

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        self.require_streams(specs)

    def require_streams(self, streams: Collection[str]) -> None:
        """Raises TaskError for a stream that is not among `streams`, or if there is no condition."""
        names = [name for together in self.order for name in together]
        if unknown := [name for name in names if name not in streams]:
            raise TaskError(
                f"task.order: there is no stream {unknown[0]}. Streams: {', '.join(streams)}. Name one of them."
            )
        if set(streams) <= set(names):
            raise TaskError(
                "task.order names every stream, so the first has no condition. Leave one out, or add a stream."
            )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        weights = np.array(self.weights or [1.0] * len(self.order))
        return self.factor(window, int(step.choice(len(weights), p=weights / weights.sum())))

    def complete(self, window: Window, seed: int = 0) -> Question:
        """The last factor."""
        return self.factor(window, len(self.order) - 1)

    def factor(self, window: Window, number: int) -> Question:
        """The question for one list of streams, given the conditions and the lists before it."""
        window = {name: tokens.numbered() for name, tokens in window.items()}
        hidden = {name for together in self.order[number:] for name in together}
        context = {name: tokens for name, tokens in window.items() if name not in hidden}
        return Question(context, {name: window[name] for name in self.order[number]})
