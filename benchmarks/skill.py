"""Skill of the main job on a whole record, over several seeds.

    python benchmarks/skill.py --store STORE --out runs/skill [--seeds 0 1 2] [--scale 1.0] [--smoke]

For each seed: pre-train, fine-tune to forecast 72 h, train the control from scratch with the same fine-tuning budget, then verify on a
period that no training saw. Prints masked reconstruction at 50, 75 and 90 % hidden beside climatology and linear interpolation, and
forecasts at +6, +24 and +72 h beside persistence and climatology: mean and spread over the seeds. What a stopped run left is used again;
runs of another store, patch or scale lie in a folder of their own.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np

from shared import (
    EVERY_H,
    LEADS_H,
    SAMPLE,
    SMALL,
    WHOLE,
    Extent,
    Rows,
    lead_label,
    mean_ratios,
    once,
    recipes,
    rows_in,
    spread,
    worst_ratio,
)
from statecast import evaluate, finetune, pretrain, read_recipe
from statecast.evaluation import write_scores
from statecast.fields.evaluation import verify_forecast
from statecast.fields.sources import Record, open_fields

MASKED_EVERY_H = 192.0
BASES = {"rmse": ("persistence", "climatology", "interpolation"), "crps": ("climatology_distribution",)}
FORECASTS = ("model", "scratch", "interpolation")


def folder_of(store: str, patch: int, scale: float, out: Path) -> Path:
    """Where the runs of these options lie; a path is told from others that end alike by a sum over all of it."""
    where = str(Path(store).resolve()) if Path(store).exists() else store
    name = f"{Path(store).stem.replace(':', '-')}-{crc32(where.encode()):08x}"
    return out / f"{name}-patch-{patch}-scale-{scale:g}"


def run_seed(seed: int, store: str, patch: int, scale: float, out: Path, extent: Extent) -> Rows:
    """All scores of one seed. What lies there from a run that was stopped is used again."""
    folder = folder_of(store, patch, scale, out) / f"seed-{seed}"
    if (folder / "scores.json").is_file():
        return rows_in(folder)
    base, tuned = recipes(store, patch, scale, extent)
    base = read_recipe(base | {"seed": seed})
    tuning = read_recipe(tuned, inherit=base)
    pretrained = once(folder / "pretrained", partial(pretrain, base, folder / "pretrained"))
    model = once(folder / "forecast", partial(finetune, tuning, pretrained, folder / "forecast"))
    scratch = once(folder / "scratch", partial(pretrain, tuning, folder / "scratch", title="from scratch"))
    masked = evaluate(
        pretrained, store, extent.held_out, folder / "masked", every_h=MASKED_EVERY_H, report=False, overwrite=True
    ).verifications
    dataset, stream = open_fields(store), next(iter(model.codecs.values())).stream
    record, training = (Record.open(dataset, stream, p) for p in (extent.held_out, extent.train))
    models = {"model": model, "scratch": scratch}
    forecasts = verify_forecast(models, record, training=training, every_h=EVERY_H)
    write_scores([*masked, *forecasts], folder)
    return rows_in(folder)


def is_shown(metric: str, forecast: str, lead: float | None, base: str) -> bool:
    """Whether the table has a row for this score of a forecast over that of a baseline."""
    at_lead = lead is None or lead in LEADS_H
    return at_lead and forecast in FORECASTS and base in BASES[metric] and forecast != base


def print_means(runs: Sequence[Rows], metric: str) -> None:
    seeds = [mean_ratios(run, metric) for run in runs]
    print(
        f"\nmean over variables and levels of {metric.upper()} over the baseline's: "
        f"mean ± standard deviation over {len(runs)} seeds"
    )
    for key in seeds[0]:
        task, forecast, lead, base = key
        if is_shown(metric, forecast, lead, base):
            values = np.array([seed[key] for seed in seeds])
            print(f"{task:12s} {lead_label(lead):6s} {forecast:14s} / {base:26s} {spread(values)}")


def print_worst(runs: Sequence[Rows]) -> None:
    print("\nworst channel of the model, RMSE over the baseline's, over the seeds")
    for task in dict.fromkeys(row["task"] for row in runs[0]):
        is_forecast = task == "forecast"
        bases = ("persistence", "climatology") if is_forecast else ("climatology", "interpolation")
        for lead in LEADS_H if is_forecast else (None,):
            for base in bases:
                value, channel = max(worst_ratio(run, task, lead, base) for run in runs)
                print(f"{task:12s} {lead_label(lead):6s} / {base:14s} {value:.3f} ({channel})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default=SAMPLE)
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
    for metric in BASES:
        print_means(runs, metric)
    print_worst(runs)


if __name__ == "__main__":
    main()
