"""Denoising: all tokens are visible but corrupted, the clean ones are asked."""

from dataclasses import replace
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from statecast.streams import UNKNOWN, Question, Tokens, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskOptions, ask_a_share


class Denoise(TaskOptions):
    """Ask the clean tokens of corrupted ones.

        values + σ ε,  ε ~ N(0, 1);      codes replaced by random ones with probability `replaced`, by none with probability `unknown`

    Denoising autoencoders: Vincent et al. 2008; for codes the corruption of BERT (Devlin et al. 2019).
    """

    asks_hidden: ClassVar[bool] = False

    kind: Literal["denoise"] = "denoise"
    slabs: Slabs = Field(1, description="token slabs of the window")
    noise: tuple[float, float] = Field(
        (0.2, 1.0), description="range of σ, in standard deviations of the values; drawn once a sample"
    )
    replaced: float = Field(0.15, ge=0, le=1, description="share of the codes that random ones replace")
    unknown: float = Field(0.15, ge=0, le=1, description="share of the codes that are shown as unknown")
    asked: Share = Field(1.0, description=ASKED)

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        low, high = self.noise
        if not 0 <= low <= high:
            raise ValueError(
                f"noise: {list(self.noise)} is no range, expected 0 <= low <= high, for example [0.2, 1.0]."
            )
        if (total := self.replaced + self.unknown) > 1 + 1e-9:
            raise ValueError(f"replaced + unknown is {total:g}, expected at most 1. Lower one of them.")
        return self

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        return ask_a_share(self._question(window, sample), self.asked, sample)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All tokens asked; `seed` draws the noise."""
        return self._question(window, np.random.default_rng(seed))

    def _question(self, window: Window, generator: np.random.Generator) -> Question:
        window = {name: tokens.numbered() for name, tokens in window.items()}
        sigma = generator.uniform(*self.noise)
        return Question({name: self._corrupted(tokens, sigma, generator) for name, tokens in window.items()}, window)

    def _corrupted(self, tokens: Tokens, sigma: float, generator: np.random.Generator) -> Tokens:
        noise = torch.from_numpy(generator.standard_normal(tokens.values.shape, dtype=np.float32))
        noised = tokens.replace((tokens.values + sigma * noise) * tokens.observed)
        if tokens.codes is None:
            return noised
        chance = torch.from_numpy(generator.uniform(size=len(tokens)))
        random = torch.from_numpy(generator.integers(tokens.spec.vocabulary, size=len(tokens)))
        codes = torch.where(chance < self.replaced, random, tokens.codes)
        codes = torch.where(chance > 1 - self.unknown, UNKNOWN, codes)
        return replace(noised, codes=codes)
