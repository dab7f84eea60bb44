"""The first command to run."""

from pathlib import Path

from statecast.cli.options import Out, Overwrite, Quiet
from statecast.cli.printing import print_skill


def quickstart(out: Out = Path("runs/quickstart"), overwrite: Overwrite = False, quiet: Quiet = False) -> None:
    """Pre-train, fine-tune, evaluate and report on the embedded atmosphere, in minutes."""
    from statecast.fields.quickstart import quickstart as run

    verifications = run(out, overwrite=overwrite, progress=not quiet)
    print_skill(verifications, lead_time_h=24.0)
    print(f"report: {out / 'report.html'}")
