"""How close generated jets are to true ones.

Axes: J jet, F feature.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import curve_fit
from scipy.stats import wasserstein_distance

from statecast.evaluation.bootstrap import Score
from statecast.particles.evaluation.observables import as_features

RESAMPLINGS = 100
SEED = 0
NORMAL = 1.96  # standard errors on each side of a 95 % interval
KERNEL_DEGREE = 4


def wasserstein_scores(
    truth: Mapping[str, Float[np.ndarray, " J"]],
    generated: Mapping[str, Mapping[str, Float[np.ndarray, " K"]]],
    *,
    task: str = "generate",
) -> list[Score]:
    """Wasserstein-1 distance of each observable of each sample of jets to the truth, with bootstrap errors.

    W1 = ∫ |F_generated(x) - F_truth(x)| dx, in the unit of the observable

    The interval is that of 1.96 standard deviations over resamplings around the distance, not their percentiles: resampling adds noise to
    both samples, so that resampled distances of like samples are larger than the distance itself.

    truth      values of each observable
    generated  values of the same observables, by the name of the generator. Pass a second true sample for the floor: the distance that
               two samples of the same distribution have by chance
    """
    scores = []
    for name, observables in generated.items():
        for observable, values in observables.items():
            true = truth[observable]
            labels = (("observable", observable),)
            distance, error = float(wasserstein_distance(true, values)), _bootstrap_error(true, values)
            scores.append(with_error(name, task, "wasserstein", distance, error, len(values), labels))
    return scores


def with_error(
    name: str, task: str, metric: str, value: float, error: float, n: int, labels: tuple[tuple[str, str], ...] = ()
) -> Score:
    """A distance, which can't be below 0, with the interval of its standard error."""
    return Score(name, task, metric, value, max(0.0, value - NORMAL * error), value + NORMAL * error, n, labels)


def joint_scores(
    truth: Mapping[str, Float[np.ndarray, " J"]],
    generated: Mapping[str, Mapping[str, Float[np.ndarray, " K"]]],
    names: tuple[str, ...],
    *,
    task: str = "generate",
) -> list[Score]:
    """How far all observables together are from the truth: `fpd`, `kpd` and `classifier_auc` of each sample, on the named observables.

    FPD is extrapolated from batches of a fifth of the smaller sample to all of it, or from 20 000 to 50 000 jets if there are as many. Its
    features are the observables, not energy flow polynomials: values can't be compared with those of other papers.
    """
    ours = as_features(truth, names)
    scores = []
    for name, observables in generated.items():
        theirs = as_features(observables, names)
        largest = min(len(ours), len(theirs), 50_000)
        smallest = 20_000 if largest == 50_000 else largest // 5
        distance, error = frechet_physics_distance(ours, theirs, smallest=smallest, largest=largest)
        scores.append(with_error(name, task, "fpd", distance, error, len(theirs)))
        value, error = kernel_physics_distance(ours, theirs, batch_size=min(5_000, largest))
        low, high = value - NORMAL * error, value + NORMAL * error
        scores.append(Score(name, task, "kpd", value, low, high, len(theirs)))
        separation = classifier_auc(ours, theirs)
        error = auc_error(separation, len(theirs), len(ours))
        low, high = separation - NORMAL * error, min(1.0, separation + NORMAL * error)
        scores.append(Score(name, task, "classifier_auc", separation, low, high, len(theirs)))
    return scores


def auc_error(auc: float, signal: int, background: int) -> float:
    """Standard error of an AUC from so many cases of each kind.

    sqrt((A (1 - A) + (S - 1)(Q1 - A²) + (B - 1)(Q2 - A²)) / (S B)),  Q1 = A / (2 - A),  Q2 = 2 A² / (1 + A)     Hanley and McNeil 1982
    """
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (signal - 1) * (first - auc**2) + (background - 1) * (second - auc**2)
    return float(np.sqrt(variance / (signal * background)))


def _bootstrap_error(truth: np.ndarray, values: np.ndarray) -> float:
    """Standard deviation of the distance over resamplings of both samples."""
    generator = np.random.default_rng(SEED)
    distances = []
    for _ in range(RESAMPLINGS):
        true, drawn = generator.choice(truth, len(truth)), generator.choice(values, len(values))
        distances.append(wasserstein_distance(true, drawn))
    return float(np.std(distances))


def frechet_distance(truth: Float[np.ndarray, "J F"], generated: Float[np.ndarray, "K F"]) -> float:
    """Fréchet distance of two normal distributions with the means and covariances of the features.

    |μ - ν|² + tr(Σ + T - 2 (Σ^½ T Σ^½)^½)          Dowson and Landau 1982

    In this form every matrix is symmetric, so singular covariances (a feature that is constant, or follows from others) do no harm.
    """
    difference = truth.mean(axis=0) - generated.mean(axis=0)
    true, drawn = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (truth, generated))
    eigenvalues, eigenvectors = np.linalg.eigh(true)
    root = eigenvectors * np.sqrt(np.clip(eigenvalues, 0, None)) @ eigenvectors.T
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh(root @ drawn @ root), 0, None)).sum()
    return float(difference @ difference + np.trace(true) + np.trace(drawn) - 2 * overlap)


