"""Forecast: the first slabs of the window are shown, the later ones are asked.

A slab is the depth in time of one token, of the deepest if the streams' tokens differ.
"""

from typing import Annotated, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator

from statecast.streams import Question, Tokens, Window

Slabs = Annotated[int, Field(ge=1)]


class Forecast(BaseModel):
    """Ask the future of the past."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["forecast"] = "forecast"
    history: Slabs = Field(2, description="token slabs that are shown")
    leads: Slabs = Field(4, description="token slabs that are asked, one after the other")
    asked: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the asked tokens that a training sample asks, at random; evaluation asks all",
    )
    near: float = Field(
        1.0,
        ge=0,
        description="how much more often near slabs are asked, where `asked` is below 1: slab k as often as 1 / k^near",
    )
    rollout: Slabs = Field(
        1,
        description="blocks of leads that training goes through one after the other, each shown the answer to the last",
    )

    @model_validator(mode="after")
    def _a_rollout_asks_all(self) -> Self:
        if self.rollout > 1 and self.asked < 1:
            raise ValueError(
                f"rollout is {self.rollout} and asked {self.asked:g}: what goes on from its own answer needs all of it. Set asked to 1."
            )
        return self

    @property
    def slabs(self) -> int:
        """Token slabs of the window of one block, which evaluation and forecasts use."""
        return self.history + self.leads

    @property
    def training_slabs(self) -> int:
        """Token slabs of the window of training: all blocks."""
        return self.history + self.leads * self.rollout

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question with the same number of tokens in every sample of a step; about all blocks of a roll-out."""
        question = self._split(window, self.training_slabs)
        queries = {
            name: random_share(tokens, self.asked, sample, weight=(1.0 + slab_of(tokens)) ** -self.near)
            for name, tokens in question.queries.items()
        }
        return Question(question.context, queries)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All of the future of one block asked, nothing drawn at random."""
        return self._split(window, self.slabs)

    def _split(self, window: Window, slabs: int) -> Question:
        context, queries = {}, {}
        for name, tokens in window.items():
            past = is_within(tokens, self.history, slabs)
            context[name] = tokens[torch.from_numpy(np.flatnonzero(past))]
            queries[name] = tokens[torch.from_numpy(np.flatnonzero(~past))]
        return Question(context, queries)


def blocks_of(task: object) -> int:
    """How many answers a training sample takes one after the other: those of a roll-out, 1 of any other task."""
    return task.rollout if isinstance(task, Forecast) else 1


def slab_of(tokens: Tokens) -> Int[np.ndarray, " N"]:
    """Index of the time slab of each token of one sample: 0 for the earliest, in slabs of the stream's own depth."""
    return np.unique(tokens.coordinate("offset_h").numpy(), return_inverse=True)[1]


def is_within(tokens: Tokens, first: int, slabs: int) -> Bool[np.ndarray, " N"]:
    """True for the tokens of one sample that end within the first `first` of the window's `slabs`.

    A stream with thinner tokens has more slabs of its own; all streams are split at the same time.
    """
    slab = slab_of(tokens)
    return (slab + 1) * slabs <= first * (slab.max() + 1)


def random_share(
    tokens: Tokens, share: float, generator: np.random.Generator, weight: Float[np.ndarray, " N"] | None = None
) -> Tokens:
    """A share of the tokens of one sample, at least one, at random, by `weight`; all in their order if the share is 1."""
    count = max(1, round(share * len(tokens)))
    if count == len(tokens):
        return tokens
    chance = None if weight is None else weight / weight.sum()
    return tokens[torch.from_numpy(generator.choice(len(tokens), count, replace=False, p=chance))]


def ask_a_share(question: Question, share: float, generator: np.random.Generator) -> Question:
    """The same question about a share of what is asked of each stream, at random."""
    queries = {name: random_share(tokens, share, generator) for name, tokens in question.queries.items()}
    return Question(question.context, queries)
