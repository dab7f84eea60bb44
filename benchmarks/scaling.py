"""How skill scales with parameters, years of data, compute, the hidden share and the form of the tokens, at equal compute.

    python benchmarks/scaling.py --simulate 11.2 --store runs/long.zarr [--truncation 21]      # makes the record; needs statecast[sim]
    python benchmarks/scaling.py --store runs/long.zarr --out runs/scaling [--seeds 0 1] [--jobs 2] [--axes years] [--figure scaling.png]
    python benchmarks/scaling.py --figure scaling.png                                       # draws what the results file holds
    python benchmarks/scaling.py --smoke

Every run is pre-trained for the same number of operations (matrix products forward and backward, `models.operations`; `compute` is a share
of it), then fine-tuned to forecast 24 h. The fine-tuning takes a quarter of the study's operations: it is the same for all runs, also for
those with a share of the pre-training. One thing differs from the default at a time: M parameters, all years, 50 to 90 % hidden or later
slabs, a token for all variables and levels. On the axis `hidden` single tokens are hidden, always that share, no later slabs. Operations
are not time: the results hold the CPU time of each run's pre-training as well (`cpu_s`), of which small models take more an operation.

The end of the store is held out, a year unless it is told; training ends 30 days before, and those decide the learning rate of each size,
from four, with the first seed. Other runs take that of their size. Fewer years are the last ones before.

Scores are RMSE over climatology's where 50, 75 and 90 % of single tokens are hidden, and over persistence's at +24 h, means over variables
and levels. Climatology is that of all years, whatever a run knew. With a token for each variable other values are hidden, so only the
forecast compares. A power law is fitted to the means over the seeds, and printed and drawn only where log-log R² is at least 0.95.

One JSON a run under --out, what is there is used again, so give another model another one; the results file is small enough to keep.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from shared import PLAIN, SAMPLE, edge_note, in_parallel, kept, records_of, spread, with_steps
from statecast import finetune, open_fields, pretrain, read_recipe
from statecast.config import Recipe
from statecast.costs.sizes import draw_counts
from statecast.evaluation import Verification
from statecast.fields.anchors import field_spec
from statecast.fields.evaluation import verify_forecast
from statecast.fields.evaluation.reconstruction import verify_reconstruction
from statecast.fields.sizes import DEFAULT_STEP_H, DEFAULT_TOKEN_DEG, blank_tokens
from statecast.fields.sources.record import stream_channels
from statecast.fields.sources.simulate import simulate
from statecast.models.operations import sample_flops
from statecast.trained import FORMAT

RESULTS = Path(__file__).parent / "results" / "scaling.json"
SIZES = {  # width / heads is 16 to 32
    "S": {"width": 64, "encoder_layers": 2, "heads": 4},
    "M": {"width": 96, "encoder_layers": 2, "heads": 4},
    "L": {"width": 160, "encoder_layers": 3, "heads": 5},
    "XL": {"width": 256, "encoder_layers": 4, "heads": 8},
}
SHARED, SINGLE = "all variables", "one variable"  # in a token
MASKS, LEAD_H = (0.5, 0.75, 0.9), 24.0
TUNING_SHARE = 0.25  # of the study's operations, whatever the share `compute` of a run
STRAIGHT = 0.95  # R² from which a line is a power law
DAYS_A_YEAR = 365.25
SCORES = {"masked 75%": "RMSE / climatology, 75 % hidden", "forecast": "RMSE / persistence, +24 h"}
AXES = {
    "parameters": "parameters",
    "years": "years of data",
    "compute": "operations / 10¹²",
    "hidden": "hidden share / %",
    "tokens": "a token holds",
}


@dataclass(frozen=True)
class Point:
    """One run. `hidden` None: the masks of the default recipe; `compute`: share of the study's operations."""

    years: float
    size: str = "M"
    hidden: float | None = None
    tokens: str = SHARED
    compute: float = 1.0
    learning_rate: float = 3.5e-3
    seed: int = 0

    @property
    def name(self) -> str:
        hidden = "masks" if self.hidden is None else f"{self.hidden:g}"
        tokens = self.tokens.replace(" ", "-")
        return f"{self.size}-{self.years:g}y-{hidden}-{tokens}-{self.compute:g}-{self.learning_rate:g}-{self.seed}"


