"""Any number of members from the heads of a model. Axes: K head, M member, N token, P value."""

import numpy as np
import torch
from jaxtyping import Float

from statecast.trained import ModelError, TrainedModel

SEED = 0  # of the combinations: the same members at every time and in every run


def check_members(trained: TrainedModel, members: int) -> None:
    """Raises ModelError for fewer members than one, or several of a model that gives a single answer."""
    heads = trained.model.head.members
    if members < 1:
        raise ModelError(f"members is {members}, expected at least 1.")
    if members > 1 and heads == 1:
        raise ModelError(
            f"members is {members}, but the model is deterministic (head {trained.model.options.head}): it has 1. "
            "Ask for one, or train a model with the head 'ensemble'."
        )


def member_weights(heads: int, members: int) -> Float[torch.Tensor, "M K"]:
    """What each member is made of: the heads themselves first, and then combinations of two heads i ≠ j,

        w x_i + (1 - w) x_j        with w uniform in 1/2 ± √3/2, so that E[w² + (1 - w)²] = 1

    which have the heads' mean and, over many, their covariance. A member is the same combination at every time and place, whatever the
    number of members.
    """
    weights = torch.eye(heads)[:members]
    rows = []
    for member in range(heads, members):
        generator = np.random.default_rng([SEED, member])
        i, j = generator.choice(heads, size=2, replace=False)
        w = 0.5 + np.sqrt(3) * (generator.uniform() - 0.5)
        rows.append(w * torch.eye(heads)[i] + (1 - w) * torch.eye(heads)[j])
    return torch.stack([*weights, *rows])


def as_members(answers: Float[torch.Tensor, "K N P"], members: int) -> Float[torch.Tensor, "M N P"]:
    """The heads' answers as that many members."""
    if members <= len(answers):
        return answers[:members]
    return torch.einsum("mk,knp->mnp", member_weights(len(answers), members), answers)
