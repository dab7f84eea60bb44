"""Heads of codes and draws from heads: losses against closed forms, frequencies of many draws against probabilities."""

import math

import numpy as np
import pytest
import torch

from statecast.models.heads import CategoricalHead, EnsembleHead, PointHead, masked_mean, replaced_loss
from statecast.streams import UNKNOWN

PROBABILITIES = torch.tensor([0.5, 0.25, 0.15, 0.1])
DRAWS = 40_000
HEAD = CategoricalHead()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frequencies(logits: torch.Tensor, **options) -> torch.Tensor:
    drawn = HEAD.sample(logits.expand(DRAWS, -1), generator(), **options)
    return torch.bincount(drawn, minlength=logits.shape[-1]) / DRAWS


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    """Frequencies within four standard deviations of the largest error that a probability has."""
    torch.testing.assert_close(one, other, rtol=0, atol=4 * 0.5 / math.sqrt(DRAWS))


def test_the_loss_is_minus_the_logarithm_of_the_probability_of_the_code():
    logits = PROBABILITIES.log() + 3.0  # what is added to all drops out
    codes = torch.tensor([[0, 1, 2, 3]])
    torch.testing.assert_close(HEAD.loss(logits.expand(1, 4, -1), codes)[0], -PROBABILITIES.log())


def test_equal_logits_cost_the_logarithm_of_the_vocabulary():
    loss = HEAD.loss(torch.zeros(2, 3, 7), torch.randint(7, (2, 3), generator=generator()))
    torch.testing.assert_close(loss, torch.full((2, 3), math.log(7)))


def test_the_gradient_is_the_probability_less_one_at_the_code():
    logits = torch.randn(2, 3, 4, generator=generator()).requires_grad_()
    codes = torch.randint(4, (2, 3), generator=generator(1))
    HEAD.loss(logits, codes).sum().backward()
    one_hot = torch.nn.functional.one_hot(codes, 4)
    torch.testing.assert_close(logits.grad, logits.detach().softmax(dim=-1) - one_hot)


def test_an_unknown_code_costs_nothing_and_has_no_gradient():
    logits = torch.randn(1, 3, 4, generator=generator()).requires_grad_()
    loss = HEAD.loss(logits, torch.tensor([[1, UNKNOWN, 2]]))
    loss.sum().backward()
    assert loss[0, 1] == 0 and (loss[0, [0, 2]] > 0).all()
    assert not logits.grad[0, 1].any() and logits.grad[0, 0].all()


def test_codes_are_drawn_by_their_probabilities():
    close(frequencies(PROBABILITIES.log()), PROBABILITIES)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_is_a_power_of_the_probabilities(temperature):
    expected = PROBABILITIES ** (1 / temperature)
    close(frequencies(PROBABILITIES.log(), temperature=temperature), expected / expected.sum())


@pytest.mark.parametrize(
    ("top_k", "kept"), [(2, [0.5, 0.25, 0, 0]), (3, [0.5, 0.25, 0.15, 0]), (9, [0.5, 0.25, 0.15, 0.1])]
)
def test_top_k_draws_from_the_most_probable_ones_alone(top_k, kept):
    expected = torch.tensor(kept)
    found = frequencies(PROBABILITIES.log(), top_k=top_k)
    close(found, expected / expected.sum())
    assert not found[expected == 0].any()


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_k": 1}])
def test_no_temperature_and_a_single_candidate_are_the_most_probable_code(options):
    logits = torch.randn(5, 6, 4, generator=generator())
    assert torch.equal(HEAD.sample(logits, generator(), **options), logits.argmax(dim=-1))


def test_of_equally_probable_codes_no_more_than_k_are_drawn():
    logits = torch.zeros(1, 6)
    for top_k in (1, 2, 5):
        assert len(HEAD.sample(logits.expand(500, -1), generator(), top_k=top_k).unique()) == top_k


