"""Commands on data: look at them, or simulate an atmosphere, stations in it, jets, events or showers."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from statecast.cli.options import STORE_HELP, Overwrite, Quiet, numbers
from statecast.particles.sources.collisions import PROCESSES
from statecast.particles.sources.pythia import KINDS

IMAGES_HELP = "Images: a folder of PNG, JPEG or TIFF files, a NumPy stack, sample:digits or sample:photographs."
SHOWERS_HELP = "Showers: an HDF5 file of the CaloChallenge, or the XML file of a geometry."
STATIONS_HELP = "Stations: a table of reports (CSV, Parquet, NetCDF time series)."
TEXT_HELP = "Texts: a CSV, JSONL, Parquet or CoNLL file, a folder of .txt files, or sample:docs."
JETS_HELP = "Jets: a Parquet, ROOT or HDF5 file, a directory of such files, a pattern in quotes, or sample:jets."


class Simulations(TyperGroup):
    """The commands `simulate ...`; without the name of a system, options are those of the atmosphere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = [atmosphere.__name__, *args]
        return super().parse_args(ctx, args)


def describe(
    data: Annotated[
        str,
        typer.Argument(help=f"{STORE_HELP} {STATIONS_HELP} {JETS_HELP} {SHOWERS_HELP} {IMAGES_HELP} {TEXT_HELP}"),
    ],
) -> None:
    """What is in DATA: variables, grid, gaps of fields; reports of stations; layout of jets and showers; labels of images and texts."""
    from statecast.describers import describe_data

    Console().print(describe_data(data))


def atmosphere(
    out: Annotated[Path, typer.Option(help="Zarr store to write; an unfinished one of the same options is continued.")],
    days: Annotated[float | None, typer.Option(help="Days to simulate.")] = None,
    years: Annotated[float | None, typer.Option(help="Years to simulate, of 365.25 days.")] = None,
    truncation: Annotated[int, typer.Option(help="21, 31 or 42: 32 x 64, 48 x 96 or 64 x 128 points.")] = 31,
    start: Annotated[str, typer.Option(help="Date of the first step; the season follows it.")] = "2000-01-01",
    seed: Annotated[int, typer.Option(help="Another seed is other weather in the same climate.")] = 0,
    levels: Annotated[
        list[float] | None, typer.Option("--level", help="Pressure level in hPa; repeat for several.")
    ] = None,
    interval_h: Annotated[int, typer.Option(help="Hours between steps.")] = 6,
    spin_up_days: Annotated[int, typer.Option(help="Days that the model runs before the first step.")] = 120,
    physics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="Another value of a SPEEDY parameter, such as convection.trcnv=12; repeat for several.",
        ),
    ] = None,
    restart_days: Annotated[
        float,
        typer.Option(help="Start again every so many days from the run with the usual physics: an imperfect model."),
    ] = 0.0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a global atmosphere straight to a CF Zarr store; resumable (needs the extra `sim`)."""
    from statecast.fields.sources.simulate import SimulationError
    from statecast.fields.sources.simulate import simulate as run

    if (days is None) == (years is None):
        raise SimulationError("give the length of the simulation by --days or --years, one of them.")
    length = days if days is not None else 365.25 * (years or 0.0)
    run(
        out,
        days=length,
        truncation=truncation,
        start=start,
        seed=seed,
        levels_hpa=levels or (500, 850),
        interval_h=interval_h,
        spin_up_days=spin_up_days,
        physics=numbers(physics, "--physics", "NAME=NUMBER, for example convection.trcnv=12"),
        restart_days=restart_days,
        overwrite=overwrite,
        progress=not quiet,
    )
    print(f"store: {out}")


def stations(
    store: Annotated[str, typer.Option(help=STORE_HELP)],
    count: Annotated[int, typer.Option(help="Stations.", max=100_000)],
    out: Annotated[Path, typer.Option(help="CSV or Parquet file to write.")],
    seed: Annotated[int, typer.Option(help="Another seed is other places and other errors.")] = 0,
    variables: Annotated[
        list[str] | None,
        typer.Option("--variable", help="Variable at the surface; repeat for several.", show_default="t2m and msl"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw stations from a store of fields, with biases, noise, gaps and irregular times that docs/stations.md lists."""
    from statecast.fields.stations.simulate import simulate_stations

    simulate_stations(store, out, count=count, seed=seed, variables=variables or (), overwrite=overwrite)
    print(f"stations: {out}")


