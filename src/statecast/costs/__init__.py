"""What a training costs: its size, and from that time, energy, emissions and money."""

from statecast.costs.estimate import Assumptions, CostError, Estimate, estimate
from statecast.costs.sizes import ModelSize, size_of

__all__ = ["Assumptions", "CostError", "Estimate", "ModelSize", "estimate", "size_of"]
