"""The cost of training: model size, and from it time, energy, emissions and money."""

from statecast.costs.estimate import Assumptions, CostError, Estimate, assume, estimate, training_flops
from statecast.costs.report import cost_tables
from statecast.costs.sizes import ModelSize, size_of

__all__ = [
    "Assumptions",
    "CostError",
    "Estimate",
    "ModelSize",
    "assume",
    "cost_tables",
    "estimate",
    "size_of",
    "training_flops",
]
