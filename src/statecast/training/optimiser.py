"""AdamW with the usual exclusions from weight decay, warm-up and cosine."""

import math

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from statecast.training.options import TrainingOptions

BETAS = (0.9, 0.95)  # the usual choice for transformers on short schedules


def make_optimiser(model: nn.Module, options: TrainingOptions) -> tuple[AdamW, LambdaLR]:
    """The optimiser and its schedule, which advances with every step."""
    decayed = decayed_parameters(model)
    groups = [
        {
            "params": [p for p in model.parameters() if p.requires_grad and id(p) in decayed],
            "weight_decay": options.weight_decay,
        },
        {"params": [p for p in model.parameters() if p.requires_grad and id(p) not in decayed], "weight_decay": 0.0},
    ]
    fused = options.precision != "16-mixed"  # a fused step unscales by itself, and then Lightning can't clip
    optimiser = AdamW(groups, lr=options.learning_rate, betas=BETAS, fused=fused)
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
