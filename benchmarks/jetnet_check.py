"""FPD and KPD of statecast beside those of the package jetnet, on the same features with the same seeds.

    python benchmarks/jetnet_check.py [--jets 5000]

Needs an environment that has both:

    pip install 'statecast[hep]'
    pip install --no-deps jetnet==0.2.5 energyflow wasserstein coffea numba llvmlite hist histoprint boost-histogram loky lz4 toml \
        cachetools tables numexpr ndindex msgpack blosc2

`--no-deps`, as pip else builds old versions. Features are mass, multiplicity, τ21, τ32 and pT of jets of `sample:jets`. Compared
with them are other jets of the sample (same distribution), top quarks alone, and jets of independent constituents.

FPD draws the same batches in both packages, so that values have to agree up to rounding. KPD draws others: its medians have to agree within
three of the errors of both together, and the discrepancy of one batch up to rounding. Ends with exit code 1 if something does not agree.
"""

import argparse
import sys
import warnings

import numpy as np
from jaxtyping import Float
from jetnet.evaluation import fpd, gen_metrics, kpd

from statecast.particles.evaluation.baselines import independent_constituents
from statecast.particles.evaluation.generation import (
    frechet_physics_distance,
    kernel_physics_distance,
    squared_discrepancy,
)
from statecast.particles.evaluation.observables import GENERATION, as_features, observables
from statecast.particles.sources.files import read_jets

ROUNDING = 1e-6  # relative, of distances that are small differences of large numbers
ERRORS = 3.0
SMALLEST_SHARE = 0.2  # of the jets, in the smallest batch of FPD
BATCH = 2000  # jets of a batch of KPD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jets", type=int, default=5000, help="of each sample")
    jets = parser.parse_args().jets
    warnings.filterwarnings("ignore", "Recommended number of samples", RuntimeWarning)
    truth, samples = features_of(jets)
    print(f"{jets} jets, features {', '.join(GENERATION)}\n")
    print(f"{'sample':26s} {'':11s} {'statecast':>24s} {'jetnet':>24s}")
    agree = [compared(name, truth, features) for name, features in samples.items()]
    sys.exit(0 if all(agree) else 1)


def features_of(jets: int) -> tuple[Float[np.ndarray, "J F"], dict[str, Float[np.ndarray, "J F"]]]:
    """Features of true jets, and of the samples that are compared with them."""
    every = read_jets("sample:jets", 0, 2 * jets)
    truth, other = every[:jets], every[jets:]
    samples = {
        "other jets": other,
        "top quarks": other[np.flatnonzero(other.labels != "QCD")],
        "independent constituents": independent_constituents(truth, jets, np.random.default_rng(0)),
    }
    found = {name: as_features(observables(sample), GENERATION) for name, sample in samples.items()}
    return as_features(observables(truth), GENERATION), found


def compared(name: str, truth: Float[np.ndarray, "J F"], features: Float[np.ndarray, "K F"]) -> bool:
    """Prints the distances of both packages; whether they agree."""
    largest = min(len(truth), len(features))
    smallest = int(SMALLEST_SHARE * largest)
    ours = frechet_physics_distance(truth, features, smallest=smallest, largest=largest)
    theirs = fpd(truth, features, min_samples=smallest, max_samples=largest)
    print(f"{name:26s} {'FPD':11s} {_text(ours)} {_text(theirs)}")
    agree = np.allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)

    batch = min(BATCH, largest)
    ours = kernel_physics_distance(truth, features, batch_size=batch)
    theirs = kpd(truth, features, batch_size=batch)
    print(f"{'':26s} {'KPD':11s} {_text(ours)} {_text(theirs)}")
    agree &= abs(ours[0] - theirs[0]) <= ERRORS * np.hypot(ours[1], theirs[1])

    scale = np.abs(truth).max(axis=0)
    one, other = truth[:batch] / scale, features[:batch] / scale
    plain = squared_discrepancy(one, other), gen_metrics._mmd_poly_quadratic_unbiased(one, other)
    print(f"{'':26s} {'one batch':11s} {plain[0]:24.9f} {plain[1]:24.9f}")
    return bool(agree and np.isclose(*plain, rtol=ROUNDING, atol=ROUNDING))


def _text(distance: tuple[float, float]) -> str:
    return f"{distance[0]:12.6f} ± {distance[1]:9.6f}"


if __name__ == "__main__":
    main()
