"""What one does with a trained model of jets: tag them, generate some."""

from statecast.particles.inference.generate import Sampling, generate
from statecast.particles.inference.tag import tag

__all__ = ["Sampling", "generate", "tag"]
