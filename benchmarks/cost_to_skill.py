"""Time and energy until a skill: ours, AtmoRep's design, a U-Net and a spherical Fourier neural operator on the same windows.

    python benchmarks/cost_to_skill.py --out runs/cost [--seconds 240] [--seeds 0 1 2] [--models ours atmorep unet sfno]
        [--tasks masked forecast] [--skill 0.5] [--device cpu] [--power 5] [--figure cost.png] [--smoke]

Two tasks on the embedded record, each trained from random weights: masked reconstruction with 75 % of the tokens hidden one by one, and
the forecast of +24 h. The skill is the RMSE over that of climatology on held-out windows, in normalised units, by area, mean over all
channels: the same windows, and the same hidden tokens, for every model. It is read 8 times on the way, outside the clock. The learning
rate follows half a cosine over the whole time, so what is read on the way is worse than a training of that length would be, for every
model.

Time is CPU time of one thread, or with `--device cuda` the wall clock; energy is that time by `--power` W, by default the rated power of
a core in the table of devices. The time to a skill is read off the curve, linear between two readings; without `--skill` it is the skill
that the worst model ends with. The learning rates of ours and of the grid networks are those of docs/experiments.md; AtmoRep's design has
that of ours, which nobody tuned for it. Each run is kept in `--out` and used again.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import cos, pi
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from atmorep import AtmoRep
from networks import PEERS, available, hide_tokens
from shared import SAMPLE, SMALL, WHOLE, Extent, kept, spread, training_questions
from statecast import read_recipe
from statecast.config import Recipe
from statecast.costs.estimate import known_devices
from statecast.models.losses import question_loss
from statecast.streams import Question, stack_questions
from statecast.trained import build
from statecast.training.optimiser import make_optimiser
from unet import Anomalies, Batch, Departure, FillQuestion, ForecastQuestion, batches
from unet import make_optimiser as make_grid_optimiser

STREAM, HIDDEN, LEAD_STEPS = "atmosphere", 0.75, 4
HELD_OUT, READINGS, WARM_UP = 16, 8, 0.05
TOKEN_MODELS = ("ours", "atmorep")
TASKS = {
    "masked": {"kind": "masked", "slabs": 3, "hidden": [0.5, 0.9], "asked": 0.5}
    | {"later_slabs": 0, "blocks": 0, "noise": 0, "climatology": 0},
    "forecast": {"kind": "forecast", "history": 1, "leads": 2, "asked": 0.5},
}
HELD = {"masked": {"hidden": [HIDDEN, HIDDEN], "asked": 1.0}, "forecast": {"asked": 1.0}}


@dataclass(frozen=True)
class Study:
    """A task with its windows; `samples` are those of the training that exist, more than any run takes."""

    task: str
    seed: int
    extent: Extent = WHOLE
    held_out: int = HELD_OUT
    samples: int = 10**6

    def recipe_of(self, period: Sequence[str], task: dict[str, Any]) -> Recipe:
        base = read_recipe("quickstart", self.extent.overrides).as_dict()
        data = {"store": SAMPLE, "train": list(period)}
        return read_recipe(base | {"data": data, "task": task, "seed": self.seed})

    @cached_property
    def recipe(self) -> Recipe:
        return self.recipe_of(self.extent.train, TASKS[self.task])

    @cached_property
    def training(self) -> Any:
        return training_questions(self.recipe, self.samples)

    @cached_property
    def held(self) -> Any:
        recipe = self.recipe_of(self.extent.held_out, TASKS[self.task] | HELD[self.task])
        return training_questions(recipe, self.held_out, self.training.source.codecs)

    @cached_property
    def held_questions(self) -> list[Question]:
        return [self.held[number] for number in range(self.held_out)]

    @cached_property
    def starts(self) -> np.ndarray:
        """The first step of each held-out window."""
        random = [self.held._generator(number) for number in range(self.held_out)]
        return np.array([self.held.source.place(each).start for each in random])

    def anomalies(self, questions: Any) -> Anomalies:
        source = questions.source.streams[STREAM]
        return Anomalies.read(source.record, source.tokenizer.climatology)

    def hidden(self, shape: tuple[int, int, int], patch: tuple[int, int, int]) -> np.ndarray:
        """Which points of each held-out window are hidden, as its tokens are."""
        grid = tuple(n // p for n, p in zip(shape, patch, strict=True))
        masks = []
        for question in self.held_questions:
            hidden = np.zeros(int(np.prod(grid)), bool)
            hidden[question.queries[STREAM].index.numpy()] = True
            masks.append(np.kron(hidden.reshape(grid), np.ones(patch, bool)))
        return np.stack(masks)


class Contender(Protocol):
    """What is trained step by step."""

    model: nn.Module
    optimiser: torch.optim.Optimizer

    def loss(self) -> Tensor:
        """Of the next batch."""
        ...

    def errors(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Answer, truth and weight of the held-out values."""
        ...


