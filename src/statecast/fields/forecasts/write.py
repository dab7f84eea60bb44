"""What a verification leaves: scores, differences, the statistics of each initial time, and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statecast.evaluation import Verification, write_scores
from statecast.evaluation.differences import FEWEST_BLOCKS, Difference
from statecast.evaluation.kept import write_statistics
from statecast.fields.evaluation.skill import Evaluation
from statecast.fields.forecasts.pairing import BESIDE, FORECAST
from statecast.fields.forecasts.report import difference_table, write_report
from statecast.fields.forecasts.scoring import AVAILABILITY, told
from statecast.fields.sources.units import tell
from statecast.outputs import new_output

STATISTICS = "statistics.nc"


@dataclass(frozen=True)
class Verified:
    """What was found.

    scored        of each forecast
    availability  what is missing, see `scoring.told`
    difference    of two forecasts, if there are two on enough initial times
    settings      what the statistics are of
    """

    scored: list[Verification]
    availability: list[Verification]
    difference: Difference | None
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, found: Sequence[Verification], settings: Mapping[str, Any]) -> "Verified":
        scored = [v for v in found if v.task != AVAILABILITY]
        named = {v.forecast: v for v in scored}
        difference = Difference.of(named[FORECAST], named[BESIDE]) if BESIDE in named else None
        if difference is not None and not difference.can_be_tested:
            difference = None
            tell(
                f"the initial times span {scored[0].blocks:.1f} blocks of five days, too few to test the difference: expected at least "
                f"{FEWEST_BLOCKS}."
            )
        if scored[0].blocks < 2:
            tell(
                "all initial times lie within ten days, whose weather depends on one another: intervals are too narrow."
            )
        return cls(scored, [v for v in found if v.task == AVAILABILITY], difference, settings)


def write(
    verified: Verified,
    out: Path,
    *,
    maps: Mapping[str, Any] | None,
    report: bool,
    overwrite: bool,
    wall_time_s: Mapping[str, float],
) -> Evaluation:
    """Write `scores.json`, `scores.nc`, `statistics.nc` and, unless there is to be none, `report.html` into `out`; tell what is missing."""
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        differences = verified.difference.records() if verified.difference else []
        write_scores(verified.scored, directory, differences)
        write_statistics([*verified.scored, *verified.availability], verified.settings, directory / STATISTICS)
        if report:
            write_report(verified, maps, wall_time_s, directory / "report.html")
    for name, text in told(verified.availability):
        if not text.startswith("0 of") or not text.endswith(" 0 have missing values"):
            tell(f"{name}: {text}.")
    further = []
    if verified.difference is not None:
        further.append(difference_table(verified.difference, verified.scored[0].labels("lead_time_h")[-1:]))
    return Evaluation(out, verified.scored, further)
