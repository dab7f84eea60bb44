"""What one does with a trained model of jets: tag them, generate some, search for a signal among events."""

from statecast.particles.inference.generate import Sampling, generate
from statecast.particles.inference.search import Experiment, search
from statecast.particles.inference.tag import tag

__all__ = ["Experiment", "Sampling", "generate", "search", "tag"]