def test_a_seed_decides_the_draw():
    logits = torch.zeros(50, 4)
    one, same, other = (HEAD.sample(logits, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.5}, "temperature is -0.5, expected 0 or more"),
        ({"top_k": 0}, "top_k is 0, expected at least 1"),
    ],
)
def test_what_can_not_be_drawn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HEAD.sample(torch.zeros(1, 4), generator(), **options)


def test_the_loss_of_having_been_replaced_is_that_of_a_coin():
    logits = torch.tensor([[[2.0], [-1.0], [0.0]]])
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.0])))
    loss = replaced_loss(logits, torch.tensor([[1, 0, 1]]))
    np.testing.assert_allclose(loss[0], -np.log([p[0], 1 - p[1], p[2]]), rtol=1e-6)
    assert replaced_loss(logits, torch.tensor([[UNKNOWN, UNKNOWN, UNKNOWN]])).isfinite().all()  # padding, not counted


def test_draws_of_an_ensemble_have_its_members_as_quantiles():
    """Member i of E stands for (i - 1/2) / E: as large a share of the draws lies below it."""
    members = torch.tensor([3.0, -1.0, 0.5, 7.0])  # in any order
    head = EnsembleHead(4)
    drawn = head.sample(members[None, :, None].expand(DRAWS, 1, 4, 1), generator())[:, 0, 0]
    assert drawn.shape == (DRAWS,)
    for rank, member in enumerate(sorted(members.tolist())):
        share = 1e-6 + (rank + 0.5) / 4
        below, at_most = (drawn < member).float().mean(), (drawn <= member).float().mean()
        assert below - 0.01 < share < at_most + 0.01
    assert drawn.min() == -1 and drawn.max() == 7


def test_draws_are_uniform_between_two_neighbouring_members():
    drawn = EnsembleHead(2).sample(torch.tensor([0.0, 1.0])[:, None].expand(DRAWS, 1, 2, 1), generator()).flatten()
    inside = drawn[(drawn > 0) & (drawn < 1)]
    assert len(inside) / DRAWS == pytest.approx(0.5, abs=0.01)
    counts = torch.histc(inside, bins=10, min=0, max=1) / len(inside)
    torch.testing.assert_close(counts, torch.full((10,), 0.1), rtol=0, atol=0.01)


def test_values_of_a_draw_are_independent():
    members = torch.linspace(0, 1, 8)[:, None].expand(DRAWS // 10, 2, 8, 3)
    drawn = EnsembleHead(8).sample(members, generator()).flatten(1)
    correlation = torch.corrcoef(drawn.T) - torch.eye(6)
    assert correlation.abs().max() < 4 / math.sqrt(DRAWS // 10)


def test_the_point_head_draws_its_value():
    members = torch.randn(2, 3, 1, 4, generator=generator())
    assert torch.equal(PointHead().sample(members, generator()), members[:, :, 0])


def test_masked_mean_weighs_tokens_inside_a_sample_and_samples_alike():
    random = np.random.default_rng(0)
    loss, observed = random.uniform(size=(3, 5, 2)), random.uniform(size=(3, 5, 2)) > 0.4
    weight = random.uniform(0.1, 5, size=(3, 5))
    expected = []
    for n in range(3):
        share = observed[n] * weight[n][:, None]
        expected.append((loss[n] * share).sum() / share.sum())
    arguments = torch.from_numpy(loss), torch.from_numpy(observed)
    assert masked_mean(*arguments, torch.from_numpy(weight)).item() == pytest.approx(np.mean(expected))
    plain = np.mean([loss[n][observed[n]].mean() for n in range(3)])
    assert masked_mean(*arguments).item() == pytest.approx(plain)
    assert masked_mean(*arguments, torch.full((3, 5), 7.0)).item() == pytest.approx(plain)


def test_a_token_of_no_weight_does_not_count():
    loss, observed = torch.tensor([[[1.0], [100.0]]]), torch.ones(1, 2, 1, dtype=torch.bool)
    assert masked_mean(loss, observed, torch.tensor([[1.0, 0.0]])) == 1
    assert masked_mean(loss, observed, torch.zeros(1, 2)) == 0
