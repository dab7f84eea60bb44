"""Events with their jets, as columns. Axes: E event, J jet of all events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Int, Shaped

from statecast.particles.jets import Jets, momentum_components, wrapped

MISSING_MOMENTUM = ("met_gev", "met_phi")
"""Columns that every event has: size and azimuth of the missing transverse momentum."""
NORMALISATION = ("weight", "cross_section_fb")
"""Columns of simulated events: the relative weight of an event within its process, and an estimate of the cross-section of its process
after the selection."""


@dataclass(frozen=True)
class Events:
    """A batch of events; the jets of event e are those from `offsets[e]` to `offsets[e + 1]`, in order of decreasing pT.

    of_events  columns of the events: `MISSING_MOMENTUM`, `NORMALISATION` if they are simulated, and any further number
    labels     name of the process of each event; None for unlabelled events
    """

    offsets: Int[np.ndarray, " E_plus_1"]
    jets: Jets
    of_events: Mapping[str, Float[np.ndarray, " E"]]
    labels: Shaped[np.ndarray, " E"] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def multiplicity(self) -> Int[np.ndarray, " E"]:
        """Number of jets of each event."""
        return np.diff(self.offsets)

    def __getitem__(self, chosen: Int[np.ndarray, " K"] | slice) -> Self:
        """The chosen events, in this order."""
        numbers = np.arange(len(self))[chosen]
        counts = self.multiplicity[numbers]
        of_events = {name: column[numbers] for name, column in self.of_events.items()}
        labels = None if self.labels is None else self.labels[numbers]
        return type(self)(_offsets(counts), self.jets[rows_of(self.offsets, numbers)], of_events, labels)

    def leading(self, most_jets: int) -> Self:
        """The same events with at most so many jets each, those of largest pT."""
        rank = np.arange(len(self.jets)) - np.repeat(self.offsets[:-1], self.multiplicity)
        counts = np.minimum(self.multiplicity, most_jets)
        return type(self)(_offsets(counts), self.jets[np.flatnonzero(rank < most_jets)], self.of_events, self.labels)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """All events of several batches with the same columns."""
        jets = Jets.joined([part.jets for part in parts])
        counts = np.concatenate([part.multiplicity for part in parts])
        of_events = {name: np.concatenate([part.of_events[name] for part in parts]) for name in parts[0].of_events}
        labels = [part.labels for part in parts if part.labels is not None]
        return cls(_offsets(counts), jets, of_events, np.concatenate(labels) if len(labels) == len(parts) else None)


def relative_weight(events: Events) -> Float[np.ndarray, " E"]:
    """The weight of each event, 1 in the mean of its process; 1 for events that are not simulated."""
    weight = np.asarray(events.of_events.get("weight", np.ones(len(events))), np.float64)
    process = np.zeros(len(events)) if events.labels is None else events.labels
    _, code = np.unique(process, return_inverse=True)
    mean = np.bincount(code, weight) / np.bincount(code)
    return (weight / mean[code]).astype(np.float32)


def rows_of(offsets: Int[np.ndarray, " E_plus_1"], events: Int[np.ndarray, " K"]) -> Int[np.ndarray, " L"]:
    """The numbers of the jets of these events."""
    counts = np.diff(offsets)[events]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(offsets[events], counts) + within


def _offsets(counts: Int[np.ndarray, " E"]) -> Int[np.ndarray, " E_plus_1"]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(int)


def leading_pair(events: Events) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The columns of the first and the second jet of each event; NaN where there is none."""
    pair = []
    for rank in (0, 1):
        has = events.multiplicity > rank
        rows = np.where(has, events.offsets[:-1] + rank, 0)
        columns = {}
        for name, column in events.jets.of_jets.items():
            columns[name] = np.where(has, column[rows] if len(column) else np.nan, np.nan)
        pair.append(columns)
    return pair[0], pair[1]


def dijet_mass(events: Events) -> Float[np.ndarray, " E"]:
    """Mass in GeV of the sum of the two jets of largest pT, m² = (E₁ + E₂)² - |p₁ + p₂|²; NaN with fewer jets."""
    one, other = (momentum_components(jet) for jet in leading_pair(events))
    px, py, pz, energy = one + other
    return np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0.0))


def angle_to_leading(events: Events) -> Float[np.ndarray, " E"]:
    """Azimuth of the missing momentum less that of the first jet, in [-pi, pi)."""
    return wrapped(events.of_events["met_phi"] - leading_pair(events)[0]["phi"])


EVENT_NUMBERS: dict[str, Callable[[Events], np.ndarray]] = {
    "met_gev": lambda events: np.log1p(events.of_events["met_gev"]),
    "met_cos_phi": lambda events: np.cos(angle_to_leading(events)),
    "met_sin_phi": lambda events: np.sin(angle_to_leading(events)),
    "dijet_mass_gev": lambda events: np.log1p(dijet_mass(events)),
    "dijet_delta_eta": lambda events: np.subtract(*(jet["eta"] for jet in leading_pair(events))),
    "dijet_delta_phi": lambda events: wrapped(np.subtract(*(jet["phi"] for jet in leading_pair(events)))),
}
"""Numbers of an event that its stream may hold, in their scaled form: log(1 + x) of momenta and masses in GeV."""


def event_numbers(events: Events, names: Sequence[str]) -> Float[np.ndarray, "E M"]:
    """The named numbers of each event in their scaled form; NaN where unknown."""
    return np.stack([EVENT_NUMBERS[name](events) for name in names], axis=1).astype(np.float32)
