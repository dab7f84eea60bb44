"""The optimiser, with the usual exclusions from weight decay, and its schedule: warm-up and cosine decay."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from statecast.training.muon import Muon
from statecast.training.options import TrainingOptions

BETAS = (0.9, 0.95)  # the usual choice for transformers on short schedules
ORTHOGONAL_RATE = 3.0  # learning rate of the orthogonal steps divided by that of AdamW: docs/experiments.md


class Rule(NamedTuple):
    """How a group of parameters is updated."""

    decays: bool
    orthogonal: bool
    share: float


def make_optimiser(
    model: nn.Module, options: TrainingOptions, shares: Mapping[str, float] | None = None
) -> tuple[Muon, LambdaLR]:
    """The optimiser of the trainable parameters, and its schedule, which advances with every step.

    shares  fraction of the learning rate for each parameter, by name; 1 for parameters that are not named
    """
    decayed, shares = decayed_parameters(model), shares or {}
    groups: dict[Rule, list[nn.Parameter]] = {Rule(False, False, 1.0): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = id(parameter) in decayed
            orthogonal = options.optimiser == "muon" and decays and ".lora_" not in name  # AdamW for low-rank updates
            rule = Rule(decays, orthogonal, shares.get(name, 1.0))
            groups.setdefault(rule, []).append(parameter)
    of_groups = []
    for rule, parameters in groups.items():
        rate = options.learning_rate * rule.share * (ORTHOGONAL_RATE if rule.orthogonal else 1.0)
        decay = options.weight_decay * rule.decays
        of_groups.append({"params": parameters, "weight_decay": decay, "lr": rate, "orthogonal": rule.orthogonal})
    fused = (
        options.precision != "16-mixed"
    )  # a fused step unscales gradients itself, and Lightning then can't clip them
    optimiser = Muon(of_groups, lr=options.learning_rate, betas=BETAS, fused=fused)
    return optimiser, LambdaLR(optimiser, lambda step: learning_rate_factor(step, options))


def decayed_parameters(model: nn.Module) -> set[int]:
    """The ids of the parameters with weight decay: matrices of linear maps."""
    return {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}


def learning_rate_factor(step: int, options: TrainingOptions) -> float:
    """The factor of the learning rate: a linear rise during warm-up, then half a cosine down to `final_learning_rate`."""
    warm_up = max(1, round(options.warm_up * options.steps))
    if step < warm_up:
        return (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, options.steps - warm_up))
    return options.final_learning_rate + (1 - options.final_learning_rate) * 0.5 * (1 + math.cos(math.pi * progress))
