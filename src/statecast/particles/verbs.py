"""What one does with a trained model of jets: tag, unfold or generate some, look at its codebook, search for a signal among events."""

from statecast.particles.evaluation.codebook import codebook_quality
from statecast.particles.inference.generate import generate
from statecast.particles.inference.generator import Sampling
from statecast.particles.inference.search import Experiment, search
from statecast.particles.inference.tag import tag
from statecast.particles.inference.unfold import unfold

__all__ = ["Experiment", "Sampling", "codebook_quality", "generate", "search", "tag", "unfold"]
