"""The members of a model for one question, as anomalies on the grid."""

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.streams import Question, stack_questions
from statecast.trained import TrainedModel


@torch.inference_mode()
def answer(trained: TrainedModel, question: Question) -> dict[str, Float[Tensor, "E N P"]]:
    """Members of every asked token of one sample, in normalised units, on the CPU."""
    device = next(trained.model.parameters()).device
    batch = stack_questions([question]).to(device)
    predictions = trained.model(batch.context, batch.queries)
    return {name: said.members[0].transpose(0, 1).cpu() for name, said in predictions.items()}
