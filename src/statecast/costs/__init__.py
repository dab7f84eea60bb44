"""The cost of training: model size, and from it time, energy, emissions and money."""

from statecast.costs.estimate import Assumptions, CostError, Estimate, assume, estimate, require_sane, training_flops
from statecast.costs.memory import MemoryNeedError, require_memory, require_room
from statecast.costs.report import cost_tables
from statecast.costs.sizes import ModelSize, size_of

__all__ = [
    "Assumptions",
    "CostError",
    "Estimate",
    "MemoryNeedError",
    "ModelSize",
    "assume",
    "cost_tables",
    "estimate",
    "require_memory",
    "require_room",
    "require_sane",
    "size_of",
    "training_flops",
]
