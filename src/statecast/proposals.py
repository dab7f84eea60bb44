"""Codes that a trained model proposes for hidden tokens, for a task that asks which tokens were replaced.

Axes: Q asked token, V category.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from statecast.answer import predict_question
from statecast.streams import Question, TokenSpec
from statecast.tasks import TaskError
from statecast.trained import ModelError, TrainedModel, load


@dataclass(frozen=True)
class Proposals:
    """Draws the codes that a question asks for, with the probabilities that a trained model gives them."""

    trained: TrainedModel
    directory: str

    def require(self, specs: Mapping[str, TokenSpec]) -> None:
        """Raises TaskError for a stream that the model does not know, or of another vocabulary."""
        known = self.trained.model.specs
        for name, spec in specs.items():
            if name not in known or known[name].vocabulary != spec.vocabulary:
                codes = known[name].vocabulary if name in known else 0
                raise TaskError(
                    f"task.proposals {self.directory}: has {codes} codes in stream {name}, expected {spec.vocabulary}. Name a model that "
                    "was trained on the same data with the same stream."
                )

    def __call__(self, question: Question, generator: np.random.Generator) -> dict[str, Int[Tensor, " Q"]]:
        """A code for each asked token: the largest of logits + Gumbel noise is a draw from their softmax (Gumbel 1954)."""
        drawn = {}
        for name, said in predict_question(self.trained, question).items():
            assert said.logits is not None
            logits = said.logits[0, : len(question.queries[name])].numpy()
            drawn[name] = torch.from_numpy((logits + generator.gumbel(size=logits.shape)).argmax(axis=-1))
        return drawn


@lru_cache(maxsize=2)
def proposer(directory: str) -> Proposals:
    """The model of a directory. Raises TaskError if there is none."""
    try:
        return Proposals(load(directory, device="cpu"), directory)  # asked by processes that read data, forked ones too
    except ModelError as error:
        raise TaskError(f"task.proposals: {error}") from None
