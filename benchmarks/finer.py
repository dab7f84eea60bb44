"""Downscaling and bias correction beside a U-Net that is trained on the same data for as long as ours is fine-tuned.

    python benchmarks/finer.py --out runs/finer [--seeds 0 1 2] [--questions downscale radar] [--smoke]

For each seed: pre-train the quickstart, fine-tune it by `quickstart-downscale` and `quickstart-radar`, train a U-Net for each for as
long (CPU time of one thread) from the bilinear interpolation of all coarse channels and the relief on the fine grid, as a departure from
the first guess; verify all on months that no training saw. Prints per channel, mean ± standard deviation over the seeds: RMSE over bilinear
interpolation's; frequency bias and ETS of values above the 90th and 99th percentile of the training period; power in the shortest third
of the waves along the rows over the truth's (of ours that of the heads' mean). A U-Net gives one value, so there is no CRPS of it.
Runs of `benchmarks/questions.py` in the same --out are used again, with the CPU time that they took by their `run.yaml`; so is what a
stopped run left.
"""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np
import torch
import yaml
from jaxtyping import Float

from shared import QUESTIONS_EVERY_H, SMOKE, Effort, Rows, kept, records_of, run_questions, spread
from statecast.evaluation.scores import event_scores
from statecast.fields.evaluation.cases import ask
from statecast.fields.evaluation.events import EVENTS
from statecast.fields.evaluation.scores import area_mean, contingency
from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.evaluation.verification import every
from statecast.fields.sources import Record
from statecast.fields.tokenizers import sources_of, whole_window
from statecast.trained import TrainedModel, load
from unet import UNET, downscale_question, downscaled, trained_peer

Records = dict[str, Record]
Found = dict[str, dict[str, float]]
"""Metric -> channel -> value."""
QUESTIONS = {"downscale": "europe", "radar": "radar"}
PEER = replace(UNET, batch_size=4)


@dataclass(frozen=True)
class HeldOut:
    """The held-out windows of the asked stream. Axes: S start, T step of a window, V channel, H row, W column."""

    record: Record
    channels: tuple[str, ...]
    starts: np.ndarray
    times: np.ndarray
    truth: Float[np.ndarray, "ST V H W"]

    @classmethod
    def of(cls, trained: TrainedModel, asked: str, record: Record, every_h: float) -> "HeldOut":
        steps = trained.recipe.window_steps
        starts = every(record, record.starts(steps), every_h)
        times = (starts[:, None] + np.arange(steps)).reshape(-1)
        truth = np.stack([record.read(slice(t, t + 1))[0] for t in times])
        channels = tuple(map(str, trained.codecs[asked].climatology.channels))
        return cls(record, channels, starts, times, truth)

    def scores(self, fields: Float[np.ndarray, "ST V H W"], thresholds: Float[np.ndarray, "K V"]) -> Found:
        """RMSE, scores of events and the power of short waves, each by its name and channel; those that can't be told are left out."""
        area, known = self.record.grid.cell_area, np.isfinite(self.truth)
        squared = area_mean((fields - np.nan_to_num(self.truth)) ** 2, area, known)
        of_starts = np.nanmean(squared.reshape(len(self.starts), -1, len(self.channels)), axis=1)
        rows = {"rmse": np.sqrt(np.nanmean(of_starts, axis=0)), "short waves": self.short_waves(fields)}
        for quantile, threshold in zip(EVENTS, thresholds, strict=True):
            name = f"q{100 * quantile:g}"
            tables = contingency(fields[None], self.truth, threshold, area, name)
            means = {key: np.nanmean(table, axis=0) for key, table in tables.items()}
            of_event = event_scores(means)
            rows |= {f"{kind}_{name}": of_event[f"{kind}_{name}"] for kind in ("frequency_bias", "ets")}
        named = {key: dict(zip(self.channels, map(float, values), strict=True)) for key, values in rows.items()}
        return {key: {c: v for c, v in of.items() if isfinite(v)} for key, of in named.items()}

    def short_waves(self, fields: Float[np.ndarray, "ST V H W"]) -> Float[np.ndarray, " V"]:
        """Power in the shortest third of the waves over the truth's; NaN where gaps are in every row."""
        known = np.where(np.isfinite(self.truth), fields, np.nan)
        ours, true = (zonal_power(x, self.record.grid).mean(axis=0) for x in (known, self.truth))
        first = 2 * ours.shape[-1] // 3
        return ours[:, first:].sum(axis=-1) / true[:, first:].sum(axis=-1)