class Tokens:
    """Ours, or AtmoRep's design."""

    def __init__(self, study: Study, name: str, device: str) -> None:
        self.study, self.device, self.step = study, device, 0
        self.model: nn.Module = build(study.recipe.model, study.training.source.codecs, study.seed)
        if name == "atmorep":
            torch.manual_seed(study.seed)
            self.model = AtmoRep(study.recipe.model, study.training.source.codecs[STREAM].spec, STREAM)
        self.model.to(device)
        self.optimiser: torch.optim.Optimizer = make_optimiser(self.model, study.recipe.training)[0]

    def loss(self) -> Tensor:
        size = self.study.recipe.training.batch_size
        numbers = range(self.step * size, (self.step + 1) * size)
        self.step += 1
        question = stack_questions([self.study.training[number] for number in numbers]).to(self.device)
        if isinstance(self.model, AtmoRep):
            return self.model.loss(question)
        return question_loss(self.model, self.model.attempt(question), question)

    def errors(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for single in self.study.held_questions:
            question = stack_questions([single]).to(self.device)
            asked = question.queries[STREAM]
            weight = asked.observed * asked.weight[..., None]
            if self.study.task == "forecast":  # of +24 h alone: the last step of the last tokens
                steps = torch.zeros(asked.spec.dimensions, device=self.device)
                steps[:, -1] = 1
                is_last = asked.order() == asked.order().max()
                weight = weight * steps.flatten() * is_last[..., None]
            yield self.model.answer(question)[STREAM].mean(), asked.values, weight


class Grids:
    """A network on grids."""

    def __init__(self, study: Study, name: str, device: str) -> None:
        self.study, self.device = study, device
        known, held = study.anomalies(study.training), study.anomalies(study.held)
        patch = study.recipe.streams[STREAM].patch
        if study.task == "forecast":
            question = ForecastQuestion.fit(known, (LEAD_STEPS,), patch[0])
            self.held = question.batch(held, study.starts + patch[0] - 1)
        else:
            shape = (TASKS["masked"]["slabs"] * patch[0], *known.grid.shape)
            question = FillQuestion(shape[0], known.values.shape[1], hide_tokens(shape, patch))
            self.held = question.masked(held, study.starts, study.hidden(shape, patch))
        peer = PEERS[name]
        torch.manual_seed(study.seed)
        network = peer.make(question.inputs, len(question.scale), known.grid)
        self.model = Departure(network, torch.from_numpy(np.asarray(question.scale, np.float32))).to(device)
        self.batches = batches(question, known, question.starts(known), peer.batch_size, study.seed)
        self.optimiser = make_grid_optimiser(self.model, peer.learning_rate, peer.orthogonal_rate)

    def loss(self) -> Tensor:
        return self.model.loss(self._there(next(self.batches)))

    def errors(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        batch = self._there(self.held)
        yield self.model(batch.inputs, batch.base), batch.target, batch.weight

    def _there(self, batch: Batch) -> Batch:
        return Batch(*(part.to(self.device) for part in (batch.inputs, batch.base, batch.target, batch.weight)))


@torch.no_grad()
def skill(contender: Contender) -> float:
    """RMSE over that of climatology."""
    contender.model.eval()
    error = of_climatology = 0.0
    for answer, truth, weight in contender.errors():
        error += float(((answer - truth).square() * weight).sum())
        of_climatology += float((truth.square() * weight).sum())
    contender.model.train()
    return (error / of_climatology) ** 0.5


def now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def curve(study: Study, name: str, device: str, seconds: float) -> list[dict[str, float]]:
    """The skill at some times of a training."""
    contender: Contender = (Tokens if name in TOKEN_MODELS else Grids)(study, name, device)
    rates = [group["lr"] for group in contender.optimiser.param_groups]
    readings = [{"seconds": 0.0, "steps": 0, "skill": skill(contender)}]
    spent, steps = 0.0, 0
    for part in range(1, READINGS + 1):
        began = now(device)
        while (passed := spent + now(device) - began) < seconds * part / READINGS:
            share = passed / seconds
            for group, rate in zip(contender.optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * min((share + 1e-3) / WARM_UP, 0.5 * (1 + cos(pi * share)))
            contender.optimiser.zero_grad()
            contender.loss().backward()
            nn.utils.clip_grad_norm_(contender.model.parameters(), 1.0)
            contender.optimiser.step()
            steps += 1
        spent = passed
        readings.append({"seconds": spent, "steps": steps, "skill": skill(contender)})
    return readings


def seconds_to(readings: Sequence[dict[str, float]], wanted: float) -> float:
    """Until the skill is reached for good, linear between readings; infinite if it never is."""
    reached = [reading["skill"] <= wanted for reading in readings]
    if not reached[-1]:
        return float("inf")
    first = len(reached) - reached[::-1].index(False) if False in reached else 0
    if first == 0:
        return 0.0
    before, after = readings[first - 1], readings[first]
    share = (before["skill"] - wanted) / (before["skill"] - after["skill"])
    return before["seconds"] + share * (after["seconds"] - before["seconds"])


Curves = dict[str, list[list[dict[str, float]]]]
"""The readings of each seed, by model."""


def print_table(task: str, curves: Curves, wanted: float | None, power_w: float) -> None:
    ends = {name: np.mean([readings[-1]["skill"] for readings in runs]) for name, runs in curves.items()}
    wanted = max(ends.values()) if wanted is None else wanted
    print(f"\n{task}: until RMSE / climatology is {wanted:.3f}")
    for name, runs in curves.items():
        took = np.array([seconds_to(readings, wanted) for readings in runs])
        last = np.array([readings[-1]["skill"] for readings in runs])
        steps = runs[0][-1]["steps"]
        energy = spread(took * power_w / 3600, 4)
        print(f"{name:10s} {spread(took, 1)} s  {energy} Wh  at the end {spread(last)}  {steps:.0f} steps")


def draw(of_tasks: dict[str, Curves], path: Path) -> None:
    figure = Figure(figsize=(5 * len(of_tasks), 4), layout="constrained")
    for place, (task, curves) in enumerate(of_tasks.items()):
        axes = figure.add_subplot(
            1, len(of_tasks), place + 1, title=task, xlabel="seconds", ylabel="RMSE / climatology"
        )
        for number, (name, runs) in enumerate(curves.items()):
            for readings in runs:
                seconds, skills = ([reading[key] for reading in readings] for key in ("seconds", "skill"))
                axes.plot(seconds, skills, f"C{number}.-", label=name if readings is runs[0] else None)
        axes.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=(*TOKEN_MODELS, *PEERS), default=[*TOKEN_MODELS, *PEERS])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--skill", type=float, help="RMSE over climatology's to reach; none: what the worst model ends with"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--power", type=float, help="W; none: of a CPU core in the table of devices")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--smoke", action="store_true", help="small windows, a moment, one seed")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    seconds, seeds = (0.2, [0]) if arguments.smoke else (arguments.seconds, arguments.seeds)
    out = arguments.out / "smoke" if arguments.smoke else arguments.out / f"{arguments.device}-{seconds:g}s"
    power = arguments.power or known_devices()["cpu-core"]["power_w"]
    models, of_tasks = available(arguments.models), dict[str, Curves]()
    for task in arguments.tasks:
        curves: Curves = {name: [] for name in models}
        for seed in seeds:
            study = Study(task, seed, SMALL, 2) if arguments.smoke else Study(task, seed)
            for name, runs in curves.items():
                make = partial(curve, study, name, arguments.device, seconds)
                runs.append(kept(out / f"{task}-{name}-{seed}.json", make))
        print_table(task, curves, arguments.skill, power)
        of_tasks[task] = curves
    if arguments.figure:
        draw(of_tasks, arguments.figure)


if __name__ == "__main__":
    main()
