"""Ours beside trained peers: a U-Net and a spherical Fourier neural operator, on the same data, for the same time.

    python benchmarks/peers.py --store sample:atmosphere --seconds 240 --out runs/peers [--seeds 0 1 2] [--models ours unet sfno]
                                  [--figure peers.png] [--kept] [--smoke]

For each seed and on one thread: ours pre-trained and fine-tuned to forecast 72 h within the time, ours from scratch for all of it, and
each peer for all of it; then the same for masked reconstruction with 75 % hidden, where a U-Net, and ours again, learn to fill gaps and
nothing else for as long as ours was pre-trained. Time is CPU time of one thread, so that other work on the machine doesn't decide.
Prints RMSE over persistence's and climatology's and CRPS over that of climatology's distribution on months that no training saw, means
over variables and levels ± standard deviation over the seeds, and what each training cost. A peer's CRPS is that of normal distributions
around its forecast, as wide as its errors in the validation days. What a stopped run left is used again.

The operator needs `pip install --no-deps torch-harmonics` (its declared dependencies would replace torch; 0.9.3 runs with torch 2.13).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from networks import PEERS, available, hide_tokens
from shared import (
    EVERY_H,
    LEADS_H,
    PLAIN,
    SAMPLE,
    SMOKE,
    WHOLE,
    Extent,
    kept,
    lead_label,
    recipes,
    spread,
    step_seconds,
    training_questions,
    with_steps,
)
from statecast import finetune, pretrain, read_recipe
from statecast.config import Recipe
from statecast.evaluation import Verification, ensemble_scores
from statecast.fields.evaluation import verify_forecast
from statecast.fields.evaluation.answers import asked_points
from statecast.fields.evaluation.baselines import ClimatologicalEnsemble, persistence
from statecast.fields.evaluation.labels import field_axes, lead_time_axis
from statecast.fields.evaluation.reconstruction import fold_time, plain_mask, verify_reconstruction
from statecast.fields.evaluation.scores import area_mean, statistics
from statecast.fields.evaluation.verification import DECORRELATION_H, ForecastCase, every, forecast_case
from statecast.fields.sources import Record, open_fields
from statecast.fields.sources.climatology import fit_climatology
from statecast.fields.tokenizers import FieldTokenizer, StreamSource
from statecast.models.operations import count_flops
from statecast.streams import stack_questions
from statecast.trained import TrainedModel
from unet import (
    Anomalies,
    Departure,
    FillQuestion,
    ForecastQuestion,
    Peer,
    Training,
    trained_peer,
)

PATCH, HIDDEN = 2, 0.75
PRETRAINING_SHARE = 0.6  # of the time of ours
PROBE_STEPS = (2, 20, 100)  # the first warms up; what the last takes longer is the time of the steps between
GUESSED_STEP_S = 0.25  # where the time doesn't matter
BASELINES = {"rmse": ("persistence", "climatology", "interpolation"), "crps": ("climatology_distribution",)}


@dataclass(frozen=True)
class Data:
    """The three periods of a store, and how their fields become tokens."""

    store: str
    every_h: float
    extent: Extent = WHOLE

    @cached_property
    def recipe(self) -> Recipe:
        return read_recipe(recipes(self.store, PATCH, 1.0, self.extent)[0])

    @cached_property
    def training(self) -> Record:
        return Record.open(open_fields(self.store), self.recipe.streams["atmosphere"], self.extent.train)

    @cached_property
    def held_out(self) -> Record:
        return Record.open(open_fields(self.store), self.recipe.streams["atmosphere"], self.extent.held_out)

    @cached_property
    def tokenizer(self) -> FieldTokenizer:
        return FieldTokenizer(self.recipe.streams["atmosphere"], fit_climatology(self.training))

    @cached_property
    def training_anomalies(self) -> Anomalies:
        return Anomalies.read(self.training, self.tokenizer.climatology)

    @cached_property
    def validation_anomalies(self) -> Anomalies:
        record = Record.open(open_fields(self.store), self.recipe.streams["atmosphere"], self.extent.validate)
        return Anomalies.read(record, self.tokenizer.climatology)

    @cached_property
    def held_out_anomalies(self) -> Anomalies:
        return Anomalies.read(self.held_out, self.tokenizer.climatology)


# Ours


def our_recipes(data: Data, seed: int) -> tuple[Recipe, Recipe]:
    """Pre-training and fine-tuning, without anything beside the training."""
    base, tuned = recipes(data.store, PATCH, 1.0, data.extent)
    base["data"] |= {"validate": None}
    base["training"] |= PLAIN
    tuned["training"] |= PLAIN
    pretraining = read_recipe(base | {"seed": seed})
    return pretraining, read_recipe(tuned, inherit=pretraining)


def guessed_or_timed(recipe: Recipe, probe: tuple[int, ...] | None) -> float:
    """CPU time of a step of training; a guess without a probe."""
    return GUESSED_STEP_S if probe is None else step_seconds(recipe, probe)


def trained_for(
    recipe: Recipe, step_s: float, seconds: float, start: TrainedModel | None = None
) -> tuple[TrainedModel, Training]:
    """Ours after as many steps as take that time, and what they took: all of it, with reading the store and writing the model."""
    steps = max(2, round(seconds / step_s))
    began, began_wall = time.process_time(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fit, out = with_steps(recipe, steps), Path(folder) / "run"
        trained = finetune(fit, start, out, progress=False) if start else pretrain(fit, out, progress=False)
    taken, wall = time.process_time() - began, time.monotonic() - began_wall
    samples = steps * recipe.training.batch_size
    return trained, Training(steps, samples, taken, wall, trained.parameters, our_flops(trained, recipe))


def our_flops(trained: TrainedModel, recipe: Recipe, samples: int = 4) -> int:
    """Operations of a training sample's forward and backward pass, mean over some: what is hidden differs."""
    questions = training_questions(recipe, samples, trained.codecs)
    total = sum(count_flops(trained.model, stack_questions([questions[i]])) for i in range(samples))
    return total // samples


