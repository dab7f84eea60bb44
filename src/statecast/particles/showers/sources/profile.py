"""A parametrisation of electromagnetic showers. It is no simulation by Geant4: no particle is tracked.

After Grindhammer & Peters 1993 (hep-ex/0001020), in the form for a homogeneous medium; their numbers were compared with those of Geant4's
example of a tuned GFlash (`ExGflashHomoShowerTuning`), from which only k4 of an earlier sketch differed (0.0412, not 0.0421).

    dE/dt = E f(t; alpha, beta),   (ln T, ln alpha) normal and correlated,   beta = (alpha - 1) / T        depth t in radiation lengths
    f(r)  = p 2 r Rc² / (r² + Rc²)² + (1 - p) 2 r Rt² / (r² + Rt²)²                                         radius r in Molière radii

with a gamma density f(t). Energy is deposited in N = 93 ln(Z) E^0.876 spots, distributed in depth by a gamma density of their own. Each
layer's energy fluctuates by sampling: a gamma distribution of variance c² E (GeV).

Where we deviate: the numbers of spots in voxels are drawn as independent Poisson numbers, which is the same as placing the spots one by one
but faster; and the energies of spots are exponential instead of all equal, so that voxels do not hold whole multiples of one quantum.

Axes: S shower, V voxel, L layer, R ring.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import gammainc

from statecast.particles.showers.geometry import Geometry, Layer

Z, A, DENSITY, X0_CM = 68.36, 170.87, 8.28, 0.8903  # lead tungstate, weighted by mass (Particle Data Group)
X0 = X0_CM * DENSITY  # g / cm²
CRITICAL_GEV = 2.66e-3 * (X0 * Z / A) ** 1.1
MOLIERE_MM = 10 * X0_CM * 21e-3 / CRITICAL_GEV
LEAST_GEV = 0.1  # below, the fits of the paper have no meaning
MEV = 1000.0  # in a GeV


@dataclass(frozen=True)
class Calorimeter:
    """What the XML of a geometry does not say.

    depth_x0       radiation lengths that the layers share equally
    stochastic     c of the sampling fluctuation, in GeV^½
    threshold_mev  smaller energies of a voxel are read as 0
    """

    depth_x0: float = 25.0
    stochastic: float = 0.1
    threshold_mev: float = (
        0.5 / 33
    )  # of datasets 2 and 3 of the CaloChallenge: 0.5 keV over a sampling fraction of 0.033


@dataclass(frozen=True)
class Profiles:
    """The longitudinal profile of each shower, as parameters of gamma densities; T is the depth of the maximum.

    mean_alpha  that of a shower of this energy, without its fluctuation
    """

    t: Float[np.ndarray, " S"]
    alpha: Float[np.ndarray, " S"]
    mean_alpha: Float[np.ndarray, " S"]


def draw_profiles(energies_gev: Float[np.ndarray, " S"], random: np.random.Generator) -> Profiles:
    """T and alpha of each shower, with their fluctuations."""
    y = np.log(energies_gev / CRITICAL_GEV)
    log_t, log_alpha = np.log(y - 0.812), np.log(0.81 + (0.458 + 2.26 / Z) * y)
    of_t, of_alpha, rho = 1 / (-1.4 + 1.26 * y), 1 / (-0.58 + 0.86 * y), 0.705 - 0.023 * y
    one, other = random.standard_normal((2, len(y)))
    both, apart = np.sqrt((1 + rho) / 2) * one, np.sqrt((1 - rho) / 2) * other
    return Profiles(
        np.exp(log_t + of_t * (both + apart)), np.exp(log_alpha + of_alpha * (both - apart)), np.exp(log_alpha)
    )


def in_layers(alpha: np.ndarray, t: np.ndarray, edges: Float[np.ndarray, " L+1"]) -> Float[np.ndarray, "S L"]:
    """Share of a gamma density between the edges, with its maximum at `t`."""
    beta = (alpha - 1) / t
    return np.diff(gammainc(alpha[:, None], beta[:, None] * edges), axis=1)


def inside(
    layer: Layer, tau: Float[np.ndarray, " S"], energies_gev: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "S R"]:
    """Share of the spots of a layer within each ring; tau is the depth in units of T."""
    log_e = np.log(energies_gev)
    core = 0.0251 + 0.00319 * log_e + (0.1162 - 0.000381 * Z) * tau
    k4 = 0.3585 + 0.0412 * log_e
    tail = (0.659 - 0.00309 * Z) * (np.exp(-2.59 * (tau - 0.645)) + np.exp(np.minimum(k4 * (tau - 0.645), 5.0)))
    u = (0.401 + 0.00187 * Z - tau) / (1.313 - 0.0686 * log_e)
    p = np.clip((2.632 - 0.00094 * Z) * np.exp(u - np.exp(np.minimum(u, 50.0))), 0, 1)[:, None]
    r2 = (np.array(layer.r_edges_mm) / MOLIERE_MM) ** 2
    within = p * r2 / (r2 + core[:, None] ** 2) + (1 - p) * r2 / (r2 + tail[:, None] ** 2)
    return np.diff(within, axis=1)


def draw_showers(
    energies_gev: Float[np.ndarray, " S"], geometry: Geometry, calorimeter: Calorimeter, random: np.random.Generator
) -> Float[np.ndarray, "S V"]:
    """Energies of voxels in MeV of electrons that enter at the centre, perpendicularly. What leaves the voxels is lost."""
    profiles = draw_profiles(energies_gev, random)
    edges = np.linspace(0, calorimeter.depth_x0, len(geometry.layers) + 1)
    deposited = energies_gev[:, None] * in_layers(profiles.alpha, profiles.t, edges)
    c2 = calorimeter.stochastic**2
    visible = random.standard_gamma(deposited / c2) * c2 if c2 > 0 else deposited
    spots = 93 * np.log(Z) * energies_gev**0.876
    of_spots = in_layers(profiles.alpha * (0.639 + 0.00334 * Z), profiles.t * (0.698 + 0.00212 * Z), edges)
    middles = (edges[1:] + edges[:-1]) / 2
    correction = (profiles.alpha - 1) / profiles.alpha * profiles.mean_alpha / (profiles.mean_alpha - 1)
    showers = np.zeros((len(energies_gev), geometry.voxels), np.float32)
    for number, (layer, span) in enumerate(zip(geometry.layers, geometry.spans, strict=True)):
        if layer.voxels == 0:
            continue
        tau = middles[number] / profiles.t * correction
        rings = inside(layer, tau, energies_gev)
        expected = (spots * of_spots[:, number])[:, None] * rings
        shares = _shares(expected, spots * of_spots[:, number], layer.alphas, random)
        showers[:, span] = shares * (MEV * visible[:, number, None])
    showers[showers < calorimeter.threshold_mev] = 0
    return showers


def _shares(
    expected: Float[np.ndarray, "S R"], spots: Float[np.ndarray, " S"], alphas: int, random: np.random.Generator
) -> Float[np.ndarray, "S V"]:
    """Share of a layer's energy in each of its voxels, from exponential energies of a Poisson number of spots in each and outside."""
    of_voxels = np.repeat(expected[:, None, :] / alphas, alphas, axis=1).reshape(len(expected), -1)
    outside = np.maximum(spots - expected.sum(axis=1), 0)[:, None]
    energies = random.standard_gamma(random.poisson(np.concatenate([of_voxels, outside], axis=1)))
    total = energies.sum(axis=1, keepdims=True)
    return energies[:, :-1] / np.where(total > 0, total, 1)
