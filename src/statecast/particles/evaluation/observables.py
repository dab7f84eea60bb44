"""The observables by which jets are compared and told apart. Axes: J jet, F feature."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from statecast.particles.jets import Jets

TAGGING = ("mass_gev", "soft_drop_mass_gev", "tau21", "tau32", "multiplicity")
"""The five variables of the substructure baselines."""
GENERATION = ("mass_gev", "multiplicity", "tau21", "tau32", "pt_gev")
"""The variables in which generated jets are compared with true ones."""


def observables(jets: Jets) -> dict[str, Float[np.ndarray, " J"]]:
    """Mass and pT of each jet and its substructure, all computed from its constituents; a ratio that is undefined counts as 0.

    What a file says of a jet is not used: generated and true jets are treated alike.
    """
    from statecast.particles.jets import summed_momentum
    from statecast.particles.substructure import substructure

    momentum = summed_momentum(jets)
    found = {"mass_gev": momentum["mass_gev"], "pt_gev": momentum["pt_gev"], **substructure(jets)}
    return {name: np.nan_to_num(np.asarray(values, np.float64)) for name, values in found.items()}


def as_features(of_jets: Mapping[str, Float[np.ndarray, " J"]], names: tuple[str, ...]) -> Float[np.ndarray, "J F"]:
    """The named observables as columns."""
    return np.stack([of_jets[name] for name in names], axis=1)