def run_ours(data: Data, seed: int, seconds: float, probe: tuple[int, ...] | None) -> list[dict[str, Any]]:
    """Forecasts of ours, pre-trained and from scratch, and the masked reconstruction of what was pre-trained."""
    pretraining, tuning = our_recipes(data, seed)
    pretraining_s, tuning_s = guessed_or_timed(pretraining, probe), guessed_or_timed(tuning, probe)
    pretrained, first = trained_for(pretraining, pretraining_s, PRETRAINING_SHARE * seconds)
    model, second = trained_for(tuning, tuning_s, (1 - PRETRAINING_SHARE) * seconds, pretrained)
    scratch, alone = trained_for(tuning, tuning_s, seconds)
    forecasts = at_leads(
        verify_forecast(
            {"ours": model, "ours from scratch": scratch}, data.held_out, training=data.training, every_h=data.every_h
        )
    )
    filling = only_single_tokens(pretraining)
    filler, gaps = trained_for(filling, guessed_or_timed(filling, probe), PRETRAINING_SHARE * seconds)
    return [
        result("ours", "forecast", forecasts, added(first, second)),
        result("ours from scratch", "forecast", forecasts, alone),
        result("ours", "masked", filled("ours", pretrained, data), first),
        result("ours for gaps", "masked", filled("ours for gaps", filler, data), gaps),
    ]


def only_single_tokens(recipe: Recipe) -> Recipe:
    """Masked as a network that fills gaps is trained: single tokens at random, nothing shown as noise or climatology."""
    task = {"kind": "masked", "later_slabs": 0, "blocks": 0, "noise": 0, "climatology": 0}
    return read_recipe(recipe.as_dict() | {"task": recipe.as_dict()["task"] | task})


def filled(name: str, model: TrainedModel, data: Data) -> dict[str, Verification]:
    """Masked reconstruction of ours, under a name."""
    masked = verify_reconstruction(model, data.held_out, hidden=(HIDDEN,), every_h=masked_every(data))
    return {name if v.forecast == "model" else v.forecast: v for v in masked}


def added(first: Training, second: Training) -> Training:
    """Pre-training and fine-tuning as one; a sample takes the mean of both."""
    total = {k: getattr(first, k) + getattr(second, k) for k in ("steps", "samples", "cpu_s", "wall_s")}
    flops = (first.flops * first.samples + second.flops * second.samples) // total["samples"]
    return Training(**total, parameters=second.parameters, flops=flops)


def at_leads(verifications: list[Verification]) -> dict[str, Verification]:
    """The same at the lead times that are printed."""
    found = {}
    for v in verifications:
        kept = [v.labels("lead_time_h").index(lead) for lead in LEADS_H]
        selected = {name: s[:, kept] for name, s in v.statistics.items()}
        axes = (lead_time_axis(LEADS_H), *v.axes[1:])
        found[v.forecast] = replace(v, axes=axes, statistics=selected, ranks=None)
    return found


