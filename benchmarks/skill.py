"""Skill of the main job on a whole record, over several seeds.

    python benchmarks/skill.py --store STORE --out runs/skill [--seeds 0 1 2] [--scale 1.0] [--smoke]

For each seed: pre-train, fine-tune to forecast 72 h, train the control from scratch with the same fine-tuning budget, then verify on a
period that no training saw. Prints masked reconstruction at 50, 75 and 90 % hidden beside climatology and linear interpolation, and
forecasts at +6, +24 and +72 h beside persistence and climatology: mean and spread over the seeds. What a stopped run left is used again;
runs of another store, patch or scale lie in a folder of their own.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from statecast import evaluate, finetune, pretrain, read_recipe
from statecast.fields.evaluation import verify_forecast, write_scores
from statecast.fields.sources import Record, open_fields
from statecast.trained import TrainedModel, load

TRAIN, VALIDATE, HELD_OUT = ("2000-01-01", "2000-12-20"), ("2000-12-21", "2000-12-31"), ("2001-01-01", "2001-02-28")
LEADS_H = (6.0, 24.0, 72.0)
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
WIDTH_A_ROW = (
    48  # of a token: one of 4 x 4 points holds four times as many values as the quickstart's, whose width is 96
)
FORECAST_EVERY_H, MASKED_EVERY_H = 42.0, 192.0  # 42 h: all hours of the day in turn


@dataclass(frozen=True)
class Extent:
    """What of a record a benchmark takes: the periods, and the variables and levels of the quickstart's stream (none: all of its own)."""

    train: tuple[str, str] = TRAIN
    validate: tuple[str, str] = VALIDATE
    held_out: tuple[str, str] = HELD_OUT
    variables: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()

    @property
    def of_stream(self) -> list[str]:
        """Overrides of any recipe of the quickstart."""
        if not self.variables:
            return []
        said = {"variables": self.variables, "levels": self.levels, "patch": (2, 2, 2)}
        return [f"streams.atmosphere.{key}={json.dumps(values)}" for key, values in said.items()]

    @property
    def overrides(self) -> list[str]:
        """Of a pre-training, from which fine-tuning inherits the periods."""
        return [*self.of_stream, f"data.train={json.dumps(self.train)}", f"data.validate={json.dumps(self.validate)}"]


WHOLE = Extent()
SMALL = Extent(
    ("2000-01-01", "2000-01-31"),
    ("2000-12-28", "2000-12-31"),
    ("2001-01-01", "2001-01-08"),
    ("z", "t2m", "tprate"),
    (500,),
)  # for smoke runs


def recipes(store: str, patch: int, scale: float, extent: Extent = WHOLE) -> tuple[dict[str, Any], dict[str, Any]]:
    steps = lambda n: max(2, round(scale * n))  # noqa: E731
    base = read_recipe("quickstart", extent.of_stream).as_dict()
    base["data"] = {"store": store, "train": extent.train, "validate": extent.validate}
    base["streams"]["atmosphere"]["patch"] = [2, patch, patch]
    base["task"]["slabs"] = 4
    base["model"] = {"width": WIDTH_A_ROW * patch}
    base["training"] |= {"steps": steps(1200), "validation_samples": 16}
    tuned = {"task": {"kind": "forecast", "history": 1, "leads": 6, "asked": 0.25}}
    tuned["training"] = base["training"] | {"steps": steps(600)}
    return base, tuned


def once(run: Path, make: Callable[[], TrainedModel]) -> TrainedModel:
    """The model of a run directory, which is made if it isn't there yet."""
    return load(run) if run.is_dir() else make()


def folder_of(store: str, patch: int, scale: float, out: Path) -> Path:
    """Where the runs of these options lie; a path is told from others that end alike by a sum over all of it."""
    where = str(Path(store).resolve()) if Path(store).exists() else store
    name = f"{Path(store).stem.replace(':', '-')}-{crc32(where.encode()):08x}"
    return out / f"{name}-patch-{patch}-scale-{scale:g}"


