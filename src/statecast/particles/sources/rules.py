"""Rules for content that can't be used as it is: each is applied, counted and reported. Axes: J jet, N particle of all jets."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from statecast.particles.jets import MOMENTUM, Jets

NO_MOMENTUM = "particles dropped: a momentum that is not a finite number, or a pT of 0 or less"
NO_JET_MOMENTUM = "jets dropped: an own momentum that is not a finite number, or a pT of 0 or less"
NO_PARTICLE = "jets dropped: no particle is left"
UNSORTED = "jets sorted by decreasing pT of their particles"
CUT_JETS = "jets cut to their hardest particles"
CUT_PARTICLES = "particles dropped beyond the hardest of a jet"
BAD_INDEX = "links between a jet and a particle dropped: an index out of range"
NOT_IN_FILE = "links between a jet and a particle dropped: the particle is not in the file"
UNLABELLED = "jets without a label, or with several"
CONVERTED = "jets converted to GeV"


class Rules:
    """How often each rule was applied."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, rule: str, times: int | np.integer) -> None:
        if times:
            self._counts[rule] += int(times)

    def clear(self) -> None:
        self._counts.clear()

    @property
    def counts(self) -> Mapping[str, int]:
        """Times that each rule was applied, by its text; rules that were not needed are absent."""
        return dict(self._counts)

    def __getitem__(self, rule: str) -> int:
        return self._counts[rule]

    def __str__(self) -> str:
        return "\n".join(f"{times} {rule}" for rule, times in self._counts.items())


def cleaned(jets: Jets, most_constituents: int, rules: Rules, *, keep_empty: bool = False) -> Jets:
    """The jets by the rules of this module: finite momenta, decreasing pT, at most `most_constituents` particles, at least one.

    keep_empty  also keep jets without particles: for sources that have no particles
    """
    jet_of = np.repeat(np.arange(len(jets)), jets.multiplicity)
    usable = _has_momentum(jets.particles)
    rules.count(NO_MOMENTUM, np.count_nonzero(~usable))
    rows, jet_of = np.flatnonzero(usable), jet_of[usable]
    rows = _sorted(rows, jet_of, jets.particles["pt_gev"], rules)
    within = _rank(jet_of, len(jets)) < most_constituents
    rules.count(CUT_JETS, len(np.unique(jet_of[~within])))
    rules.count(CUT_PARTICLES, np.count_nonzero(~within))
    rows, jet_of = rows[within], jet_of[within]

    offsets = np.concatenate([[0], np.cumsum(np.bincount(jet_of, minlength=len(jets)))])
    particles = {name: column[rows] for name, column in jets.particles.items()}
    kept = _has_momentum(jets.of_jets)
    rules.count(NO_JET_MOMENTUM, np.count_nonzero(~kept))
    if not keep_empty:
        rules.count(NO_PARTICLE, np.count_nonzero(kept & (np.diff(offsets) == 0)))
        kept &= np.diff(offsets) > 0
    tidy = Jets(offsets, particles, jets.of_jets, jets.labels, jets.numbers)
    return tidy if kept.all() else tidy[np.flatnonzero(kept)]


def _has_momentum(columns: Mapping[str, np.ndarray]) -> Bool[np.ndarray, " N"]:
    finite = np.logical_and.reduce([np.isfinite(columns[name]) for name in MOMENTUM])
    with np.errstate(invalid="ignore"):
        return finite & (columns["pt_gev"] > 0)


def _sorted(
    rows: Int[np.ndarray, " N"], jet_of: Int[np.ndarray, " N"], pt: np.ndarray, rules: Rules
) -> Int[np.ndarray, " N"]:
    """The rows of each jet by decreasing pT; equal ones keep their order."""
    rising = (np.diff(pt[rows]) > 0) & (np.diff(jet_of) == 0)
    if not rising.any():
        return rows
    rules.count(UNSORTED, len(np.unique(jet_of[1:][rising])))
    return rows[np.lexsort((-pt[rows], jet_of))]


def _rank(jet_of: Int[np.ndarray, " N"], jets: int) -> Int[np.ndarray, " N"]:
    """The place of each particle within its jet, from 0."""
    first = np.concatenate([[0], np.cumsum(np.bincount(jet_of, minlength=jets))])[:-1]
    return np.arange(len(jet_of)) - first[jet_of]
