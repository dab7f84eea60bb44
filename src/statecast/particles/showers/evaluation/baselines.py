"""What a generator of showers has to beat, and what it can't. Axes: S shower, V voxel, N neighbour."""

import numpy as np
from jaxtyping import Float, Int

from statecast.particles.showers.sources.files import Showers

NEIGHBOURS = 50  # showers of similar energy from which voxels are drawn one by one


def nearest_showers(known: Showers, incident_mev: Float[np.ndarray, " S"]) -> Showers:
    """For each energy the shower of training whose energy is nearest, scaled by the ratio of the two."""
    nearest = _neighbours(known, incident_mev, 1)[:, 0]
    return Showers(incident_mev, known.voxels_mev[nearest] * _ratio(known, incident_mev, nearest)[:, None])


def independent_voxels(known: Showers, incident_mev: Float[np.ndarray, " S"], random: np.random.Generator) -> Showers:
    """Each voxel from another of the 50 showers of training of nearest energy, scaled: right marginals, no relation among voxels."""
    near = _neighbours(known, incident_mev, min(NEIGHBOURS, len(known)))
    voxels = np.zeros((len(incident_mev), known.voxels_mev.shape[1]), np.float32)
    for number, numbers in enumerate(near):
        chosen = numbers[random.integers(len(numbers), size=voxels.shape[1])]
        scale = incident_mev[number] / known.incident_mev[chosen]
        voxels[number] = known.voxels_mev[chosen, np.arange(voxels.shape[1])] * scale
    return Showers(incident_mev, voxels)


def _neighbours(known: Showers, incident_mev: Float[np.ndarray, " S"], count: int) -> Int[np.ndarray, "S N"]:
    """The showers of nearest energy, by rank: a window around each energy in the sorted ones."""
    order = np.argsort(known.incident_mev)
    energies = known.incident_mev[order]
    middle = np.searchsorted(energies, incident_mev)
    if count == 1:
        below, above = np.clip(middle - 1, 0, None), np.clip(middle, None, len(energies) - 1)
        is_below = incident_mev - energies[below] <= energies[above] - incident_mev
        return order[np.where(is_below, below, above)][:, None]
    first = np.clip(middle - count // 2, 0, len(energies) - count)
    return order[first[:, None] + np.arange(count)]


def _ratio(known: Showers, incident_mev: Float[np.ndarray, " S"], chosen: Int[np.ndarray, " S"]) -> np.ndarray:
    return (incident_mev / known.incident_mev[chosen]).astype(np.float32)
