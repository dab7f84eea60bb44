"""What fine-tuning may change, and that nothing else does."""

import copy

import pytest
import torch

from statecast.adaptation import (
    AdaptationError,
    AdaptationOptions,
    TransferReport,
    learning_rate_shares,
    trainable_only,
    trainable_parameters,
)
from statecast.fields.anchors import field_spec
from statecast.models import ModelOptions, StateModel
from statecast.models.state_model import LEAD_SIZE
from statecast.training import TrainingOptions
from statecast.training.optimiser import ORTHOGONAL_RATE, make_optimiser

SPECS = {name: field_spec(1, (1, 2, 2), 6.0, token_deg=15.0) for name in ("air", "rain")}


@pytest.fixture
def model() -> StateModel:
    torch.manual_seed(0)
    return StateModel(ModelOptions(width=32, heads=2, encoder_layers=2, decoder_layers=1, members=2), SPECS)


def changed(model: StateModel, options: AdaptationOptions, report: TransferReport | None = None) -> set[str]:
    """Names of the weights that two steps against a made-up gradient change."""
    before = copy.deepcopy(model.state_dict())
    with trainable_only(model, options, *([report] if report else [])):
        optimiser, _ = make_optimiser(model, TrainingOptions(learning_rate=0.1))
        for step in range(2):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
            optimiser.step()
    assert all(p.requires_grad for p in model.parameters()) and set(before) == set(model.state_dict())
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def names(model: StateModel, *prefixes: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


HEADS = ("heads.", "decoder_norm")


def test_all_may_change(model):
    assert changed(model, AdaptationOptions()) == names(model, "")


def test_heads_alone(model):
    assert changed(model, AdaptationOptions(change="heads")) == names(model, *HEADS)


@pytest.mark.parametrize(("blocks", "prefixes"), [(1, ("decoder.0",)), (2, ("decoder.0", "encoder.1"))])
def test_the_last_blocks_and_the_heads(model, blocks, prefixes):
    assert changed(model, AdaptationOptions(change="last_blocks", blocks=blocks)) == names(model, *HEADS, *prefixes)


def test_more_blocks_than_there_are_is_refused(model):
    with pytest.raises(AdaptationError, match=r"adaptation\.blocks is 4, the model has 3"):
        changed(model, AdaptationOptions(change="last_blocks", blocks=4))


def test_updates_of_low_rank_are_merged(model):
    before = copy.deepcopy(model.state_dict())
    maps = {
        f"{name}.weight"
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and "coder." in name and "modulation" not in name
    }
    assert changed(model, AdaptationOptions(change="lora", rank=3)) == maps | names(model, *HEADS)
    assert len(maps) == 3 * 6
    for name in maps:
        assert torch.linalg.matrix_rank(model.state_dict()[name] - before[name], rtol=1e-4) == 3


def test_updates_of_low_rank_start_from_the_same_answer_and_from_a_seed(model):
    before, drawn = copy.deepcopy(model.state_dict()), []
    for seed in (1, 1, 2):
        with trainable_only(model, AdaptationOptions(change="lora"), seed=seed):
            drawn.append(torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n]))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_only_what_is_new(model):
    new = tuple(name for name, _ in model.named_parameters() if ".rain" in name)
    assert changed(model, AdaptationOptions(change="new"), TransferReport(new, ())) == set(new)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (TransferReport((), ()), "there is nothing new"),
        (TransferReport(("a",), ("heads.air.bias",)), "beside new ones"),
    ],
)
def test_what_is_new_must_stand_apart(model, report, message):
    with pytest.raises(AdaptationError, match=message):
        changed(model, AdaptationOptions(change="new"), report)


def test_new_weights_may_change_whatever_else_may(model):
    new = tuple(name for name, _ in model.named_parameters() if ".rain" in name)
    assert changed(model, AdaptationOptions(change="heads"), TransferReport(new, ())) == names(model, *HEADS) | set(new)


def test_weights_are_free_again_after_a_failure(model):
    with pytest.raises(RuntimeError), trainable_only(model, AdaptationOptions(change="lora")):
        raise RuntimeError
    assert all(p.requires_grad for p in model.parameters()) and not any("lora" in n for n in model.state_dict())


def test_the_count_is_of_what_may_change(model):
    with trainable_only(model, AdaptationOptions(change="heads")):
        heads = trainable_parameters(model)
    norm = 32 + (LEAD_SIZE + 1) * 2 * 32
    assert heads == 2 * (32 + 1) * 2 * 4 + norm < trainable_parameters(model)


def test_the_learning_rate_falls_from_the_heads_down(model):
    shares = learning_rate_shares(model, 0.5)
    expected = {
        "heads.air.bias": 1,
        "decoder.0.norm.norm.weight": 0.5,
        "encoder.1.norm.weight": 0.25,
        "encoder.0.norm.weight": 0.125,
    }
    assert {name: shares[name] for name in expected} == expected
    assert shares["values.air.weight"] == 0.0625 and set(shares) == {name for name, _ in model.named_parameters()}
    optimiser, schedule = make_optimiser(model, TrainingOptions(steps=10, warm_up=0.2, learning_rate=0.1), shares)
    rates = {
        id(p): group["lr"] / (ORTHOGONAL_RATE if group["orthogonal"] else 1.0)
        for group in optimiser.param_groups
        for p in group["params"]
    }
    assert all(rates[id(p)] == pytest.approx(0.05 * shares[name]) for name, p in model.named_parameters())
    optimiser.step()
    schedule.step()
    assert max(g["lr"] for g in optimiser.param_groups if not g["orthogonal"]) == pytest.approx(0.1)
