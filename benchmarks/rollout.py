"""Ten days of roll-out: does a forecast keep the variance and the spectrum of the weather?

    python benchmarks/rollout.py --run runs/forecast [runs/seed-1 ...] [--starts 6] [--figure rollout.png] [--smoke]

Forecasts ten days from starts that are spread over months that no training saw, each member going on from its own past. Prints, after 1, 3,
5 and 10 days: the variance of the anomalies of single members and of the ensemble mean over that of the truth, RMSE of the mean over
climatology's, and the power of members along the rows over that of the truth in the shortest third of the waves. That is the mean over the
variables and levels (the median for the power, as a smooth field has hardly any) and over the runs, ± its standard deviation over the
runs; and the channels' smallest and largest value. The figure shows spectra of the first run after ten days.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from shared import HELD_OUT, SAMPLE, given_or_tiny, require_model, spread
from statecast import open_fields
from statecast.fields.evaluation.scores import area_mean
from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.inference import forecast
from statecast.fields.sources import Record
from statecast.fields.tokenizers import Place
from statecast.fields.tokenizers.windows import whole_domain
from statecast.trained import TrainedModel

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
    tokenizer = trained.codecs[name]
    ahead: Place = whole_domain(record.grid, last + 1, steps)
    channels = [
        fields[c.variable] if c.pressure_hpa is None else fields[c.variable].sel(level=c.pressure_hpa)
        for c in record.channels
    ]
    stacked = np.stack([c.transpose("number", "lead_time", "lat", "lon").values for c in channels], axis=2)
    climatology = tokenizer.climatology_at(record, ahead)
    return Case(stacked - climatology, record.read(slice(last + 1, last + 1 + steps)) - climatology)


def run_cases(trained: TrainedModel, store: str, days: int, starts: int, members: int) -> tuple[list[Case], Record]:
    name, tokenizer = next(iter(trained.codecs.items()))
    record = Record.open(open_fields(store), tokenizer.stream, HELD_OUT)
    steps = round(days * 24 / record.step_h)
    first = trained.recipe.task.history * tokenizer.stream.patch[0] - 1
    lasts = np.linspace(first, len(record) - steps - 1, starts).astype(int)
    cases = [run_case(trained, record, name, int(last), steps, members) for last in lasts]
    assert all(np.isfinite(case.members).all() for case in cases)
    return cases, record


def scores(cases: list[Case], record: Record, t: int) -> dict[str, Float[np.ndarray, " V"]]:
    """What is printed of a lead time, for each channel."""
    mean_square = lambda x: area_mean(x**2, record.grid.cell_area, np.isfinite(x))  # noqa: E731
    truth = np.mean([mean_square(c.truth[t]) for c in cases], axis=0)
    error = np.mean([mean_square(c.members[:, t].mean(axis=0) - c.truth[t]) for c in cases], axis=0)
    power = spectra(cases, record, t)
    short = {name: np.array_split(p, 3, axis=-1)[-1].sum(axis=-1) for name, p in power.items()}
    return {
        "variance of a member / truth": np.mean([mean_square(c.members[:, t]).mean(axis=0) for c in cases], axis=0)
        / truth,
        "variance of their mean / truth": np.mean([mean_square(c.members[:, t].mean(axis=0)) for c in cases], axis=0)
        / truth,
        "RMSE of their mean / climatology": np.sqrt(error / truth),
        "power of a member / truth, shortest third of the waves": short["members"] / short["truth"],
    }


def print_table(runs: list[tuple[list[Case], Record]]) -> None:
    """Mean over the runs (and their standard deviation) of the mean over channels, and the smallest and largest channel."""
    for day in PRINTED_DAYS:
        t = round(day * 24 / runs[0][1].step_h) - 1
        if t < len(runs[0][0][0].truth):
            found = [scores(cases, record, t) for cases, record in runs]
            for name in found[0]:
                values = np.array([f[name] for f in found])
                middle = np.median if name.startswith("power") else np.mean
                of_runs = middle(values, axis=1)
                channels = f"({values.min():.2f} to {values.max():.2f})"
                print(f"day {day:2d}  {name:56s} {spread(of_runs, digits=2)}  {channels}")


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
    parser.add_argument(
        "--run", nargs="+", help="runs or models that forecast, such as seeds; may be left out with --smoke"
    )
    parser.add_argument("--store", default=SAMPLE)
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--figure", type=Path, help="PNG of the spectra after ten days")
    parser.add_argument("--smoke", action="store_true", help="one start, two days")
    arguments = parser.parse_args()
    require_model(parser, "--run", arguments.run, arguments.smoke)
    days, starts = (2, 1) if arguments.smoke else (DAYS, arguments.starts)
    runs = [
        run_cases(given_or_tiny(run), arguments.store, days, starts, arguments.members)
        for run in arguments.run or [None]
    ]
    print_table(runs)
    if arguments.figure:
        draw(*runs[0], arguments.figure)


if __name__ == "__main__":
    main()
