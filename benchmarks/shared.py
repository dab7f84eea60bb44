"""What several benchmarks share: the record and its periods, recipes, runs that are kept, tables of scores. A library, not a script.

A row is one record of a `scores.json`. Axes: S seed or sample, N token, P value in a token, D value of a sample.
"""

import json
import os
import tempfile
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from statecast import evaluate, finetune, pretrain, read_recipe
from statecast.config import Recipe
from statecast.fields.sources import Record
from statecast.fields.sources.stores import open_stores
from statecast.outputs import new_output
from statecast.splits import open_training
from statecast.streams import Tokens, TokenSpec
from statecast.trained import TrainedModel, load
from statecast.training import QuestionDataset

Rows = list[dict[str, Any]]
"""Scores as `scores.json` holds them: forecast, task, variable, level_hpa, lead_time_h, metric, value."""

# The record

SAMPLE = "sample:atmosphere"
TRAIN, VALIDATE, HELD_OUT = ("2000-01-01", "2000-12-20"), ("2000-12-21", "2000-12-31"), ("2001-01-01", "2001-02-28")
LEADS_H = (6.0, 24.0, 72.0)
EVERY_H = 42.0  # between starts that are scored: all hours of the day in turn
QUESTIONS_EVERY_H = 12.0  # of the other questions; finer.py uses the scores of questions.py again
FEW_STEPS = ("training.steps=2", "training.validation_samples=2", "training.footprint=false")  # overrides of smoke runs


@dataclass(frozen=True)
class Extent:
    """What of a record a benchmark takes: periods; variables, levels and patch of the quickstart's stream (none: all of its own).

    model  overrides of a pre-training's model
    """

    train: tuple[str, str] = TRAIN
    validate: tuple[str, str] = VALIDATE
    held_out: tuple[str, str] = HELD_OUT
    variables: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    patch: tuple[int, int, int] = (2, 2, 2)
    model: tuple[str, ...] = ()

    @property
    def of_stream(self) -> list[str]:
        """Overrides of any recipe of the quickstart."""
        if not self.variables:
            return []
        said = {"variables": self.variables, "levels": self.levels, "patch": self.patch}
        return [f"streams.atmosphere.{key}={json.dumps(values)}" for key, values in said.items()]

    @property
    def overrides(self) -> list[str]:
        """Of a pre-training, from which fine-tuning inherits the periods."""
        periods = [f"data.train={json.dumps(self.train)}", f"data.validate={json.dumps(self.validate)}"]
        return [*self.of_stream, *periods, *self.model]