def jets(
    out: Annotated[
        Path, typer.Option(help="Parquet file to write; an unfinished one of the same options is continued.")
    ],
    jets: Annotated[int, typer.Option(help="Jets in all, the same number of each kind.", max=10**8)],
    kinds: Annotated[
        list[str], typer.Option("--kind", help=f"{', '.join(KINDS)}; repeat for several.", show_default="qcd and top")
    ] = ["qcd", "top"],  # noqa: B006
    seed: Annotated[int, typer.Option(help="Another seed is other collisions.")] = 0,
    pt: Annotated[tuple[float, float], typer.Option(help="Lowest and highest pT of a jet in GeV.")] = (500.0, 650.0),
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that share the work, one per core if not given; the jets stay the same.", max=1024
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate jets of proton-proton collisions, generated and measured, to a Parquet file; resumable (needs the extra `hep`)."""
    from statecast.particles.sources.simulate import simulate_jets

    simulate_jets(
        out,
        jets=jets,
        kinds=kinds,
        seed=seed,
        pt_range_gev=pt,
        workers=workers,
        overwrite=overwrite,
        progress=not quiet,
    )
    print(f"jets: {out}")


def events(
    out: Annotated[
        Path, typer.Option(help="Parquet file to write; an unfinished one of the same options is continued.")
    ],
    events: Annotated[int, typer.Option(help="Events in all, the same number of each kind.", max=10**8)],
    kinds: Annotated[
        list[str],
        typer.Option(
            "--kind",
            help=f"{', '.join(PROCESSES)}; repeat for several.",
            show_default="all",
        ),
    ] = list(PROCESSES),  # noqa: B006
    seed: Annotated[int, typer.Option(help="Another seed is other collisions.")] = 0,
    min_pt: Annotated[float, typer.Option(help="Lowest pT of the two leading jets in GeV.")] = 450.0,
    mass: Annotated[float, typer.Option(help="Mass of the resonance in GeV.")] = 1500.0,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that share the work, one per core if not given; the events stay the same.", max=1024
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate whole events of a search, a resonance and its backgrounds, to a Parquet file; resumable (needs the extra `hep`)."""
    from statecast.particles.sources.simulate import simulate_events

    simulate_events(
        out,
        events=events,
        kinds=kinds,
        seed=seed,
        min_pt_gev=min_pt,
        mass_gev=mass,
        workers=workers,
        overwrite=overwrite,
        progress=not quiet,
    )
    print(f"events: {out}")


def showers(
    out: Annotated[Path, typer.Option(help="HDF5 file to write; an unfinished one of the same options is continued.")],
    showers: Annotated[int, typer.Option(help="Showers in all.", max=10**8)],
    geometry: Annotated[
        str, typer.Option(help="XML file of the CaloChallenge, or small, other or dataset-2-like.")
    ] = "small",
    energy: Annotated[tuple[float, float], typer.Option(help="Lowest and highest incident energy in GeV.")] = (
        1.0,
        1000.0,
    ),
    depth_x0: Annotated[float, typer.Option(help="Depth of the calorimeter in radiation lengths.")] = 25.0,
    stochastic: Annotated[float, typer.Option(help="Sampling fluctuation in GeV^0.5.")] = 0.1,
    threshold_mev: Annotated[
        float, typer.Option(help="Smallest energy of a voxel that is read, in MeV.", show_default="0.015")
    ] = 0.5 / 33,
    seed: Annotated[int, typer.Option(help="Another seed is other showers.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that share the work, one per core if not given; the showers stay the same.", max=1024
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw showers of electrons by a parametrisation, not by Geant4, to an HDF5 file; resumable (needs the extra `hep`)."""
    from statecast.particles.showers.sources.profile import Calorimeter
    from statecast.particles.showers.sources.simulate import simulate_showers

    simulate_showers(
        out,
        showers=showers,
        geometry=geometry,
        seed=seed,
        energy_gev=energy,
        calorimeter=Calorimeter(depth_x0, stochastic, threshold_mev),
        workers=workers,
        overwrite=overwrite,
        progress=not quiet,
    )
    print(f"showers: {out}")
