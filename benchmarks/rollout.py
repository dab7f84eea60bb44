"""Ten days of roll-out: does a forecast keep the variance and the spectrum of the weather?

    python benchmarks/rollout.py --run runs/forecast [--store sample:atmosphere] [--starts 6] [--figure rollout.png] [--smoke]

Forecasts ten days from starts that are spread over months that no training saw, each member going on from its own past. Prints, after 1, 3,
5 and 10 days, for each variable: the variance of the anomalies of single members and of the ensemble mean over that of the truth, RMSE of
the mean over climatology's, and the power of members along the rows over that of the truth in the longest, middle and shortest third of
the waves. The figure shows spectra after ten days.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from skill import HELD_OUT
from statecast import open_fields
from statecast.evaluation.scores import area_mean
from statecast.evaluation.spectra import zonal_power
from statecast.inference import forecast
from statecast.sources import Record
from statecast.tokenizers import Place
from statecast.tokenizers.windows import whole_domain
from statecast.trained import TrainedModel
from upstream import given_or_tiny

DAYS, PRINTED_DAYS = 10, (1, 3, 5, 10)


@dataclass(frozen=True)
class Case:
    """Anomalies of one start, in the units of the channels. Axes: E member, T lead time, V channel, H row, W column."""

    members: Float[np.ndarray, "E T V H W"]
    truth: Float[np.ndarray, "T V H W"]


def run_case(trained: TrainedModel, record: Record, name: str, last: int, steps: int, members: int) -> Case:
    """`last` is the last step that is shown."""
    init = str(record.dataset.time.values[last])[:19]
    fields = forecast(trained, record.dataset, init, steps, members).isel(init_time=0)
    tokenizer = trained.tokenizers[name]
    ahead: Place = whole_domain(record.grid, last + 1, steps)
    channels = [
        fields[c.variable] if c.pressure_hpa is None else fields[c.variable].sel(level=c.pressure_hpa)
        for c in record.channels
    ]
    stacked = np.stack([c.transpose("number", "lead_time", "lat", "lon").values for c in channels], axis=2)
    usual = tokenizer.usual(record, ahead)
    return Case(stacked - usual, record.read(slice(last + 1, last + 1 + steps)) - usual)


def print_table(cases: list[Case], record: Record) -> None:
    mean_square = lambda x: area_mean(x**2, record.grid.cell_area, np.isfinite(x))  # noqa: E731
    print("day  channel   variance: member  mean   RMSE/climatology   power of members, long middle short waves")
    for day in PRINTED_DAYS:
        t = round(day * 24 / record.step_h) - 1
        if t >= len(cases[0].truth):
            continue
        truth = np.mean([mean_square(c.truth[t]) for c in cases], axis=0)
        single = np.mean([mean_square(c.members[:, t]).mean(axis=0) for c in cases], axis=0) / truth
        mean = np.mean([mean_square(c.members[:, t].mean(axis=0)) for c in cases], axis=0) / truth
        error = np.sqrt(
            np.mean([mean_square(c.members[:, t].mean(axis=0) - c.truth[t]) for c in cases], axis=0) / truth
        )
        power = spectra(cases, record, t)
        thirds = [p.sum(axis=-1) for p in np.array_split(power["members"], 3, axis=-1)]
        of_truth = [p.sum(axis=-1) for p in np.array_split(power["truth"], 3, axis=-1)]
        for v, channel in enumerate(record.channels):
            ratios = "  ".join(f"{a[v] / b[v]:6.2f}" for a, b in zip(thirds, of_truth, strict=True))
            print(f"{day:3d}  {channel!s:10s} {single[v]:14.2f} {mean[v]:5.2f} {error[v]:12.2f}            {ratios}")


def spectra(cases: list[Case], record: Record, t: int) -> dict[str, Float[np.ndarray, "V K"]]:
    fields = {
        "truth": [c.truth[t] for c in cases],
        "members": [m for c in cases for m in c.members[:, t]],
        "mean": [c.members[:, t].mean(axis=0) for c in cases],
    }
    return {name: np.mean([zonal_power(f, record.grid) for f in found], axis=0) for name, found in fields.items()}


def draw(cases: list[Case], record: Record, out: Path) -> None:
    power = spectra(cases, record, len(cases[0].truth) - 1)
    chosen = [i for i, c in enumerate(record.channels) if str(c) in ("z@500", "t@850", "u@850")] or [0]
    figure = Figure(figsize=(3.6 * len(chosen), 3.0), layout="constrained")
    for axis, v in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        for name, values in power.items():
            axis.plot(np.arange(1, values.shape[1] + 1), values[v], label=name, linewidth=3 if name == "truth" else 1.5)
        axis.set(xscale="log", yscale="log", xlabel="waves round the globe", title=str(record.channels[v]))
        axis.set_ylabel(f"power ({record.units[v]})²")
        axis.legend(fontsize=8)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="run or model that forecasts; may be left out with --smoke")
    parser.add_argument("--store", default="sample:atmosphere")
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--figure", type=Path, help="PNG of the spectra after ten days")
    parser.add_argument("--smoke", action="store_true", help="one start, two days")
    arguments = parser.parse_args()
    if arguments.run is None and not arguments.smoke:
        parser.error("give --run RUN, as `statecast quickstart` makes it, or --smoke.")
    trained = given_or_tiny(arguments.run)
    name, tokenizer = next(iter(trained.tokenizers.items()))
    record = Record.open(open_fields(arguments.store), tokenizer.stream, HELD_OUT)
    days, starts = (2, 1) if arguments.smoke else (DAYS, arguments.starts)
    steps = round(days * 24 / record.step_h)
    first = trained.recipe["task"]["history"] * tokenizer.stream.patch[0] - 1
    lasts = np.linspace(first, len(record) - steps - 1, starts).astype(int)
    cases = [run_case(trained, record, name, int(last), steps, arguments.members) for last in lasts]
    assert all(np.isfinite(case.members).all() for case in cases)
    print_table(cases, record)
    if arguments.figure:
        draw(cases, record, arguments.figure)


if __name__ == "__main__":
    main()
