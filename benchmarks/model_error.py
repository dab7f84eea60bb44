"""Correction of a model's error: a twin of the simulator with other convection and long-wave absorption, started again from the truth.

    python benchmarks/model_error.py --out runs/twin [--seeds 0 1 2] [--figure model_error.png] [--smoke]

Simulates two years of truth and of the twin (T21, some 25 minutes; needs the extra `sim`) unless they lie in the folder. For each seed:
pre-train the quickstart on the first year of the truth, fine-tune it by `quickstart-model-error` to tell the truth from the twin's
forecasts of 6 h to 5 days, verify on the second year, which no training saw. Prints RMSE and CRPS over each baseline's by season, and
scores of events.
The figure shows RMSE against the time since the restart in the first three months, of the mean of four members of the first seed. What a
stopped run left is used again.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from shared import (
    SAMPLE,
    SMALL,
    SMOKE,
    Effort,
    Extent,
    Rows,
    evaluated_once,
    once,
    pretrained_once,
    print_events,
    print_ratios,
)
from statecast import complete, finetune, open_fields
from statecast.fields.sources.simulate import simulate
from statecast.trained import TrainedModel

TWIN = {"convection.trcnv": 12.0, "shortwave_radiation.ablwv2": 35.0}
"""Convection relaxes within 12 h instead of 6; water vapour absorbs 30 % less in its strong long-wave band."""
DAYS, RESTART_DAYS, TRUNCATION = 731, 5.0, 21
WHOLE_YEAR = Effort(Extent(held_out=("2001-01-01", "2001-12-31")))  # every 42 h: also all times since a restart
DRAWN_MEMBERS, DRAWN_PERIOD = 4, ("2001-01-01", "2001-03-31")
DRAWN = (("z", 500), ("t", 850), ("t2m", None), ("tprate", None))


def simulated(folder: Path) -> tuple[Path, Path]:
    """The truth, and the twin that starts again from it."""
    shared: dict[str, Any] = {"days": DAYS, "truncation": TRUNCATION}
    twin = simulate(folder / "twin.zarr", **shared, physics=TWIN, restart_days=RESTART_DAYS)
    return simulate(folder / "truth.zarr", **shared), twin


def stand_ins(folder: Path) -> tuple[Path, Path]:
    """For `--smoke`: the sample, and itself a day late."""
    fields = open_fields(SAMPLE)[list(SMALL.variables)]
    truth = fields.sel(level=list(SMALL.levels)).load().drop_encoding()
    late = truth.isel(time=slice(None, -4)).assign_coords(time=truth.time[4:])
    late["forecast_period"] = ("time", np.arange(late.sizes["time"]) % 20 * 6 + 6)
    for name, fields in (("truth.zarr", truth), ("twin.zarr", late)):
        fields.to_zarr(folder / name, mode="w", zarr_format=3, consolidated=False)
    return folder / "truth.zarr", folder / "twin.zarr"


def tuned(seed: int, folder: Path, truth: Path, twin: Path, effort: Effort) -> TrainedModel:
    """The model of a seed, pre-trained on the truth and fine-tuned to correct the twin."""
    base = pretrained_once(folder, seed, effort, f"data.store={truth}")
    run, stores = folder / "corrected", [f"data.store={twin}", f"data.stores={{analysis: {truth}}}"]
    overrides = [*stores, *of_streams(effort.extent), *effort.overrides]
    return once(run, partial(finetune, "quickstart-model-error", base, run, overrides=overrides))


def of_streams(extent: Extent) -> list[str]:
    """Overrides that give both streams of the fine-tuning the variables and levels of the extent."""
    if not extent.variables:
        return []
    guess = ", ".join(f"{name}: atmosphere.{name}" for name in extent.variables)
    of_analysis = [override.replace("atmosphere", "analysis") for override in extent.of_stream]
    return [*extent.of_stream, *of_analysis, f"streams.analysis.first_guess={{{guess}}}"]


def run_seed(seed: int, folder: Path, stores: tuple[Path, Path], effort: Effort) -> Rows:
    model = tuned(seed, folder, *stores, effort)
    return evaluated_once(folder / "scores", model, str(stores[1]), effort)


def growth(found: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """RMSE over the globe for each time since a restart."""
    weights = np.cos(np.deg2rad(truth.lat))
    squared = ((found - truth.sel(time=found.time, level=found.level)) ** 2).weighted(weights).mean(("lat", "lon"))
    return np.sqrt(squared.groupby(found.forecast_period).mean())


def draw(found: dict[str, xr.Dataset]) -> Figure:
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    shown = [(variable, level) for variable, level in DRAWN if variable in found["twin"]]
    for axes, (variable, level) in zip(figure.subplots(1, len(shown)), shown, strict=True):
        for label, errors in found.items():
            line = errors[variable] if level is None else errors[variable].sel(level=level)
            axes.plot(line.forecast_period / 24, line, label=label)
        axes.set(
            title=variable if level is None else f"{variable} {level} hPa",
            xlabel="days since the restart",
            ylabel=f"RMSE [{found['twin'][variable].attrs['units']}]",
            ylim=(0, None),
        )
    axes.legend(frameon=False)
    return figure


def drawn(model: TrainedModel, stores: tuple[Path, Path], held_out: tuple[str, str]) -> Figure:
    truth, twin = (open_fields(store).sel(time=slice(*held_out)).load() for store in stores)
    names = list(dict.fromkeys(variable for variable, _ in DRAWN if variable in twin))
    answered = complete(model, twin, held_out, members=DRAWN_MEMBERS, progress=False).mean("number")
    answered = answered.assign_coords(forecast_period=twin.forecast_period)
    found = {"twin": growth(twin.set_coords("forecast_period")[names], truth[names])}
    found["corrected"] = growth(answered[names], truth[names])
    for name in names:
        found["twin"][name].attrs["units"] = truth[name].attrs["units"]
    return draw(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/twin"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--figure", type=Path)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="one seed, a few steps, the sample instead of a simulation; in a folder of its own",
    )
    arguments = parser.parse_args()
    out = arguments.out / ("smoke" if arguments.smoke else "")
    out.mkdir(parents=True, exist_ok=True)
    stores = (stand_ins if arguments.smoke else simulated)(out)
    seeds, effort = ([0], SMOKE) if arguments.smoke else (arguments.seeds, WHOLE_YEAR)
    folders = {seed: out / f"seed-{seed}" for seed in seeds}
    runs = [run_seed(seed, folder, stores, effort) for seed, folder in folders.items()]
    for metric in ("rmse", "crps"):
        print_ratios(runs, metric)
    print_events(runs)
    if arguments.figure:
        model = tuned(seeds[0], folders[seeds[0]], *stores, effort)
        period = effort.extent.held_out if arguments.smoke else DRAWN_PERIOD
        drawn(model, stores, period).savefig(arguments.figure, dpi=130)


if __name__ == "__main__":
    main()
