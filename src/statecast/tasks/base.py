"""What all tasks have in common: a task is a pure function from a window of one sample to a question about hidden tokens of it.

Axes: N token, S step of a token, T step of the window.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field

from statecast.options import Options
from statecast.streams import UNKNOWN, Question, Tokens, TokenSpec, Window, unobserved

MOST_SLABS = 10_000  # of a window: more is a typing error
Slabs = Annotated[int, Field(ge=1, le=MOST_SLABS)]
Share = Annotated[float, Field(gt=0, le=1)]

ASKED = "share of the asked tokens that a training sample asks, at random; evaluation asks all"


class TaskError(ValueError):
    """A task that the streams can't be asked."""


class TaskOptions(Options):
    """A task of a recipe.

    A *slab* is one position of the tokens along the order axis; where streams have tokens of different depth, one of the deepest. It has
    one or several *steps*, the positions of the values in a token: times, ranks.

    needs_order  a stream with an order axis
    asks_content values and codes are asked; False where it asks about visible tokens, which no head answers
    asks_hidden  what it asks is not visible; False where the context holds the asked tokens, corrupted, scattered or behind a causal mask
    asks_ahead   all that it asks comes after all that is visible on the order axis
    """

    newer = frozenset({"conditions", "unconditional"})
    kind: str
    conditions: tuple[str, ...] = Field(
        (),
        description="visible streams that a share of the training samples sees as unknown, for guidance of a flow head",
    )
    unconditional: float = Field(0.1, ge=0, lt=1, description="that share; it counts only where there are `conditions`")
    needs_order: ClassVar[bool] = False
    asks_content: ClassVar[bool] = True
    asks_hidden: ClassVar[bool] = True
    asks_ahead: ClassVar[bool] = False

    @property
    def window_slabs(self) -> int:
        """Slabs of the window of one question."""
        return getattr(self, "slabs", 1)

    @property
    def training_slabs(self) -> int:
        """Slabs of the window of a training sample."""
        return self.window_slabs

    @property
    def rollout_blocks(self) -> int:
        """Answers that a training sample takes one after the other: more than 1 for a roll-out."""
        return 1

    @property
    def hidden_streams(self) -> tuple[str, ...]:
        """The streams that are asked wholly and never visible."""
        return ()

    def asked_streams(self, streams: Collection[str]) -> tuple[str, ...]:
        """The streams that may be asked, of those that there are."""
        return self.hidden_streams or tuple(streams)

    def visible_steps(self, steps: int) -> Bool[np.ndarray, " T"]:
        """True for the steps of a window of `steps` at which all is visible, in evaluation."""
        return np.zeros(steps, dtype=bool)

    def asked_steps(self, steps: int) -> Bool[np.ndarray, " T"]:
        """True for the steps of a window of `steps` at which something may be asked, in evaluation."""
        return ~self.visible_steps(steps)

    def gaps(self, steps: int) -> list[range]:
        """Asked steps that follow one another, from a visible one on; none for a task that shows no step wholly."""
        is_asked, gaps = self.asked_steps(steps), []
        for first in np.flatnonzero(is_asked[1:] & self.visible_steps(steps)[:-1]) + 1:
            later = np.flatnonzero(~is_asked[first:])
            gaps.append(range(int(first), int(first + later[0]) if len(later) else steps))
        return gaps

    def require_streams(self, streams: Collection[str]) -> None:
        """Raises TaskError if the recipe's streams lack one that the task names."""

    def require_conditions(self, streams: Collection[str]) -> None:
        """Raises TaskError for a condition that is no stream, or that is never visible."""
        for name in self.conditions:
            if name not in streams or name in self.hidden_streams:
                visible = [name for name in streams if name not in self.hidden_streams]
                raise TaskError(
                    f"task.conditions: {name} is no visible stream. Visible streams: {', '.join(visible)}. Name one of them."
                )

    def require_depths(self, depths: Mapping[str, int]) -> None:
        """Raises TaskError for tokens that span so many steps, by stream, where the task can't ask them."""

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        """Raises TaskError in one line for streams that lack what the task needs."""
        if self.needs_order and all(spec.order is None for spec in specs.values()):
            raise TaskError(
                f"task.kind {self.kind}: no stream has an order axis ({', '.join(specs)}), expected one along which tokens follow one "
                "another. Choose a task that needs none, such as masked."
            )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        """A training question. What must agree within a batch is drawn from `step`, all else from `sample`."""
        raise NotImplementedError

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All that the task may ask of the window; `seed` draws what is hidden, where that is random."""
        raise NotImplementedError

    def in_turn(self, window: Window, parts: int, seed: int = 0) -> list[list[Question]]:
        """Partitions of what the task may ask; for each, questions that ask every token of it once, see `tasks.turns`.

        A task that hides nothing at random has one partition, and its one question.
        """
        return [[self.complete(window, seed)]]

    def hide_conditions(self, question: Question, sample: np.random.Generator) -> Question:
        """The question with its conditions unknown, in the share `unconditional` of the samples."""
        if not self.conditions or sample.uniform() >= self.unconditional:
            return question
        shown = question.context
        return replace(
            question, context={name: unobserved(t) if name in self.conditions else t for name, t in shown.items()}
        )


def slab_of(tokens: Tokens) -> Int[np.ndarray, " N"]:
    """Position of each token of one sample along the order axis: 0 for the first, in slabs of the stream's own depth."""
    order = tokens.order()
    assert order is not None, "TaskOptions.require has passed a stream without an order axis"
    return np.unique(order.numpy(), return_inverse=True)[1]


