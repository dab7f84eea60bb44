"""Inspection of the samples used in training."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from statecast.adaptation import AdaptationOptions, trainable_only
from statecast.config import RecipeError
from statecast.messages import one_line
from statecast.outputs import START
from statecast.rollout import training_losses
from statecast.splits import open_training
from statecast.streams import stack_questions
from statecast.trained import load
from statecast.training import QuestionDataset
from statecast.training.saved import CheckpointError, checkpoint_weights, last_checkpoint


@dataclass(frozen=True)
class SampleFacts:
    """One stream of one training sample: its contents, in normalised units, and the loss of the answer.

    shown     number of visible tokens
    asked     number of asked tokens
    observed  fraction of the asked values that were observed
    """

    sample: int
    stream: str
    window: str
    shown: int
    asked: int
    observed: float
    lowest: float
    highest: float
    loss: float


def look_at_samples(run: str | Path, step: int) -> list[SampleFacts]:
    """The samples of one training step, as drawn in the run, answered by the run's last checkpoint up to that step (or its model).

    Reproduces the samples at which a run stopped. Raises ModelError if `run` is not a run directory, RecipeError if its recipe has no such
    step.
    """
    run = Path(run)
    trained = load(run / START if (run / START).exists() else run, device="cpu")
    recipe = trained.recipe
    if not 0 <= step < recipe.training.steps:
        raise RecipeError(f"step {step}: the run has steps 0 to {recipe.training.steps - 1}. Name one of them.")
    if checkpoint := last_checkpoint(run / "checkpoints", up_to=step):
        updates = recipe.adaptation if recipe.adaptation.change == "lora" else AdaptationOptions()
        with trainable_only(trained.model, updates):  # checkpoints contain the low-rank updates beside the weights
            try:
                trained.model.load_state_dict(checkpoint_weights(checkpoint))
            except RuntimeError as error:
                raise CheckpointError(f"checkpoint {checkpoint} is of another model ({one_line(error)}).") from None
    size = recipe.training.batch_size
    source = open_training(recipe, trained.codecs)
    questions = QuestionDataset(source, recipe.task, recipe.seed, size, recipe.training.steps * size)
    facts = []
    for sample in range(step * size, (step + 1) * size):
        question = stack_questions([questions[sample]])
        with torch.no_grad():
            losses = training_losses(trained.model.answer, trained.model, question, recipe.task)
        start = questions.describe(sample)
        for name, asked in question.queries.items():
            values = asked.values[asked.observed]
            low, high = (values.min().item(), values.max().item()) if len(values) else (math.nan, math.nan)
            shown = len(question.context[name]) if name in question.context else 0
            observed = asked.observed if asked.values.shape[-1] else asked.is_known()
            share = observed.float().mean().item()
            facts.append(SampleFacts(sample, name, start, shown, len(asked), share, low, high, losses[name].item()))
    return facts
