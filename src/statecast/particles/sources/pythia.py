"""Proton-proton collisions at 13 TeV by Pythia 8, and the jets in them, before and after a parametrised detector.

Each kind of jet has a process, and all but QCD have a heavy particle that decays to quarks. A jet counts as of its kind if all these
quarks lie within R of its axis. Stable particles are those with cτ > 10 mm; neutrinos are not visible.

Axes: E event of a batch, N particle of all events, J jet.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from statecast.particles.clustering import clustering
from statecast.particles.jets import JetError, Jets, momentum_columns, momentum_components, summed_momentum, wrapped
from statecast.particles.sources.detector import Columns, kinds_of, measure

RADIUS = 0.8
MAX_ETA = 2.0
MATCH_RADIUS = 0.4
"""Largest distance between a jet and the generated jet that it is assigned: half of R, so that there is at most one."""
BATCH_EVENTS = 50
SEEDS = 900_000_000  # Pythia accepts 1 to this number
RESONANCES = (6, 23, 24, 25)
VECTOR_BOSONS_TO_QUARKS = ("23:onMode = off", "23:onIfAny = 1 2 3 4 5", "24:onMode = off", "24:onIfAny = 1 2 3 4 5")
VERSIONED = ("pythia8mc", "fastjet", "awkward", "numpy")


@dataclass(frozen=True)
class JetKind:
    """How jets of a kind are generated.

    label       as in JetClass, whose columns are named `label_QCD`, `label_Tbqq`
    settings    of Pythia: processes and decays
    heavy       its PDG code, or 0 for none
    steepness   n of the spectrum pT^-n of the hard process, which is flattened by this factor
    """

    label: str
    settings: tuple[str, ...]
    heavy: int
    steepness: float


KINDS = {
    "qcd": JetKind("QCD", ("HardQCD:all = on",), 0, 6.0),
    "top": JetKind("Tbqq", ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *VECTOR_BOSONS_TO_QUARKS), 6, 6.0),
    "w": JetKind("Wqq", ("WeakDoubleBoson:ffbar2WW = on", *VECTOR_BOSONS_TO_QUARKS), 24, 6.0),
    "z": JetKind(
        "Zqq",
        ("WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2", *VECTOR_BOSONS_TO_QUARKS),
        23,
        6.0,
    ),
    "h": JetKind(
        "Hbb",
        ("HiggsSM:ffbar2HZ = on", "23:onMode = off", "23:onIfAny = 12 14 16", "25:onMode = off", "25:onIfMatch = 5 -5"),
        25,
        6.0,
    ),
}
"""The kinds of jets: light quarks, heavy quarks and gluons; t -> b q q'; W -> q q'; Z -> q q; H -> b b."""
COMMON_SETTINGS = (
    "Print:quiet = on",
    "Beams:eCM = 13000.",
    "PartonLevel:MPI = on",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.",
    "Random:setSeed = on",
    "6:m0 = 172.5",
    "25:m0 = 125.",
)


@dataclass(frozen=True)
class GeneratedJets:
    """Jets with a measured and a generated version, jet by jet.

    measured    columns of `detector.measure`; `of_jets` has the weight of the event, which undoes the flattening of the spectrum
    generated   all visible particles of the nearest generated jet: `MOMENTUM`, `kind`, `charge`, `pdg`
    """

    measured: Jets
    generated: Jets

    def first(self, count: int) -> "GeneratedJets":
        return GeneratedJets(self.measured[:count], self.generated[:count])


def require_packages() -> dict[str, str]:
    """Versions of what generates jets. Raises JetError if a package is missing."""
    for name in ("pythia8mc", "fastjet", "awkward", "pyarrow"):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise JetError(
                f"simulation of jets: needs {name}, and {error.name} is not installed. pip install 'statecast[hep]'"
            ) from None
    return {name: version(name) for name in VERSIONED}


def generate(
    kind: JetKind, pt_range_gev: tuple[float, float], pythia_seed: int, random: np.random.Generator
) -> Iterator[GeneratedJets]:
    """Endless batches of jets of this kind with a measured pT in this range and |eta| < 2; some may be empty.

    `pythia_seed` is 1 to `SEEDS`; `random` draws the measurement.
    """
    pythia = started(_settings(kind, pt_range_gev), pythia_seed)
    while True:
        batch = pythia.nextBatch(BATCH_EVENTS)
        particles, vertex_mm = visible_particles(batch.prt, pythia.particleData.charge)
        measured = measure(particles, vertex_mm, random)
        jets, event = clustered(measured, len(batch), pt_range_gev[0])
        generated, generated_event = clustered(particles, len(batch), pt_range_gev[0] / 2)
        nearest, distance = nearest_axes(axes(jets), event, axes(generated), generated_event)
        accepted = (jets.of_jets["pt_gev"] < pt_range_gev[1]) & (np.abs(jets.of_jets["eta"]) < MAX_ETA)
        accepted &= distance < MATCH_RADIUS
        if kind.heavy:
            accepted &= _contain_a_decay(batch.prt, kind.heavy, axes(jets), event)
        pt_hat = np.sqrt(np.asarray(batch.info.pT2Hat))[event]
        weight = (pt_range_gev[0] / pt_hat) ** kind.steepness
        weighted = Jets(jets.offsets, jets.particles, {**jets.of_jets, "weight": weight})
        chosen = np.flatnonzero(accepted)
        yield GeneratedJets(weighted[chosen], generated[nearest[chosen]])


def _settings(kind: JetKind, pt_range_gev: tuple[float, float]) -> tuple[str, ...]:
    """A jet may have 0.8 to 1.35 times the pT of its hard process; beyond that there are hardly any."""
    low, high = pt_range_gev
    return (*kind.settings, *flattened(0.8 * low, 1.35 * high, kind.steepness))


def flattened(low_gev: float, high_gev: float, steepness: float) -> tuple[str, ...]:
    """Settings for hard processes of a pT in this range, whose spectrum is multiplied by pT^steepness."""
    return (
        f"PhaseSpace:pTHatMin = {low_gev}",
        f"PhaseSpace:pTHatMax = {high_gev}",
        "PhaseSpace:bias2Selection = on",
        "PhaseSpace:bias2SelectionRef = 100.",
        f"PhaseSpace:bias2SelectionPow = {steepness}",
    )


def started(settings: Sequence[str], seed: int) -> Any:
    """A generator with these settings beside those of all processes."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    for setting in (*COMMON_SETTINGS, *settings, f"Random:seed = {seed}"):
        accepted = pythia.readString(setting)
        assert accepted, setting
    ready = pythia.init()
    assert ready, settings
    return pythia