@dataclass(frozen=True)
class Study:
    """The record, what is varied, and how much is spent."""

    store: str
    out: Path
    teraflop: float = 2.0
    years: tuple[float, ...] = (1, 2, 3, 5, 10)
    sizes: tuple[str, ...] = tuple(SIZES)
    hidden: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
    tokens: tuple[str, ...] = (SHARED, SINGLE)
    compute: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    rates: tuple[float, ...] = (8.75e-4, 1.75e-3, 3.5e-3, 7e-3)
    patch: int = 4
    held_out_days: int = 365
    validation_days: int = 30
    every_h: float = 390.0  # all hours of the day in turn
    validate_every_h: float = 54.0

    @property
    def default(self) -> Point:
        return Point(max(self.years))

    def axis(self, name: str) -> list[Point]:
        """The default with one thing changed."""
        field = "size" if name == "parameters" else name
        values = self.sizes if name == "parameters" else getattr(self, name)
        return [replace(self.default, **{field: value}) for value in values]

    def period(self, days: float, *, before: float) -> tuple[str, str]:
        """So many days, the last of them so many days before the end of the store. Raises ValueError if it doesn't hold them."""
        times = open_fields(self.store).indexes["time"]
        per_day = round(np.timedelta64(1, "D") / (times[1] - times[0]).to_timedelta64())
        last, length = len(times) - round(before * per_day), round(days * per_day)
        if last < length:
            raise ValueError(
                f"store {self.store}: has {len(times) / per_day:.0f} days, expected at least {days + before:.0f}. "
                "Make a longer one by --simulate, or name fewer --years."
            )
        return times[last - length].isoformat(), times[last - 1].isoformat()

    @property
    def held_out(self) -> tuple[str, str]:
        return self.period(self.held_out_days, before=0)

    @property
    def validation(self) -> tuple[str, str]:
        return self.period(self.validation_days, before=self.held_out_days)

    def training(self, years: float) -> tuple[str, str]:
        return self.period(years * DAYS_A_YEAR, before=self.held_out_days + self.validation_days)


# Runs


def streams_of(study: Study, tokens: str) -> dict[str, Any]:
    """The quickstart's variables in one stream, or each in a stream of its own with a token a level."""
    stream = read_recipe("quickstart").as_dict()["streams"]["atmosphere"] | {"patch": [2, study.patch, study.patch]}
    if tokens == SHARED:
        return {"atmosphere": stream}
    fields = open_fields(study.store)
    on_levels = {name: "level" in fields[name].dims for name in stream["variables"]}
    return {
        name: stream | {"variables": [name], "levels": stream["levels"] if has else [], "levels_share_token": not has}
        for name, has in on_levels.items()
    }


def recipes_of(study: Study, point: Point) -> tuple[Recipe, Recipe]:
    """Pre-training and fine-tuning, their steps yet to be told."""
    values = read_recipe("quickstart").as_dict()
    values["data"] = {"store": study.store, "train": study.training(point.years)}
    values["streams"] = streams_of(study, point.tokens)
    values["model"] |= SIZES[point.size]
    if point.hidden is not None:
        values["task"] |= {"hidden": [point.hidden, point.hidden], "later_slabs": 0.0}
    values["training"] |= PLAIN | {"learning_rate": point.learning_rate}
    pretraining = read_recipe(values | {"seed": point.seed})
    task = read_recipe("quickstart-forecast", inherit=pretraining).as_dict()["task"]
    return pretraining, read_recipe({"task": task, "training": values["training"]}, inherit=pretraining)


