"""The first command to run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from statecast.cli.options import Overwrite, Quiet
from statecast.cli.printing import print_tables


class System(StrEnum):
    """What the first run is about."""

    ATMOSPHERE = "atmosphere"
    JETS = "jets"
    SHOWERS = "showers"
    IMAGES = "images"
    TEXT = "text"


OUT_HELP = (
    "Directory to write; runs/quickstart for the atmosphere, else runs/ with the name of the system, if not given."
)


def quickstart(
    system: Annotated[
        System,
        typer.Argument(
            metavar="[SYSTEM]",
            help="atmosphere, jets or showers (need the extra `hep`), images or text (need extras of their names).",
        ),
    ] = System.ATMOSPHERE,
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Pre-train, fine-tune, evaluate and report on embedded data (atmosphere, jets, texts), simulated showers or images, in minutes."""
    if system is System.JETS:
        _jets(out or Path("runs/jets"), overwrite=overwrite, progress=not quiet)
    elif system is System.SHOWERS:
        _showers(out or Path("runs/showers"), overwrite=overwrite, progress=not quiet)
    elif system is System.TEXT:
        _text(out or Path("runs/text"), overwrite=overwrite, progress=not quiet)
    elif system is System.IMAGES:
        _images(out or Path("runs/images"), overwrite=overwrite, progress=not quiet)
    else:
        _atmosphere(out or Path("runs/quickstart"), overwrite=overwrite, progress=not quiet)


def _atmosphere(out: Path, *, overwrite: bool, progress: bool) -> None:
    from statecast.fields.evaluation.skill import skill_tables
    from statecast.fields.quickstart import quickstart as run

    verifications = run(out, overwrite=overwrite, progress=progress)
    print_tables(skill_tables(verifications, lead_time_h=24.0))
    print(f"report: {out / 'report.html'}")


def _jets(out: Path, *, overwrite: bool, progress: bool) -> None:
    from statecast.particles.evaluation.report import score_tables
    from statecast.particles.quickstart import quickstart as run

    print_tables(score_tables(run(out, overwrite=overwrite, progress=progress)))
    print(f"report: {out / 'report.html'}")


def _showers(out: Path, *, overwrite: bool, progress: bool) -> None:
    from statecast.particles.showers.evaluation.report import score_tables
    from statecast.particles.showers.quickstart import quickstart as run

    print_tables(score_tables(run(out, overwrite=overwrite, progress=progress)))
    print(f"report: {out / 'report.html'}")


def _images(out: Path, *, overwrite: bool, progress: bool) -> None:
    from statecast.images.quickstart import quickstart as run

    print_tables(run(out, overwrite=overwrite, progress=progress))
    print(f"report: {out / 'report.html'}")


def _text(out: Path, *, overwrite: bool, progress: bool) -> None:
    from statecast.evaluation.scored import by_task
    from statecast.text.quickstart import quickstart as run

    print_tables(by_task(run(out, overwrite=overwrite, progress=progress)))
    print(f"report: {out / 'report.html'}")