# Peers


def run_forecast(peer: Peer, data: Data, seed: int, seconds: float) -> dict[str, Any]:
    step_h, history = data.training.step_h, data.tokenizer.stream.patch[0]
    leads = tuple(round(h / step_h) for h in LEADS_H)
    anomalies = data.training_anomalies
    question = ForecastQuestion.fit(anomalies, leads, history)
    model, training = trained_peer(peer, question, anomalies, question.starts(anomalies), seed, seconds)
    return result(peer.name, "forecast", verify_peer(peer.name, model, question, data), training)


@torch.inference_mode()
def predict(
    model: Departure, question: ForecastQuestion, anomalies: Anomalies, last: int
) -> tuple[Float[np.ndarray, "L V H W"], Float[np.ndarray, "L V H W"]]:
    """The forecast from one last known step, and how far the truth lies from it (NaN: unknown), in normalised units."""
    batch = question.batch(anomalies, np.array([last]))
    shape = (len(question.leads), -1, *anomalies.grid.shape)
    error = torch.where(batch.weight > 0, batch.target - model(batch.inputs, batch.base), torch.nan)
    return tuple(x[0].reshape(shape).numpy() for x in (model(batch.inputs, batch.base), error))


def error_std(model: Departure, question: ForecastQuestion, data: Data) -> Float[np.ndarray, "L V H W"]:
    """Its pattern is that of the errors in the training period, its size at each lead time and channel that of the validation days."""

    def mean_square(anomalies: Anomalies, stride: int) -> np.ndarray:
        starts = question.starts(anomalies)[::stride]
        return np.nanmean([predict(model, question, anomalies, int(s))[1] ** 2 for s in starts], axis=0)

    stride = round(data.every_h / data.training.step_h)
    pattern, recent = mean_square(data.training_anomalies, stride), mean_square(data.validation_anomalies, 1)
    area = data.training_anomalies.area
    size = np.nansum(recent * area, axis=(2, 3)) / np.nansum(pattern * area, axis=(2, 3))
    return np.sqrt(pattern * size[..., None, None])


def verify_peer(name: str, model: Departure, question: ForecastQuestion, data: Data) -> dict[str, Verification]:
    """A peer beside the baselines, at the starts and on the truth that `verify_forecast` scores ours on."""
    record, anomalies, tokenizer = data.held_out, data.held_out_anomalies, data.tokenizer
    scale = tokenizer.climatology.anomaly_std[:, None, None]
    std = error_std(model, question, data) * scale
    ensemble, at = ClimatologicalEnsemble(data.training), [lead - 1 for lead in question.leads]
    collected: dict[str, list[dict[str, np.ndarray]]] = {}
    starts = forecast_starts(data, question)
    for start in starts:
        window = StreamSource(record, tokenizer).whole(int(start), question.history + max(question.leads))
        case = forecast_case(window, question.history)
        truth, climatology = case.truth[at], case.climatology[at]
        mean = predict(model, question, anomalies, int(start) + question.history - 1)[0] * scale + climatology
        fields = tokenizer.to_fields((mean - climatology)[None], climatology)
        found = statistics(fields, truth, climatology, record.grid.cell_area)
        censored = tokenizer.climatology.lowest >= 0
        found["crps"] = area_mean(
            crps_normal(mean, std, truth, censored[:, None, None]), record.grid.cell_area, np.isfinite(truth)
        )
        collected.setdefault(name, []).append(found)
        for key, members in baselines(case, record, ensemble, at).items():
            found = statistics(members, truth, climatology, record.grid.cell_area, drawn=len(members) > 1)
            collected.setdefault(key, []).append(found)
    return verifications("forecast", record, LEADS_H, starts, collected)


def forecast_starts(data: Data, question: ForecastQuestion) -> np.ndarray:
    return every(data.held_out, data.held_out.starts(question.history + max(question.leads)), data.every_h)


def baselines(
    case: ForecastCase, record: Record, ensemble: ClimatologicalEnsemble, at: list[int]
) -> dict[str, np.ndarray]:
    times = case.ahead.start + np.array(at)
    return {
        "persistence": persistence(case.last, len(at)),
        "climatology": case.climatology[None, at],
        "climatology_distribution": ensemble.for_times(record.month[times], record.hour_utc[times]),
    }