def slab_of_steps(steps: int, slabs: int) -> Int[np.ndarray, " T"]:
    """The slab of each step of a window."""
    return np.arange(steps) * slabs // steps


def at_steps(tokens: Tokens, steps: Bool[np.ndarray, " T"]) -> Tokens:
    """The tokens of one sample that have some of these steps of the window, with nothing observed at others."""
    depth = tokens.spec.dimensions[1]
    of_tokens = torch.from_numpy(steps.reshape(-1, depth))[torch.from_numpy(slab_of(tokens))]  # N S
    here = of_tokens.any(dim=-1).nonzero()[:, 0]
    return tokens[here].only(of_tokens[here])


def is_within(tokens: Tokens, first: int, slabs: int) -> Bool[np.ndarray, " N"]:
    """True for the tokens of one sample that end within the first `first` of the window's `slabs`.

    A stream with thinner tokens has more slabs of its own; all streams are split at the same point.
    """
    slab = slab_of(tokens)
    if len(slab) == 0:
        return np.zeros(0, dtype=bool)
    return (slab + 1) * slabs <= first * (slab.max() + 1)


def split(window: Window, masks: Mapping[str, Bool[np.ndarray, " N"]]) -> Question:
    """Tokens that are `hidden` by the mask of their stream are asked, all others visible; a stream without a mask is visible."""
    context, queries = {}, {}
    for name, tokens in window.items():
        tokens = tokens.numbered()
        if name not in masks:
            context[name] = tokens
            continue
        hidden = masks[name]
        context[name] = tokens[torch.from_numpy(np.flatnonzero(~hidden))]
        queries[name] = tokens[torch.from_numpy(np.flatnonzero(hidden))]
    return Question(context, queries)


def random_share(
    tokens: Tokens, share: float, generator: np.random.Generator, weight: Float[np.ndarray, " N"] | None = None
) -> Tokens:
    """A share of the tokens of one sample, at least one, at random, by `weight`; all in their order if the share is 1."""
    count = max(1, round(share * len(tokens)))
    if count >= len(tokens):
        return tokens
    chance = None if weight is None else weight / weight.sum()
    return tokens[torch.from_numpy(generator.choice(len(tokens), count, replace=False, p=chance))]


def ask_a_share(question: Question, share: float, generator: np.random.Generator) -> Question:
    """The same question about a share of what is asked of each stream, at random."""
    queries = {name: random_share(tokens, share, generator) for name, tokens in question.queries.items()}
    return replace(question, queries=queries)


def as_noise(tokens: Tokens, generator: np.random.Generator) -> Tokens:
    """The same tokens with standard normal values and random codes in place of theirs."""
    noise = torch.from_numpy(generator.standard_normal(tokens.values.shape, dtype=np.float32))
    noised = tokens.replace(noise * tokens.observed)
    if tokens.codes is None:
        return noised
    codes = torch.from_numpy(generator.integers(tokens.spec.vocabulary, size=len(tokens)))
    return replace(noised, codes=codes)


def as_unknown(tokens: Tokens) -> Tokens:
    """The same tokens with the mean value and no code."""
    blank = tokens.replace(torch.zeros_like(tokens.values))
    return blank if tokens.codes is None else replace(blank, codes=torch.full_like(tokens.codes, UNKNOWN))
