"""The first command to run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from statecast.cli.options import Overwrite, Quiet
from statecast.cli.printing import print_skill, print_table


class System(StrEnum):
    """What the first run is about."""

    ATMOSPHERE = "atmosphere"
    JETS = "jets"


OUT_HELP = "Directory to write; runs/quickstart for the atmosphere and runs/jets for jets if not given."


def quickstart(
    system: Annotated[
        System, typer.Argument(metavar="[SYSTEM]", help="atmosphere, or jets (needs the extra `hep`).")
    ] = System.ATMOSPHERE,
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Pre-train, fine-tune, evaluate and report on the embedded atmosphere or the embedded jets, in minutes."""
    if system is System.JETS:
        _jets(out or Path("runs/jets"), overwrite=overwrite, progress=not quiet)
    else:
        _atmosphere(out or Path("runs/quickstart"), overwrite=overwrite, progress=not quiet)


def _atmosphere(out: Path, *, overwrite: bool, progress: bool) -> None:
    from statecast.fields.quickstart import quickstart as run

    verifications = run(out, overwrite=overwrite, progress=progress)
    print_skill(verifications, lead_time_h=24.0)
    print(f"report: {out / 'report.html'}")


def _jets(out: Path, *, overwrite: bool, progress: bool) -> None:
    from statecast.particles.evaluation.report import generation_table, masked_table, tagging_table
    from statecast.particles.quickstart import quickstart as run

    scores = run(out, overwrite=overwrite, progress=progress)
    tables = {"tag": tagging_table, "generate": generation_table}
    print_table("masked particles", masked_table([score for score in scores if score.task not in tables]))
    for task, table in tables.items():
        print_table(task, table([score for score in scores if score.task == task]))
    print(f"report: {out / 'report.html'}")
