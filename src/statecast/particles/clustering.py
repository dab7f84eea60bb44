"""Sequential clustering by FastJet (Cacciari, Salam & Soyez, Eur. Phys. J. C 72 (2012) 1896). Axes: N particle, S set of particles."""

import functools
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from statecast.particles.jets import JetError, momentum_components

LARGEST_RADIUS = 1000.0  # that FastJet accepts: everything becomes one jet


def clustering(
    particles: Mapping[str, np.ndarray], counts: Int[np.ndarray, " S"], algorithm: str, radius: float
) -> Any:
    """FastJet's clustering of each set of particles: the first `counts[0]` are the first set, and so on.

    `algorithm` is `antikt`, `cambridge` or `kt`. Raises JetError if fastjet or awkward is not installed.
    """
    fastjet, awkward = _fastjet()
    components = dict(zip(("px", "py", "pz", "E"), momentum_components(particles), strict=True))
    sets = awkward.unflatten(awkward.zip(components, with_name="Momentum4D"), counts)
    definition = fastjet.JetDefinition(getattr(fastjet, f"{algorithm}_algorithm"), radius)
    return fastjet.ClusterSequence(sets, definition)


@functools.cache
def _fastjet() -> tuple[Any, Any]:
    """The modules fastjet and awkward, after FastJet has printed its banner, which would disturb the output of a command."""
    try:
        import awkward
        import fastjet
    except ModuleNotFoundError as error:
        message = (
            f"clustering: needs fastjet and awkward, and {error.name} is not installed. pip install 'statecast[hep]'"
        )
        raise JetError(message) from None
    particle = awkward.Array([{"px": 1.0, "py": 0.0, "pz": 0.0, "E": 1.0}], with_name="Momentum4D")
    sys.stdout.flush()
    shown, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        fastjet.ClusterSequence(particle, fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)).inclusive_jets()
    finally:
        os.dup2(shown, 1)
        os.close(shown)
        os.close(nowhere)
    return fastjet, awkward
