"""Parts of a verification put together: of other initial times, verified apart, in one go or on other machines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from statecast.evaluation.kept import PartError, joined, read_statistics
from statecast.fields.evaluation.skill import Evaluation
from statecast.fields.evaluation.states import state_scores
from statecast.fields.forecasts.write import STATISTICS, Verified, write

ALIKE = ("points", "climatology", "climatology_period", "region", "regrid", "absent")
"""Settings that parts must share."""


def merge(parts: Sequence[str | Path], out: str | Path, *, report: bool = True, overwrite: bool = False) -> Evaluation:
    """Put together what `verify` wrote into several directories, as if it had been verified in one go, to the last digit.

    Raises PartError for a directory without statistics, parts that were verified otherwise, and initial times that two parts have.
    """
    if not parts:
        raise PartError("no part is given, expected directories that `statecast verify` wrote.")
    names = [str(part) for part in parts]
    found = [read_statistics(Path(part) / STATISTICS, state_scores) for part in parts]
    settings = _shared([each for _, each in found], names)
    verified = Verified.of(joined([verifications for verifications, _ in found], names), settings)
    return write(verified, Path(out), maps=None, report=report, overwrite=overwrite, wall_time_s={})


def _shared(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    first = settings[0]
    for each, name in zip(settings[1:], names[1:], strict=True):
        if differing := [key for key in ALIKE if each.get(key) != first.get(key)]:
            raise PartError(
                f"{name}: was verified with another {differing[0].replace('_', ' ')} than {names[0]}. Verify both in the same way."
            )
    stores = {key: list(dict.fromkeys(s for each in settings for s in each[key])) for key in ("forecasts", "beside")}
    against = ", ".join(dict.fromkeys(str(each["against"]) for each in settings))
    ends = [end for each in settings for end in each["period"]]
    return {**first, **stores, "against": against, "period": [min(ends), max(ends)]}
