"""The answer of a trained model to one question."""

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.models import Prediction
from statecast.streams import Question, stack_questions
from statecast.trained import TrainedModel


@torch.inference_mode()
def answer(trained: TrainedModel, question: Question) -> dict[str, Float[Tensor, "E N P"]]:
    """Members of the head for every asked token of one sample with values, in normalised units, on the CPU."""
    found = {}
    for name, said in predict_question(trained, question).items():
        if said.members is not None:
            found[name] = said.members[0].transpose(0, 1).cpu()
    return found


@torch.inference_mode()
def predict_question(trained: TrainedModel, question: Question) -> dict[str, Prediction]:
    """What the model says of one sample's question, with a batch axis of 1."""
    device = next(trained.model.parameters()).device
    return trained.model.answer(stack_questions([question]).to(device))