def run_seed(seed: int, store: str, patch: int, scale: float, out: Path, extent: Extent) -> list[dict[str, Any]]:
    """All scores of one seed. What lies there from a run that was stopped is used again."""
    folder = folder_of(store, patch, scale, out) / f"seed-{seed}"
    if (folder / "scores.json").is_file():
        return json.loads((folder / "scores.json").read_text())
    base, tuned = recipes(store, patch, scale, extent)
    base = read_recipe(base | {"seed": seed})
    tuning = read_recipe(tuned, inherit=base.as_dict())
    pretrained = once(folder / "pretrained", lambda: pretrain(base, folder / "pretrained"))
    model = once(folder / "forecast", lambda: finetune(tuning, pretrained, folder / "forecast"))
    scratch = once(folder / "scratch", lambda: pretrain(tuning, folder / "scratch", title="from scratch"))
    masked = evaluate(
        pretrained, store, extent.held_out, folder / "masked", every_h=MASKED_EVERY_H, overwrite=True
    ).verifications
    dataset, stream = open_fields(store), next(iter(model.codecs.values())).stream
    record, training = (Record.open(dataset, stream, p) for p in (extent.held_out, extent.train))
    models = {"model": model, "scratch": scratch}
    forecasts = verify_forecast(models, record, training=training, every_h=FORECAST_EVERY_H)
    write_scores([*masked, *forecasts], folder)
    return json.loads((folder / "scores.json").read_text())


def mean_ratios(records: list[dict[str, Any]], metric: str) -> dict[tuple[str, str, float | None, str], float]:
    """(task, forecast, lead, baseline) -> mean over variables and levels of a score over the baseline's."""
    values = {
        (r["task"], r["forecast"], r["lead_time_h"], r["variable"], r["level_hpa"]): r["value"]
        for r in records
        if r["metric"] == metric
    }
    ratios = defaultdict(list)
    for (task, forecast, lead, *channel), value in values.items():
        for base in BASELINES:
            reference = values.get((task, base, lead, *channel))
            if reference:
                ratios[task, forecast, lead, base].append(value / reference)
    return {key: float(np.mean(r)) for key, r in ratios.items()}


def worst_ratio(
    records: list[dict[str, Any]], task: str, lead: float | None, base: str, metric: str = "rmse"
) -> tuple[float, str]:
    """The channel where the model comes closest to a baseline, or falls behind it: a score over the baseline's."""
    of = {
        (r["forecast"], r["variable"], r["level_hpa"]): r["value"]
        for r in records
        if r["metric"] == metric and r["task"] == task and r["lead_time_h"] == lead
    }
    ratios = [
        (v / of[base, *key[1:]], f"{key[1]}@{key[2]}")
        for key, v in of.items()
        if key[0] == "model" and (base, *key[1:]) in of
    ]
    return max(ratios)


def print_table(runs: list[list[dict[str, Any]]]) -> None:
    for metric, bases in (
        ("rmse", ("persistence", "climatology", "interpolation")),
        ("crps", ("climatology_distribution",)),
    ):
        seeds = [mean_ratios(run, metric) for run in runs]
        print(
            f"\nmean over variables and levels of {metric.upper()} over the baseline's: mean ± standard deviation over {len(runs)} seeds"
        )
        for key in seeds[0]:
            task, forecast, lead, base = key
            if (
                base in bases
                and forecast in ("model", "scratch", "interpolation")
                and forecast != base
                and (lead in LEADS_H or lead is None)
            ):
                values = np.array([s[key] for s in seeds])
                when = "" if lead is None else f"+{lead:g} h"
                spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
                print(f"{task:12s} {when:6s} {forecast:14s} / {base:26s} {values.mean():.3f}{spread}")
    print("\nworst channel of the model, RMSE over the baseline's, over the seeds")
    for task in dict.fromkeys(r["task"] for r in runs[0]):
        bases = ("persistence", "climatology") if task == "forecast" else ("climatology", "interpolation")
        for lead in LEADS_H if task == "forecast" else (None,):
            for base in bases:
                value, channel = max(worst_ratio(run, task, lead, base) for run in runs)
                print(f"{task:12s} {'' if lead is None else f'+{lead:g} h':6s} / {base:14s} {value:.3f} ({channel})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="sample:atmosphere")
    parser.add_argument("--out", type=Path, default=Path("runs/skill"))
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="one process each may run them side by side"
    )
    parser.add_argument("--patch", type=int, default=4, help="rows and columns of a token; it must divide the grid")
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of steps")
    parser.add_argument("--smoke", action="store_true", help="one seed, a few steps; in a folder of its own")
    arguments = parser.parse_args()
    seeds, scale, extent = ([0], 0.002, SMALL) if arguments.smoke else (arguments.seeds, arguments.scale, WHOLE)
    out = arguments.out / ("smoke" if arguments.smoke else "")
    runs = [run_seed(seed, arguments.store, arguments.patch, scale, out, extent) for seed in seeds]
    print_table(runs)


if __name__ == "__main__":
    main()
