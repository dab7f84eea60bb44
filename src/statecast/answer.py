"""The answer of a trained model to one question."""

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.models import AS_LEARNED, Draws, Prediction
from statecast.streams import Question, stack_questions
from statecast.trained import TrainedModel


@torch.inference_mode()
def answer(trained: TrainedModel, question: Question, draws: Draws = AS_LEARNED) -> dict[str, Float[Tensor, "E N P"]]:
    """The head members for every asked token of one sample, for streams with values; in normalised units, on the CPU.

    draws  how a flow head draws them, by default as many as `model.members`
    """
    head_members = {}
    for name, prediction in predict_question(trained, question, draws).items():
        if prediction.members is not None:
            head_members[name] = prediction.members[0].transpose(0, 1).cpu()
    return head_members


@torch.inference_mode()
def predict_question(trained: TrainedModel, question: Question, draws: Draws = AS_LEARNED) -> dict[str, Prediction]:
    """The model's predictions for the question of one sample, with a batch axis of 1."""
    return trained.model.answer(stack_questions([question]).to(trained.device), draws)
