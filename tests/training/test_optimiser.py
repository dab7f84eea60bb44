"""The optimiser and its schedule."""

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from statecast.adaptation import AdaptationOptions, trainable_only
from statecast.fields.anchors import field_spec
from statecast.models import ModelOptions, StateModel
from statecast.training import TrainingOptions, muon
from statecast.training.muon import SIZE, Muon, orthogonalised
from statecast.training.optimiser import (
    BETAS,
    decayed_parameters,
    learning_rate_factor,
    make_optimiser,
)


@pytest.fixture
def model() -> StateModel:
    options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=2)
    return StateModel(options, {"air": field_spec(1, (1, 2, 2), 6.0, token_deg=15.0)})


def test_the_learning_rate_rises_linearly_and_falls_as_half_a_cosine():
    options = TrainingOptions(steps=100, warm_up=0.1, final_learning_rate=0.02)
    factors = [learning_rate_factor(step, options) for step in range(101)]
    assert factors[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.02 + 0.98 / 2)  # halfway down
    assert factors[100] == pytest.approx(0.02)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[40] == pytest.approx(0.02 + 0.98 * (1 + math.cos(math.pi / 3)) / 2)


def test_the_learning_rate_stays_at_its_end_beyond_the_last_step():
    options = TrainingOptions(steps=10, final_learning_rate=0.5)
    assert learning_rate_factor(1000, options) == learning_rate_factor(10, options) == 0.5


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0.0), (1, 0.5), (3, 0.0), (2, 0.99)])
def test_short_runs_never_have_a_rate_of_zero_or_above_the_highest(steps, warm_up):
    options = TrainingOptions(steps=steps, warm_up=warm_up)
    assert all(0 < learning_rate_factor(step, options) <= 1 for step in range(steps))


def test_the_schedule_drives_the_optimiser(model):
    options = TrainingOptions(steps=10, warm_up=0.2, learning_rate=1e-2)
    optimiser, schedule = make_optimiser(model, options)
    rates = []
    for _ in range(3):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates == pytest.approx([0.5e-2, 1e-2, 1e-2])


def test_only_matrices_of_linear_maps_decay(model):
    """Not biases, norms, what is learned of each stream, or the geometry of attention (`shift` is a matrix too)."""
    decayed = decayed_parameters(model)
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    linear = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert names == linear
    assert not any(part in name for name in names for part in ("shift", "log_", "norm.weight", "asked", "bias"))


def test_every_parameter_is_in_one_group_and_frozen_ones_in_none(model):
    model.anchor.weight.requires_grad_(False)
    optimiser, _ = make_optimiser(model, TrainingOptions(weight_decay=0.3))
    rest, orthogonal = optimiser.param_groups
    assert (rest["weight_decay"], orthogonal["weight_decay"]) == (0.0, 0.3)
    grouped = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert id(model.anchor.weight) not in grouped


@pytest.mark.parametrize("optimiser", ["muon", "adamw"])
def test_without_a_gradient_adamw_shrinks_matrices_and_orthogonal_steps_leave_them(model, optimiser):
    """A stream of which a step asks nothing: what is left of its old gradients would be as large a step as any."""
    stepping, _ = make_optimiser(
        model, TrainingOptions(steps=1, learning_rate=0.1, weight_decay=0.5, optimiser=optimiser)
    )
    decayed = decayed_parameters(model)
    matrices = {name: p for name, p in model.named_parameters() if id(p) in decayed}
    if optimiser == "muon":  # has momentum
        for parameter in matrices.values():
            parameter.grad = torch.ones_like(parameter)
        stepping.step()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepping.step()
    for name, parameter in model.named_parameters():
        shrinks = name in matrices and optimiser == "adamw"
        torch.testing.assert_close(parameter.detach(), before[name] * (1 - 0.1 * 0.5 if shrinks else 1.0))


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", True), ("16-mixed", False)])
def test_half_precision_takes_an_optimiser_whose_gradient_can_be_clipped(model, precision, fused):
    optimiser, _ = make_optimiser(model, TrainingOptions(precision=precision))
    assert optimiser.param_groups[0]["fused"] is fused


