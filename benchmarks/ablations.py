"""What decides skill per second: the quickstart's forecast from scratch, one change at a time, the same time each.

    python benchmarks/ablations.py [--steps 800] [--seeds 0] [--only NAME ...] [--smoke]

The default takes `--steps` steps, a variant as many as fit into the default's time: what a step takes is timed in turns with the
default's, on one thread, which is fair also where others share the machine. Prints for each variant these steps, RMSE over persistence's
and spread over RMSE, means over variables and levels, on months that no training saw.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from shared import EVERY_H, HELD_OUT, PLAIN, SMALL, step_seconds, with_steps
from statecast import pretrain, read_recipe
from statecast.config import Recipe
from statecast.fields.anchors import FieldAnchor
from statecast.fields.evaluation import verify_forecast
from statecast.fields.sources import Record, open_fields
from statecast.models.anchors import Anchored
from statecast.models.attention import AxisSpots
from statecast.streams import Question, Window
from statecast.tasks import Forecast
from statecast.tasks.base import slab_of


@dataclass(frozen=True)
class Effort:
    """Steps of the default, those that tell how long a step takes, how often that is told (0: all take the same steps).

    every_h    hours between the starts that are scored
    overrides  of all recipes
    """

    steps: int
    probe: int = 40
    turns: int = 2
    every_h: float = EVERY_H
    overrides: tuple[str, ...] = ()


@contextlib.contextmanager
def without_geometry() -> Iterator[None]:
    """Attention by content alone."""
    geometry = AxisSpots.query
    with patch.object(AxisSpots, "query", lambda self, at: 0 * geometry(self, at)):
        yield


@contextlib.contextmanager
def without_anchor() -> Iterator[None]:
    """Answers as departures from climatology only, counted in units of what anchors would leave."""
    anchor = FieldAnchor.forward

    def without(self: FieldAnchor, *inputs: Any, **options: Any) -> Anchored:
        anchored = anchor(self, *inputs, **options)
        return anchored._replace(base=0 * anchored.base)

    with patch.object(FieldAnchor, "forward", without):
        yield


@contextlib.contextmanager
def last_lead_only() -> Iterator[None]:
    """Training asks the last token slab, 18 and 24 h ahead, as often as the default asks all four steps."""

    def ask(self: Forecast, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question:
        question = self.complete(window)
        last = {
            n: t[torch.from_numpy(np.flatnonzero(slab_of(t) == slab_of(t).max()))] for n, t in question.queries.items()
        }
        return Question(question.context, last)

    with patch.object(Forecast, "__call__", ask):
        yield


DEFAULT = "default: token of 2 x 2 x 2, all fields"
VARIANTS: dict[str, tuple[list[str], Callable[[], AbstractContextManager[None]]]] = {
    DEFAULT: ([], nullcontext),
    "token of 2 x 4 x 4": (["streams.atmosphere.patch=[2, 4, 4]"], nullcontext),
    "token of 1 x 4 x 4": (["streams.atmosphere.patch=[1, 4, 4]", "task.history=2", "task.leads=4"], nullcontext),
    "no geometry in attention": ([], without_geometry),
    "output added to climatology alone": ([], without_anchor),
    "three encoder layers, one decoder layer": (["model.encoder_layers=3", "model.decoder_layers=1"], nullcontext),
    "width 128": (["model.width=128"], nullcontext),
    "point head": (["model.head=point"], nullcontext),
    "almost fair CRPS": (["model.fairness=0.95"], nullcontext),
    "upper air one token a level": (["@levels"], nullcontext),
    "18 and 24 h as the only lead times": ([], last_lead_only),
}


def recipe_of(overrides: list[str], seed: int) -> Recipe:
    """The quickstart's forecast without its pre-training; the variants that override keys can't say are said here."""
    values = read_recipe("quickstart-forecast", inherit=read_recipe("quickstart")).as_dict()
    values["data"] = values["data"] | {"validate": None}
    values["training"] = values["training"] | PLAIN
    if "@levels" in overrides:
        stream = values["streams"]["atmosphere"]
        values["streams"] = {
            "atmosphere": stream | {"variables": ["t", "u", "v", "q", "z"], "levels_share_token": False},
            "surface": stream | {"variables": ["t2m", "msl", "tprate"], "levels": []},
        }
    return read_recipe(values | {"seed": seed}, [o for o in overrides if not o.startswith("@")])


def variant_step_seconds(variant: str, effort: Effort, seed: int) -> float:
    """CPU time of a step: what twice as many take more."""
    overrides, change = VARIANTS[variant]
    probe = effort.probe
    with change():
        recipe = recipe_of([*effort.overrides, *overrides], seed)
        return max(step_seconds(recipe, (probe, 2 * probe)), 1e-3 / probe)


def steps_in_the_same_time(variant: str, effort: Effort, seed: int) -> int:
    """As many steps of a variant as take the time of the default's; timed in turns."""
    if variant == DEFAULT or not effort.turns:
        return effort.steps
    turns = [[variant_step_seconds(v, effort, seed) for v in (DEFAULT, variant)] for _ in range(effort.turns)]
    default, ours = (min(times) for times in zip(*turns, strict=True))
    return max(4, round(effort.steps * default / ours))


def run(variant: str, effort: Effort, seed: int) -> None:
    overrides, change = VARIANTS[variant]
    recipe = recipe_of([*effort.overrides, *overrides], seed)
    steps = steps_in_the_same_time(variant, effort, seed)
    with tempfile.TemporaryDirectory() as folder, change():
        model = pretrain(with_steps(recipe, steps), Path(folder) / "run", progress=False)
        stream = next(iter(model.codecs.values())).stream
        record = Record.open(open_fields(recipe.data.store), stream, HELD_OUT)
        verifications = {v.forecast: v for v in verify_forecast({"model": model}, record, every_h=effort.every_h)}
    ours, persistence = verifications["model"], verifications["persistence"]
    lead = ours.labels("lead_time_h").index(24.0)
    ratio = ours.value("rmse")[lead] / persistence.value("rmse")[lead]
    spread = f"{ours.value('spread_skill')[lead].mean():.2f}" if ours.members > 1 else "none"
    upper = [v for v, channel in enumerate(record.channels) if channel.pressure_hpa is not None]
    print(
        f"{variant:40s} seed {seed}  {steps:5d} steps  +24 h {np.mean(ratio):.3f} x persistence, "
        f"upper air {np.mean(ratio[upper]):.3f}, spread {spread} x RMSE",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800, help="of the default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--smoke", action="store_true", help="two variants, a moment")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names, effort = arguments.only, Effort(arguments.steps)
    if arguments.smoke:
        small = (*SMALL.of_stream, *SMALL.model)
        names, effort = [DEFAULT, "output added to climatology alone"], Effort(2, 0, 0, 606.0, small)
    for name in names:
        for seed in arguments.seeds:
            run(name, effort, seed)


if __name__ == "__main__":
    main()
