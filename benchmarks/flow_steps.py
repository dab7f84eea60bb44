"""How many steps a flow head needs: distance of its samples from the truth against the evaluations of the velocity.

    python benchmarks/flow_steps.py [--seeds 0 1 2] [--steps 400] [--path rectified] [--smoke]

For each seed a small model learns two moons, and a Gaussian of two correlated values in two tokens, given which moon it is. Energy
distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Székely & Rizzo 2013), without bias, of 4000 samples from as many of the truth, mean ±
standard deviation over the seeds. `truth` is that of two samples of the truth; `ms` is what a sample takes on this CPU. Axes: S sample,
N token, P value in a token, D value of a stream.
"""

import argparse
import math
import time

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shared import energy_distance, ranked
from statecast.axes import Axis
from statecast.models import Draws, ModelOptions, StateModel
from statecast.models.drawing import EVALUATIONS
from statecast.models.losses import question_loss
from statecast.streams import Question, TokenSpec
from statecast.training import TrainingOptions
from statecast.training.optimiser import make_optimiser

RANK = (Axis("rank", "index"),)
SPECS = {
    "label": TokenSpec(vocabulary=2, axes=RANK),
    "moons": TokenSpec(size=2, axes=RANK),
    "gaussian": TokenSpec(size=1, axes=RANK),
}
CORRELATION, NOISE = 0.8, 0.05
MEAN, SPREAD = torch.tensor([0.5, 0.25]), torch.tensor([0.87, 0.5])  # of the moons
EVALUATED = (2, 4, 8, 16, 32, 64)
BATCH, LEARNING_RATE = 400, 1e-2
SAMPLES, FEW_SAMPLES = 4000, 500  # to compare; with --smoke


def question_of(samples: int, random: torch.Generator) -> Question:
    """Moons and Gaussian of so many samples, given the label."""
    label = torch.randint(2, (samples, 1), generator=random)
    angle, sign = math.pi * torch.rand(samples, generator=random), 1.0 - 2 * label[:, 0]
    moons = torch.stack([label[:, 0] + sign * angle.cos(), 0.5 * label[:, 0] + sign * angle.sin()], dim=-1)
    moons = (moons + NOISE * torch.randn(samples, 2, generator=random) - MEAN) / SPREAD
    first, other = torch.randn(2, samples, generator=random)
    second = CORRELATION * first + math.sqrt(1 - CORRELATION**2) * other
    asked = {
        "moons": ranked(SPECS["moons"], moons[:, None]),
        "gaussian": ranked(SPECS["gaussian"], torch.stack([first, second], dim=-1)[..., None]),
    }
    seed = torch.randint(2**62, (samples,), generator=random)
    return Question({"label": ranked(SPECS["label"], torch.zeros(samples, 1, 0), label)}, asked, seed=seed)


def trained_model(seed: int, steps: int, path: str) -> StateModel:
    torch.manual_seed(seed)
    options = ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, head="flow", flow_path=path)
    model, random = StateModel(options, SPECS), torch.Generator().manual_seed(seed)
    optimiser, schedule = make_optimiser(model, TrainingOptions(steps=steps, learning_rate=LEARNING_RATE))
    for _ in range(steps):
        question = question_of(BATCH, random)
        optimiser.zero_grad()
        question_loss(model, model.attempt(question), question).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


def values_in(question: Question) -> dict[str, Float[Tensor, "S D"]]:
    return {name: tokens.values.flatten(1) for name, tokens in question.queries.items()}


def distances(model: StateModel, question: Question, draws: Draws) -> dict[str, float]:
    """Of each stream, and milliseconds for a sample."""
    began = time.perf_counter()
    with torch.no_grad():
        drawn = {name: said.members[:, :, 0].flatten(1) for name, said in model.answer(question, draws).items()}
    found = {"ms": 1e3 * (time.perf_counter() - began) / len(question.seed)}
    return found | {name: energy_distance(drawn[name], truth) for name, truth in values_in(question).items()}


def rows_of(seed: int, steps: int, path: str, samples: int) -> dict[tuple[str, int], dict[str, float]]:
    """For each solver and number of evaluations."""
    model, random = trained_model(seed, steps, path), torch.Generator().manual_seed(1000 + seed)
    question, other = question_of(samples, random), values_in(question_of(samples, random))
    truth = {name: energy_distance(values, other[name]) for name, values in values_in(question).items()}
    found = {("truth", 0): truth | {"ms": 0.0}}
    for solver, each in EVALUATIONS.items():
        for evaluations in EVALUATED:
            draws = Draws(members=1, steps=evaluations // each, solver=solver)
            found[solver, evaluations] = distances(model, question, draws)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--path", choices=["rectified", "cosine"], default="rectified")
    parser.add_argument("--smoke", action="store_true", help="one seed, few steps: does it run?")
    given = parser.parse_args()
    seeds, steps, samples = ([0], 3, FEW_SAMPLES) if given.smoke else (given.seeds, given.steps, SAMPLES)
    found = [rows_of(seed, steps, given.path, samples) for seed in seeds]
    print(f"{'solver':10}{'evaluations':>12}{'moons':>20}{'gaussian':>20}{'ms':>8}")
    for solver, evaluations in found[0]:
        cells = ""
        for name in ("moons", "gaussian"):
            values = np.array([of_seed[solver, evaluations][name] for of_seed in found])
            cells += f"{values.mean():>11.4f} ± {values.std(ddof=len(values) > 1):.4f}"
        took = np.mean([of_seed[solver, evaluations]["ms"] for of_seed in found])
        print(f"{solver:10}{evaluations:>12}{cells}{took:>8.3f}")


if __name__ == "__main__":
    main()
