"""Next: each token is asked given only what comes before it on the order axis, all positions in one pass."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from statecast.streams import Question, Tokens, TokenSpec, Window
from statecast.tasks.base import Slabs, TaskError, TaskOptions


class Next(TaskOptions):
    """Ask every token from those before it: next word, next particle, next state.

        p(x) = prod_i p(x_i | x_1 ... x_(i-1))

    One causal mask in encoder and decoder answers all positions at once (Vaswani et al. 2017; Radford et al. 2018). Tokens at the same
    position see one another in the encoder but are not seen when one of them is asked. Streams without an order axis, and those that
    `ask` leaves out, are visible throughout and not asked: they are the condition.
    """

    needs_order: ClassVar[bool] = True
    asks_hidden: ClassVar[bool] = False
    asks_ahead: ClassVar[bool] = True

    newer = TaskOptions.newer | {"ask"}
    kind: Literal["next"] = "next"
    slabs: Slabs = Field(8, description="token slabs of the window")
    ask: tuple[str, ...] = Field(
        (),
        description="streams to ask; the others are visible throughout, as the condition. None: every stream with an order axis",
    )

    def asked_streams(self, streams: Collection[str]) -> tuple[str, ...]:
        return self.ask or tuple(streams)

    def require_streams(self, streams: Collection[str]) -> None:
        """Raises TaskError if a stream to ask is not there."""
        if missing := [name for name in self.ask if name not in streams]:
            raise TaskError(
                f"task.ask: there is no stream {missing[0]}. Streams: {', '.join(streams)}. Name some of them."
            )

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        """Raises TaskError for a stream to ask whose tokens do not follow one another."""
        super().require(specs)
        if unordered := [name for name in self.ask if specs[name].order is None]:
            raise TaskError(
                f"task.ask: stream {unordered[0]} has no order axis, along which its tokens would follow one another. Name another stream."
            )

    def require_depths(self, depths: Mapping[str, int]) -> None:
        """Raises TaskError for tokens of different depth: one would see into the future of another."""
        if len(set(depths.values())) > 1:
            raise TaskError(
                f"task.kind next: the tokens of the streams span different numbers of steps ({depths}), so that one would see into the "
                "future of another. Give all the same depth, such as the same patch in time."
            )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        return self.complete(window)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """Every token of the window asked."""
        shown = {}
        for name, tokens in window.items():
            is_condition = bool(self.ask) and name not in self.ask
            shown[name] = (_unordered(tokens) if is_condition else tokens).numbered()
        queries = {name: tokens for name, tokens in shown.items() if tokens.spec.order is not None}
        return Question(shown, queries, causal=True)


def _unordered(tokens: Tokens) -> Tokens:
    """The same tokens, whose coordinates put them neither before nor after others."""
    return replace(tokens, spec=replace(tokens.spec, order=None))
