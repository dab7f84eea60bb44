"""Arrangement: the positions of tokens are hidden, and for each place is asked which token belongs there (jigsaw, sentence order)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from statecast.axes import columns_of
from statecast.streams import Question, Tokens, TokenSpec, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskError, TaskOptions, ask_a_share


class Arrange(TaskOptions):
    """Ask which visible token belongs to each place, of tokens whose coordinates along some axes are hidden.

    Jigsaw puzzles: Noroozi & Favaro 2016. The answer is one of the visible tokens of the stream, so no table of permutations is needed.
    """

    asks_content: ClassVar[bool] = False
    asks_hidden: ClassVar[bool] = False

    kind: Literal["arrange"] = "arrange"
    slabs: Slabs = Field(1, description="token slabs of the window")
    axes: tuple[str, ...] = Field((), description="axes along which positions are hidden; none: all axes of the stream")
    hidden: Share = Field(1.0, description="share of the tokens whose positions are hidden")
    asked: Share = Field(1.0, description=ASKED)

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        """Raises TaskError for an axis that no stream has."""
        known = dict.fromkeys(axis.name for spec in specs.values() for axis in spec.axes)
        if unknown := [name for name in self.axes if name not in known]:
            raise TaskError(
                f"task.axes: no stream has an axis {unknown[0]}. Axes: {', '.join(known)}. Name one of them."
            )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        return ask_a_share(self._question(window, sample), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All hidden positions asked; `seed` draws the order in which the tokens are shown."""
        return self._question(window, np.random.default_rng(seed))

    def _question(self, window: Window, generator: np.random.Generator) -> Question:
        context, queries = {}, {}
        for name, tokens in window.items():
            names = [axis.name for axis in tokens.spec.axes if not self.axes or axis.name in self.axes]
            if names:
                context[name], queries[name] = self._scattered(tokens.numbered(), names, generator)
            else:
                context[name] = tokens.numbered()
        return Question(context, queries, asks="places")

    def _scattered(self, tokens: Tokens, axes: list[str], generator: np.random.Generator) -> tuple[Tokens, Tokens]:
        """The tokens in random order, the first of them without positions, and these positions with the token that belongs there."""
        order = torch.from_numpy(generator.permutation(len(tokens)))
        count = max(1, round(self.hidden * len(tokens))) if len(tokens) else 0
        shuffled = tokens[order]
        coords = shuffled.coords.clone()
        for axis in axes:
            coords[:count, columns_of(tokens.spec.axes, axis)] = torch.nan
        shown = replace(shuffled, coords=coords, partial=tuple(dict.fromkeys((*tokens.partial, *axes))))
        return shown, replace(shuffled[:count], codes=torch.arange(count), about=torch.arange(count))
