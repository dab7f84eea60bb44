"""Next: each token is asked given only what comes before it on the order axis, all positions in one pass."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from statecast.streams import Question, Window
from statecast.tasks.base import Slabs, TaskError, TaskOptions


class Next(TaskOptions):
    """Ask every token from those before it: next word, next particle, next state.

        p(x) = prod_i p(x_i | x_1 ... x_(i-1))

    One causal mask in encoder and decoder answers all positions at once (Vaswani et al. 2017; Radford et al. 2018). Tokens at the same
    position see one another in the encoder but are not seen when one of them is asked. Streams without an order axis are visible
    throughout and not asked: they are the condition.
    """

    needs_order: ClassVar[bool] = True
    asks_hidden: ClassVar[bool] = False
    asks_ahead: ClassVar[bool] = True

    kind: Literal["next"] = "next"
    slabs: Slabs = Field(8, description="token slabs of the window")

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
        window = {name: tokens.numbered() for name, tokens in window.items()}
        queries = {name: tokens for name, tokens in window.items() if tokens.spec.order is not None}
        return Question(window, queries, causal=True)