def crps_normal(mean: np.ndarray, std: np.ndarray, truth: np.ndarray, censored: np.ndarray) -> np.ndarray:
    """CRPS of normal distributions, of which `censored` have what is negative moved to 0, as rain needs it.

    σ (z (2 Φ(z) - 1) + 2 φ(z) - 1 / sqrt π),  z = (y - μ) / σ          Gneiting et al. 2005, eq. 5
    less  σ (t Φ(t)² + 2 Φ(t) φ(t) - Φ(t sqrt 2) / sqrt π),  t = -μ / σ: the integral of Φ² below 0, where the truth never is
    """
    cdf = lambda x: torch.special.ndtr(torch.from_numpy(x)).numpy()  # noqa: E731
    density = lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * pi)  # noqa: E731
    z, t = (truth - mean) / std, -mean / std
    whole = z * (2 * cdf(z) - 1) + 2 * density(z) - 1 / np.sqrt(pi)
    below = t * cdf(t) ** 2 + 2 * cdf(t) * density(t) - cdf(np.sqrt(2) * t) / np.sqrt(pi)
    return std * (whole - np.where(censored, below, 0.0))


# Masked reconstruction


def masked_every(data: Data) -> float:
    return max(192.0, data.every_h)


def run_masked(peer: Peer, data: Data, seed: int, seconds: float) -> dict[str, Any]:
    """A network that fills gaps, scored on the masks that ours is scored on."""
    patch = data.tokenizer.stream.patch
    steps = data.recipe.task.window_slabs * patch[0]
    shape = (steps, *data.held_out.grid.shape)
    question = FillQuestion(steps, len(data.held_out.channels), hide_tokens(shape, patch))
    anomalies = data.training_anomalies
    model, training = trained_peer(peer, question, anomalies, question.starts(anomalies), seed, seconds)
    return result(peer.name, "masked", verify_masked(peer.name, model, question, data), training)


@torch.inference_mode()
def verify_masked(name: str, model: Departure, question: FillQuestion, data: Data) -> dict[str, Verification]:
    record, tokenizer, steps = data.held_out, data.tokenizer, question.steps
    starts = every(record, record.starts(steps), masked_every(data))
    task = plain_mask(HIDDEN, data.recipe.task.window_slabs)
    collected: dict[str, list[dict[str, np.ndarray]]] = {name: [], "climatology": []}
    area = np.tile(record.grid.cell_area, (steps, 1))
    for start in starts:
        stream = StreamSource(record, tokenizer).whole(int(start), steps)
        window = stream.tokens()
        asked = task.complete({"atmosphere": window}, seed=int(start)).queries["atmosphere"]
        hidden = asked_points(stream, window, asked)
        batch = question.masked(data.held_out_anomalies, np.array([start]), hidden[None, :, 0])
        truth, climatology = stream.fields, stream.climatology
        filled = model(batch.inputs, batch.base).reshape(climatology.shape).numpy()
        fields = tokenizer.to_fields((filled * tokenizer.climatology.anomaly_std[:, None, None])[None], climatology)
        scored = fold_time(np.where(hidden & np.isfinite(climatology), truth, np.nan))
        for key, members in ((name, fields), ("climatology", climatology[None])):
            found = statistics(fold_time(members), scored, fold_time(climatology), area)
            collected[key].append({metric: mean[None] for metric, mean in found.items()})
    return verifications("masked", record, (None,), starts, collected)


def verifications(
    task: str,
    record: Record,
    leads_h: Sequence[float | None],
    starts: np.ndarray,
    collected: Mapping[str, list[dict[str, np.ndarray]]],
) -> dict[str, Verification]:
    """A verification of each forecast from its statistics at each start."""
    found = {}
    for key, parts in collected.items():
        stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        axes, hours = field_axes(record, leads_h), record.hours[starts]
        found[key] = Verification(key, task, axes, stacked, hours, DECORRELATION_H, 1, ensemble_scores)
    return found


# Results


def result(name: str, task: str, found: dict[str, Verification], training: Training) -> dict[str, Any]:
    """What is kept of a training: its costs, and each score over each baseline's by lead time, mean over the channels."""
    ratios: dict[str, list[float]] = {}
    for metric, bases in BASELINES.items():
        for base in bases:
            if base in found:
                ratio = found[name].value(metric) / found[base].value(metric)
                ratios[f"{metric} / {base}"] = [float(r) for r in np.nanmean(ratio, axis=1)]
    return {"name": name, "task": task, "ratios": ratios, **asdict(training)}


