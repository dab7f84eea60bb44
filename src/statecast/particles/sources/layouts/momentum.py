"""Columns `MOMENTUM` from what files hold of a momentum. Axes: N particle or jet."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from statecast.particles.jets import MOMENTUM, TRACK, momentum_columns, wrapped


def from_components(
    px: Float[np.ndarray, " N"],
    py: Float[np.ndarray, " N"],
    pz: Float[np.ndarray, " N"],
    energy: Float[np.ndarray, " N"],
) -> dict[str, Float[np.ndarray, " N"]]:
    """From px, py, pz and energy; φ is in [-π, π)."""
    components = np.stack([np.asarray(part, np.float64) for part in (px, py, pz, energy)])
    with np.errstate(invalid="ignore", over="ignore"):
        columns = momentum_columns(components)
    return columns | {"phi": wrapped(columns["phi"])}


def from_energy(
    pt: Float[np.ndarray, " N"], eta: Float[np.ndarray, " N"], energy: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """The mass: m² = E² - pT² cosh² η; 0 where rounding leaves less."""
    pt, eta, energy = (np.asarray(part, np.float64) for part in (pt, eta, energy))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.sqrt(np.maximum(energy**2 - (pt * np.cosh(eta)) ** 2, 0.0))


def momentum(
    pt: Float[np.ndarray, " N"],
    eta: Float[np.ndarray, " N"],
    phi: Float[np.ndarray, " N"],
    mass: Float[np.ndarray, " N"],
) -> dict[str, Float[np.ndarray, " N"]]:
    """From pT, η, φ and mass: φ to [-π, π), a mass that rounding left below 0 to 0."""
    with np.errstate(invalid="ignore"):
        parts = (pt, eta, wrapped(np.asarray(phi, np.float64)), np.maximum(mass, 0.0))
    return dict(zip(MOMENTUM, (np.asarray(part) for part in parts), strict=True))


def track(
    columns: Mapping[str, Float[np.ndarray, " N"]], charge: Float[np.ndarray, " N"], mm: float = 1.0
) -> dict[str, Float[np.ndarray, " N"]]:
    """The columns of `TRACK` in mm, in their order; NaN for a particle without charge, and where an uncertainty is negative, as CMS marks a
    track that was not kept. `mm` is the file's unit of length.
    """
    found = {name: np.asarray(columns[name], np.float64) for name in TRACK if name in columns}
    without = np.asarray(charge == 0)
    for name in ("d0_error_mm", "dz_error_mm"):
        if name in found:
            without = without | (found[name] < 0)
    return {name: np.where(without, np.nan, column * mm) for name, column in found.items()}


def nothing() -> dict[str, np.ndarray]:
    """The columns of no particle."""
    kind, charge = np.zeros(0, np.int8), np.zeros(0)
    return light(momentum(*np.zeros((4, 0))) | {"kind": kind, "charge": charge})


def light(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns in 32-bit floating point; codes in 8 bits."""
    return {name: column.astype(np.int8 if name == "kind" else np.float32) for name, column in columns.items()}
