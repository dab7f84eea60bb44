"""Whole events of a search: a heavy resonance that decays to top quarks, and the backgrounds of QCD and top pairs, by Pythia 8.

An event is accepted if its two measured jets of largest pT are in |eta| < 2 and above a threshold. Its other jets are kept from 200 GeV on.

Axes: E event, J jet, N particle of all events.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from statecast.particles.events import Events, rows_of
from statecast.particles.jets import Jets, momentum_components
from statecast.particles.sources.detector import Columns, measure
from statecast.particles.sources.pythia import (
    BATCH_EVENTS,
    MAX_ETA,
    VECTOR_BOSONS_TO_QUARKS,
    clustered,
    flattened,
    started,
    visible_particles,
)

OTHER_JETS_GEV = 200.0
LARGEST_PT_HAT = 2.5
"""Of the threshold: hard processes beyond are not simulated. They are some 0.3 % of the QCD events above 450 GeV."""
FB_PER_MB = 1e12


@dataclass(frozen=True)
class Process:
    """How events of a process are generated.

    label      name of the process in files
    settings   of Pythia
    steepness  n of the spectrum pT^-n, which is flattened by this factor; None for a resonance, whose mass sets the scale
    """

    label: str
    settings: tuple[str, ...]
    steepness: float | None


PROCESSES = {
    "zprime": Process(
        "Zprime",
        (
            "NewGaugeBoson:ffbar2gmZZprime = on",
            "Zprime:gmZmode = 3",
            "32:onMode = off",
            "32:onIfAny = 6",
            *VECTOR_BOSONS_TO_QUARKS,
        ),
        None,
    ),
    "qcd": Process("QCD", ("HardQCD:all = on",), 4.0),
    "ttbar": Process("ttbar", ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *VECTOR_BOSONS_TO_QUARKS), 4.0),
}
"""Z' -> t tbar with the couplings of the Standard Model's Z; light quarks, heavy quarks and gluons; t tbar. All W decay to quarks."""


def generate_events(
    process: Process, min_pt_gev: float, mass_gev: float, pythia_seed: int, random: np.random.Generator
) -> Iterator[Events]:
    """Endless batches of accepted events; some may be empty.

    `of_events` has `MISSING_MOMENTUM`, `weight`, which undoes the flattening, and `cross_section_fb`: that of the process after the
    selection, σ Σ_accepted w / Σ_all w, estimated from this batch and those before it.
    """
    pythia = started(_settings(process, min_pt_gev, mass_gev), pythia_seed)
    of_all, of_accepted = 0.0, 0.0
    while True:
        batch = pythia.nextBatch(BATCH_EVENTS)
        particles, vertex_mm = visible_particles(batch.prt, pythia.particleData.charge)
        measured = measure(particles, vertex_mm, random)
        jets, event = clustered(measured, len(batch), OTHER_JETS_GEV)
        events = in_events(jets, event, missing_momentum(measured, len(batch)))
        weight = _weights(batch, process, min_pt_gev)
        accepted = is_accepted(events, min_pt_gev)
        of_all, of_accepted = of_all + float(weight.sum()), of_accepted + float(weight[accepted].sum())
        sigma_fb = pythia.infoPython().sigmaGen() * FB_PER_MB * of_accepted / of_all
        normalised = {**events.of_events, "weight": weight, "cross_section_fb": np.full(len(events), sigma_fb)}
        labels = np.full(len(events), process.label)
        yield Events(events.offsets, events.jets, normalised, labels)[np.flatnonzero(accepted)]


def _settings(process: Process, min_pt_gev: float, mass_gev: float) -> tuple[str, ...]:
    if process.steepness is None:
        return (*process.settings, f"32:m0 = {mass_gev}", f"PhaseSpace:mHatMin = {mass_gev / 2}")
    return (*process.settings, *flattened(0.8 * min_pt_gev, LARGEST_PT_HAT * min_pt_gev, process.steepness))


def _weights(batch: Any, process: Process, min_pt_gev: float) -> Float[np.ndarray, " E"]:
    if process.steepness is None:
        return np.ones(len(batch))
    return (min_pt_gev / np.sqrt(np.asarray(batch.info.pT2Hat))) ** process.steepness


def missing_momentum(particles: Columns, events: int) -> dict[str, Float[np.ndarray, " E"]]:
    """Size and azimuth of minus the sum of the transverse momenta of all measured particles of each event."""
    px, py, _, _ = momentum_components(particles)
    x, y = (-np.bincount(particles["event"], component, minlength=events) for component in (px, py))
    return {"met_gev": np.hypot(x, y), "met_phi": np.arctan2(y, x)}


def in_events(jets: Jets, event: Int[np.ndarray, " J"], of_events: dict[str, Float[np.ndarray, " E"]]) -> Events:
    """Jets by their event, in order of decreasing pT; `event` is the number of the event of each."""
    order = np.lexsort((-jets.of_jets["pt_gev"], event))
    counts = np.bincount(event, minlength=len(of_events["met_gev"]))
    return Events(np.concatenate([[0], np.cumsum(counts)]).astype(int), jets[order], of_events)


def is_accepted(events: Events, min_pt_gev: float) -> Bool[np.ndarray, " E"]:
    """Whether the two jets of largest pT are above the threshold and in |eta| < 2."""
    accepted = events.multiplicity >= 2
    pairs = rows_of(events.leading(2).offsets, np.flatnonzero(accepted)).reshape(-1, 2)
    jets = events.leading(2).jets.of_jets
    inside = (jets["pt_gev"] > min_pt_gev) & (np.abs(jets["eta"]) < MAX_ETA)
    accepted[accepted] = inside[pairs].all(axis=1)
    return accepted
