"""Replaced-token detection: some visible tokens hold the content of others, and each is asked whether it was replaced."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from statecast.streams import Question, Tokens, TokenSpec, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskError, TaskOptions, ask_a_share, split
from statecast.tasks.masked import hidden_count

PROPOSALS = "statecast.proposals"
"""What loads the model that proposes: a task itself knows no trained model."""


class Proposer(Protocol):
    """Draws the codes that a question asks for, from what a trained model says of them."""

    def require(self, specs: Mapping[str, TokenSpec]) -> None: ...

    def __call__(self, question: Question, generator: np.random.Generator) -> dict[str, Tensor]: ...


def proposer(directory: str) -> Proposer:
    """The model of a directory, loaded once a process."""
    return import_module(PROPOSALS).proposer(directory)


class Detect(TaskOptions):
    """Ask which tokens were replaced (ELECTRA, Clark et al. 2020). What replaces one is the content of another token of the same sample, or
    what a trained model says of it, given the tokens that are not replaced.

    Of another token: one with the same content counts as replaced, as nothing can tell. Of a model: the same content does not count.
    """

    newer = TaskOptions.newer | {"proposals"}
    asks_content: ClassVar[bool] = False
    asks_hidden: ClassVar[bool] = False

    kind: Literal["detect"] = "detect"
    slabs: Slabs = Field(1, description="token slabs of the window")
    replaced: float = Field(0.15, gt=0, lt=1, description="share of the tokens whose content is replaced")
    proposals: str | None = Field(
        None,
        description="run or model directory of a trained model, such as a small one of the task masked, from whose answers the replaced "
        "codes are drawn; none: the content of another token",
    )
    asked: Share = Field(1.0, description=ASKED)

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        """Raises TaskError for proposals of values, or of a model that is not there or does not know these streams."""
        if self.proposals is None:
            return
        if valued := [name for name, spec in specs.items() if spec.size]:
            raise TaskError(
                f"task.proposals: stream {valued[0]} has values, expected codes alone. Leave proposals out."
            )
        proposer(self.proposals).require(specs)

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        return ask_a_share(self._question(window, sample), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All tokens asked; `seed` draws which are replaced."""
        return self._question(window, np.random.default_rng(seed))

    def _question(self, window: Window, generator: np.random.Generator) -> Question:
        context, queries = {}, {}
        window = {name: tokens.numbered() for name, tokens in window.items()}
        if self.proposals is not None:
            return self._proposed(window, proposer(self.proposals), generator)
        for name, tokens in window.items():
            context[name], queries[name] = self._replaced(tokens, generator)
        return Question(context, queries, asks="replaced")

    def _proposed(self, window: Window, model: Proposer, generator: np.random.Generator) -> Question:
        """A part of the tokens is hidden from the proposing model, which is asked for them."""
        masks = {}
        for name, tokens in window.items():
            masks[name] = np.zeros(len(tokens), dtype=bool)
            masks[name][generator.permutation(len(tokens))[: hidden_count(self.replaced, len(tokens))]] = True
        drawn = model(split(window, masks), generator)
        context, queries = {}, {}
        for name, tokens in window.items():
            assert tokens.codes is not None
            codes = tokens.codes.clone()
            codes[torch.from_numpy(masks[name])] = drawn[name]
            context[name] = replace(tokens, codes=codes)
            differs = (codes != tokens.codes).long()
            queries[name] = replace(tokens, codes=differs, about=torch.arange(len(tokens)))
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
