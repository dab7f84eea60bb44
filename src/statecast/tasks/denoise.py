"""Denoising: all tokens are visible but corrupted, the clean ones are asked."""

from dataclasses import replace
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator

from statecast.axes import columns_of
from statecast.streams import UNKNOWN, Question, Tokens, Window
from statecast.tasks.base import ASKED, Share, Slabs, TaskOptions, ask_a_share


class Denoise(TaskOptions):
    """Ask the clean tokens of corrupted ones.

        values + σ ε,  ε ~ N(0, 1);      codes replaced by random ones with probability `replaced`, by none with probability `unknown`

    Denoising autoencoders: Vincent et al. 2008; for codes the corruption of BERT (Devlin et al. 2019). Along an order axis also whole spans
    are corrupted, deleted and shuffled (Lewis et al. 2020).
    """

    newer = TaskOptions.newer | {"span", "deleted", "shuffled"}
    asks_hidden: ClassVar[bool] = False

    kind: Literal["denoise"] = "denoise"
    slabs: Slabs = Field(1, description="token slabs of the window")
    noise: tuple[float, float] = Field(
        (0.2, 1.0), description="range of σ, in standard deviations of the values; drawn once a sample"
    )
    replaced: float = Field(0.15, ge=0, le=1, description="share of the codes that random ones replace")
    unknown: float = Field(0.15, ge=0, le=1, description="share of the codes that are shown as unknown")
    span: float = Field(
        1.0,
        ge=1,
        le=1000,
        description="mean number of neighbours on the order axis that are corrupted alike; 1: each by itself",
    )
    deleted: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the tokens that are not visible; along an order axis of ranks the later ones move up",
    )
    shuffled: float = Field(
        0.0, ge=0, le=1, description="share of the tokens, in spans, whose contents change places within their span"
    )
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
        if self.shuffled > 0:
            tokens = self._exchanged(tokens, generator)
        noise = torch.from_numpy(generator.standard_normal(tokens.values.shape, dtype=np.float32))
        shown = tokens.replace((tokens.values + sigma * noise) * tokens.observed)
        if tokens.codes is not None:
            chance = torch.from_numpy(self._alike_in_spans(tokens, generator))
            random = torch.from_numpy(generator.integers(tokens.spec.vocabulary, size=len(tokens)))
            codes = torch.where(chance < self.replaced, random, tokens.codes)
            codes = torch.where(chance > 1 - self.unknown, UNKNOWN, codes)
            shown = replace(shown, codes=codes)
        return self._shortened(shown, generator) if self.deleted > 0 else shown

    def _alike_in_spans(self, tokens: Tokens, generator: np.random.Generator) -> Float[np.ndarray, " N"]:
        """A uniform number for each token, the same in a span."""
        if self.span == 1 or tokens.spec.order is None:
            return generator.uniform(size=len(tokens))
        span = self._spans(tokens, generator)
        return generator.uniform(size=len(tokens))[span]

    def _spans(self, tokens: Tokens, generator: np.random.Generator) -> Int[np.ndarray, " N"]:
        """The number of the span of each token: a new one begins with probability 1 / span."""
        begins = generator.uniform(size=len(tokens)) < 1 / self.span
        place = np.argsort(np.argsort(_order(tokens), kind="stable"), kind="stable")
        return np.maximum(np.cumsum(begins) - 1, 0)[place]

    def _exchanged(self, tokens: Tokens, generator: np.random.Generator) -> Tokens:
        """The tokens, with contents exchanged within a share of the spans."""
        if tokens.spec.order is None:
            return tokens
        span = self._spans(tokens, generator)
        is_chosen = generator.uniform(size=len(tokens))[span] < self.shuffled
        source = np.arange(len(tokens))
        for number in np.unique(span[is_chosen]):
            of_span = np.flatnonzero(span == number)
            source[of_span] = generator.permutation(of_span)
        content = tokens[torch.from_numpy(source)]
        return replace(tokens, values=content.values, observed=content.observed, codes=content.codes)

    def _shortened(self, tokens: Tokens, generator: np.random.Generator) -> Tokens:
        """The tokens without those that are deleted, at least one; nothing tells where they were."""
        stays = np.flatnonzero(generator.uniform(size=len(tokens)) >= self.deleted)
        if len(stays) == 0:
            stays = np.arange(len(tokens))[:1]
        left = tokens[torch.from_numpy(stays)]
        axis = next((axis for axis in tokens.spec.axes if axis.name == tokens.spec.order), None)
        if axis is None or axis.kind != "index":
            return left
        column = columns_of(tokens.spec.axes, axis.name)
        ranks = np.sort(_order(tokens))[np.argsort(np.argsort(_order(left), kind="stable"), kind="stable")]
        coords = left.coords.clone()
        coords[:, column] = torch.from_numpy(ranks)[:, None].to(coords.dtype)
        return replace(left, coords=coords)


def _order(tokens: Tokens) -> Float[np.ndarray, " N"]:
    order = tokens.order()
    assert order is not None
    return order.numpy()
