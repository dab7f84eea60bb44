"""What of forecasts is verified, as a user chooses it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from statecast.fields.sources.fill_values import AbsentChunks

Regrid = Literal["bilinear"]
Region = tuple[float, float, float, float]
"""South, north, west and east, in degrees."""


@dataclass(frozen=True)
class Choice:
    """What of forecasts is verified; what is not chosen is all that forecasts and analyses have in common.

    variables           by their names in the analyses, each with its name in the forecasts
    levels              in hPa, of the variables that have levels
    lead_times_h        in hours
    period              first and last initial time, inclusive
    climatology_period  of the analyses that the climatology is estimated from; none: no climatology, and no ACC
    regrid              how forecasts get to the points of the analyses; none: other points are refused
    absent              what chunks stand for that a Zarr store lacks
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    levels: tuple[float, ...] = ()
    lead_times_h: tuple[float, ...] = ()
    period: tuple[str, str] | None = None
    region: Region | None = None
    climatology_period: tuple[str, str] | None = None
    regrid: Regrid | None = None
    absent: AbsentChunks | None = None

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
