"""What a model says of all samples of a split, in batches.

Axes: S sample, F feature, W width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from statecast.evaluation.progress import progress_bar
from statecast.models import Prediction
from statecast.streams import Question, stack, stack_questions
from statecast.text.codec import TextCodec
from statecast.trained import TrainedModel

BATCH = 32


@dataclass(frozen=True)
class Answered:
    """The question about a sample, with its number, and the prediction for the asked stream, without padding."""

    number: int
    question: Question
    said: Prediction


@torch.inference_mode()
def answers(trained: TrainedModel, source: Any, name: str, *, progress: bool = False) -> Iterator[Answered]:
    """The prediction for the stream `name` of every sample of a source; what a task hides is drawn from the number of the sample."""
    cases, task = source.cases(), trained.recipe.task
    with progress_bar("evaluation", progress) as report:
        for first in range(0, len(cases), BATCH):
            numbers = range(first, min(first + BATCH, len(cases)))
            questions = [task.complete(cases[number], number) for number in numbers]
            logits = trained.model.answer(stack_questions(questions))[name].logits
            assert logits is not None
            for number, question, own in zip(numbers, questions, logits, strict=True):
                yield Answered(number, question, Prediction(logits=own[: len(question.queries[name])]))
            report(numbers.stop / len(cases))


@torch.inference_mode()
def embeddings(trained: TrainedModel, texts: Sequence[str]) -> Float[np.ndarray, "S W"]:
    """The mean over the tokens of each text, truncated, of what the encoder makes of them."""
    name, stream = trained.recipe.text
    codec: TextCodec = trained.codecs[name]
    encoded = codec.encode(texts)
    found = []
    for first in range(0, len(texts), BATCH):
        windows = []
        for each in encoded[first : first + BATCH]:
            windows.append({name: codec.tokens(torch.tensor([*each.codes, codec.end][: stream.tokens]))})
        batch = stack(windows)
        features, present = trained.model.encode(batch).tokens, batch[name].present
        assert present is not None
        shown = present[..., None].to(features.dtype)
        found.append(((features * shown).sum(dim=1) / shown.sum(dim=1)).numpy())
    return np.concatenate(found)