def flops_of(recipe: Recipe) -> float:
    """Operations of a training sample, a mean over masks; from the dimensions of the store, whose values are not read."""
    fields = open_fields(recipe.data.store)
    shape = (recipe.window_steps, fields.sizes["lat"], fields.sizes["lon"])
    specs, window = {}, {}
    for name, stream in recipe.streams.items():
        channels = len(stream_channels(fields, stream))
        groups = 1 if stream.levels_share_token else len(stream.levels)
        specs[name] = field_spec(channels // groups, stream.patch, DEFAULT_STEP_H, DEFAULT_TOKEN_DEG)
        window[name] = blank_tokens(name, stream, specs[name], shape)
    counts = draw_counts(recipe, window)
    return float(np.mean([sample_flops(recipe.model, specs, c.shown, c.asked) for c in counts]))


def steps_for(recipe: Recipe, teraflop: float) -> int:
    return max(1, round(1e12 * teraflop / flops_of(recipe) / recipe.training.batch_size))


def rmse_of(found: Sequence[Verification], lead_h: float | None = None) -> dict[str, list[float]]:
    """RMSE of each forecast, channel after channel, stream after stream."""
    rmse: dict[str, list[float]] = {}
    for v in found:
        rmse.setdefault(v.forecast, []).extend(v.value("rmse")[v.labels("lead_time_h").index(lead_h)].tolist())
    return rmse


def measured(study: Study, point: Point) -> dict[str, Any]:
    """What is kept of a run: its costs, and RMSE by channel beside the baselines'."""
    pretraining, tuning = recipes_of(study, point)
    steps = steps_for(pretraining, point.compute * study.teraflop)
    tuning_steps = steps_for(tuning, TUNING_SHARE * study.teraflop)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = pretrain(with_steps(pretraining, steps), Path(folder) / "pretrained", progress=False)
        took = time.process_time() - began
        tuned = finetune(with_steps(tuning, tuning_steps), model, Path(folder) / "forecast", progress=False)
    reconstruct = partial(verify_reconstruction, model, interpolation=False)
    validation, held_out = (records_of(model, period) for period in (study.validation, study.held_out))
    masked = {f"{m:.0%}": rmse_of(reconstruct(held_out, hidden=(m,), every_h=study.every_h)) for m in MASKS}
    forecast = verify_forecast({"model": tuned}, held_out, every_h=study.every_h)
    return asdict(point) | {
        "parameters": model.parameters,
        "steps": steps,
        "tuning_steps": tuning_steps,
        "teraflop": point.compute * study.teraflop,
        "cpu_s": round(took, 1),
        "validation": rmse_of(reconstruct(validation, hidden=(0.75,), every_h=study.validate_every_h)),
        "masked": masked,
        "forecast": rmse_of(forecast, LEAD_H),
    }


def result_of(study: Study, point: Point) -> dict[str, Any]:
    """The result of a run, which is made if it isn't there yet."""
    path = study.out / f"{study.teraflop:g}-teraflop" / f"{point.name}.json"
    is_new = not path.is_file()
    result = kept(path, lambda: [measured(study, point)])[0]
    if is_new:
        cells = f"masked {ratio(result['masked']['75%'], 'climatology'):.3f}  forecast {ratio(result['forecast'], 'persistence'):.3f}"
        print(f"{point.name:44s} {cells}  {result['steps']} steps, {result['cpu_s']:.0f} s", flush=True)
    return result


def ratio(rmse: dict[str, list[float]], baseline: str, of: dict[str, list[float]] | None = None) -> float:
    """RMSE over a baseline's, which another run may give; mean over the channels."""
    return float(np.nanmean(np.divide(rmse["model"], (of or rmse)[baseline])))


def choose_rates(study: Study, seed: int, jobs: int) -> dict[str, float]:
    """For each size the learning rate with the best masked reconstruction on the validation days."""
    points = [
        replace(study.default, size=size, learning_rate=rate, seed=seed)
        for size, rate in product(study.sizes, study.rates)
    ]
    errors: dict[str, dict[float, float]] = {}
    for point, result in zip(points, in_parallel(partial(result_of, study), points, jobs), strict=True):
        errors.setdefault(point.size, {})[point.learning_rate] = ratio(result["validation"], "climatology")
    chosen = {size: min(found, key=found.__getitem__) for size, found in errors.items()}
    for size, rate in chosen.items():
        print(f"learning rate of {size}: {rate:g}{edge_note(rate, study.rates)}")
    return chosen


def run(study: Study, seeds: Sequence[int], jobs: int, axes: Sequence[str]) -> dict[str, Any]:
    """All runs of a study; what the results file holds."""
    rates = choose_rates(study, seeds[0], jobs)
    points = dict.fromkeys(
        replace(point, seed=seed, learning_rate=rates.get(point.size, study.default.learning_rate))
        for seed, axis in product(seeds, axes)
        for point in study.axis(axis)
    )
    results = in_parallel(partial(result_of, study), points, jobs)
    return collect(study, results)


# Results


def collect(study: Study, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row a run, with the mean scores over climatology's of all years and persistence's."""
    reference = next(r for r in results if (r["years"], r["tokens"]) == (study.default.years, SHARED))
    rows = []
    for result in results:
        of = reference if result["tokens"] == SHARED else result  # other tokens, other masks and another order
        masked = {
            f"masked {share}": round(ratio(rmse, "climatology", of["masked"][share]), 4)
            for share, rmse in result["masked"].items()
        }
        forecast = round(ratio(result["forecast"], "persistence"), 4)
        kept_as_is = {k: v for k, v in result.items() if not isinstance(v, dict)}
        rows.append(kept_as_is | masked | {"forecast": forecast})
    fields = open_fields(study.store)
    settings = {
        "record": str(fields.attrs.get("title", study.store)),
        "grid": [fields.sizes["lat"], fields.sizes["lon"]],
        "held_out": list(study.held_out),
        "teraflop": study.teraflop,
        "torch": torch.__version__,
        "model_format": FORMAT,
        "default": {k: v for k, v in asdict(study.default).items() if k not in ("seed", "learning_rate")},
    }
    return {"settings": settings, "runs": rows}


def others_kept(file: Path, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs of other axes and seeds that the results file holds for the same settings."""
    kept_before = json.loads(file.read_text()) if file.is_file() else {}
    point_of = lambda row: [row[key] for key in ("seed", "learning_rate", *found["settings"]["default"])]  # noqa: E731
    is_same = kept_before.get("settings") == found["settings"]
    mine = [point_of(row) for row in found["runs"]]
    return [row for row in kept_before["runs"] if point_of(row) not in mine] if is_same else []


def on_axis(results: dict[str, Any], axis: str, score: str) -> dict[Any, list[float]]:
    """x -> the score of each seed, for the runs that differ from the default in nothing else; x ascending."""
    if axis == "tokens" and score != "forecast":  # other values are hidden
        return {}
    default = results["settings"]["default"]
    free = "size" if axis == "parameters" else axis
    column = "teraflop" if axis == "compute" else axis
    found: dict[Any, list[float]] = {}
    for row in results["runs"]:
        is_on = all(row[key] == value for key, value in default.items() if key != free)
        if is_on and row[column] is not None:
            found.setdefault(row[column], []).append(row[score])
    return dict(sorted(found.items()))


def power_law(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Factor and exponent of y = a x^b by least squares in log-log, and R² there."""
    lx, ly = np.log(x), np.log(y)
    exponent, offset = np.polyfit(lx, ly, 1)
    left = ((ly - offset - exponent * lx) ** 2).sum()
    return float(np.exp(offset)), float(exponent), float(1 - left / max(((ly - ly.mean()) ** 2).sum(), 1e-12))


def print_table(results: dict[str, Any]) -> None:
    print(f"\n{results['settings']['record']}; {results['settings']['teraflop']:g} · 10¹² operations of pre-training")
    for (axis, name), (score, title) in product(AXES.items(), SCORES.items()):
        if len(found := on_axis(results, axis, score)) < 2:
            continue
        print(f"\n{title}, by {name}")
        for x, values in found.items():
            print(f"{x!s:>14s}  {spread(np.array(values))}")
        if law := law_of(axis, found):
            print(f"{'':16s}{law}")


def law_of(axis: str, found: dict[Any, list[float]]) -> str:
    """In words; empty where none is looked for, as along the hidden share."""
    if axis not in ("parameters", "years", "compute"):
        return ""
    if len(found) < 3:
        return "too few points for a power law"
    factor, exponent, straight = power_law(list(found), [float(np.mean(v)) for v in found.values()])
    if straight < STRAIGHT:
        return f"no power law: R² {straight:.2f} in log-log"
    return f"{factor:.3g} x^{exponent:.3f}, R² {straight:.2f}"


def draw(results: dict[str, Any], path: Path) -> None:
    varied = [axis for axis in AXES if len(on_axis(results, axis, "forecast")) > 1]
    figure = Figure(figsize=(3.4 * len(varied), 6.2), layout="constrained")
    for row, axes in zip(SCORES, figure.subplots(len(SCORES), len(varied), sharey="row"), strict=True):
        for axis, plot in zip(varied, axes, strict=True):
            if not (found := on_axis(results, axis, row)):
                plot.axis("off")
                continue
            draw_axis(plot, axis, found)
            plot.set_xlabel(AXES[axis])
        axes[0].set_ylabel(SCORES[row])
    seeds = len({run["seed"] for run in results["runs"]})
    over = "one seed" if seeds == 1 else f"mean and standard deviation over {seeds} seeds"
    figure.suptitle(f"{results['settings']['record']}: {over}")
    figure.savefig(path, dpi=120)


def draw_axis(plot: Any, axis: str, found: dict[Any, list[float]]) -> None:
    ticks = [_short(axis, x) for x in found]
    x = np.array(list(found) if axis in ("parameters", "years", "compute") else range(len(found)), float)
    mean: Float[np.ndarray, " X"] = np.array([np.mean(v) for v in found.values()])
    std = [np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in found.values()]
    plot.errorbar(x, mean, std, marker="o", markersize=4, capsize=3, linestyle=":" if axis == "tokens" else "-")
    if axis in ("parameters", "years", "compute"):
        plot.set_xscale("log")
        law = law_of(axis, found)
        plot.set_title(law, fontsize="small")
        if "R²" in law and not law.startswith("no"):
            factor, exponent, _ = power_law(x, mean)
            plot.plot(x, factor * x**exponent, "k--", linewidth=1)
    plot.set_xticks(x, ticks)
    plot.minorticks_off()
    plot.grid(alpha=0.3)


def _short(axis: str, x: Any) -> str:
    if axis == "parameters":
        return f"{x / 1e6:.2g} M"
    if axis == "hidden":
        return f"{100 * x:g}"
    return x if isinstance(x, str) else f"{x:.3g}"


def small_study(out: Path) -> Study:
    """Two sizes, two periods, two shares, on what ships with statecast."""
    study = Study(SAMPLE, out / "smoke", 0.002, (0.05, 0.1), ("S", "M"), (), (SHARED,), (1.0,), (3.5e-3,))
    return replace(study, held_out_days=20, validation_days=10, every_h=2000.0, validate_every_h=2000.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="a long record; without it the results file is printed and drawn")
    parser.add_argument("--simulate", type=float, metavar="YEARS", help="make the store, or go on making it, and stop")
    parser.add_argument("--truncation", type=int, default=21, help="of the simulation: 21, 31 or 42")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that is kept")
    parser.add_argument("--years", type=float, nargs="+", default=[1, 2, 3, 5, 10])
    parser.add_argument("--held-out-days", type=int, default=Study.held_out_days, help="the end of the store")
    parser.add_argument("--teraflop", type=float, default=Study.teraflop, help="operations of a pre-training / 10^12")
    parser.add_argument("--patch", type=int, default=Study.patch, help="rows and columns of a token; divides the grid")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), help="what is varied")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--figure", type=Path, help="a PNG of the curves")
    parser.add_argument("--smoke", action="store_true", help="one seed, a moment; its results lie under --out")
    arguments = parser.parse_args()
    if arguments.simulate:
        if not arguments.store:
            parser.error("--simulate needs --store, where the record is written.")
        simulate(arguments.store, days=round(arguments.simulate * DAYS_A_YEAR), truncation=arguments.truncation)
        return
    torch.set_num_threads(1)
    file, seeds, study = arguments.results, arguments.seeds, None
    if arguments.smoke:
        study, seeds, file = small_study(arguments.out), [0], arguments.out / "smoke" / "scaling.json"
    elif arguments.store:
        study = Study(arguments.store, arguments.out, arguments.teraflop, tuple(arguments.years))
        study = replace(study, patch=arguments.patch, held_out_days=arguments.held_out_days)
        try:
            study.training(max(study.years))
        except ValueError as error:
            parser.error(str(error))
    if study:
        found = run(study, seeds, arguments.jobs, arguments.axes)
        found["runs"] += others_kept(file, found)
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = ",\n  ".join(json.dumps(row) for row in found["runs"])
        file.write_text(f'{{"settings": {json.dumps(found["settings"])},\n "runs": [\n  {rows}]}}\n')
    results = json.loads(file.read_text())
    print_table(results)
    if arguments.figure:
        draw(results, arguments.figure)


if __name__ == "__main__":
    main()
