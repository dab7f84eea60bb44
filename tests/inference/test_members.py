"""Members beyond the heads of a model: what they keep of the heads. Axes as in the module."""

import numpy as np
import pytest
import torch

from statecast.inference.members import as_members, check_members, member_weights
from statecast.models import ModelOptions
from statecast.trained import ModelError, TrainedModel, build


def test_the_first_members_are_the_heads():
    heads = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(as_members(heads, 3), heads[:3])
    torch.testing.assert_close(as_members(heads, 9)[:4], heads)


def test_a_member_is_the_same_whatever_the_number_of_members():
    assert torch.equal(member_weights(4, 30)[:12], member_weights(4, 12))


def test_members_are_combinations_whose_weights_sum_to_one():
    weights = member_weights(6, 50)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(50))
    assert ((weights[6:] != 0).sum(dim=1) == 2).all()


def test_many_members_have_the_mean_and_the_covariance_of_the_heads():
    heads = torch.randn(16, 1, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 2.0, 0.5]) + 3.0
    members = as_members(heads, 8000)[16:, 0].numpy()
    np.testing.assert_allclose(members.mean(axis=0), heads[:, 0].mean(dim=0).numpy(), atol=0.06)
    np.testing.assert_allclose(np.cov(members.T), np.cov(heads[:, 0].numpy().T), rtol=0.1, atol=0.05)


def test_a_deterministic_model_has_one_member(make_trained):
    trained = make_trained()
    tokenizers = trained.tokenizers
    point = TrainedModel(
        build(ModelOptions(width=32, heads=2, head="point"), tokenizers, 0), tokenizers, trained.recipe
    )
    check_members(point, 1)
    with pytest.raises(ModelError, match=r"members is 2, but the model is deterministic \(head point\): it has 1"):
        check_members(point, 2)