def test_orthogonal_steps_are_for_the_matrices_of_all_linear_maps(model):
    """What makes tokens of values, and answers of tokens, too: with AdamW there ours was 12 % behind (docs/experiments.md)."""
    optimiser, _ = make_optimiser(model, TrainingOptions())
    stepped = {id(p) for group in optimiser.param_groups if group["orthogonal"] for p in group["params"]}
    assert stepped == {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    adamw, _ = make_optimiser(model, TrainingOptions(optimiser="adamw"))
    assert not any(group["orthogonal"] for group in adamw.param_groups)


def test_low_rank_updates_are_left_to_adamw(model):
    pytest.importorskip("peft")
    with trainable_only(model, AdaptationOptions(change="lora", rank=2)):
        optimiser, _ = make_optimiser(model, TrainingOptions())
        orthogonal = [p for group in optimiser.param_groups if group["orthogonal"] for p in group["params"]]
        updates = {id(p) for name, p in model.named_parameters() if "lora_" in name}
        assert updates and not updates & {id(p) for p in orthogonal}


@pytest.mark.parametrize("shape", [(8, 8), (8, 32), (16, 24)])
def test_newton_schulz_keeps_the_directions_and_evens_out_their_sizes(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    sizes = u.mT @ orthogonalised(matrix[None])[0] @ v.mT  # in the matrix' own directions
    torch.testing.assert_close(sizes, torch.diag(sizes.diagonal()), atol=1e-4, rtol=0)
    assert sizes.diagonal().min() > 0.6 and sizes.diagonal().max() < 1.3
    assert not orthogonalised(torch.zeros(1, *shape)).any()


class Tf32(TorchFunctionMode):
    """Matrix products of numbers with 10 bits behind the point, as GPUs make them where that is allowed."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.matmul, torch.Tensor.__matmul__, torch.baddbmm):
            of_product = slice(1, None) if function is torch.baddbmm else slice(None)
            rounded = [(x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32) for x in args[of_product]]
            args = (*args[:1], *rounded) if function is torch.baddbmm else rounded
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("rank", [24, 3])
@pytest.mark.parametrize(
    ("dtype", "mode", "atol"),
    [(torch.float32, nullcontext, 1e-3), (torch.bfloat16, nullcontext, 1e-3), (torch.float32, Tf32, 0.03)],
)
def test_iterations_of_gram_matrices_are_those_of_the_matrix(rank, dtype, mode, atol):
    """Also of one with singular values over six orders of magnitude or few of them, in float32 for 16 bits, and where products are rounded."""
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(2, 24, 96, generator=generator), full_matrices=False)
    values = torch.where(torch.arange(24) < rank, torch.logspace(0, -6 if rank == 24 else -2, 24), 1e-6)
    matrices = (u @ torch.diag_embed(values.expand(2, -1)) @ v).to(dtype)
    with mode():
        found = orthogonalised(matrices).double()
    x = matrices.double() / matrices.double().norm(dim=(1, 2), keepdim=True)
    for a, b, c in muon.COEFFICIENTS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(found, x, atol=atol, rtol=0)


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (16, 4, 3, 4)])
def test_an_orthogonal_step_is_as_large_as_one_of_adamw(shape):
    weight = nn.Parameter(torch.zeros(shape))
    optimiser = Muon([{"params": [weight], "orthogonal": True, "weight_decay": 0.0}], lr=0.5)
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    optimiser.step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.5 * SIZE, rel=0.25)
    assert (weight.detach() * torch.randn(shape, generator=torch.Generator().manual_seed(1))).sum() < 0  # downhill


def test_matrices_are_stepped_alike_whether_stacked_or_one_by_one(model, monkeypatch):
    other = copy.deepcopy(model)
    for each, stacked in ((model, muon.STACKED_VALUES), (other, 1)):
        monkeypatch.setattr(muon, "STACKED_VALUES", stacked)
        optimiser, _ = make_optimiser(each, TrainingOptions())
        generator = torch.Generator().manual_seed(2)
        for parameter in each.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimiser.step()
    for one, another in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, another)


def test_without_orthogonal_groups_it_is_adamw(model):
    other = copy.deepcopy(model)
    options = TrainingOptions(optimiser="adamw", learning_rate=1e-2, weight_decay=0.1, warm_up=0, steps=100)
    ours, _ = make_optimiser(model, options)
    theirs = torch.optim.AdamW(
        [
            {k: group[k] for k in ("weight_decay", "lr")} | {"params": part}
            for group, part in groups_of(ours, model, other)
        ],
        betas=BETAS,
        fused=True,
    )
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for mine, yours in zip(model.parameters(), other.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            yours.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def groups_of(optimiser, model, other):
    """Each group with the same parameters of another model."""
    twin = {id(a): b for a, b in zip(model.parameters(), other.parameters(), strict=True)}
    return [(group, [twin[id(p)] for p in group["params"]]) for group in optimiser.param_groups]
