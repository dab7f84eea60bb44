"""Numbers that describe a particle or a jet, from the columns of `Jets`, and the particles that such numbers stand for.

Axes: J jet, N constituent of all jets, F feature.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from statecast.particles.jets import MOMENTUM, PARTICLE_KINDS, TRACK, JetError, Jets, wrapped

Columns = Mapping[str, np.ndarray]

TRACK_SCALE_MM = (
    0.05  # impact parameters within the resolution of a tracker stay linear, those of decays become logarithmic
)
MASS_GEV = (0.13957, 0.49761, 0.0, 0.000511, 0.10566)
"""Mass of each of `PARTICLE_KINDS`, for particles whose mass is not tokenised: π±, K0, photon, e, μ (Particle Data Group 2024)."""
POSITION = ("delta_eta", "delta_phi")
MOMENTA = ("log_pt_fraction", "log_pt")

Feature = Callable[[Columns, Columns], np.ndarray]
"""(columns of particles, columns of the jet of each) -> a number of each particle."""


def _scaled_track(name: str) -> Feature:
    return lambda particle, jet: np.arcsinh(particle[name] / TRACK_SCALE_MM)


FEATURES: dict[str, Feature] = {
    "delta_eta": lambda particle, jet: particle["eta"] - jet["eta"],
    "delta_phi": lambda particle, jet: wrapped(particle["phi"] - jet["phi"]),
    "log_pt_fraction": lambda particle, jet: _log(particle["pt_gev"]) - _log(jet["pt_gev"]),
    "log_pt": lambda particle, jet: _log(particle["pt_gev"]),
    "charge": lambda particle, jet: particle["charge"],
    "mass_gev": lambda particle, jet: particle["mass_gev"],
    **{name: _scaled_track(name) for name in TRACK},
}
"""Features of a particle, from its columns and those of its jet: relative to the axis of the jet; logarithms of pT in GeV; asinh(x / 50 µm)
of impact parameters and their errors."""


class Quantity(NamedTuple):
    """A number of a whole jet.

    order   its place in the sequence of a jet, before the particles, which start at 0
    is_log  its scaled form is log(1 + x), else x
    """

    order: int
    is_log: bool


QUANTITIES = {
    "multiplicity": Quantity(-16, True),
    "pt_gev": Quantity(-15, True),
    "eta": Quantity(-14, False),
    "mass_gev": Quantity(-13, True),
    "soft_drop_mass_gev": Quantity(-12, True),
    "tau21": Quantity(-11, False),
    "tau32": Quantity(-10, False),
}
"""Numbers of a jet that its stream may hold, in the order in which generation draws them: the count comes first."""


def particle_features(jets: Jets, names: Sequence[str]) -> Float[np.ndarray, "N F"]:
    """The named features of all constituents; NaN where a feature is unknown. Raises JetError for a column that the jets lack."""
    counts = jets.multiplicity
    jet = {name: np.repeat(np.asarray(jets.of_jets[name], np.float64), counts) for name in MOMENTUM}
    found = np.empty((int(jets.offsets[-1] - jets.offsets[0]), len(names)), np.float32)
    for place, name in enumerate(names):
        if name in TRACK and name not in jets.particles:
            raise JetError(
                f"the jets have no column {name}. Columns: {', '.join(jets.particles)}. Leave it out of values."
            )
        found[:, place] = FEATURES[name](jets.particles, jet)
    return found


def principal_turns(jets: Jets) -> Float[np.ndarray, "J 2 2"]:
    """For each jet the rotation, with a reflection where needed, that turns its principal axis to Δη.

    The principal axis belongs to the larger eigenvalue of Σ pT x x^T, with x = (Δη, Δφ) from the axis of the jet. Of the four orientations
    that are left, the one with Σ pT x |x| >= 0 for both components is taken. So a jet that was turned or reflected about its axis is
    brought to the same place.
    """
    count = len(jets)
    of = np.repeat(np.arange(count), jets.multiplicity)
    eta = jets.particles["eta"] - np.asarray(jets.of_jets["eta"])[of]
    phi = wrapped(jets.particles["phi"] - np.asarray(jets.of_jets["phi"])[of])
    pt = jets.particles["pt_gev"]

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, pt * values, count)

    angle = 0.5 * np.arctan2(2 * summed(eta * phi), summed(eta**2) - summed(phi**2))
    cos, sin = np.cos(angle), np.sin(angle)
    along, across = cos[of] * eta + sin[of] * phi, cos[of] * phi - sin[of] * eta
    signs = [np.where(summed(each * np.abs(each)) < 0, -1.0, 1.0) for each in (along, across)]
    rows = np.stack([np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)], axis=1)
    return rows * np.stack(signs, axis=-1)[:, :, None]


def turned(
    features: Float[np.ndarray, "N F"],
    names: Sequence[str],
    turns: Float[np.ndarray, "J 2 2"],
    counts: Int[np.ndarray, " J"],
) -> Float[np.ndarray, "N F"]:
    """The features of particles after the turn of their jet in the plane of Δη and Δφ."""
    columns = [list(names).index(name) for name in POSITION]
    of_particles = np.repeat(turns, counts, axis=0)
    found = features.copy()
    found[:, columns] = np.einsum("nij,nj->ni", of_particles, features[:, columns])
    return found


def particle_columns(
    features: Float[np.ndarray, "N F"], names: Sequence[str], kinds: Int[np.ndarray, " N"], jet: Columns
) -> dict[str, np.ndarray]:
    """The columns of particles with these features; `jet` holds the columns of the jet of each. The inverse of `particle_features`.

    A mass that is not among the features is that of the kind of particle, a charge 0.
    """
    of = {name: np.asarray(features[:, place], np.float64) for place, name in enumerate(names)}
    if "log_pt_fraction" in of:
        pt = np.exp(of["log_pt_fraction"]) * jet["pt_gev"]
    else:
        pt = np.exp(of["log_pt"])
    columns = {
        "pt_gev": pt,
        "eta": of["delta_eta"] + jet["eta"],
        "phi": wrapped(of["delta_phi"] + jet["phi"]),
        "mass_gev": of["mass_gev"] if "mass_gev" in of else np.array([*MASS_GEV, MASS_GEV[0]])[kinds],
        "kind": np.asarray(kinds),
        "charge": np.round(of["charge"]) if "charge" in of else np.zeros(len(pt)),
    }
    return columns | {name: np.sinh(of[name]) * TRACK_SCALE_MM for name in TRACK if name in of}


def jet_quantities(jets: Jets, names: Sequence[str]) -> Float[np.ndarray, "J Q"]:
    """The named numbers of each jet in their scaled form; what the jets lack is computed from their particles. NaN where unknown."""
    known = {"multiplicity": jets.multiplicity.astype(float), **jets.of_jets}
    if any(name not in known for name in names):
        from statecast.particles.substructure import substructure

        known = {**substructure(jets), **known}
    found = np.empty((len(jets), len(names)), np.float32)
    for place, name in enumerate(names):
        values = known[name]
        found[:, place] = np.log1p(np.maximum(values, 0.0)) if QUANTITIES[name].is_log else values
    return found


def quantity_values(scaled: Float[np.ndarray, "*J"], name: str) -> Float[np.ndarray, "*J"]:
    """A number of a jet from its scaled form. The inverse of `jet_quantities`."""
    return np.expm1(scaled) if QUANTITIES[name].is_log else scaled


def _log(values: np.ndarray) -> np.ndarray:
    """Natural logarithm; NaN where a value is not positive."""
    positive = np.asarray(values) > 0
    return np.log(values, out=np.full(np.shape(values), np.nan), where=positive)


assert len(MASS_GEV) == len(PARTICLE_KINDS)
