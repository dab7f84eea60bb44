"""Inverting the detector: numbers of the generated jet from the measured one, beside a spline flow and iterative Bayesian unfolding.

    python benchmarks/unfolding.py --out runs/unfolding [--seeds 0 1 2] [--steps 1200] [--members 99] [--from RUN] [--threads 1] [--smoke]

For each seed the recipe `jets-unfold` is trained from new weights (with --from: fine-tuned from a pre-trained model of jets) on jets 0 to
14 999 of `sample:jets`, half QCD, half top quarks. The held-out jets 16 000 to 16 999 are unfolded.

ours       draws of the flow head, from the particles
splines    a neural spline flow (Durkan et al. 2019; zuko, `pip install --no-deps zuko` adds it) of the same numbers, given seven
           numbers of the measured jet, trained for the same CPU time as ours
bayes      iterative Bayesian unfolding (D'Agostini 1995), each number by itself: 20 bins of equal content, four iterations. What it says of
           one jet is p(generated bin | measured bin), drawn from the training jets in the bin
measured   no unfolding: the measured number, which has one member

Prints for each, as a mean over the seven numbers: the Wasserstein distance between draws of all jets and the truth, in standard deviations
of the truth, for all held-out jets and for those of each class, whose share nobody is told; CRPS in the same units; how often the central
intervals of 50, 68 and 95 % cover the truth; and the smallest p-value of a chi-squared test of uniform ranks (simulation-based
calibration), times the number of tests. Axes: J jet, E member, L number.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

from shared import PLAIN, once
from statecast import finetune, load, pretrain, read_recipe
from statecast.evaluation.scores import COVERAGES, covered, crps, rank_counts
from statecast.models import Draws
from statecast.particles.evaluation.observables import observables
from statecast.particles.inference.unfold import unfold_jets, unfolded_numbers
from statecast.particles.jets import Jets
from statecast.particles.sources.files import read_jets
from statecast.trained import TrainedModel

SAMPLE = "sample:jets"
HELD_OUT = (16_000, 16_999)
MEASURED = {
    "generated_pt": "pt_gev",
    "generated_mass": "mass_gev",
    "generated_soft_drop_mass": "soft_drop_mass_gev",
    "generated_multiplicity": "multiplicity",
    "generated_tau1": "tau1",
    "generated_tau2": "tau2",
    "generated_tau3": "tau3",
}
"""The measured number of each stream."""
BINS, ITERATIONS, RANK_BINS = 20, 4, 20
SOLVER_STEPS = 6  # of two evaluations: enough by flow_steps.py
BATCH, LEARNING_RATE = 256, 1e-3  # of the splines
SMALL = ("data.train=[0,199]", "model.width=32", "model.heads=2", "model.encoder_layers=1", "training.batch_size=8")


@dataclass(frozen=True)
class Numbers:
    """What is known of some jets.

    truth     numbers of the generated jet
    measured  the same of the measured one
    classes   of the jets
    """

    truth: Float[np.ndarray, "J L"]
    measured: Float[np.ndarray, "J L"]
    classes: np.ndarray

    @classmethod
    def of(cls, jets: Jets, columns: Sequence[str]) -> "Numbers":
        seen = observables(jets)
        truth = np.stack([jets.of_jets[column] for column in columns], axis=1)
        assert jets.labels is not None
        return cls(truth, np.stack([seen[name] for name in MEASURED.values()], axis=1), np.asarray(jets.labels))


Draw = Float[np.ndarray, "E J L"]


# The ways of unfolding


def trained_once(
    out: Path, seed: int, steps: int, start: TrainedModel | None, overrides: Sequence[str]
) -> TrainedModel:
    said = {"seed": seed, "data.validate": "null", "training.steps": steps, "training.checkpoint_every": steps}
    said |= {f"training.{key}": json.dumps(value) for key, value in PLAIN.items()}
    settings = [*(f"{key}={value}" for key, value in said.items()), *overrides]
    base = start.recipe if start else read_recipe("jets")
    recipe = read_recipe("jets-unfold", settings, inherit=base)
    run = out / f"seed-{seed}" / f"{'fine-tuned' if start else 'scratch'}-{steps}"
    make = partial(finetune, recipe, start) if start else partial(pretrain, recipe)
    began = time.process_time()
    model = once(run, partial(make, run, progress=False))
    if not (run / "cpu_s.json").exists():
        (run / "cpu_s.json").write_text(json.dumps(time.process_time() - began))
    return model


def draws_of_ours(model: TrainedModel, jets: Jets, members: int) -> Draw:
    drawn = unfold_jets(model, jets, Draws(members=members, steps=SOLVER_STEPS))
    return np.stack([drawn[name].T for name in MEASURED], axis=-1)


def draws_of_splines(training: Numbers, held_out: Numbers, members: int, seconds: float, seed: int) -> Draw | None:
    """None if zuko is not there."""
    try:
        from zuko.flows import NSF
    except ImportError:
        print("splines: is left out. `pip install --no-deps zuko` adds it.")
        return None
    torch.manual_seed(seed)
    shift, scale = training.truth.mean(0), training.truth.std(0)
    of_measured = training.measured.mean(0), training.measured.std(0)
    truth = torch.from_numpy((training.truth - shift) / scale).float()
    context, asked = (
        torch.from_numpy((numbers.measured - of_measured[0]) / of_measured[1]).float()
        for numbers in (training, held_out)
    )
    flow = NSF(truth.shape[1], context.shape[1], transforms=5, hidden_features=(128, 128))
    optimiser = torch.optim.Adam(flow.parameters(), LEARNING_RATE)
    began, steps = time.process_time(), 0
    while (share := (time.process_time() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * share))
        chosen = torch.randint(len(truth), (BATCH,))
        optimiser.zero_grad()
        (-flow(context[chosen]).log_prob(truth[chosen]).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        steps += 1
    print(f"splines: {steps} steps of {BATCH} jets in {seconds:.0f} s of CPU")
    return _sampled(flow, asked, members) * scale + shift


@torch.no_grad()
def _sampled(flow: torch.nn.Module, context: Tensor, members: int) -> Draw:
    return torch.cat([flow(part).sample((members,)) for part in context.split(500)], dim=1).double().numpy()


def draws_of_bayes(training: Numbers, held_out: Numbers, members: int, random: np.random.Generator) -> Draw:
    columns = range(training.truth.shape[1])
    return np.stack([_bayes(training, held_out, column, members, random) for column in columns], axis=-1)


def _bayes(
    training: Numbers, held_out: Numbers, column: int, members: int, random: np.random.Generator
) -> Float[np.ndarray, "E J"]:
    """p'(t) <- p(t) sum_m R(m|t) n(m) / sum_t' R(m|t') p(t'), then p(t|m) for the bin of each jet."""
    true, seen = training.truth[:, column], training.measured[:, column]
    true_bin, seen_bin = (_bins(values, values) for values in (true, seen))
    joint = np.zeros((BINS, BINS))
    np.add.at(joint, (seen_bin, true_bin), 1)
    response = joint / np.maximum(joint.sum(axis=0), 1)
    prior = joint.sum(axis=0) / joint.sum()
    of_held_out = _bins(held_out.measured[:, column], seen)
    counts = np.bincount(of_held_out, minlength=BINS) / len(of_held_out)
    for _ in range(ITERATIONS):
        posterior = response * prior
        posterior /= np.maximum(posterior.sum(axis=1, keepdims=True), 1e-12)
        prior = counts @ posterior
    cumulative = np.cumsum(posterior, axis=1)
    uniform = random.uniform(size=(members, len(of_held_out))) * cumulative[of_held_out, -1]
    chosen = (uniform[..., None] > cumulative[of_held_out]).sum(axis=-1).clip(max=BINS - 1)
    drawn = np.empty(chosen.shape)
    for number in range(BINS):
        inside = true[true_bin == number]
        at = chosen == number
        drawn[at] = random.choice(inside, at.sum())
    return drawn


def _bins(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The bin of each value, of those in which the reference has equally many."""
    edges = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


