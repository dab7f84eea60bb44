"""The observables by which the CaloChallenge compares showers. Axes: S shower, V voxel, L layer."""

import numpy as np
from jaxtyping import Float

from statecast.particles.showers.geometry import Geometry
from statecast.particles.showers.sources.files import Showers

Observables = dict[str, Float[np.ndarray, " S"]]


def observables(showers: Showers, geometry: Geometry) -> Observables:
    """For each shower, and for each layer where a name ends in its number:

    response           deposited over incident energy
    energy_L           of a layer over the incident energy
    centre_x_L, _y_L   mean of r cos(alpha) and of r sin(alpha), by energy, in mm: the centre of energy in eta and phi
    width_x_L, _y_L    their standard deviations
    radius_L           mean of r in mm
    sparsity, _L       share of the voxels without energy

    0 in a layer without energy. As in the code of the CaloChallenge (Krause et al. 2024, arXiv:2410.21611).
    """
    x, y = geometry.centres_mm
    energies = showers.voxels_mev.astype(np.float64)
    total = energies.sum(axis=1)
    found = {"response": total / showers.incident_mev, "sparsity": (energies == 0).mean(axis=1)}
    for number, span in enumerate(geometry.spans):
        of_layer = energies[:, span]
        if of_layer.shape[1] == 0:
            continue
        energy = of_layer.sum(axis=1)
        share = of_layer / np.where(energy > 0, energy, 1)[:, None]
        found[f"energy_{number}"] = energy / showers.incident_mev
        found[f"sparsity_{number}"] = (of_layer == 0).mean(axis=1)
        found[f"radius_{number}"] = share @ np.hypot(x[span], y[span])
        if geometry.layers[number].alphas > 1:
            for name, place in (("x", x[span]), ("y", y[span])):
                centre = share @ place
                found[f"centre_{name}_{number}"] = centre
                found[f"width_{name}_{number}"] = np.sqrt(np.clip(share @ place**2 - centre**2, 0, None))
    return found


def as_columns(found: Observables) -> Float[np.ndarray, "S F"]:
    return np.stack(list(found.values()), axis=1)


def kind_of(name: str) -> str:
    """The kind of an observable, without the number of its layer."""
    return name.rstrip("0123456789").rstrip("_")
