"""Heads: the CRPS against closed forms, brute force and the package `scores`. Axes: E member, P value."""

import math

import pytest
import torch
import xarray as xr
from scores.probability import crps_for_ensemble
from torch.autograd import gradcheck

from statecast.models.heads import EnsembleHead, PointHead, almost_fair_crps, make_heads, masked_mean

ALMOST_FAIR = 0.95  # Lang et al. 2024


def brute_force(members: torch.Tensor, truth: torch.Tensor, fairness: float) -> torch.Tensor:
    """The formula with all pairs written out."""
    size = members.shape[-2]
    error = (members - truth.unsqueeze(-2)).abs().mean(dim=-2)
    pairs = (members.unsqueeze(-2) - members.unsqueeze(-3)).abs().sum(dim=(-2, -3))
    return error - (1 - (1 - fairness) / size) * pairs / (2 * size * (size - 1))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_crps_of_a_standard_normal_has_its_closed_form():  # (sqrt 2 - 1) / sqrt pi at y = 0
    quantiles = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    members = torch.special.ndtri(quantiles)[:, None]
    closed_form = (math.sqrt(2) - 1) / math.sqrt(math.pi)
    assert float(almost_fair_crps(members, torch.zeros(1).double(), 1.0)) == pytest.approx(closed_form, rel=1e-3)


def test_crps_of_a_normal_away_from_the_centre_has_its_closed_form():
    """σ [z (2 Φ(z) - 1) + 2 φ(z) - 1 / sqrt π], Gneiting et al. 2005, eq. 5."""
    quantiles = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    mean, std, y = 3.0, 2.0, 4.5
    z = (y - mean) / std
    cdf, density = 0.5 * (1 + math.erf(z / math.sqrt(2))), math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    closed_form = std * (z * (2 * cdf - 1) + 2 * density - 1 / math.sqrt(math.pi))
    members = mean + std * torch.special.ndtri(quantiles)[:, None]
    assert float(almost_fair_crps(members, torch.tensor([y]).double(), 1.0)) == pytest.approx(closed_form, rel=1e-3)


@pytest.mark.parametrize("fairness", [0.0, 0.5, ALMOST_FAIR, 1.0])
@pytest.mark.parametrize("size", [2, 3, 16, 70])
def test_crps_equals_the_sum_over_all_pairs(size, fairness):
    members, truth = draw(4, 3, size, 5), draw(4, 3, 5, seed=1)
    torch.testing.assert_close(almost_fair_crps(members, truth, fairness), brute_force(members, truth, fairness))


def test_fair_crps_equals_that_of_the_package_scores():
    members, truth = draw(7, 20), draw(20, seed=1)
    theirs = crps_for_ensemble(
        xr.DataArray(members.numpy(), dims=("member", "x")),
        xr.DataArray(truth.numpy(), dims="x"),
        "member",
        method="fair",
        preserve_dims="all",
    )
    torch.testing.assert_close(almost_fair_crps(members, truth, 1.0), torch.from_numpy(theirs.values))


def test_the_almost_fair_weight_lies_between_the_plain_and_the_fair_score():
    """The share 1 - α of the plain score and α of the fair one, with α = 0.95."""
    members, truth = draw(5, 30), draw(30, seed=1)
    plain, fair = almost_fair_crps(members, truth, 0.0), almost_fair_crps(members, truth, 1.0)
    torch.testing.assert_close(
        almost_fair_crps(members, truth, ALMOST_FAIR), (1 - ALMOST_FAIR) * plain + ALMOST_FAIR * fair
    )


def test_the_fair_score_does_not_depend_on_the_size_of_the_ensemble():
    truth = draw(40000, seed=1)
    small, large = (almost_fair_crps(draw(size, 40000, seed=2), truth, 1.0).mean() for size in (2, 20))
    plain = almost_fair_crps(draw(2, 40000, seed=2), truth, 0.0).mean()
    assert float(small) == pytest.approx(float(large), rel=0.02) and float(plain) > 1.2 * float(large)


