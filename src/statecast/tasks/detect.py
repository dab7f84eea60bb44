"""Replaced-token detection: some visible tokens hold the content of others, and each is asked whether it was replaced."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from statecast.streams import Question, Tokens, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskOptions, ask_a_share
from statecast.tasks.masked import hidden_count


class Detect(TaskOptions):
    """Ask which tokens were replaced (ELECTRA, Clark et al. 2020). What replaces one is the content of another token of the same sample.

    A token that is replaced by one with the same content counts as replaced: nothing can tell.
    """

    asks_content: ClassVar[bool] = False
    asks_hidden: ClassVar[bool] = False

    kind: Literal["detect"] = "detect"
    slabs: Slabs = Field(1, description="token slabs of the window")
    replaced: float = Field(0.15, gt=0, lt=1, description="share of the tokens whose content is replaced")
    asked: Share = Field(1.0, description=ASKED)

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        return ask_a_share(self._question(window, sample), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All tokens asked; `seed` draws which are replaced."""
        return self._question(window, np.random.default_rng(seed))

    def _question(self, window: Window, generator: np.random.Generator) -> Question:
        context, queries = {}, {}
        for name, tokens in window.items():
            context[name], queries[name] = self._replaced(tokens.numbered(), generator)
        return Question(context, queries, asks="replaced")

    def _replaced(self, tokens: Tokens, generator: np.random.Generator) -> tuple[Tokens, Tokens]:
        count = hidden_count(self.replaced, len(tokens))
        chosen = generator.permutation(len(tokens))[:count]
        source = np.arange(len(tokens))
        source[chosen] = (chosen + generator.integers(1, max(2, len(tokens)), size=count)) % max(1, len(tokens))
        was_replaced = torch.zeros(len(tokens), dtype=torch.int64)
        was_replaced[torch.from_numpy(chosen)] = 1
        content = tokens[torch.from_numpy(source)]
        shown = replace(tokens, values=content.values, observed=content.observed, codes=content.codes)
        return shown, replace(tokens, codes=was_replaced, about=torch.arange(len(tokens)))
