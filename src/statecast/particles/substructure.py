"""Variables of the substructure of jets, the classical input of taggers. Axes: J jet."""

import numpy as np
from jaxtyping import Float

from statecast.particles.clustering import LARGEST_RADIUS, clustering
from statecast.particles.jets import JetError, Jets

RADIUS = 0.8
ANGULAR_EXPONENT = 1.0
SOFT_DROP_CUT = 0.1
SOFT_DROP_EXPONENT = 0.0
SUBJETS = (1, 2, 3, 4)


def substructure(jets: Jets) -> dict[str, Float[np.ndarray, " J"]]:
    """`tau1` to `tau4`, `tau21`, `tau32`, `soft_drop_mass_gev` and `multiplicity` of each jet.

    N-subjettiness (Thaler & Van Tilburg, JHEP 03 (2011) 015), by fastjet-contrib, sums over the constituents k:

        τ_N = Σ_k pT_k min(ΔR_1k, ..., ΔR_Nk) / Σ_k pT_k R0        R0 = 0.8, β = 1

    Its axes are the N exclusive kT jets, improved by one pass of minimisation. A jet of up to N particles has τ_N = 0. tau21 = τ_2 / τ_1
    and tau32 = τ_3 / τ_2 are NaN where the divisor is 0.

    Soft drop (Larkoski et al., JHEP 05 (2014) 146): the jet is clustered again by Cambridge/Aachen and undone from the last step
    on, dropping the softer of the two branches, until min(pT_1, pT_2) / (pT_1 + pT_2) > 0.1 (ΔR / R0)^0. Multiplicity is the number of
    constituents.

    Raises JetError for a jet without constituents, or if fastjet is not installed.
    """
    if not len(jets):
        return {name: np.zeros(0) for name in names()}
    if empty := np.flatnonzero(jets.multiplicity == 0).tolist():
        raise JetError(f"jet {empty[0]}: has no constituents, expected at least 1. Leave such jets out.")
    sequence = clustering(jets.particles, jets.multiplicity, "cambridge", LARGEST_RADIUS)
    tau = np.asarray(sequence.njettiness(njets=list(SUBJETS), beta=ANGULAR_EXPONENT, R0=RADIUS)).T
    groomed = sequence.exclusive_jets_softdrop_grooming(
        njets=1, beta=SOFT_DROP_EXPONENT, symmetry_cut=SOFT_DROP_CUT, R0=RADIUS
    )
    soft_drop_mass = np.maximum(np.asarray(groomed["msoftdrop"]), 0.0)  # rounding gives a massless jet a negative mass
    ratios = (_ratio(tau[1], tau[0]), _ratio(tau[2], tau[1]))
    values = (*tau, *ratios, soft_drop_mass, jets.multiplicity.astype(float))
    return dict(zip(names(), values, strict=True))


def names() -> tuple[str, ...]:
    """Names of the variables, in their order."""
    return (*(f"tau{count}" for count in SUBJETS), "tau21", "tau32", "soft_drop_mass_gev", "multiplicity")


def _ratio(one: Float[np.ndarray, " J"], other: Float[np.ndarray, " J"]) -> Float[np.ndarray, " J"]:
    return np.divide(one, other, out=np.full_like(one, np.nan), where=other > 0)