def visible_particles(record: Any, charge_of: Callable[[int], float]) -> tuple[Columns, Float[np.ndarray, "3 N"]]:
    """Columns of the stable particles but neutrinos of all events, with `event` and `pdg`, and where each was produced [mm]."""
    import awkward as ak

    size = np.abs(record.id)
    visible = record[(record.status > 0) & (size != 12) & (size != 14) & (size != 16)]
    flat = ak.flatten(visible)
    components = np.stack([ak.to_numpy(flat.p[name]) for name in ("px", "py", "pz", "e")])
    vertex_mm = np.stack([ak.to_numpy(ak.fill_none(flat.vProd[name], 0.0)) for name in ("px", "py", "pz")])
    pdg = ak.to_numpy(flat.id)
    codes, inverse = np.unique(pdg, return_inverse=True)
    charge = np.array([charge_of(int(code)) for code in codes])[inverse]
    columns = momentum_columns(components)
    columns["mass_gev"] = ak.to_numpy(flat.m)  # √(E² - p²) would lose digits
    event = np.repeat(np.arange(len(visible)), ak.to_numpy(ak.num(visible)))
    return {**columns, "kind": kinds_of(pdg, charge), "charge": charge, "pdg": pdg, "event": event}, vertex_mm


def clustered(particles: Columns, events: int, min_pt_gev: float) -> tuple[Jets, Int[np.ndarray, " J"]]:
    """Anti-kT jets with R = 0.8 of each event and the number of their event. `particles` has `event`, in ascending order."""
    import awkward as ak

    counts = np.bincount(particles["event"], minlength=events)
    members = clustering(particles, counts, "antikt", RADIUS).constituent_index(min_pt_gev)
    event = np.repeat(np.arange(events), ak.to_numpy(ak.num(members, axis=1)))
    in_jets = ak.flatten(members, axis=1)
    sizes = ak.to_numpy(ak.num(in_jets, axis=1))
    first_of_event = np.cumsum(counts) - counts
    rows = ak.to_numpy(ak.flatten(in_jets)).astype(int) + np.repeat(first_of_event[event], sizes)
    jet = np.repeat(np.arange(len(sizes)), sizes)
    rows = rows[np.lexsort((-particles["pt_gev"][rows], jet))]
    columns = {name: column[rows] for name, column in particles.items() if name != "event"}
    jets = Jets(np.concatenate([[0], np.cumsum(sizes)]).astype(int), columns, {})
    return Jets(jets.offsets, columns, summed_momentum(jets)), event


