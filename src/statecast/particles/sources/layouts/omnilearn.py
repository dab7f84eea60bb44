"""Jets of OmniLearn and OmniLearned: arrays `data` [J P F], `pid` [J] and `global` or `jet` [J G], padded by zeros; GeV.

Axes: J jet, P place of a particle, F feature, G number of a jet.
OmniLearned (`global`, or neither) has the features Δη, Δφ, log pT, log E, then the number of the particle's class (if there are 5 or 9),
then tanh d0, error of d0, tanh dz, error of dz (if there are 8 or 9).
OmniLearn (`jet`) has Δη, Δφ, log(1 - pT/jet), log pT, log(1 - E/jet), log E, ΔR, then charge and the five flags of the class (if there
are 13); `jet` is pT, η, mass, number of particles.
Sources: V. Mikuni and B. Nachman, arXiv 2404.16091; W. Bhimji et al., arXiv 2510.24066, and the documents of both repositories.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from statecast.particles.jets import UNKNOWN_KIND, JetError, Jets, summed_momentum
from statecast.particles.particle_codes import charges, kinds
from statecast.particles.sources.hdf5 import ArraysTable
from statecast.particles.sources.layouts.labels import LabelColumns
from statecast.particles.sources.layouts.layout import Reading, Selection, refuse_collection
from statecast.particles.sources.layouts.momentum import from_energy, light, momentum
from statecast.particles.sources.rules import Rules
from statecast.particles.sources.tables import Block, Table

NO_AXIS = "jets without η: particles at η relative to the jet, without mass"
NO_AZIMUTH = "jets without φ: particles at φ relative to the jet"
NO_CODES = "particles without class: the file does not say what the numbers in their column mean (particle_codes)"
PEEKED = 256  # jets that tell what the columns of `global` are
NEAR = 0.02  # relative deviation below which a column of `global` counts as the quantity computed from the particles
HARD_GEV = 10.0  # above which a kaon's mass changes E / (pT cosh η) by at most 1.2e-3, a pion's by 1e-4
NEAR_ENERGY = 1e-3
LARGEST_TANH = 1 - 1e-6


@dataclass(frozen=True)
class Features:
    """Places of the features of a particle; None for those that the file has not."""

    log_pt: int
    log_energy: int
    code: int | None = None
    track: int | None = None
    charge: int | None = None
    first_flag: int | None = None


WITH_GLOBAL = {4: Features(2, 3), 5: Features(2, 3, 4), 8: Features(2, 3, None, 4), 9: Features(2, 3, 4, 5)}
WITH_JET = {7: Features(3, 5), 13: Features(3, 5, charge=7, first_flag=8)}


def layout(table: Table, selection: Selection) -> Reading | None:
    """Recognised by `data` with three axes."""
    if not isinstance(table, ArraysTable) or "data" not in table.columns or len(table.shape("data")) != 3:
        return None
    refuse_collection(table, selection)
    own = next((name for name in ("jet", "global") if name in table.columns), "")
    features = _features(table, own)
    labels = _labels(table, selection)
    numbers = ["pt_gev", "eta", "mass_gev", "multiplicity"] if own == "jet" else _meaning(table, own, features)

    def convert(block: Block, rules: Rules) -> Jets:
        data = np.asarray(block["data"], np.float64)
        present = (data != 0).any(axis=2)
        jet = dict(zip(numbers, np.asarray(block[own], np.float64).T, strict=True)) if own else {}
        particles = _particles(data[present], np.repeat(np.arange(len(data)), present.sum(axis=1)), features, jet)
        particles |= _classes(data[present], features, selection.particle_codes, rules)
        rules.count(NO_AZIMUTH, len(data))
        rules.count(NO_AXIS, 0 if "eta" in jet else len(data))
        jets = Jets(np.concatenate([[0], np.cumsum(present.sum(axis=1))]), particles, {}, _read(labels, block, rules))
        of_jets = summed_momentum(jets) | {name: values for name, values in jet.items() if name != "multiplicity"}
        return Jets(jets.offsets, light(particles), light(of_jets), jets.labels)

    known = ", ".join(numbers) if own else "none"
    name = "OmniLearn" if own == "jet" else "OmniLearned"
    columns = ["data", *([own] if own else []), *labels.columns]
    return Reading(name, columns, convert, labels.classes, remarks=[f"numbers of jets ({own or 'global'}): {known}"])


def _features(table: ArraysTable, own: str) -> Features:
    known, count = WITH_JET if own == "jet" else WITH_GLOBAL, table.shape("data")[2]
    if count not in known:
        expected = ", ".join(map(str, known))
        raise JetError(
            f"{table.name}: data has {count} features of a particle, expected {expected}{' beside jet' if own == 'jet' else ''}. "
            "See the layouts in the documentation, and write the file in one of them."
        )
    return known[count]


def _labels(table: ArraysTable, selection: Selection) -> LabelColumns:
    name = selection.labels if isinstance(selection.labels, str) else "pid"
    if selection.labels is False:
        return LabelColumns(table.name)
    if name not in table.columns:
        if selection.labels:
            raise JetError(f"{table.name}: has no labels {name}. Arrays: {', '.join(table.columns)}.")
        return LabelColumns(table.name)
    return LabelColumns(table.name, [name], required=bool(selection.labels))


def _read(labels: LabelColumns, block: Block, rules: Rules) -> np.ndarray | None:
    """Labels are numbers, or one-hot."""
    flat = {name: np.asarray(block[name]) for name in labels.columns}
    whole = {name: values.argmax(axis=1) if values.ndim > 1 else values for name, values in flat.items()}
    return labels.read(whole, rules)


def _particles(
    features: Float[np.ndarray, "N F"], jet_of: np.ndarray, places: Features, jet: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):
        pt, energy = np.exp(features[:, places.log_pt]), np.exp(features[:, places.log_energy])
    if "eta" in jet:
        eta = features[:, 0] + jet["eta"][jet_of]
        mass = from_energy(pt, eta, energy)
    else:
        eta, mass = features[:, 0], np.zeros(len(pt))
    return momentum(pt, eta, features[:, 1], mass)


def _classes(
    features: Float[np.ndarray, "N F"], places: Features, codes: Sequence[int] | None, rules: Rules
) -> dict[str, np.ndarray]:
    """Class, charge and track of the particles."""
    count = len(features)
    kind, charge = np.full(count, UNKNOWN_KIND, np.int8), np.full(count, np.nan)
    if places.first_flag is not None and places.charge is not None:
        flags = features[:, places.first_flag : places.first_flag + 5] > 0.5
        kind = np.where(flags.any(axis=1), flags.argmax(axis=1), UNKNOWN_KIND).astype(np.int8)
        charge = features[:, places.charge]
    elif places.code is not None and codes is not None:
        number = np.rint(features[:, places.code]).astype(np.int64)
        if ((number < 0) | (number >= len(codes))).any():
            raise JetError(
                f"particle_codes: has {len(codes)} codes, and particles have the numbers {number.min()} to {number.max()}. "
                "Give a code for each number from 0 on."
            )
        found = np.asarray(codes, np.int64)[number]
        charge = charges(found)
        kind = kinds(found, charge)
    elif places.code is not None:
        rules.count(NO_CODES, count)
    return {"kind": kind, "charge": charge} | _track(features, places)


def _track(features: Float[np.ndarray, "N F"], places: Features) -> dict[str, np.ndarray]:
    """tanh is undone in mm; beyond 7 mm, where 32 bits round it to 1, its value is 7.25. NaN where all four are 0: no track."""
    if places.track is None:
        return {}
    d0, d0_error, dz, dz_error = features[:, places.track : places.track + 4].T
    without = (features[:, places.track : places.track + 4] == 0).all(axis=1)
    values = {
        "d0_mm": np.arctanh(np.clip(d0, -LARGEST_TANH, LARGEST_TANH)),
        "d0_error_mm": d0_error,
        "dz_mm": np.arctanh(np.clip(dz, -LARGEST_TANH, LARGEST_TANH)),
        "dz_error_mm": dz_error,
    }
    return {name: np.where(without, np.nan, column) for name, column in values.items()}


def _meaning(table: ArraysTable, own: str, features: Features) -> list[str]:
    """What each column of `global` is, by comparison with what its particles give; `global_0` and so on for what can't be told."""
    if not own:
        return []
    size = table.shape(own)[1] if len(table.shape(own)) > 1 else 0
    names = [f"global_{place}" for place in range(size)]
    for block in table.blocks(["data", own], 0, min(PEEKED, len(table)), PEEKED):
        data, numbers = np.asarray(block["data"], np.float64), np.asarray(block[own], np.float64)
        for name, test in _tests(data, features).items():
            fitting = [place for place in range(size) if names[place].startswith("global_") and test(numbers[:, place])]
            if fitting:
                names[fitting[0]] = name
    return names


