"""Jets with their constituents, as columns: the data type that passes between the parts of this package.

Axes: J jet, N constituent of all jets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Int, Shaped

PARTICLE_KINDS = ("charged hadron", "neutral hadron", "photon", "electron", "muon")
"""Names of the codes in the column `kind`; a particle of another or unknown kind has `UNKNOWN_KIND`."""
UNKNOWN_KIND = -1
"""The same as `streams.UNKNOWN`, so that a kind is the code of a token."""
MOMENTUM = ("pt_gev", "eta", "phi", "mass_gev")
"""Columns that every constituent and every jet has: transverse momentum, pseudorapidity, azimuth in [-pi, pi), mass."""
TRACK = ("d0_mm", "d0_error_mm", "dz_mm", "dz_error_mm")
"""Impact parameters of a track and their uncertainties; NaN for a particle without a track."""
NO_LABEL = "unlabelled"
"""The label of a jet with no label, or with several, where others have one."""


class JetError(ValueError):
    """Jets or their file can't be used. The message names the file, the expected content and the remedy."""


@dataclass(frozen=True)
class Jets:
    """A batch of jets; the constituents of jet j are those from `offsets[j]` to `offsets[j + 1]`, in order of decreasing pT.

    particles  columns of the constituents: `MOMENTUM`, `kind` (codes of `PARTICLE_KINDS`), `charge` (in units of e; NaN if the source
               has none), and those of `TRACK` that the source has
    of_jets    columns of the jets: `MOMENTUM`, and any further number, such as `generated_mass_gev`
    labels     name of the class of each jet; None for unlabelled jets
    numbers    place of each jet in its files, which it keeps where others are dropped; None for jets of no file
    """

    offsets: Int[np.ndarray, " J_plus_1"]
    particles: Mapping[str, Shaped[np.ndarray, " N"]]
    of_jets: Mapping[str, Float[np.ndarray, " J"]]
    labels: Shaped[np.ndarray, " J"] | None = None
    numbers: Int[np.ndarray, " J"] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def multiplicity(self) -> Int[np.ndarray, " J"]:
        """Number of constituents of each jet."""
        return np.diff(self.offsets)

    def particles_of(self, jet: int) -> dict[str, np.ndarray]:
        """The columns of the constituents of one jet."""
        span = slice(self.offsets[jet], self.offsets[jet + 1])
        return {name: column[span] for name, column in self.particles.items()}

    def __getitem__(self, chosen: Int[np.ndarray, " K"] | slice) -> Self:
        """The chosen jets, in this order."""
        places = np.arange(len(self))[chosen]
        counts = self.multiplicity[places]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        rows = np.repeat(self.offsets[places], counts) + within
        particles = {name: column[rows] for name, column in self.particles.items()}
        of_jets = {name: column[places] for name, column in self.of_jets.items()}
        labels, numbers = (None if each is None else each[places] for each in (self.labels, self.numbers))
        return type(self)(offsets, particles, of_jets, labels, numbers)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All jets of several batches with the same columns. Raises JetError if their columns differ."""
        first = parts[0]
        for part in parts[1:]:
            differing = set(first.particles) ^ set(part.particles) | set(first.of_jets) ^ set(part.of_jets)
            if differing or (first.labels is None) != (part.labels is None):
                raise JetError(
                    f"batches of jets differ in their columns ({', '.join(sorted(differing)) or 'labels'}). Read files of one layout."
                )
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([part.multiplicity for part in parts]))])
        particles = {name: np.concatenate([part.particles[name] for part in parts]) for name in first.particles}
        of_jets = {name: np.concatenate([part.of_jets[name] for part in parts]) for name in first.of_jets}
        labels = None if first.labels is None else np.concatenate([part.labels for part in parts])
        known = [part.numbers for part in parts if part.numbers is not None]
        numbers = np.concatenate(known) if len(known) == len(parts) else None
        return cls(offsets, particles, of_jets, labels, numbers)


def momentum_components(columns: Mapping[str, np.ndarray]) -> Float[np.ndarray, "4 N"]:
    """px, py, pz and energy in GeV, from the columns `MOMENTUM`.

    px = pT cos φ,  py = pT sin φ,  pz = pT sinh η,  E² = m² + pT² cosh² η
    """
    pt, eta, phi, mass = (np.asarray(columns[name], np.float64) for name in MOMENTUM)
    energy = np.sqrt(mass**2 + (pt * np.cosh(eta)) ** 2)
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy])


def momentum_columns(components: Float[np.ndarray, "4 N"]) -> dict[str, Float[np.ndarray, " N"]]:
    """The columns `MOMENTUM` of px, py, pz and energy. A negative squared mass, as rounding leaves it, counts as 0."""
    px, py, pz, energy = components
    pt = np.hypot(px, py)
    eta = np.arcsinh(np.divide(pz, pt, out=np.zeros_like(pz), where=pt > 0))
    squared_mass = energy**2 - px**2 - py**2 - pz**2
    columns = (pt, eta, np.arctan2(py, px), np.sqrt(np.maximum(squared_mass, 0.0)))
    return dict(zip(MOMENTUM, columns, strict=True))


def summed_momentum(jets: Jets) -> dict[str, Float[np.ndarray, " J"]]:
    """The columns `MOMENTUM` of the sum of the constituents of each jet."""
    components = momentum_components(jets.particles)
    cumulative = np.concatenate([np.zeros((4, 1)), np.cumsum(components, axis=1)], axis=1)
    return momentum_columns(cumulative[:, jets.offsets[1:]] - cumulative[:, jets.offsets[:-1]])


def wrapped(phi: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """An angle in [-pi, pi)."""
    return (phi + np.pi) % (2 * np.pi) - np.pi
