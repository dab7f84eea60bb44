"""Streams of gridded fields: their variables, levels and patches. Axes: V channel."""

from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from statecast.streams import StreamOptions

SIDES = 3  # of a first guess over those of its token: it reaches one token further on each side

PatchSide = Annotated[int, Field(ge=1, le=10_000)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Channel(NamedTuple):
    """One variable on one level; `pressure_hpa` is None for a variable without levels."""

    variable: str
    pressure_hpa: float | None

    def __str__(self) -> str:
        return self.variable if self.pressure_hpa is None else f"{self.variable}@{self.pressure_hpa:g}"


class Stream(StreamOptions):
    """One kind of measurement and the shape of its tokens."""

    variables: tuple[str, ...] = Field(min_length=1, description="names of the variables in the store")
    levels: tuple[float, ...] = Field((), description="pressure levels in hPa, for the variables that have levels")
    patch: tuple[PatchSide, PatchSide, PatchSide] = Field(
        (3, 9, 9), description="time steps × rows × columns of a token"
    )
    levels_share_token: bool = Field(
        True,
        description="true: one token holds all levels (cheap); "
        "false: a token a level, told apart by its pressure (AtmoRep's way)",
    )
    log_scale: dict[str, PositiveFloat] = Field(
        {},
        description="for skewed variables that are never negative, such as rain: enter as log(1 + x / scale), the scale in their units",
    )
    first_guess: dict[str, str] = Field(
        {},
        description="for a stream that is asked of others: its variables and whose interpolated anomalies they start from, "
        "as STREAM.VARIABLE",
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Stream":
        for name, values in (("variables", self.variables), ("levels", self.levels)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} are named twice: {list(values)}. Name each once.")
        return self

    @model_validator(mode="after")
    def _options_are_of_its_variables(self) -> "Stream":
        for option, names in (("log_scale", self.log_scale), ("first_guess", self.first_guess)):
            if unknown := [name for name in names if name not in self.variables]:
                raise ValueError(
                    f"{option} names '{unknown[0]}', which is none of the variables ({', '.join(self.variables)}). Name one of these."
                )
        for variable, guess in self.first_guess.items():
            if len(guess.split(".")) != 2:
                raise ValueError(
                    f"first_guess of {variable} is '{guess}', expected STREAM.VARIABLE, as in atmosphere.t2m."
                )
        return self
