"""Particle numbering of the Particle Data Group: charge and kind of a particle by its code. Axes: N particle."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from statecast.particles.jets import PARTICLE_KINDS, UNKNOWN_KIND

ELECTRON, MUON, PHOTON = 11, 13, 22
LEPTONS = (11, 13, 15)
NEUTRINOS = (12, 14, 16)
FORWARD_HADRON, FORWARD_PHOTON = 1, 2  # CMS's codes of energy in the forward calorimeter, where PDG has quarks
CHARGED_HADRON, NEUTRAL_HADRON = PARTICLE_KINDS.index("charged hadron"), PARTICLE_KINDS.index("neutral hadron")
PHOTON_KIND, ELECTRON_KIND, MUON_KIND = (PARTICLE_KINDS.index(name) for name in ("photon", "electron", "muon"))


def charges(codes: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Electric charge in units of e, from the quarks that the digits of a hadron's code name; 0 for what is no hadron or lepton.

    A meson `...ab.` is a quark and an antiquark: a > b, and a is the quark if it is up-like (even), else the antiquark.
    A baryon `...abc.` is three quarks. Source: PDG, Monte Carlo particle numbering scheme.
    """
    codes = np.asarray(codes, np.int64)
    size = np.abs(codes)
    thirds = np.array([0, -1, 2, -1, 2, -1, 2, -1, 2, 0])  # charge of quark number 1 to 8, in thirds
    first, second, third = (size // place % 10 for place in (1000, 100, 10))
    meson = np.where(second % 2 == 0, 1, -1) * (thirds[second] - thirds[third])
    baryon = thirds[first] + thirds[second] + thirds[third]
    hadron = np.where(first == 0, meson, np.where(second == 0, 0, baryon))
    of_hadron = np.where(size > 100, hadron / 3, 0.0)
    return np.sign(codes) * np.where(np.isin(size, LEPTONS), -1.0, of_hadron)


def kinds(codes: Int[np.ndarray, " N"], charge: Shaped[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Places in `PARTICLE_KINDS`: electrons, muons and photons by code, hadrons by charge; `UNKNOWN_KIND` for neutrinos and without charge.

    Code 0, which Delphes gives to a neutral cluster, and CMS's code 1 count as neutral hadrons, CMS's code 2 as photons.
    """
    size = np.abs(codes)
    hadron = np.where(charge == 0, NEUTRAL_HADRON, CHARGED_HADRON)
    conditions = [
        size == ELECTRON,
        size == MUON,
        (size == PHOTON) | (size == FORWARD_PHOTON),
        np.isin(size, NEUTRINOS) | np.isnan(charge),
    ]
    return np.select(conditions, [ELECTRON_KIND, MUON_KIND, PHOTON_KIND, UNKNOWN_KIND], hadron).astype(np.int8)
