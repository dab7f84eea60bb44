"""Commands on jets, showers and texts: tag or unfold jets, generate new ones, look at a codebook, or search for a signal among events."""

from pathlib import Path
from typing import Annotated

import typer

from statecast.cli.options import Out, Overwrite, Quiet, given, numbers
from statecast.cli.printing import print_table

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


def unfold(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=JETS_HELP)],
    *,
    members: Annotated[
        int | None, typer.Option(help="Draws for each jet; as many as the model says if not given.", min=1)
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of the solver, of two evaluations each.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Another seed gives other draws.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Parquet table to write, or NetCDF file if it ends in .nc.")],
    batch: Annotated[int, typer.Option(help="Jets that are answered at once.", min=1)] = 64,
    overwrite: Overwrite = False,
) -> None:
    """Jets: draw the numbers of the generated jet, before the detector, for every measured jet of FILE."""
    from statecast.models import Draws
    from statecast.particles.verbs import unfold as run_unfold

    draws = Draws(members=members, steps=steps, seed=seed)
    run_unfold(run, files, out, draws=draws, batch=batch, overwrite=overwrite)
    print(f"draws: {out}")


def generate(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory, or an id of the hub.")],
    *,
    jets: Annotated[int | None, typer.Option(help="Jets to draw, 1000 if not given.", min=1)] = None,
    label: Annotated[str | None, typer.Option(help="Jets and texts: their class; any if not given.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Jets and texts: of the codes; 0 draws the most probable one, 1 as the model learned.", min=0.0
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Jets and texts: draw among so many most probable codes only.", min=1)
    ] = None,
    showers: Annotated[
        int | None, typer.Option(help="Showers to draw, 1000 if not given, or as many as LIKE holds.", min=1)
    ] = None,
    energy: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Showers: lowest and highest incident energy in GeV; as in training if not given."),
    ] = None,
    like: Annotated[str | None, typer.Option(help="Showers: HDF5 file whose incident energies are taken.")] = None,
    steps: Annotated[int | None, typer.Option(help="Showers: of the solver of the flow.", min=1, max=10_000)] = None,
    texts: Annotated[int | None, typer.Option(help="Texts to draw, 100 if not given.", min=1)] = None,
    prompt: Annotated[str | None, typer.Option(help="Texts: how each of them begins.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives other samples.", min=0)] = 0,
    out: Annotated[
        Path, typer.Option(help="Jets: Parquet file with the names of JetClass. Showers: HDF5 file. Texts: JSONL file.")
    ],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw new jets, the count first, then particle by particle; new showers, layers first, then voxels; or new texts."""
    from statecast import verbs

    options = given(jets=jets, label=label, temperature=temperature, top_k=top_k)
    options |= given(texts=texts, prompt=prompt)
    options |= given(showers=showers, energy_gev=energy, like=like, steps=steps)
    drawn = verbs.generate(run, out=out, seed=seed, overwrite=overwrite, progress=not quiet, **options)
    print(f"{len(drawn)} written: {out}")


def codebook(
    run: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Run or model directory, an id of the hub, or a recipe, by name or as YAML."
        ),
    ],
    *,
    data: Annotated[str | None, typer.Option(help=f"{JETS_HELP} Those of the recipe if not given.")] = None,
    period: Annotated[
        tuple[str, str] | None, typer.Option(help="First and last jet, inclusive; the validation split if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the particles that codes are decoded to.", min=0)] = 0,
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """Jets: how much of them a codebook keeps, of MODEL or of a recipe that nothing has been trained by yet."""
    from statecast.particles.verbs import codebook_quality

    quality = codebook_quality(run, data, period, out, seed=seed, overwrite=overwrite)
    print_table("Decoded jets", quality.table())
    for name, text in quality.facts():
        print(f"{name}: {text}")
    print(f"codebook: {out / 'codebook.html'}")


def search(
    run: Annotated[str, typer.Argument(metavar="MODEL", help="Run or model directory of the recipe jets-search.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of `data simulate events`.")],
    *,
    signal: Annotated[str, typer.Option(help="Process that is searched for; the others are its background.")],
    test: Annotated[tuple[int, int], typer.Option(help="First and last event of which the significance is given.")],
    choose: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="First and last event on which the cut is chosen; those of the model's validation if not given."
        ),
    ] = None,
    luminosity: Annotated[float, typer.Option(help="Integrated luminosity in 1/fb.", min=0.0)] = 139.0,
    cross_section: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FB", help="Cross-section of a process after the selection, in place of the simulation's."
        ),
    ] = None,
    background_error: Annotated[float, typer.Option(help="Relative error of the background.", min=0.0)] = 0.0,
) -> None:
    """Events: the expected significance of a search, with the cut chosen on other events."""
    from statecast.particles.evaluation.significance import search_table
    from statecast.particles.verbs import Experiment
    from statecast.particles.verbs import search as run_search

    sections = numbers(cross_section, "--cross-section", "NAME=FB, for example Zprime=50")
    experiment = Experiment(signal, luminosity, sections, background_error)
    scores = run_search(run, files, test, experiment, validation=choose)
    print("\n".join(search_table(scores)))