# Scores


def scores_of(drawn: Draw, held_out: Numbers) -> dict[str, float]:
    """Means over the numbers, see above."""
    scale = held_out.truth.std(axis=0)
    subsets = {"all": np.ones(len(held_out.truth), bool)}
    subsets |= {str(name): held_out.classes == name for name in np.unique(held_out.classes)}
    found: dict[str, list[float]] = {}
    p_values = []
    for column in range(held_out.truth.shape[1]):
        members, truth = drawn[..., column] / scale[column], held_out.truth[:, column] / scale[column]
        for name, chosen in subsets.items():
            distance = scipy.stats.wasserstein_distance(members[:, chosen].ravel(), truth[chosen])
            found.setdefault(f"W1 {name}", []).append(distance)
        found.setdefault("CRPS", []).append(crps(members, truth, drawn=True).mean())
        for name, probability in COVERAGES.items():
            inside = covered(members, truth, probability, drawn=True)
            found.setdefault(name, []).append(np.nan if inside is None else inside.mean())
        if len(members) > 1:
            ranks = rank_counts(members, truth)
            binned = ranks.reshape(RANK_BINS, -1).sum(axis=1) if len(ranks) % RANK_BINS == 0 else ranks
            p_values.append(scipy.stats.chisquare(binned).pvalue)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return means | {"p of ranks": min(1.0, len(p_values) * min(p_values)) if p_values else np.nan}