def test_the_written_gradient_is_that_of_the_score():
    members, truth = (
        draw(2, 6, 3).requires_grad_(),
        draw(2, 3, seed=1).requires_grad_(),
    )  # no ties, so it is smooth here
    assert gradcheck(almost_fair_crps, (members, truth, ALMOST_FAIR))
    weights = draw(2, 3, seed=2)
    ours = torch.autograd.grad((almost_fair_crps(members, truth, ALMOST_FAIR) * weights).sum(), (members, truth))
    theirs = torch.autograd.grad((brute_force(members, truth, ALMOST_FAIR) * weights).sum(), (members, truth))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_spread_term_of_crps_reaches_the_gradient():
    """All members lie above the truth: a detached spread would pull all of them alike, and train them into one."""
    members = torch.tensor([[1.0], [2.0], [3.0]]).double().requires_grad_()
    almost_fair_crps(members, torch.zeros(1).double(), ALMOST_FAIR).sum().backward()
    pull = members.grad[:, 0]
    assert pull[0] > pull[1] > pull[2]
    assert float(pull.sum()) == pytest.approx(1.0)  # the spread doesn't change if all move together


def test_order_of_the_members_does_not_matter():
    members, truth = draw(6, 4), draw(4, seed=1)
    torch.testing.assert_close(almost_fair_crps(members, truth, 0.5), almost_fair_crps(members.flip(0), truth, 0.5))


def test_one_member_has_no_crps():
    with pytest.raises(ValueError, match=r"at least 2 members, got 1\. Use the point head"):
        almost_fair_crps(draw(1, 4), draw(4), 0.0)


def test_the_point_head_scores_the_squared_error():
    members, truth = draw(2, 3, 1, 5), draw(2, 3, 5, seed=1)
    torch.testing.assert_close(PointHead().loss(members, truth), (members[:, :, 0] - truth) ** 2)
    assert PointHead().members == 1


def test_the_ensemble_head_scores_the_crps_as_fair_as_it_is_told():
    members, truth = draw(2, 3, 8, 5), draw(2, 3, 5, seed=1)
    torch.testing.assert_close(EnsembleHead(8).loss(members, truth), brute_force(members, truth, 0.0))
    head = EnsembleHead(8, ALMOST_FAIR)
    torch.testing.assert_close(head.loss(members, truth), brute_force(members, truth, ALMOST_FAIR))


@pytest.mark.parametrize("fairness", [0.0, 0.5, ALMOST_FAIR])
def test_trained_heads_lie_at_the_quantiles_that_the_docstring_gives(fairness):
    """Of the uniform distribution on [0, 1], where a quantile is its own share."""
    size = 8
    truth = (torch.arange(20000).double()[:, None] + 0.5) / 20000
    heads = torch.linspace(-0.2, 1.2, size).double()[:, None].requires_grad_()
    optimiser = torch.optim.LBFGS([heads], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = EnsembleHead(size, fairness).loss(heads[None].expand(len(truth), -1, -1), truth).mean()
        value.backward()
        return value

    optimiser.step(loss)
    rank = torch.arange(1, size + 1).double()
    share = 0.5 + (2 * rank - 1 - size) * (1 - (1 - fairness) / size) / (2 * (size - 1))
    torch.testing.assert_close(heads.detach()[:, 0], share, atol=2e-3, rtol=0)


def test_masked_mean_ignores_what_was_not_observed():
    loss, weight = draw(2, 4, 3).abs(), torch.tensor([[1.0, 2.0, 0.5, 1.0], [3.0, 1.0, 1.0, 0.1]]).double()
    observed = draw(2, 4, 3, seed=1) > 0
    by_hand = 0.0
    for i in range(2):
        seen = observed[i].nonzero().tolist()
        total = sum(float(weight[i, n]) for n, _ in seen)
        by_hand += sum(float(loss[i, n, p] * weight[i, n]) for n, p in seen) / total / 2
    assert float(masked_mean(loss, observed, weight)) == pytest.approx(by_hand)
    assert float(masked_mean(loss + 1e9 * ~observed, observed, weight)) == pytest.approx(by_hand)


def test_masked_mean_of_a_batch_is_the_mean_over_its_parts():
    loss, weight, observed = draw(4, 5, 3).abs(), draw(4, 5, seed=1).abs(), draw(4, 5, 3, seed=2) > 0
    parts = [masked_mean(loss[i : i + 2], observed[i : i + 2], weight[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(masked_mean(loss, observed, weight), torch.stack(parts).mean())


def test_masked_mean_of_nothing_is_zero_and_has_a_zero_gradient():
    loss = draw(2, 4, 3).requires_grad_()
    mean = masked_mean(loss, torch.zeros(2, 4, 3, dtype=torch.bool), torch.ones(2, 4).double())
    mean.backward()
    assert mean.item() == 0 and not loss.grad.any()


def test_each_stream_has_a_map_to_all_its_members():
    heads = make_heads(8, {"air": 6, "surface": 2}, members=4)
    assert {name: tuple(head.weight.shape) for name, head in heads.items()} == {"air": (24, 8), "surface": (8, 8)}
