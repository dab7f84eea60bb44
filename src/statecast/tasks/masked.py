"""Masked pre-training: hide a part of the window and ask it.

A part of what is hidden is visible all the same, as noise or as climatology.
"""

from collections.abc import Callable, Mapping
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from statecast.axes import metric_vectors
from statecast.streams import Question, Tokens, TokenSpec, Window, concatenate
from statecast.tasks.base import (
    ASKED,
    Share,
    Slabs,
    TaskError,
    TaskOptions,
    as_noise,
    as_unknown,
    is_within,
    random_share,
    slab_of,
)
from statecast.tasks.turns import in_turn, surface_axes

BLOCKS = 4  # neighbourhoods that a mask of blocks consists of

Chooser = Callable[[Tokens, int, np.random.Generator], np.ndarray]
"""(tokens of a sample, how many to hide, generator) -> indices of the hidden ones, in random order."""


class Masked(TaskOptions):
    """Ask for what is hidden, given what is visible (AtmoRep, Lessig et al. 2023: full masks, noise and climatology).

    Which kind of mask, and how much it hides, is drawn once a step, so that all samples of a step show the same share; where it lies is
    drawn for each sample. What the shares `later_slabs`, `blocks` and `streams` leave over goes to single random tokens. So does that of
    `streams` if there is one stream only, and that of `later_slabs` in streams without an order axis.
    """

    kind: Literal["masked"] = "masked"
    slabs: Slabs = Field(3, description="token slabs of the window")
    hidden: tuple[float, float] = Field(
        (0.5, 0.9), description="range of the hidden share of the tokens, for blocks and single tokens"
    )
    noise: float = Field(0.05, ge=0, le=1, description="share of the hidden tokens that are shown as noise")
    climatology: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of the hidden tokens that are shown as climatology, or with an unknown code",
    )
    later_slabs: float = Field(
        0.7, ge=0, le=1, description="share of the steps that hide everything after a random point on the order axis"
    )
    blocks: float = Field(0.0, ge=0, le=1, description="share of the steps that hide whole neighbourhoods at all times")
    streams: float = Field(
        0.0, ge=0, le=1, description="share of the steps that hide one stream wholly and show the others"
    )
    asked: Share = Field(1.0, description=ASKED)

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

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        """Raises TaskError for blocks of tokens that lie nowhere."""
        if self.blocks > 0:
            for name, spec in specs.items():
                if not _block_axes(spec):
                    raise TaskError(
                        f"task.blocks is {self.blocks:g}, but the tokens of stream {name} have no place and no order. Set it to 0."
                    )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A question that hides the same share in every sample of a step."""
        return self._question(window, sample, step, self.asked)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All hidden tokens asked; `seed` draws the mask."""
        return self._question(window, np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1]), 1.0)

    def in_turn(self, window: Window, parts: int, seed: int = 0) -> list[list[Question]]:
        """Each token in turn, given clean ones."""
        return in_turn(window, parts, seed)

    def _question(
        self, window: Window, sample: np.random.Generator, step: np.random.Generator, asked: float
    ) -> Question:
        window = {name: tokens.numbered() for name, tokens in window.items()}
        share, kind = step.uniform(*self.hidden), step.uniform()
        if kind < self.streams and len(window) > 1:
            return self._hide_stream(window, sample, step, asked)
        choose = self._mask(kind - self.streams, step)
        context, queries = {}, {}
        for name, tokens in window.items():
            count = hidden_count(share, len(tokens))
            context[name], queries[name] = self._split(tokens, choose(tokens, count, sample), sample, asked)
        return Question(context, queries)

    def _mask(self, kind: float, step: np.random.Generator) -> Chooser:
        if 0 <= kind < self.blocks:
            return _neighbourhoods
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
        """The visible and the asked tokens of a stream; `hidden` holds indices in random order."""
        is_shown = np.ones(len(tokens), dtype=bool)
        is_shown[hidden] = False
        context = [tokens[torch.from_numpy(np.flatnonzero(is_shown))]]
        n_noise, n_unknown = round(self.noise * len(hidden)), round(self.climatology * len(hidden))
        if n_noise:
            context.append(as_noise(tokens[torch.from_numpy(hidden[:n_noise])], generator))
        if n_unknown:
            context.append(as_unknown(tokens[torch.from_numpy(hidden[n_noise : n_noise + n_unknown])]))
        return concatenate(context), random_share(tokens[torch.from_numpy(hidden)], asked, generator)


def hidden_count(share: float, tokens: int) -> int:
    """How many of so many tokens a share hides: at least one, and one is left, if there are two."""
    return max(0, min(max(1, round(share * tokens)), tokens - 1))


def _single_tokens(tokens: Tokens, count: int, generator: np.random.Generator) -> np.ndarray:
    return generator.permutation(len(tokens))[:count]


def _block_axes(spec: TokenSpec) -> list[str]:
    """The axes along which blocks extend: surfaces and lines, else the order axis."""
    if on_surfaces := surface_axes(spec):
        return on_surfaces
    return [] if spec.order is None else [spec.order]


def _neighbourhoods(tokens: Tokens, count: int, generator: np.random.Generator) -> np.ndarray:
    """Four neighbourhoods at all times: the `count` tokens that are nearest to one of four random centres."""
    if len(tokens) == 0:
        return np.arange(0)
    names = _block_axes(tokens.spec)
    axes = [axis for axis in tokens.spec.axes if axis.name in names]
    coords = torch.cat([tokens.along(name) for name in names], dim=-1)
    place = metric_vectors(coords, axes).numpy()
    centres = place[generator.integers(len(tokens), size=BLOCKS)]
    distance = ((place[:, None] - centres) ** 2).sum(axis=-1).min(axis=1)
    ties = [column.numpy() for column in coords.unbind(dim=-1)]
    nearest_first = np.lexsort((*ties[::-1], distance))  # place by place, so that the count cuts the times of one only
    return generator.permutation(nearest_first[:count])


def _later_slabs(position: float, slabs: int) -> Chooser:
    """Hide everything after a random point on the order axis: a forecast of any length. `position` in [0, 1) draws the point."""

    def choose(tokens: Tokens, count: int, generator: np.random.Generator) -> np.ndarray:
        if slabs == 1 or tokens.spec.order is None:  # nothing is later
            return _single_tokens(tokens, count, generator)
        shown = is_within(tokens, 1 + int(position * (slabs - 1)), slabs)
        if not shown.any():  # a ragged sample with fewer slabs than the window: its first slab is shown
            shown = slab_of(tokens) == 0
        return generator.permutation(np.flatnonzero(~shown))

    return choose
