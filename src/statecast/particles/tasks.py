"""Questions about jets: hidden particles, the next particle, and mixtures of several questions.

The direction of a particle is part of the answer, so the tasks of the core, which ask for tokens with their coordinates, would give it
away. Visible particles are tokens of one stream; what is asked about a hidden one is a token of a target stream with the same index, which
has a rank but no direction.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool
from pydantic import Field, model_validator

from statecast.streams import Question, TokenSpec, Window, unobserved
from statecast.tasks import TaskError, TaskOptions, Translate
from statecast.tasks.base import Share
from statecast.tasks.masked import hidden_count
from statecast.tasks.turns import part_of

SHOW = "other streams that are visible"
ASK = "target streams that are asked"


class _OfParticles(TaskOptions):
    """What the tasks on particles have in common: the streams that they name."""

    particles: str = Field("particles", description="stream of the particles")
    ask: tuple[str, ...] = Field(("codes",), min_length=1, description=ASK)
    show: tuple[str, ...] = Field((), description=SHOW)

    @property
    def hidden_streams(self) -> tuple[str, ...]:
        return self.ask

    def require_streams(self, streams: Collection[str]) -> None:
        """Raises TaskError for a stream that is not among `streams`."""
        for key, names in (("particles", (self.particles,)), ("ask", self.ask), ("show", self.show)):
            if unknown := [name for name in names if name not in streams]:
                raise TaskError(
                    f"task.{key}: there is no stream {unknown[0]}. Streams: {', '.join(streams)}. Name one of them."
                )
        if both := [name for name in self.ask if name in (self.particles, *self.show)]:
            raise TaskError(
                f"task.ask: {both[0]} is visible too, so its content is known. Ask for a target stream of it."
            )

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        self.require_streams(specs)


class MaskedParticles(_OfParticles):
    """Ask for hidden particles given the others (Golling et al. 2024, masked particle modelling, arXiv:2401.13537).

    Of a hidden particle nothing is known but its rank in pT. The answer has the form of the target streams: codes, kinds or values.
    """

    kind: Literal["masked_particles"] = "masked_particles"
    hidden: tuple[Share, Share] = Field(
        (0.3, 0.4), description="range of the hidden share of the particles; drawn once a step"
    )

    @model_validator(mode="after")
    def _hidden_is_a_range(self) -> Self:
        low, high = self.hidden
        if not low <= high < 1:
            raise ValueError(
                f"hidden: {list(self.hidden)} is no range of shares, expected 0 < low <= high < 1, for example [0.3, 0.4]."
            )
        return self

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        share, count = step.uniform(*self.hidden), len(window[self.particles])
        is_hidden = np.zeros(count, dtype=bool)
        is_hidden[sample.permutation(count)[: hidden_count(share, count)]] = True
        return self._hiding(window, is_hidden)

    def in_turn(self, window: Window, parts: int, seed: int = 0) -> list[list[Question]]:
        """Each particle in turn, in random parts."""
        part = part_of(np.arange(len(window[self.particles])), parts, seed, is_random=True)
        return [[self._hiding(window, part == number) for number in range(part.max() + 1)]]

    def _hiding(self, window: Window, is_hidden: Bool[np.ndarray, " N"]) -> Question:
        """A question about these particles."""
        particles, hidden = window[self.particles].numbered(), torch.from_numpy(np.flatnonzero(is_hidden))
        context = {self.particles: particles[torch.from_numpy(np.flatnonzero(~is_hidden))]}
        context |= {name: window[name].numbered() for name in self.show}
        return Question(context, {name: window[name].numbered()[hidden] for name in self.ask})

    def complete(self, window: Window, seed: int = 0) -> Question:
        """All hidden particles asked; `seed` draws which they are."""
        return self(window, np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1]))


class NextParticle(_OfParticles):
    """Ask for each particle from those of larger pT, and for the end of the jet; likewise for each number of the jet from those before it.

        p(jet) = prod_i p(q_i | q_1 ... q_(i-1)) prod_k p(c_k | q, x_1 ... x_(k-1)),        c_(n+1) = stop

    with q the numbers of the jet, x the continuous particles and c their codes: what is visible stays continuous. The first number is
    asked of nothing, or of the label. All positions are answered in one pass, by one causal mask.
    """

    needs_order: ClassVar[bool] = True
    asks_hidden: ClassVar[bool] = False
    asks_ahead: ClassVar[bool] = True

    kind: Literal["next_particle"] = "next_particle"
    unlabelled: float = Field(
        0.2, ge=0, le=1, description="share of the samples that see labels as unknown: for generation without a class"
    )

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        question = self.complete(window)
        if sample.uniform() >= self.unlabelled:
            return question
        context = {
            name: unobserved(tokens) if tokens.spec.order is None else tokens
            for name, tokens in question.context.items()
        }
        return replace(question, context=context)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """Every position asked, nothing drawn at random."""
        shown = (self.particles, *self.show)
        return Question(
            {name: window[name].numbered() for name in shown},
            {name: window[name].numbered() for name in self.ask},
            causal=True,
        )


Mixed = Annotated[MaskedParticles | NextParticle | Translate, Field(discriminator="kind")]


class Mix(TaskOptions):
    """Ask one of several questions in each step, drawn by weight. Evaluation asks the first."""

    kind: Literal["mix"] = "mix"
    tasks: tuple[Mixed, ...] = Field(min_length=1, description="the questions")
    weights: tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...] = Field(
        (), description="of the questions; none: all the same"
    )

    @model_validator(mode="after")
    def _each_task_has_a_weight(self) -> Self:
        if self.weights and len(self.weights) != len(self.tasks):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.tasks)} tasks, expected one for each.")
        if any(task.conditions for task in self.tasks):
            raise ValueError("conditions: are those of the whole mix. Name them beside tasks, not in one of them.")
        return self

    @property
    def hidden_streams(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for task in self.tasks for name in task.hidden_streams))

    def asked_streams(self, streams: Collection[str]) -> tuple[str, ...]:
        """Those of the first task, which evaluation asks."""
        return self.tasks[0].hidden_streams

    def require_streams(self, streams: Collection[str]) -> None:
        for task in self.tasks:
            task.require_streams(streams)

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        self.require_streams(specs)

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        weights = np.array(self.weights or [1.0] * len(self.tasks))
        task = self.tasks[step.choice(len(weights), p=weights / weights.sum())]
        return task(self._without_targets(window, task), sample, step)

    def complete(self, window: Window, seed: int = 0) -> Question:
        """The whole first question; `seed` draws what is hidden."""
        return self.tasks[0].complete(self._without_targets(window, self.tasks[0]), seed)

    def in_turn(self, window: Window, parts: int, seed: int = 0) -> list[list[Question]]:
        """Those of the first question."""
        return self.tasks[0].in_turn(self._without_targets(window, self.tasks[0]), parts, seed)

    def _without_targets(self, window: Window, task: TaskOptions) -> Window:
        """What a task that shows all streams may show: not those that another one asks for."""
        if not isinstance(task, Translate):
            return window
        return {name: tokens for name, tokens in window.items() if name in task.to or name not in self.hidden_streams}