def _tests(data: Float[np.ndarray, "J P F"], places: Features) -> dict[str, Callable[[np.ndarray], bool]]:
    """For each quantity, whether a column is it: multiplicity exactly, pT by the sum, η by E = pT cosh η of the particles."""
    present = (data != 0).any(axis=2)
    with np.errstate(over="ignore"):
        pt = np.where(present, np.exp(data[:, :, places.log_pt]), 0.0)
        energy = np.where(present, np.exp(data[:, :, places.log_energy]), 0.0)
    summed = np.abs((pt * np.exp(1j * data[:, :, 1])).sum(axis=1))
    hard = present & (pt > HARD_GEV)

    def is_eta(column: np.ndarray) -> bool:
        with np.errstate(over="ignore"):
            expected = pt * np.cosh(np.clip(column[:, None] + data[:, :, 0], -20, 20))
        return bool(hard.any()) and _near(expected[hard], energy[hard], NEAR_ENERGY)

    tests: dict[str, Callable[[np.ndarray], bool]] = {
        "multiplicity": lambda column: np.array_equal(np.rint(column), present.sum(axis=1)) and bool(present.any()),
        "pt_gev": lambda column: _near(column, summed),
        "eta": is_eta,
    }
    return tests


def _near(values: np.ndarray, expected: np.ndarray, limit: float = NEAR) -> bool:
    """Whether two columns agree in the median."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return bool(np.median(np.abs(values - expected) / np.maximum(np.abs(expected), 1e-9)) < limit)