def scores_of_unet(run: Path, asked: str, seconds: float, seed: int, effort: Effort) -> dict[str, Found]:
    """On the held-out period: of a U-Net that was trained for that time, and of the mean of the heads of our run."""
    trained = load(run)
    learned = records_of(trained, trained.recipe.data.train)
    question, fine = downscale_question(trained, asked, learned)
    times = np.flatnonzero(np.isfinite(fine.values).any(axis=(1, 2, 3)))
    model, took = trained_peer(PEER, question, fine, times, seed, seconds)
    print(f"  U-Net: {took.parameters:,} parameters, {took.samples} samples, {took.cpu_s:.0f} s")
    records = records_of(trained, effort.extent.held_out)
    thresholds = np.nanquantile(np.moveaxis(learned[asked].read(slice(None)), 1, -1), EVENTS, axis=(0, 1, 2))
    held_out = HeldOut.of(trained, asked, records[asked], effort.every_h)
    theirs = downscaled(model, question, trained, asked, records, held_out.times)
    steps = len(held_out.times) // len(held_out.starts)
    ours = [mean_of_ours(trained, asked, records, int(start), steps) for start in held_out.starts]
    return {
        "U-Net": held_out.scores(theirs, thresholds),
        "ours, mean": held_out.scores(np.concatenate(ours), thresholds),
    }


def mean_of_ours(
    trained: TrainedModel, asked: str, records: Records, start: int, steps: int
) -> Float[np.ndarray, "T V H W"]:
    streams = whole_window(sources_of(trained.codecs, {name: records[name] for name in trained.codecs}), start, steps)
    return ask({"ours": trained}, streams)[1][asked]["ours"].mean(axis=0)


def run(
    seed: int, out: Path, questions: list[str], seconds: float | None, effort: Effort
) -> dict[str, dict[str, Found]]:
    """Scores of the U-Net, of ours and of the baselines, by question and forecast."""
    rows = run_questions(seed, out, questions, effort)
    found: dict[str, dict[str, Found]] = {}
    for question in questions:
        folder = out / f"seed-{seed}" / question
        time_s = seconds or yaml.safe_load((folder / "run.yaml").read_text())["cpu_time_s"]
        make = partial(scores_of_unet, folder, QUESTIONS[question], time_s, seed, effort)
        of = kept(folder.with_name(f"{question}-unet-scores.json"), make)
        add_scores(of, [row for row in rows if row["task"].startswith(question)])
        found[question] = of
    return found


def add_scores(of: dict[str, Found], rows: Rows) -> None:
    """Add the scores of ours and of the baselines that a U-Net has as well."""
    for row in rows:
        if row["metric"].startswith(("rmse", "ets", "frequency_bias")):
            level = "" if row["level_hpa"] is None else f"@{row['level_hpa']:g}"
            of_metric = of.setdefault(row["forecast"], {}).setdefault(row["metric"], {})
            of_metric[row["variable"] + level] = row["value"]


def print_table(runs: list[dict[str, dict[str, Found]]]) -> None:
    print(f"mean ± standard deviation over {len(runs)} seeds; RMSE over that of bilinear interpolation")
    for question, of in runs[0].items():
        for name, metric in ((name, metric) for name, found in of.items() for metric in found):
            for channel in of[name][metric]:
                values = np.array([r[question][name][metric][channel] for r in runs])
                if metric == "rmse":
                    values = values / [r[question]["bilinear"][metric][channel] for r in runs]
                print(f"{question:10s} {channel:8s} {metric:18s} {name:18s} {spread(values)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/finer"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--questions", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument(
        "--smoke", action="store_true", help="one seed and question, a few steps; in a folder of its own"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds, questions, effort = arguments.seeds, arguments.questions, Effort(every_h=QUESTIONS_EVERY_H)
    seconds = None
    if arguments.smoke:
        seeds, questions, effort, seconds = [0], ["radar"], SMOKE, 0.2
    out = arguments.out / ("smoke" if arguments.smoke else "")
    print_table([run(seed, out, questions, seconds, effort) for seed in seeds])


if __name__ == "__main__":
    main()
