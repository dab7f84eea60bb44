"""The options of a stream of stations in a recipe."""

from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from statecast.fields.streams import PatchSide, PositiveFloat
from statecast.streams import StreamOptions


class StationStream(StreamOptions):
    """Reports of stations, from a table; a token is what one station reports in so many steps."""

    table: str = Field(description="table of reports: a CSV, Parquet or NetCDF file (CF featureType timeSeries)")
    variables: tuple[str, ...] = Field(min_length=1, description="names of the variables in the table")
    first_guess: dict[str, str] = Field(
        {},
        description="variables and the field that each is measured against, as STREAM.VARIABLE: its climatology, interpolated, is the "
        "station's but for a bias; where only the stations are asked (translate), answers start from the interpolated field",
    )
    orography: str | None = Field(
        None,
        description="STREAM.VARIABLE of the height of the grid's ground in m: the bias follows the difference to the station's height; "
        "none: it follows the station's height",
    )
    steps: PatchSide = Field(1, description="time steps of a token")
    within_min: PositiveFloat = Field(
        30.0, le=1440, description="minutes around a time step in which a report counts as one of that step"
    )
    units: dict[str, str] = Field({}, description="units of variables whose columns don't name them, as in t2m [K]")
    zone: str | None = Field(
        None, description="time zone of times that are written without one, such as UTC; none: such times are refused"
    )

    @property
    def patch(self) -> tuple[int, int, int]:
        """Time steps × rows × columns of a token, as of a stream of fields."""
        return (self.steps, 1, 1)

    @field_validator("zone")
    @classmethod
    def _there_is_such_a_zone(cls, zone: str | None) -> str | None:
        try:
            return zone if zone is None else str(ZoneInfo(zone))
        except (KeyError, ValueError, OSError):
            raise ValueError(f"'{zone}' is no time zone, expected a name such as UTC or Europe/Berlin.") from None

    @model_validator(mode="after")
    def _options_are_of_its_variables(self) -> "StationStream":
        if len(set(self.variables)) != len(self.variables):
            raise ValueError(f"variables are named twice: {list(self.variables)}. Name each once.")
        for option, names in (("first_guess", self.first_guess), ("units", self.units)):
            if unknown := [name for name in names if name not in self.variables]:
                raise ValueError(
                    f"{option} names '{unknown[0]}', which is none of the variables ({', '.join(self.variables)}). Name one of these."
                )
        for field in self.fields:
            if len(field.split(".")) != 2:
                raise ValueError(f"'{field}' names no field, expected STREAM.VARIABLE, as in atmosphere.t2m.")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of other streams that it names."""
        return (*self.first_guess.values(), *([self.orography] if self.orography else []))
