"""Parameters, operations and memory of a recipe's model, without its weights and without its data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from statecast.config import Recipe, RecipeError
from statecast.costs.estimate import require_sane
from statecast.costs.memory import GIB, Counts, Weights, activation_bytes
from statecast.domain import find_domain
from statecast.models import AS_LEARNED
from statecast.models.operations import encoder_flops, sample_flops, velocity_flops
from statecast.streams import TokenSpec, Window, token_counts
from statecast.tasks import TaskError

DRAWS = 128  # steps whose numbers of tokens are drawn: their mean is then known to some 5 %


@dataclass(frozen=True)
class ModelSize:
    """Memory and operations that training with a recipe requires.

    flops_per_sample        of matrix products forward and backward, mean over the task's questions
    drawing_flops           of a flow head to draw the members of a sample, beside encoding and decoding its context once; None: other heads
    data_gib                memory and disk of the data side, by what takes them; empty: not known
    activation_bytes        kept per sample for the backward pass, for the question that needs most
    low_precision           matrix products use 16-bit copies of the weights
    assumed                 assumptions about missing data
    """

    weights: Weights
    tokens_per_sample: int
    flops_per_sample: float
    activation_bytes: float
    low_precision: bool
    samples: int
    batch_size: int
    accumulate: int
    assumed: tuple[str, ...]
    drawing_flops: float | None = None
    data_gib: Mapping[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        return self.weights.all

    def training_flops(self, samples: float | None = None) -> float:
        """Operations of a whole training run; by default with the recipe's number of samples. Raises CostError for an impossible number."""
        require_sane("samples", samples)
        return self.flops_per_sample * (self.samples if samples is None else samples)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        weights = values.pop("weights")
        return {"parameters": weights["all"], "largest_block": weights["largest_block"], **values}

    def memory_gib(self, devices: int, *, shards: bool) -> float:
        """Memory of one device, with the samples that it processes at once; see `memory` for what is counted."""
        samples = max(1, math.ceil(self.batch_size / (devices * self.accumulate)))
        held = self.weights.held_bytes(devices, shards=shards, low_precision=self.low_precision)
        return (held + samples * self.activation_bytes) / GIB


def size_of(recipe: Recipe) -> ModelSize:
    """Sizes of the recipe's model, built on torch's `meta` device and applied to questions without values.

    The domain says how many tokens a sample has. Raises RecipeError where it can't say without data that is not there, or for streams that
    the task can't be asked of.
    """
    sizes = find_domain(recipe.data.domain).sizes(recipe)
    specs = sizes.specs
    try:
        recipe.task.require(specs)
    except TaskError as error:
        raise RecipeError(str(error)) from None
    training, low_precision = recipe.training, recipe.training.precision != "32-true"
    drawn = draw_counts(recipe, sizes.window)
    recomputes = training.activation_checkpointing
    blocks = recipe.task.rollout_blocks
    learns = recipe.adaptation.change in ("all", "lora")
    of_encoder = encoder_flops(recipe.model, specs, token_counts(sizes.window), learns=learns)
    flops = [
        blocks * (of_encoder + sample_flops(recipe.model, specs, c.shown, c.asked, recomputes=recomputes))
        for c in drawn
    ]
    largest = {id(c): c for c in (max(drawn, key=_shown), max(drawn, key=_asked))}.values()
    kept = [
        activation_bytes(recipe.model, specs, counts, low_precision=low_precision, recomputes=recomputes)
        for counts in largest
    ]
    return ModelSize(
        weights=Weights.of_options(recipe.model, specs),
        tokens_per_sample=sum(map(len, sizes.window.values())),
        flops_per_sample=float(np.mean(flops)),
        activation_bytes=blocks * max(kept),
        low_precision=low_precision,
        samples=training.steps * training.batch_size,
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        assumed=sizes.assumed,
        drawing_flops=_drawing_flops(recipe, specs, drawn),
        data_gib=sizes.data,
    )


def _drawing_flops(recipe: Recipe, specs: Mapping[str, TokenSpec], drawn: Sequence[Counts]) -> float | None:
    """With the usual draws, mean over the task's questions."""
    if recipe.model.head != "flow":
        return None
    evaluations = recipe.model.members * AS_LEARNED.evaluations
    return evaluations * float(np.mean([velocity_flops(recipe.model, specs, counts.asked) for counts in drawn]))


def _shown(counts: Counts) -> int:
    return sum(counts.shown.values())


def _asked(counts: Counts) -> int:
    return sum(counts.asked.values())


def draw_counts(recipe: Recipe, window: Window) -> list[Counts]:
    """Numbers of tokens in the first steps of a training, of a block where it is a roll-out: the recipe's own task asks about `window`,
    with the seeds of the training."""
    counts, blocks = [], recipe.task.rollout_blocks
    for step in range(DRAWS):
        sample, of_step = (np.random.default_rng([recipe.seed, part, step]) for part in (0, 1))
        question = recipe.task(window, sample, of_step)
        asked = {name: count // blocks for name, count in token_counts(question.queries).items()}
        counts.append(Counts(token_counts(question.context), asked))
    return counts