def frechet_physics_distance(
    truth: Float[np.ndarray, "J F"],
    generated: Float[np.ndarray, "K F"],
    *,
    smallest: int = 20_000,
    largest: int = 50_000,
    points: int = 10,
    batches: int = 20,
    seed: int = 42,
) -> tuple[float, float]:
    """FPD: the Fréchet distance of the features, extrapolated to infinitely many jets, and its uncertainty.

    Kansal et al. 2023 (arXiv 2211.10295): d(N) = d_∞ + c / N, fitted to means over `batches` random batches of sizes from `smallest` to
    `largest`, equally spaced in 1 / N. Features are divided by their greatest absolute value in the truth. The paper takes energy flow
    polynomials as features; any features can be used, but distances of different features can't be compared.
    """
    truth, generated = _scaled(truth, generated)
    sizes = (1 / np.linspace(1 / smallest, 1 / largest, points)).astype(int)
    generator = np.random.default_rng(seed)
    distances = []
    for size in sizes:
        of_size = []
        for _ in range(batches):
            ours, theirs = (features[_drawn(len(features), size, generator)] for features in (truth, generated))
            of_size.append(frechet_distance(ours, theirs))
        distances.append(np.mean(of_size))
    (limit, _), covariance = curve_fit(_linear, 1 / sizes, distances, bounds=([0, 0], [np.inf, np.inf]))
    return float(limit), float(np.sqrt(covariance[0, 0]))


def _linear(inverse_size: np.ndarray, limit: float, slope: float) -> np.ndarray:
    return limit + slope * inverse_size


def kernel_physics_distance(
    truth: Float[np.ndarray, "J F"],
    generated: Float[np.ndarray, "K F"],
    *,
    batch_size: int = 5_000,
    batches: int = 10,
    seed: int = 42,
) -> tuple[float, float]:
    """KPD: the squared maximum mean discrepancy with the kernel (x·y / F + 1)⁴; median over batches, and half their central 68 %.

    Kansal et al. 2023 (arXiv 2211.10295), with the unbiased estimator of Gretton et al. 2012, eq. 3. It can be negative: 0 is equality.
    """
    truth, generated = _scaled(truth, generated)
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(batches):
        ours, theirs = (features[_drawn(len(features), batch_size, generator)] for features in (truth, generated))
        values.append(squared_discrepancy(ours, theirs))
    low, middle, high = np.percentile(values, [16.275, 50, 83.725])
    return float(middle), float((high - low) / 2)


def squared_discrepancy(truth: Float[np.ndarray, "J F"], generated: Float[np.ndarray, "K F"]) -> float:
    """Unbiased estimate of MMD² with a polynomial kernel of degree 4."""
    of_truth, of_generated = (_kernel(features, features) for features in (truth, generated))
    within = _mean_off_diagonal(of_truth) + _mean_off_diagonal(of_generated)
    return float(within - 2 * _kernel(truth, generated).mean())


def _kernel(one: Float[np.ndarray, "J F"], other: Float[np.ndarray, "K F"]) -> Float[np.ndarray, "J K"]:
    return (one @ other.T / one.shape[1] + 1) ** KERNEL_DEGREE


def _mean_off_diagonal(kernel: Float[np.ndarray, "J J"]) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _scaled(truth: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    largest = np.abs(truth).max(axis=0)
    largest[largest == 0] = 1
    return truth / largest, generated / largest


def _drawn(count: int, size: int, generator: np.random.Generator) -> Int[np.ndarray, " S"]:
    """Numbers drawn with replacement."""
    return generator.integers(count, size=size)


def classifier_auc(
    truth: Float[np.ndarray, "J F"], generated: Float[np.ndarray, "K F"], *, folds: int = 5, seed: int = 0
) -> float:
    """AUC of gradient boosting that tells generated from true jets by their features, each fold scored by a model that did not see it.

    0.5: indistinguishable by these features; 1: always told apart (Lopez-Paz and Oquab 2017).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    from statecast.particles.evaluation.tagging import auc

    features = np.concatenate([truth, generated])
    is_generated: Bool[np.ndarray, " N"] = np.arange(len(features)) >= len(truth)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    model = HistGradientBoostingClassifier(random_state=seed)
    probability = cross_val_predict(model, features, is_generated, cv=split, method="predict_proba")[:, 1]
    return auc(probability, is_generated)