def axes(jets: Jets) -> Float[np.ndarray, "J 2"]:
    """Rapidity and azimuth: the plane in which jets are clustered."""
    _, _, pz, energy = momentum_components(jets.of_jets)
    return np.stack([np.arctanh(pz / energy), jets.of_jets["phi"]], axis=-1)


def distances(
    one: Float[np.ndarray, "*#shape 2"], other: Float[np.ndarray, "*#shape 2"]
) -> Float[np.ndarray, "*shape"]:
    """ΔR = √(Δy² + Δφ²) between directions."""
    rapidity, phi = np.moveaxis(one - other, -1, 0)
    return np.hypot(rapidity, wrapped(phi))


def nearest_axes(
    one: Float[np.ndarray, "J 2"],
    event: Int[np.ndarray, " J"],
    other: Float[np.ndarray, "K 2"],
    other_event: Int[np.ndarray, " K"],
) -> tuple[Int[np.ndarray, " J"], Float[np.ndarray, " J"]]:
    """For each axis the number of the nearest other axis of the same event, and its distance; infinity if there is none."""
    if not len(other):
        return np.zeros(len(one), int), np.full(len(one), np.inf)
    apart = distances(one[:, None], other[None])
    apart[event[:, None] != other_event[None]] = np.inf
    return apart.argmin(axis=1), apart.min(axis=1)


def _contain_a_decay(
    record: Any, heavy: int, jet_axes: Float[np.ndarray, "J 2"], event: Int[np.ndarray, " J"]
) -> Shaped[np.ndarray, " J"]:
    """Whether all quarks of the decay of a heavy particle lie within R of the axis."""
    inside = np.zeros(len(event), bool)
    for number in np.unique(event):
        of_event = np.flatnonzero(event == number)
        for quarks in decay_quarks(record[number], heavy):
            apart = distances(jet_axes[of_event][:, None], quarks[None])
            inside[of_event] |= (apart < RADIUS).all(axis=1)
    return inside


def decay_quarks(record: Any, heavy: int) -> list[Float[np.ndarray, "Q 2"]]:
    """Rapidity and azimuth of the quarks that each heavy particle of an event decays to, directly after the decay.

    A particle is recorded again after each radiation or recoil; only its last copy decays.
    """
    pdg, first, last = (np.asarray(record[name]) for name in ("id", "daughter1", "daughter2"))

    def products(particle: int) -> list[int]:
        daughters = range(first[particle], last[particle] + 1)
        copies = [daughter for daughter in daughters if pdg[daughter] == pdg[particle]]
        if copies:
            return products(copies[0])
        unstable = [daughter for daughter in daughters if abs(pdg[daughter]) in RESONANCES]
        quarks = [daughter for daughter in daughters if daughter not in unstable]
        return quarks + [quark for daughter in unstable for quark in products(daughter)]

    decays = []
    for particle in np.flatnonzero(np.abs(pdg) == heavy).tolist():
        daughters = pdg[first[particle] : last[particle] + 1]
        if pdg[particle] not in daughters:
            momentum = record.p[products(particle)]
            px, py, pz, energy = (np.asarray(momentum[name]) for name in ("px", "py", "pz", "e"))
            decays.append(np.stack([np.arctanh(pz / energy), np.arctan2(py, px)], axis=-1))
    return decays
