"""An inverse problem with a known answer: which angles of an arm put its hand at a place? Beside a spline flow of equal time.

    python benchmarks/inverse.py [--seeds 0 1 2] [--steps 2000] [--threads 1] [--smoke]

The arm of Ardizzone et al. 2018 (arXiv 1808.04730): a rail at height x_1 ~ N(0, 0.25²) and three joints with angles x_2, x_3, x_4 ~
N(0, 0.5²) in radians, segments of length 1/2, 1/2 and 1; its hand lies at

    y_1 = x_1 + sin(x_2)/2 + sin(x_3 - x_2)/2 + sin(x_4 - x_2 - x_3)
    y_2 =       cos(x_2)/2 + cos(x_3 - x_2)/2 + cos(x_4 - x_2 - x_3)

Two numbers are measured and four are asked: the posterior p(x | y) lies along a surface, often in several parts.

ours      a small model with a flow head; the joints are four asked tokens, the hand is visible
splines   a neural spline flow (zuko, `pip install --no-deps zuko` adds it), trained for the same CPU time

Prints means over 100 places of the hand, and their standard deviation over the seeds: the energy distance of 1000 draws to as many of the
true posterior, which is sampled by rejection (the 1000 of four million arms whose hands lie nearest); the distance of the hand of a drawn
arm from where it should be (`resimulation`); and how often central intervals cover the true angles of 2000 new arms.

Axes: S sample, E member.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shared import energy_distance, ranked
from statecast.axes import Axis
from statecast.evaluation.scores import COVERAGES, covered
from statecast.models import Draws, ModelOptions, StateModel
from statecast.models.losses import question_loss
from statecast.streams import Question, TokenSpec
from statecast.training import TrainingOptions
from statecast.training.optimiser import make_optimiser

RANK = (Axis("rank", "index"),)
SPECS = {"hand": TokenSpec(size=2, axes=RANK), "joints": TokenSpec(size=1, axes=RANK)}
LENGTHS = (0.5, 0.5, 1.0)
SPREAD = torch.tensor([0.25, 0.5, 0.5, 0.5])
HAND_MEAN, HAND_SPREAD = torch.tensor([0.0, 1.5]), torch.tensor([0.9, 0.4])
BATCH, LEARNING_RATE, SPLINE_RATE = 400, 3e-3, 1e-3
PLACES, MEMBERS, ARMS, CALIBRATION = 100, 1000, 4_000_000, 2000
INTERVAL_MEMBERS = 199

Draw = Callable[[Float[Tensor, "S 2"], int], Float[Tensor, "S E 4"]]
"""Draws of the angles for each place of the hand."""


def prior(samples: int, random: torch.Generator) -> Float[Tensor, "S 4"]:
    return SPREAD * torch.randn(samples, 4, generator=random)


def hand(arms: Float[Tensor, "*S 4"]) -> Float[Tensor, "*S 2"]:
    height, one, two, three = arms.unbind(-1)
    angles = torch.stack([one, two - one, three - one - two], dim=-1)
    lengths = torch.tensor(LENGTHS)
    return torch.stack([height + (lengths * angles.sin()).sum(-1), (lengths * angles.cos()).sum(-1)], dim=-1)


def question_of(place: Float[Tensor, "S 2"], arms: Float[Tensor, "S 4"], first: int = 0) -> Question:
    shown = {"hand": ranked(SPECS["hand"], ((place - HAND_MEAN) / HAND_SPREAD)[:, None])}
    asked = {"joints": ranked(SPECS["joints"], (arms / SPREAD)[..., None])}
    return Question(shown, asked, seed=torch.arange(first, first + len(place)))


def ours(seed: int, steps: int) -> tuple[Draw, float]:
    """What draws, and the CPU seconds of its training."""
    torch.manual_seed(seed)
    model = StateModel(ModelOptions(width=48, heads=2, encoder_layers=1, decoder_layers=1, head="flow"), SPECS)
    optimiser, schedule = make_optimiser(model, TrainingOptions(steps=steps, learning_rate=LEARNING_RATE))
    random, began = torch.Generator().manual_seed(seed), time.process_time()
    for step in range(steps):
        arms = prior(BATCH, random)
        question = question_of(hand(arms), arms, step * BATCH)
        optimiser.zero_grad()
        question_loss(model, model.attempt(question), question).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    model.eval()

    def draw(place: Tensor, members: int) -> Tensor:
        with torch.no_grad():
            said = model.answer(question_of(place, torch.zeros(len(place), 4)), Draws(members=members))["joints"]
        assert said.members is not None
        return said.members[..., 0].transpose(1, 2) * SPREAD

    return draw, time.process_time() - began


def splines(seed: int, seconds: float) -> Draw | None:
    """None if zuko is not there."""
    try:
        from zuko.flows import NSF
    except ImportError:
        print("splines: is left out. `pip install --no-deps zuko` adds it.")
        return None
    torch.manual_seed(seed)
    flow = NSF(4, 2, transforms=5, hidden_features=(64, 64))
    optimiser, random = torch.optim.Adam(flow.parameters(), SPLINE_RATE), torch.Generator().manual_seed(seed)
    began = time.process_time()
    while (share := (time.process_time() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = SPLINE_RATE * 0.5 * (1 + np.cos(np.pi * share))
        arms = prior(BATCH, random)
        optimiser.zero_grad()
        (-flow((hand(arms) - HAND_MEAN) / HAND_SPREAD).log_prob(arms / SPREAD).mean()).backward()
        optimiser.step()

    def draw(place: Tensor, members: int) -> Tensor:
        with torch.no_grad():
            return flow((place - HAND_MEAN) / HAND_SPREAD).sample((members,)).transpose(0, 1) * SPREAD

    return draw


def true_posterior(place: Float[Tensor, "2"], arms: Float[Tensor, "S 4"], hands: Float[Tensor, "S 2"]) -> Tensor:
    """The arms whose hands lie nearest to a place: rejection with a tolerance that keeps `MEMBERS` of them."""
    distance = ((hands - place) ** 2).sum(-1)
    return arms[distance.topk(min(MEMBERS, len(arms)), largest=False).indices]


def scores_of(draw: Draw, places: int, many: int, members: int, calibrated: int) -> dict[str, float]:
    random = torch.Generator().manual_seed(123)
    arms = prior(many, random)
    hands, place = hand(arms), hand(prior(places, random))
    drawn = draw(place, members)
    distances = [energy_distance(one, true_posterior(at, arms, hands)) for one, at in zip(drawn, place, strict=True)]
    missed = (hand(drawn) - place[:, None]).norm(dim=-1).mean()
    found = {"energy distance": float(np.mean(distances)), "resimulation": float(missed)}
    truth = prior(calibrated, random)
    of_truth = draw(hand(truth), INTERVAL_MEMBERS).transpose(0, 1).numpy()
    for name, probability in COVERAGES.items():
        inside = covered(of_truth, truth.numpy(), probability, drawn=True)
        assert inside is not None
        found[name] = float(inside.mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="one seed, few steps: does it run?")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    seeds, steps = ([0], 3) if given.smoke else (given.seeds, given.steps)
    size = (2, 5000, 50, 12) if given.smoke else (PLACES, ARMS, MEMBERS, CALIBRATION)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        draw, seconds = ours(seed, steps)
        found.setdefault("ours", []).append(scores_of(draw, *size))
        if (theirs := splines(seed, seconds)) is not None:
            found.setdefault("splines", []).append(scores_of(theirs, *size))
    print(f"{'':18}" + "".join(f"{name:>20}" for name in found))
    for score in found["ours"][0]:
        cells = ""
        for of_seeds in found.values():
            values = np.array([each[score] for each in of_seeds])
            cells += f"{values.mean():>11.4f} ± {values.std(ddof=len(values) > 1):.4f}"
        print(f"{score:18}{cells}")


if __name__ == "__main__":
    main()
