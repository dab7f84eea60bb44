"""How near generated showers are to true ones: separation powers, distances, and classifiers of observables and of voxels.

Axes: S shower, K bin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import wasserstein_distance

from statecast.evaluation.bootstrap import Score
from statecast.particles.evaluation.generation import NORMAL, auc_error, joint_scores, with_error
from statecast.particles.showers.evaluation.classifier import voxel_auc
from statecast.particles.showers.evaluation.observables import Observables, observables
from statecast.particles.showers.geometry import Geometry
from statecast.particles.showers.sources.files import Showers

TASK = "generate"
BINS = 50
RESAMPLINGS = 100
SEED = 0
VOXEL = "voxel_energy"
FEWEST = 50  # showers of a sample: the classifiers split them


@dataclass(frozen=True)
class ShowerResult:
    """Observables of true showers and of each generated sample, the energies of their voxels, and the scores."""

    truth: Observables
    generated: Mapping[str, Observables]
    scores: Sequence[Score]


def shower_result(
    truth: Showers, generated: Mapping[str, Showers], geometry: Geometry, *, classifies_voxels: bool = True
) -> ShowerResult:
    """All scores of each sample against the truth. Pass a second true sample for the floor."""
    ours = observables(truth, geometry)
    theirs = {name: observables(showers, geometry) for name, showers in generated.items()}
    scores = [*sampling_fractions({"evaluated": ours, **theirs})]
    for name, found in theirs.items():
        pairs = {key: (values, found[key]) for key, values in ours.items()}
        pairs[VOXEL] = (_log_voxels(truth), _log_voxels(generated[name]))
        scores += [separation_score(name, key, *pair, len(generated[name])) for key, pair in pairs.items()]
        scores.append(mean_wasserstein(name, ours, found))
        if classifies_voxels:
            value, signal, background = voxel_auc(truth, generated[name])
            error = NORMAL * auc_error(value, signal, background)
            scores.append(Score(name, TASK, "voxel_auc", value, value - error, min(1.0, value + error), signal))
    of_energy = {name: {"incident": np.log(showers.incident_mev)} for name, showers in generated.items()}
    together = {name: {**of_energy[name], **found} for name, found in theirs.items()}
    whole = {"incident": np.log(truth.incident_mev), **ours}
    scores += joint_scores(whole, together, tuple(whole), task=TASK)
    return ShowerResult(ours, theirs, scores)


def separation_power(truth: Float[np.ndarray, " S"], values: Float[np.ndarray, " S"]) -> tuple[float, float]:
    """Separation power of two histograms, and its standard error from resampled counts.

    ½ Σ (p - q)² / (p + q)          0: equal, 1: without overlap (Krause et al. 2024, arXiv:2410.21611)

    50 equal bins over the range of the truth, of which the outer two hold what lies beyond.
    """
    edges = np.linspace(truth.min(), truth.max(), BINS + 1)[1:-1]
    counts = [np.bincount(np.digitize(sample, edges), minlength=BINS) for sample in (truth, values)]
    random = np.random.default_rng(SEED)
    drawn = [random.multinomial(count.sum(), count / count.sum(), RESAMPLINGS) for count in counts]
    resampled = [_separation(one, other) for one, other in zip(*drawn, strict=True)]
    return _separation(*counts), float(np.std(resampled))


def _separation(one: np.ndarray, other: np.ndarray) -> float:
    p, q = one / one.sum(), other / other.sum()
    total = p + q
    return float(0.5 * ((p - q) ** 2 / np.where(total > 0, total, 1)).sum())


def separation_score(name: str, key: str, truth: np.ndarray, values: np.ndarray, n: int) -> Score:
    """The separation power of one observable."""
    return with_error(name, TASK, "separation", *separation_power(truth, values), n, (("observable", key),))


def mean_wasserstein(name: str, truth: Observables, found: Observables) -> Score:
    """Mean over the observables of their Wasserstein-1 distance to the truth, each in units of its standard deviation in the truth."""
    distances = []
    for key, values in truth.items():
        if (spread := values.std()) > 0:
            distances.append(wasserstein_distance(values, found[key]) / spread)
    error = float(np.std(distances) / np.sqrt(len(distances)))
    return with_error(name, TASK, "wasserstein_mean", float(np.mean(distances)), error, len(found["response"]))


def sampling_fractions(samples: Mapping[str, Observables]) -> list[Score]:
    """The mean of deposited over incident energy of each sample."""
    scores = []
    for name, found in samples.items():
        response = found["response"]
        error = float(response.std() / np.sqrt(len(response)))
        scores.append(with_error(name, TASK, "sampling_fraction", float(response.mean()), error, len(response)))
    return scores


def _log_voxels(showers: Showers) -> Float[np.ndarray, " S"]:
    """log10 of the energies of all voxels that have any; one value where none has."""
    energies = showers.voxels_mev[showers.voxels_mev > 0]
    return np.log10(energies) if len(energies) else np.zeros(1)
