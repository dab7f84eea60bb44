"""The optimiser with the usual exclusions from weight decay, warm-up and cosine."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from statecast.training.muon import Muon
from statecast.training.options import TrainingOptions

BETAS = (0.9, 0.95)  # the usual choice for transformers on short schedules
ORTHOGONAL_RATE = 3.0  # rate of the orthogonal steps over AdamW's: docs/experiments.md


class Rule(NamedTuple):
    """How a group of parameters is stepped."""

    decays: bool
    orthogonal: bool
    share: float


def make_optimiser(
    model: nn.Module, options: TrainingOptions, shares: Mapping[str, float] | None = None
) -> tuple[Muon, LambdaLR]:
    """The optimiser of what may change, and its schedule, which advances with every step.

    shares  of the learning rate, for each parameter by name; 1 for those that are not named
    """
    decayed, shares = decayed_parameters(model), shares or {}
    groups: dict[Rule, list[nn.Parameter]] = {Rule(False, False, 1.0): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = id(parameter) in decayed
            orthogonal = options.optimiser == "muon" and decays and ".lora_" not in name  # low-rank updates are AdamW's
            rule = Rule(decays, orthogonal, shares.get(name, 1.0))
            groups.setdefault(rule, []).append(parameter)
    fused = options.precision != "16-mixed"  # a fused step unscales by itself, and then Lightning can't clip
    optimiser = Muon(
        [
            {
                "params": parameters,
                "weight_decay": options.weight_decay * rule.decays,
                "lr": options.learning_rate * rule.share * (ORTHOGONAL_RATE if rule.orthogonal else 1.0),
                "orthogonal": rule.orthogonal,
            }
            for rule, parameters in groups.items()
        ],
        lr=options.learning_rate,
        betas=BETAS,
        fused=fused,
    )
    return optimiser, LambdaLR(optimiser, lambda step: learning_rate_factor(step, options))


def decayed_parameters(model: nn.Module) -> set[int]:
    """Identities of the parameters that decay: matrices of linear maps."""
    return {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}


def learning_rate_factor(step: int, options: TrainingOptions) -> float:
    """Rises linearly over the warm-up, then falls as half a cosine to `final_learning_rate`."""
    warm_up = max(1, round(options.warm_up * options.steps))
    if step < warm_up:
        return (step + 1) / warm_up
    progress = min(1.0, (step - warm_up) / max(1, options.steps - warm_up))
    return options.final_learning_rate + (1 - options.final_learning_rate) * 0.5 * (1 + math.cos(math.pi * progress))
