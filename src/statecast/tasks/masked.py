"""Masked pre-training: hide a part of the window and ask it.

A part of what is hidden is shown all the same, as noise or as climatology.
"""

from collections.abc import Callable
from typing import Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from statecast.fields.fill import unit_vectors
from statecast.streams import Question, Tokens, Window, concatenate
from statecast.tasks.forecast import Slabs, is_within, random_share

Chooser = Callable[[Tokens, int, np.random.Generator], np.ndarray]
"""(tokens of a sample, how many to hide, generator) -> indices of the hidden ones, in random order."""


class Masked(BaseModel):
    """Ask what is hidden of what is shown (AtmoRep, Lessig et al. 2023: full masks, noise and climatology).

    Which kind of mask, and how much it hides, is drawn once a step, so that all samples of a step show the same number
    of tokens; where it lies is drawn for each sample. What the shares `later_slabs`, `blocks` and `streams` leave over
    goes to single random tokens, and so does that of `streams` if there is one stream only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["masked"] = "masked"
    slabs: Slabs = Field(3, description="token slabs of the window")
    hidden: tuple[float, float] = Field(
        (0.5, 0.9), description="range of the hidden share of the tokens, for blocks and single tokens"
    )
    noise: float = Field(0.05, ge=0, le=1, description="share of the hidden tokens that are shown as noise")
    climatology: float = Field(0.05, ge=0, le=1, description="share of the hidden tokens that are shown as climatology")
    later_slabs: float = Field(0.7, ge=0, le=1, description="share of the steps that hide all slabs after a random one")
    blocks: float = Field(0.0, ge=0, le=1, description="share of the steps that hide whole neighbourhoods at all times")
    streams: float = Field(
        0.0, ge=0, le=1, description="share of the steps that hide one stream wholly and show the others"
    )
    asked: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the hidden tokens that a training sample asks, at random; evaluation asks all",
    )

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        low, high = self.hidden
        if not 0 < low <= high < 1:
            raise ValueError(
                f"hidden: {list(self.hidden)} is no range of shares, expected 0 < low <= high < 1, "
                "for example [0.5, 0.9]."
            )
        for names in (("noise", "climatology"), ("later_slabs", "blocks", "streams")):
            if (total := sum(getattr(self, n) for n in names)) > 1 + 1e-9:
                raise ValueError(f"{' + '.join(names)} is {total:g}, expected at most 1. Lower one of them.")
        return self

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question with the same number of tokens in every sample of a step."""
        return self._question(window, sample, step, self.asked)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All hidden tokens asked; `seed` draws the mask."""
        return self._question(window, np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1]), 1.0)

    def _question(
        self, window: Window, sample: np.random.Generator, step: np.random.Generator, asked: float
    ) -> Question:
        share, kind = step.uniform(*self.hidden), step.uniform()
        if kind < self.streams and len(window) > 1:
            return self._hide_stream(window, sample, step, asked)
        choose = self._mask(kind - self.streams, step)
        context, queries = {}, {}
        for name, tokens in window.items():
            count = min(max(1, round(share * len(tokens))), len(tokens) - 1)
            context[name], queries[name] = self._split(tokens, choose(tokens, count, sample), sample, asked)
        return Question(context, queries)

    def _mask(self, kind: float, step: np.random.Generator) -> Chooser:
        if 0 <= kind < self.blocks:
            return _blocks
        if self.blocks <= kind < self.blocks + self.later_slabs:
            return _later_slabs(step.uniform(), self.slabs)
        return _single_tokens

    def _hide_stream(
        self, window: Window, sample: np.random.Generator, step: np.random.Generator, asked: float
    ) -> Question:
        hidden = list(window)[step.integers(len(window))]
        shown = {name: tokens for name, tokens in window.items() if name != hidden}
        return Question(shown, {hidden: random_share(window[hidden], asked, sample)})

    def _split(
        self, tokens: Tokens, hidden: np.ndarray, generator: np.random.Generator, asked: float
    ) -> tuple[Tokens, Tokens]:
        """The shown and the asked tokens of a stream; `hidden` holds indices in random order."""
        shown = np.setdiff1d(np.arange(len(tokens)), hidden)
        n_noise, n_usual = round(self.noise * len(hidden)), round(self.climatology * len(hidden))
        noised, usual = (
            tokens[torch.from_numpy(part)] for part in (hidden[:n_noise], hidden[n_noise : n_noise + n_usual])
        )
        noise = torch.from_numpy(generator.standard_normal(noised.values.shape, dtype=np.float32))
        context = concatenate(
            [
                tokens[torch.from_numpy(shown)],
                noised.replace(noise * noised.observed),
                usual.replace(torch.zeros_like(usual.values)),
            ]
        )
        return context, random_share(tokens[torch.from_numpy(hidden)], asked, generator)


def _single_tokens(tokens: Tokens, count: int, generator: np.random.Generator) -> np.ndarray:
    return generator.permutation(len(tokens))[:count]


def _blocks(tokens: Tokens, count: int, generator: np.random.Generator) -> np.ndarray:
    """Four neighbourhoods at all times: the `count` tokens that are nearest to one of four random centres."""
    lat, lon = (tokens.coordinate(name).numpy() for name in ("latitude_deg", "longitude_deg"))
    place = unit_vectors(lat, lon)
    centres = place[generator.integers(len(tokens), size=4)]
    nearness = (place @ centres.T).max(axis=1)
    nearest_first = np.lexsort((lon, lat, -nearness))  # place by place, so that the count cuts the times of one only
    return generator.permutation(nearest_first[:count])


def _later_slabs(position: float, slabs: int) -> Chooser:
    """Hide every slab after a random one: a forecast of any length. `position` in [0, 1) draws how many are shown."""

    def choose(tokens: Tokens, count: int, generator: np.random.Generator) -> np.ndarray:
        if slabs == 1:  # nothing is later
            return _single_tokens(tokens, count, generator)
        shown = is_within(tokens, 1 + int(position * (slabs - 1)), slabs)
        return generator.permutation(np.flatnonzero(~shown))

    return choose