def run_seed(
    seed: int, models: list[str], data: Data, seconds: float, probe: tuple[int, ...] | None, out: Path
) -> Iterator[dict[str, Any]]:
    """All results of one seed, model by model."""
    for key in models:
        folder, name = out / f"seed-{seed}", f"{key}-{seconds:g}s"
        if key == "ours":
            yield from kept(folder / f"{name}.json", lambda: run_ours(data, seed, seconds, probe))
            continue
        yield from kept(folder / f"{name}.json", lambda k=key: [run_forecast(PEERS[k], data, seed, seconds)])
        if key == "unet":
            fill = partial(run_masked, PEERS[key], data, seed, PRETRAINING_SHARE * seconds)
            yield from kept(folder / f"{name}-masked.json", lambda make=fill: [make()])


def print_table(results: list[dict[str, Any]]) -> None:
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in results:
        runs.setdefault((one["task"], one["name"]), []).append(one)
    print("\nscore over the baseline's, mean over variables and levels, mean ± standard deviation over the seeds")
    for (task, name), seeds in runs.items():
        for score in seeds[0]["ratios"]:
            values = np.array([seed["ratios"][score] for seed in seeds])
            cells = [spread(column) for column in values.T]
            leads = [lead_label(lead) for lead in LEADS_H] if task == "forecast" else [f"{HIDDEN:.0%} hidden"]
            print(
                f"{task:9s} {name:18s} {score:32s} "
                + "  ".join(f"{lead} {c}" for lead, c in zip(leads, cells, strict=True))
            )
    print("\nwhat a training took, mean over the seeds; GFLOP a sample forward and backward")
    for (task, name), seeds in runs.items():
        mean = {
            k: np.mean([s[k] for s in seeds]) for k in ("parameters", "flops", "steps", "samples", "cpu_s", "wall_s")
        }
        print(
            f"{task:9s} {name:18s} {mean['parameters'] / 1e6:5.2f} M parameters  {mean['flops'] / 1e9:6.2f} GFLOP  "
            f"{mean['steps']:6.0f} steps  {mean['samples']:6.0f} samples  {mean['cpu_s']:5.0f} s CPU  {mean['wall_s']:5.0f} s wall"
        )


DRAWN = {
    "rmse / persistence": "RMSE / persistence",
    "crps / climatology_distribution": "CRPS / climatology's distribution",
}


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Bars of each model's forecasts by lead time, with the spread over the seeds."""
    forecasts = [one for one in results if one["task"] == "forecast"]
    names = list(dict.fromkeys(one["name"] for one in forecasts))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (score, title) in zip(figure.subplots(1, len(DRAWN)), DRAWN.items(), strict=True):
        for number, name in enumerate(names):
            values = np.array([one["ratios"][score] for one in forecasts if one["name"] == name])
            std = values.std(axis=0, ddof=1) if len(values) > 1 else None
            at = np.arange(len(LEADS_H)) + (number - (len(names) - 1) / 2) * 0.8 / len(names)
            seeds = "one seed" if len(values) == 1 else f"{len(values)} seeds"
            axes.bar(at, values.mean(axis=0), 0.8 / len(names), yerr=std, capsize=2, label=f"{name} ({seeds})")
        axes.set_xticks(range(len(LEADS_H)), [lead_label(lead) for lead in LEADS_H])
        axes.set_ylabel(title)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default=SAMPLE)
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    parser.add_argument("--seconds", type=float, default=240.0, help="of CPU time that each model is trained for")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=("ours", *PEERS), default=["ours", *PEERS])
    parser.add_argument("--figure", type=Path, help="a PNG of the forecasts' scores")
    parser.add_argument(
        "--kept", action="store_true", help="train nothing, show what lies under --out for so many seconds"
    )
    parser.add_argument("--smoke", action="store_true", help="one seed, a moment each; into its own directory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = available(arguments.models)
    data, seeds, seconds, probe = Data(arguments.store, EVERY_H), arguments.seeds, arguments.seconds, PROBE_STEPS
    if arguments.smoke:
        data, seeds, seconds, probe = Data(arguments.store, SMOKE.every_h, SMOKE.extent), [0], 0.5, None
    out = arguments.out / ("smoke" if arguments.smoke else "")
    if arguments.kept:
        results = [
            one for path in sorted(out.glob(f"seed-*/*-{seconds:g}s*.json")) for one in json.loads(path.read_text())
        ]
    else:
        results = [one for seed in seeds for one in run_seed(seed, models, data, seconds, probe, out)]
    print_table(results)
    if arguments.figure:
        draw(results, arguments.figure)


if __name__ == "__main__":
    main()
