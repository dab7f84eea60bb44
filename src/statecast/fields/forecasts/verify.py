"""`statecast verify`: forecasts in files, scored against analyses as the forecasts of a model are."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from statecast.evaluation.progress import Stopwatch, progress_bar
from statecast.fields.evaluation.skill import Evaluation
from statecast.fields.evaluation.verification import verify_windows
from statecast.fields.forecasts.choice import Choice
from statecast.fields.forecasts.climatology import digest, fitted
from statecast.fields.forecasts.pairing import Pairing, paired
from statecast.fields.forecasts.report import example_maps
from statecast.fields.forecasts.scoring import Scoring
from statecast.fields.forecasts.unfinished import CLIMATOLOGY, unfinished
from statecast.fields.forecasts.write import Verified, write
from statecast.fields.sources import Climatology
from statecast.fields.sources.units import tell

MOST_THREADS = 4  # by default: each needs the memory of a block


def verify(
    forecasts: str | Sequence[str],
    against: str,
    out: str | Path,
    *,
    beside: str | Sequence[str] = (),
    choice: Choice | None = None,
    threads: int | None = None,
    report: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Verify forecasts against a store of analyses; write `scores.json`, `scores.nc`, `statistics.nc` and `report.html` into `out`.

    forecasts  a store with initial and lead times in any layout that `open_forecasts` reads, or several with different initial times
    beside     other forecasts, verified on the same initial times and values, with paired differences of the scores
    choice     what is verified; None: all that is in common
    threads    that score at the same time; None: as many as there are processors, at most `MOST_THREADS`

    Called again after an interruption with the same arguments, it goes on after the last complete initial time. Raises StoreError for
    stores that can't be compared, OutputError if `out` exists, or if another verification was begun there or its inputs have changed.
    """
    forecasts, beside = ([each] if isinstance(each, str) else list(each) for each in (forecasts, beside))
    choice = choice or Choice()
    request = {"forecasts": forecasts, "beside": beside, "against": against, **choice.document()}
    pairing, watch = paired(forecasts, beside, against, choice), Stopwatch()
    with unfinished(Path(out), request, [*forecasts, *beside, against], overwrite=overwrite) as (folder, kept):
        with watch.time("climatology"):
            climatologies = _climatologies(pairing, choice, folder, progress)
        scoring = Scoring(pairing, climatologies, threads or min(MOST_THREADS, os.cpu_count() or 1))
        with watch.time("verification"), progress_bar("verification", progress) as show_progress:
            found = verify_windows(
                pairing.inits,
                pairing.hours,
                lambda init: kept.of(str(init), lambda: scoring(init)),
                show_progress,
            )
        settings = _settings(request, pairing, climatologies)
        verified = Verified.of(found, settings)
        maps = example_maps(pairing) if report else None
        return write(verified, Path(out), maps=maps, report=report, overwrite=overwrite, wall_time_s=watch.seconds)


def _climatologies(pairing: Pairing, choice: Choice, folder: Path, progress: bool) -> list[Climatology]:
    if choice.climatology_period is None:
        tell("no --climatology-period is given: there is no climatology to beat, and no ACC.")
        return []
    with progress_bar("climatology", progress) as show_progress:
        return fitted(pairing, choice.climatology_period, folder / CLIMATOLOGY, show_progress)


def _settings(request: Mapping[str, Any], pairing: Pairing, climatologies: Sequence[Climatology]) -> dict[str, Any]:
    """What the statistics are of."""
    times = pairing.times.at(pairing.inits)
    rows, columns = pairing.points.grid.shape
    return {
        **request,
        "period": [str(times[0]), str(times[-1])],
        "points": f"{rows} × {columns} points, {pairing.points.grid.box}",
        "climatology": digest(climatologies),
    }