WHOLE = Extent()
SMALL = Extent(
    train=("2000-01-01", "2000-01-31"),
    validate=("2000-12-28", "2000-12-31"),
    held_out=("2001-01-01", "2001-01-08"),
    variables=("z", "t2m", "tprate"),
    levels=(500,),
    patch=(2, 4, 4),
    model=("model.width=32", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=1"),
)  # for smoke runs


@dataclass(frozen=True)
class Effort:
    """How much a benchmark does.

    extent     what it reads
    every_h    hours between the starts that are scored
    overrides  of each of its recipes
    """

    extent: Extent = WHOLE
    every_h: float = EVERY_H
    overrides: tuple[str, ...] = ()

    @property
    def of_tuning(self) -> list[str]:
        """Overrides of a fine-tuning, which inherits the periods."""
        return [*self.extent.of_stream, *self.overrides]


SMOKE = Effort(SMALL, 96.0, FEW_STEPS)


def records_of(trained: TrainedModel, period: tuple[str, str]) -> dict[str, Record]:
    """The record of each stream of a model, from the stores that it learned from."""
    data = trained.recipe.data
    stores = open_stores(data.store, trained.codecs, data.stores)
    return {name: Record.open(stores[name], codec.stream, period) for name, codec in trained.codecs.items()}


# Recipes

PLAIN = {"footprint": False, "loggers": []}  # a training with nothing beside it, whose time is measured
WIDTH_A_ROW = (
    48  # of a token: one of 4 x 4 points holds four times as many values as the quickstart's, whose width is 96
)


def recipes(store: str, patch: int, scale: float, extent: Extent = WHOLE) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pre-training, and fine-tuning to forecast 72 h; `scale` is that of the number of steps."""
    base = read_recipe("quickstart", extent.of_stream).as_dict()
    base["data"] = {"store": store, "train": extent.train, "validate": extent.validate}
    base["streams"]["atmosphere"]["patch"] = [2, patch, patch]
    base["task"]["slabs"] = 4
    base["model"] = {"width": WIDTH_A_ROW * patch}
    base["training"] |= {"steps": max(2, round(1200 * scale)), "validation_samples": 16}
    tuned = {"task": {"kind": "forecast", "history": 1, "leads": 6, "asked": 0.25}}
    tuned["training"] = base["training"] | {"steps": max(2, round(600 * scale))}
    return base, tuned


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """So many steps, with one checkpoint at the end."""
    training = recipe.training.model_copy(update={"steps": steps, "checkpoint_every": steps})
    return recipe.model_copy(update={"training": training})


# Runs


def once(run: Path, make: Callable[[], TrainedModel]) -> TrainedModel:
    """The model of a run directory, which is made if it isn't there yet."""
    return load(run) if run.is_dir() else make()


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a JSON file holds, which is written if it isn't there yet."""
    if not path.is_file():
        made = make()
        with new_output(path) as part:
            part.write_text(json.dumps(made, indent=1))
    return json.loads(path.read_text())


def rows_in(scores: Path) -> Rows:
    return json.loads((scores / "scores.json").read_text())


def pretrained_once(folder: Path, seed: int, effort: Effort, *overrides: str) -> TrainedModel:
    """The quickstart's pre-training in a folder."""
    run = folder / "pretrained"
    said = [f"seed={seed}", *overrides, *effort.extent.overrides, *effort.overrides]
    return once(run, partial(pretrain, "quickstart", run, overrides=said))


def evaluated_once(
    scores: Path, model: TrainedModel, store: str, effort: Effort, against: TrainedModel | None = None
) -> Rows:
    """Scores of the held-out period in a directory, which are made if they aren't there yet."""
    if not scores.is_dir():
        evaluate(model, store, effort.extent.held_out, scores, every_h=effort.every_h, against=against, report=False)
    return rows_in(scores)


def run_questions(seed: int, out: Path, questions: Sequence[str], effort: Effort) -> Rows:
    """Scores of the quickstart's recipes for these questions, each fine-tuned from one pre-training."""
    folder = out / f"seed-{seed}"
    base = pretrained_once(folder, seed, effort)
    rows = []
    for question in questions:
        run = folder / question
        tune = partial(finetune, f"quickstart-{question}", base, run, overrides=effort.of_tuning)
        found = evaluated_once(folder / f"{question}-scores", once(run, tune), SAMPLE, effort)
        rows += [row | {"task": f"{question} {row['task']}"} for row in found]
    return rows


def training_questions(recipe: Recipe, samples: int, known: Mapping[str, Any] | None = None) -> QuestionDataset:
    """The first questions of a training; streams that are `known` keep their codec."""
    source = open_training(recipe, known or {})
    return QuestionDataset(source, recipe.task, recipe.seed, recipe.training.batch_size, samples)


def step_seconds(recipe: Recipe, probe: Sequence[int]) -> float:
    """CPU time of a step of training: of the steps that the longest of these runs takes more than the one before it."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for steps in probe:
            began = time.process_time()
            pretrain(with_steps(recipe, steps), Path(folder) / str(steps), progress=False)
            times.append(time.process_time() - began)
    return (times[-1] - times[-2]) / (probe[-1] - probe[-2])


def in_parallel(work: Callable[[Any], Any], items: Iterable[Any], jobs: int) -> list[Any]:
    """The results of all items, in processes of one thread each; in this one if there is one job."""
    if jobs == 1:
        return [work(item) for item in items]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(work, items))


def require_model(parser: ArgumentParser, option: str, given: object, smoke: bool) -> None:
    """Only a smoke run may leave the model out."""
    if given is None and not smoke:
        parser.error(f"give {option} RUN, as `statecast quickstart` makes it, or --smoke.")


def given_or_tiny(model: str | None) -> TrainedModel:
    """The model of a run; if none is given a small one that was trained to forecast for two steps, to see that all runs."""
    if model is not None:
        return load(model)
    extent = replace(SMALL, train=("2000-01-01", "2000-02-29"), variables=("z", "msl"))
    recipe = read_recipe("quickstart-forecast", [*extent.overrides, *FEW_STEPS], inherit=read_recipe("quickstart"))
    with tempfile.TemporaryDirectory() as folder:
        return pretrain(recipe, Path(folder) / "forecast", progress=False)


# Scores

BASELINES = (
    "climatology",
    "persistence",
    "interpolation",
    "climatology_distribution",
    "linear",
    "bilinear",
    "regression",
    "quantile_mapping",
)
Key = tuple[str, str, float | None, str, float | None]
"""Task, forecast, lead time, variable, level."""


def values_of(rows: Rows, metric: str) -> dict[Key, float]:
    """The values of a metric."""
    names = ("task", "forecast", "lead_time_h", "variable", "level_hpa")
    return {tuple(row[name] for name in names): row["value"] for row in rows if row["metric"] == metric}


def mean_ratios(rows: Rows, metric: str) -> dict[tuple[str, str, float | None, str], float]:
    """(task, forecast, lead, baseline) -> mean over variables and levels of a score over the baseline's."""
    values = values_of(rows, metric)
    ratios = defaultdict(list)
    for (task, forecast, lead, *channel), value in values.items():
        for base in BASELINES:
            reference = values.get((task, base, lead, *channel))
            if reference:
                ratios[task, forecast, lead, base].append(value / reference)
    return {key: float(np.mean(found)) for key, found in ratios.items()}


def worst_ratio(rows: Rows, task: str, lead: float | None, base: str, metric: str = "rmse") -> tuple[float, str]:
    """The channel where the model comes closest to a baseline, or falls behind it: a score over the baseline's."""
    values = values_of(rows, metric)
    ratios = []
    for key, value in values.items():
        reference = values.get((task, base, lead, *key[3:]))
        if key[:3] == (task, "model", lead) and reference is not None:
            ratios.append((value / reference, f"{key[3]}@{key[4]}"))
    return max(ratios)


def centre_offset_deg(weight: xr.DataArray, lon: float) -> float:
    """Longitude of the centre of a weight (lat, lon) less that of a point, -180 to 180; westward is negative."""
    apart = (weight.lon - lon + 180) % 360 - 180
    return float((weight * apart).sum() / weight.sum())


# Tables


def spread(values: Float[np.ndarray, " S"], digits: int = 3) -> str:
    """Mean, and standard deviation if there are several."""
    mean = f"{values.mean():.{digits}f}"
    return f"{mean} ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else mean


def lead_label(lead_h: float | None) -> str:
    return "" if lead_h is None else f"+{lead_h:g} h"


def edge_note(chosen: float, choices: Sequence[float]) -> str:
    """Said of the best of several learning rates, if the best may lie beyond them."""
    at_edge = len(choices) > 1 and chosen in (min(choices), max(choices))
    return " (at the edge of the list)" if at_edge else ""


def print_ratios(runs: Sequence[Rows], metric: str) -> None:
    """The model's score over each baseline's, and the worst channel; each run is a seed."""
    seeds = [mean_ratios(run, metric) for run in runs]
    print(
        f"\n{metric.upper()} over the baseline's, mean over variables and levels, "
        f"mean ± standard deviation over {len(runs)} seeds"
    )
    for key in seeds[0]:
        task, forecast, lead, base = key
        if forecast == "model" and base != forecast:
            values = np.array([seed[key] for seed in seeds])
            worst, channel = max(worst_ratio(run, task, lead, base, metric) for run in runs)
            print(f"{task:24s} {lead_label(lead):6s} / {base:16s} {spread(values)}  worst {worst:.3f} ({channel})")


def print_events(runs: Sequence[Rows]) -> None:
    """Scores of events, whose best value is 1."""
    print(f"\nscores of events, mean ± standard deviation over {len(runs)} seeds")
    found: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for run in runs:
        for row in run:
            if row["metric"].startswith(("ets", "csi", "frequency_bias")):
                channel = f"{row['variable']}@{row['level_hpa']}"
                found[row["task"], row["metric"], channel, row["forecast"]].append(row["value"])
    for (task, metric, channel, forecast), values in sorted(found.items()):
        print(f"{task:24s} {metric:20s} {channel:12s} {forecast:18s} {spread(np.array(values))}")


# Samples of a flow head


def ranked(spec: TokenSpec, values: Float[Tensor, "S N P"], codes: Tensor | None = None) -> Tokens:
    """One rank after the other."""
    rank = torch.arange(values.shape[1], dtype=torch.float32)[:, None].expand(len(values), -1, -1)
    return Tokens(values, rank, torch.ones_like(values, dtype=torch.bool), spec, codes=codes)


def energy_distance(one: Float[Tensor, "S D"], other: Float[Tensor, "S D"]) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of samples, without bias: 0 for the same distribution (Székely & Rizzo 2013)."""
    within = [torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (one, other)]
    return float(2 * torch.cdist(one, other).mean() - within[0] - within[1])
