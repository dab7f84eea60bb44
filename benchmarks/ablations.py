"""What decides skill per second: the quickstart's forecast from scratch, one change at a time, the same CPU time each.

    python benchmarks/ablations.py [--seconds 90] [--seeds 0] [--only NAME ...] [--smoke]

Prints for each variant the steps that fit into the time and RMSE over persistence's, mean over variables and levels, on months that
no training saw. CPU seconds, one thread: fair also where others share the machine.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from statecast import pretrain, read_recipe
from statecast.config import Recipe
from statecast.evaluation import verify_forecast
from statecast.models.attention import GeometricAttention
from statecast.models.state_model import StateModel
from statecast.sources import Record, open_fields
from statecast.streams import Question, Window
from statecast.tasks.forecast import Forecast, slab_of
from statecast.trained import TrainedModel

HELD_OUT, EVERY_H = ("2001-01-01", "2001-02-28"), 42.0
PROBE_STEPS = 12  # to learn how long a step takes


@contextlib.contextmanager
def without_geometry() -> Iterator[None]:
    """Attention by content alone."""
    geometry = GeometricAttention._query_geometry
    with patch.object(GeometricAttention, "_query_geometry", lambda self, at: 0 * geometry(self, at)):
        yield


@contextlib.contextmanager
def without_anchor() -> Iterator[None]:
    """Answers as departures from climatology only."""
    anchor = StateModel._damped_anchor
    with patch.object(StateModel, "_damped_anchor", lambda self, *inputs: 0 * anchor(self, *inputs)):
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


VARIANTS: dict[str, tuple[list[str], AbstractContextManager[None]]] = {
    "default: token of 2 x 2 x 2, all fields": ([], nullcontext()),
    "token of 2 x 4 x 4": (["streams.atmosphere.patch=[2, 4, 4]"], nullcontext()),
    "token of 1 x 4 x 4": (["streams.atmosphere.patch=[1, 4, 4]", "task.history=2", "task.leads=4"], nullcontext()),
    "no geometry in attention": ([], without_geometry()),
    "output added to climatology alone": ([], without_anchor()),
    "two decoder layers": (["model.decoder_layers=2"], nullcontext()),
    "point head": (["model.head=point"], nullcontext()),
    "upper air one token a level": (["@levels"], nullcontext()),
    "18 and 24 h as the only lead times": ([], last_lead_only()),
}


def recipe_of(overrides: list[str], seed: int) -> Recipe:
    """The quickstart's forecast without its pre-training; the variants that override keys can't say are said here."""
    values = read_recipe("quickstart-forecast", inherit=read_recipe("quickstart").as_dict()).as_dict()
    values["data"] = values["data"] | {"validate": None}
    values["training"] = values["training"] | {"footprint": False, "loggers": []}
    if "@levels" in overrides:
        stream = values["streams"]["atmosphere"]
        values["streams"] = {
            "atmosphere": stream | {"variables": ["t", "u", "v", "q", "z"], "levels_share_token": False},
            "surface": stream | {"variables": ["t2m", "msl", "tprate"], "levels": []},
        }
    return read_recipe(values | {"seed": seed}, [o for o in overrides if not o.startswith("@")])


def train(recipe: Recipe, steps: int, out: Path) -> tuple[TrainedModel, float]:
    """The model and the CPU seconds of its training."""
    training = recipe.training.model_copy(update={"steps": steps})
    began = time.process_time()
    model = pretrain(recipe.model_copy(update={"training": training}), out, progress=False)
    return model, time.process_time() - began


def run(name: str, seconds: float, seed: int) -> None:
    overrides, change = VARIANTS[name]
    recipe = recipe_of(overrides, seed)
    with tempfile.TemporaryDirectory() as folder, change:
        _, few = train(recipe, PROBE_STEPS, Path(folder) / "few")
        _, more = train(recipe, 2 * PROBE_STEPS, Path(folder) / "more")
        steps = max(4, round(seconds * PROBE_STEPS / max(more - few, 1e-3)))
        model, _ = train(recipe, steps, Path(folder) / "run")
        stream = next(iter(model.tokenizers.values())).stream
        record = Record.open(open_fields(recipe.data.store), stream, HELD_OUT)
        verifications = {v.forecast: v for v in verify_forecast({"model": model}, record, every_h=EVERY_H)}
    lead = verifications["model"].lead_time_h.index(24.0)
    ratio = verifications["model"].value("rmse")[lead] / verifications["persistence"].value("rmse")[lead]
    upper = [v for v, channel in enumerate(record.channels) if channel.pressure_hpa is not None]
    print(
        f"{name:40s} seed {seed}  {steps:5d} steps  +24 h {np.mean(ratio):.3f} x persistence, upper air {np.mean(ratio[upper]):.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=90.0, help="CPU time of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--smoke", action="store_true", help="two variants, a moment")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names, seconds = (list(VARIANTS)[:2], 1.0) if arguments.smoke else (arguments.only, arguments.seconds)
    for name in names:
        for seed in arguments.seeds:
            run(name, seconds, seed)


if __name__ == "__main__":
    main()