def floor(training: Numbers, held_out: Numbers) -> dict[str, float]:
    """Of as many true jets of training, which no unfolding can beat by more than chance."""
    few = training.truth[: len(held_out.truth)]
    scale = held_out.truth.std(axis=0)
    distances = [
        scipy.stats.wasserstein_distance(few[:, column] / scale[column], held_out.truth[:, column] / scale[column])
        for column in range(few.shape[1])
    ]
    return {"W1 all": float(np.mean(distances))}


def run_seed(given: argparse.Namespace, seed: int) -> dict[str, dict[str, float]]:
    start = load(given.start) if given.start else None
    model = trained_once(given.out, seed, given.steps, start, SMALL if given.smoke else ())
    seconds = json.loads(
        (
            given.out / f"seed-{seed}" / f"{'fine-tuned' if start else 'scratch'}-{given.steps}" / "cpu_s.json"
        ).read_text()
    )
    first, last = model.recipe.data.train
    columns = [codec.stream.label for codec in unfolded_numbers(model).values()]
    low, high = HELD_OUT if not given.smoke else (HELD_OUT[0], HELD_OUT[0] + 59)
    learned, unseen = read_jets(SAMPLE, first, last + 1), read_jets(SAMPLE, low, high + 1)
    training, held_out = (_complete(Numbers.of(jets, columns)) for jets in (learned, unseen))
    drawn: Mapping[str, Draw | None] = {
        "ours": draws_of_ours(model, unseen, given.members),
        "splines": draws_of_splines(training, held_out, given.members, seconds, seed),
        "bayes": draws_of_bayes(training, held_out, given.members, np.random.default_rng(seed)),
        "measured": held_out.measured[None],
    }
    found = {name: scores_of(draws, held_out) for name, draws in drawn.items() if draws is not None}
    return found | {"truth": floor(training, held_out)}


def _complete(numbers: Numbers) -> Numbers:
    """Raises ValueError where a jet lacks its generated one: the sample has none such."""
    if not np.isfinite(numbers.truth).all():
        raise ValueError("some jets have no generated jet, expected one for each.")
    return numbers


def print_table(of_seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> None:
    """Mean and standard deviation over the seeds."""
    ways = list(of_seeds[0])
    print(f"{'':16}" + "".join(f"{way:>20}" for way in ways))
    for score in of_seeds[0]["ours"]:
        cells = ""
        for way in ways:
            values = np.array([found[way].get(score, np.nan) for found in of_seeds])
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            text = "-" if np.isnan(values).any() else f"{values.mean():.4f} ± {spread:.4f}"
            cells += f"{text:>20}"
        print(f"{score:16}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/unfolding"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--members", type=int, default=99)
    parser.add_argument("--from", dest="start", help="a pre-trained model of jets")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a moment; into its own directory")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.smoke:
        given.out, given.seeds, given.steps, given.members = given.out / "smoke", [0], 2, 19
    print_table([run_seed(given, seed) for seed in given.seeds])


if __name__ == "__main__":
    main()
