"""Commands on jets: ask a model for their labels, or for new ones."""

from pathlib import Path
from typing import Annotated

import typer

from statecast.cli.options import Overwrite, Quiet

JETS_HELP = "Files of jets, or sample:jets."


def tag(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=JETS_HELP)],
    *,
    out: Annotated[Path, typer.Option(help="Parquet table to write, or NetCDF file if it ends in .nc.")],
    batch: Annotated[int, typer.Option(help="Jets that are answered at once.", min=1)] = 256,
    overwrite: Overwrite = False,
) -> None:
    """Jets: write the probability of each class, or a number, for every jet of FILE."""
    from statecast.particles.verbs import tag as run_tag

    run_tag(run, files, out, batch=batch, overwrite=overwrite)
    print(f"tags: {out}")


def generate(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    *,
    jets: Annotated[int, typer.Option(help="Jets to draw.", min=1)] = 1000,
    label: Annotated[str | None, typer.Option(help="Class of the jets; any if not given.")] = None,
    temperature: Annotated[
        float,
        typer.Option(help="Of the codes of particles: 0 draws the most probable one, 1 as the model learned.", min=0.0),
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among so many most probable codes only.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives other jets.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Parquet file to write, with the names of JetClass.")],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Jets: draw new ones, the count first, then particle by particle."""
    from statecast.particles.verbs import Sampling
    from statecast.particles.verbs import generate as run_generate

    sampling = Sampling(temperature, top_k)
    run_generate(run, jets, out, label=label, sampling=sampling, seed=seed, overwrite=overwrite, progress=not quiet)
    print(f"jets: {out}")
