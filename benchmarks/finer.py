"""Downscaling and bias correction beside a U-Net that is trained on the same data for as long as ours is fine-tuned.

    python benchmarks/finer.py --out runs/finer [--seeds 0 1 2] [--smoke]

For each seed: pre-train the quickstart, fine-tune it by `quickstart-downscale` and `quickstart-radar`, train a U-Net for each for as
long (CPU time of one thread) from the bilinear interpolation of all coarse channels and the relief on the fine grid, as a departure from
the first guess; verify all on months that no training saw. Prints RMSE over bilinear interpolation's of both, per channel: mean ± standard
deviation over the seeds. A U-Net gives one value, so there is no CRPS of it. Runs of `benchmarks/questions.py` in the same --out are used
again, with the time that they took by their `run.yaml`; what a stopped run left too.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from questions import EVERY_H, SMOKE_EVERY_H, run_seed
from skill import HELD_OUT
from statecast.evaluation.scores import area_mean
from statecast.evaluation.verification import every
from statecast.sources import Record
from statecast.sources.stores import open_stores
from statecast.trained import TrainedModel, load
from unet import Anomalies, Departure, DownscaleQuestion, UNet, batches, train

QUESTIONS = {"downscale": "europe", "radar": "radar"}
WIDTHS, BATCH, LEARNING_RATE, ORTHOGONAL_RATE = (
    (32, 64, 128),
    4,
    4e-3,
    0.01,
)  # as tuned for forecasts, docs/experiments.md


def records_of(trained: TrainedModel, period: tuple[str, str]) -> dict[str, Record]:
    data = trained.recipe["data"]
    stores = open_stores(data["store"], trained.tokenizers, data["stores"])
    return {name: Record.open(stores[name], t.stream, period) for name, t in trained.tokenizers.items()}


def question_of(trained: TrainedModel, asked: str, records: dict[str, Record]) -> tuple[DownscaleQuestion, Anomalies]:
    """What the U-Net is asked, and the fine anomalies of the period."""
    tokenizers = trained.tokenizers
    coarse, fine = (Anomalies.read(records[n], tokenizers[n].climatology) for n in ("atmosphere", asked))
    climatology, there = tokenizers[asked].climatology, tokenizers["atmosphere"].climatology
    source = tuple(there.channels.index(channel) for channel in climatology.channels)
    ratio = there.anomaly_std[list(source)] / climatology.anomaly_std
    relief = Anomalies.read(records["relief"], tokenizers["relief"].climatology).values[0]
    return DownscaleQuestion.fit(coarse, fine, source, ratio, relief), fine


def rmse_of_unet(trained: TrainedModel, asked: str, seconds: float, seed: int, every_h: float) -> dict[str, float]:
    """RMSE of each channel on the held-out period of a U-Net that was trained for that time."""
    question, fine = question_of(trained, asked, records_of(trained, tuple(trained.recipe["data"]["train"])))
    torch.manual_seed(seed)
    network = UNet(question.inputs, len(question.source), WIDTHS, periodic=fine.grid.is_periodic)
    model = Departure(network, torch.from_numpy(question.scale).float())
    times = np.flatnonzero(np.isfinite(fine.values).any(axis=(1, 2, 3)))
    rates = {"learning_rate": LEARNING_RATE, "orthogonal_rate": ORTHOGONAL_RATE}
    took = train(model, batches(question, fine, times, BATCH, seed), seconds, **rates)
    print(f"  U-Net: {took.parameters:,} parameters, {took.samples} samples, {took.cpu_s:.0f} s")
    records = records_of(trained, HELD_OUT)
    held_out, fine = question_of(trained, asked, records)
    held_out = DownscaleQuestion(held_out.coarse, question.source, question.ratio, question.static, question.scale)
    record, climatology = records[asked], trained.tokenizers[asked].climatology
    steps = trained.recipe["task"]["slabs"] * max(t.stream.patch[0] for t in trained.tokenizers.values())
    starts = every(record, record.starts(steps), every_h)
    shown = (starts[:, None] + np.arange(steps)).reshape(-1)
    batch = held_out.batch(fine, shown)
    with torch.inference_mode():
        answer = torch.cat([model(x, b) for x, b in zip(batch.inputs.split(16), batch.base.split(16), strict=True)])
    usual = climatology.at(record.months_passed[shown], record.hour_utc[shown])
    fields = answer.numpy() * climatology.anomaly_std[:, None, None] + usual
    fields = np.where(climatology.lowest[:, None, None] >= 0, np.maximum(fields, 0), fields)
    truth = np.stack([record.read(slice(t, t + 1))[0] for t in shown])
    squared = area_mean((fields - np.nan_to_num(truth)) ** 2, record.grid.cell_area, np.isfinite(truth))
    of_starts = np.nanmean(squared.reshape(len(starts), steps, -1), axis=1)
    return dict(zip(map(str, climatology.channels), np.sqrt(np.nanmean(of_starts, axis=0)).tolist(), strict=True))


def run(
    seed: int, out: Path, questions: list[str], overrides: list[str], seconds: float | None, every_h: float
) -> dict[str, dict[str, float]]:
    """RMSE of ours, of the U-Net and of the baselines, by question and channel."""
    found: dict[str, dict[str, float]] = {}
    scores = run_seed(seed, out, overrides, questions, every_h)
    for question in questions:
        folder, kept = out / f"seed-{seed}" / question, out / f"seed-{seed}" / f"{question}-unet.json"
        if not kept.is_file():
            time_s = yaml.safe_load((folder / "run.yaml").read_text())["wall_time_s"]
            kept.write_text(
                json.dumps(rmse_of_unet(load(folder), QUESTIONS[question], seconds or time_s, seed, every_h))
            )
        of: dict[str, Any] = {"U-Net": json.loads(kept.read_text())}
        for record in scores:
            if record["task"].startswith(question) and record["metric"] == "rmse":
                level = "" if record["level_hpa"] is None else f"@{record['level_hpa']:g}"
                of.setdefault(record["forecast"], {})[record["variable"] + level] = record["value"]
        found[question] = {f"{name} {channel}": v for name, channels in of.items() for channel, v in channels.items()}
    return found


def print_table(runs: list[dict[str, dict[str, float]]]) -> None:
    print(f"RMSE over that of bilinear interpolation: mean ± standard deviation over {len(runs)} seeds")
    for question in runs[0]:
        for key in runs[0][question]:
            name, channel = key.rsplit(" ", 1)
            if name != "bilinear":
                values = np.array([r[question][key] / r[question][f"bilinear {channel}"] for r in runs])
                spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
                print(f"{question:10s} {channel:8s} {name:18s} {values.mean():.3f}{spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/finer"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--smoke", action="store_true", help="one seed and question, a few steps; in a folder of its own"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    overrides = ["training.steps=4", "training.validation_samples=2"] if arguments.smoke else []
    seeds, seconds, every_h = ([0], 2.0, SMOKE_EVERY_H) if arguments.smoke else (arguments.seeds, None, EVERY_H)
    questions = ["radar"] if arguments.smoke else list(QUESTIONS)
    out = arguments.out / ("smoke" if arguments.smoke else "")
    print_table([run(seed, out, questions, overrides, seconds, every_h) for seed in seeds])


if __name__ == "__main__":
    main()
