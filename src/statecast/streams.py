"""Streams and tokens, the vocabulary of every other module.

A *stream* is one named kind of measurement and says how it is cut into tokens; `Tokens` is a batch of one stream and
the one data type that passes between the parts; a `Question` is what is shown and what is asked of a window.

Axes: B sample, N token, P value inside a token, C coordinate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

COORDINATES = ("latitude_deg", "longitude_deg", "offset_h", "hour_utc", "year_fraction", "pressure_hpa", "spacing_deg")
"""Axes C of the coordinates of a field's token, all of its centre: latitude, longitude, hours since the window's first
step, the hour of the day, the share of the year that has passed (0 to 1, in the record's own calendar), pressure
(1013.25 for what lies at the surface); and the grid spacing."""

SIDES = 3  # of a first guess over those of its token: it reaches one token further on each side
SURFACE_PRESSURE_HPA = 1013.25  # of the standard atmosphere at sea level

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Channel(NamedTuple):
    """One variable on one level; `pressure_hpa` is None for a variable without levels."""

    variable: str
    pressure_hpa: float | None

    def __str__(self) -> str:
        return self.variable if self.pressure_hpa is None else f"{self.variable}@{self.pressure_hpa:g}"


class Stream(BaseModel):
    """One kind of measurement and the shape of its tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variables: tuple[str, ...] = Field(min_length=1, description="names of the variables in the store")
    levels: tuple[float, ...] = Field((), description="pressure levels in hPa, for the variables that have levels")
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
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


@dataclass(frozen=True)
class Tokens:
    """A batch of tokens of one stream.

    values    normalised anomalies, dimensionless; 0 where nothing was observed
    coords    physical units, see `COORDINATES`
    observed  False where the source had no value (NaN): never scored, never shown
    guess     of a stream with a first guess: what other streams let expect at the token's points and around them, G = SIDES² P values;
              an answer starts from it
    layout    how many channels, time steps and points the P values are made of, in this order; None if no one has to know
    """

    values: Float[Tensor, "*B N P"]
    coords: Float[Tensor, "*B N C"]
    observed: Bool[Tensor, "*B N P"]
    guess: Float[Tensor, "*B N G"] | None = None
    layout: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return self.values.shape[-2]

    def __getitem__(self, index: Tensor | slice) -> "Tokens":
        """The tokens of `index` (along N) of one sample or of every sample of a batch."""
        return self._each(lambda part: part[..., index, :])

    def coordinate(self, name: str) -> Float[Tensor, "*B N"]:
        """One of the axes `COORDINATES`."""
        return self.coords[..., COORDINATES.index(name)]

    def replace(self, values: Tensor) -> "Tokens":
        """The same tokens with other values."""
        return replace(self, values=values)

    def steps(self) -> Bool[Tensor, "*B N S"]:
        """The time steps of each token at which something was observed; all as one without a layout."""
        return self.observed.unflatten(-1, self.layout or (1, 1, -1)).any(dim=-1).any(dim=-2)

    def only(self, steps: Bool[Tensor, "N S"]) -> "Tokens":
        """The same tokens of one sample with nothing observed at other time steps of theirs. Needs the layout."""
        assert self.layout is not None
        observed = self.observed.unflatten(-1, self.layout) & steps[:, None, :, None]
        observed = observed.flatten(-3)
        return replace(self, values=self.values * observed, observed=observed)

    def to(self, device: torch.device | str) -> "Tokens":
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Tokens":
        guess = None if self.guess is None else change(self.guess)
        return Tokens(change(self.values), change(self.coords), change(self.observed), guess, self.layout)


Window = dict[str, Tokens]
"""Everything that a task may show or ask: the tokens of each stream, by its name."""


@dataclass(frozen=True)
class Question:
    """What is shown (`context`) and what is asked (`queries`; their `values` are the answer, which no model reads)."""

    context: Window
    queries: Window

    def to(self, device: torch.device | str) -> "Question":
        return Question(
            {name: tokens.to(device) for name, tokens in self.context.items()},
            {name: tokens.to(device) for name, tokens in self.queries.items()},
        )


def stack(windows: Sequence[Window]) -> Window:
    """Samples with equal numbers of tokens, stacked along a new first axis B."""
    return {name: _joined([w[name] for w in windows], torch.stack) for name in windows[0]}


def stack_questions(questions: Sequence[Question]) -> Question:
    """Questions with equal numbers of tokens, stacked along a new first axis B."""
    return Question(stack([q.context for q in questions]), stack([q.queries for q in questions]))


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Tokens of several parts, one after the other along N."""
    return _joined(parts, lambda tensors: torch.cat(tensors, dim=-2))


def _joined(parts: Sequence[Tokens], join: Callable[[list[Tensor]], Tensor]) -> Tokens:
    guesses = [p.guess for p in parts if p.guess is not None]
    return Tokens(
        join([p.values for p in parts]),
        join([p.coords for p in parts]),
        join([p.observed for p in parts]),
        join(guesses) if guesses else None,
        parts[0].layout,
    )


def token_counts(window: Window) -> dict[str, int]:
    """Number of tokens of each stream."""
    return {name: len(tokens) for name, tokens in window.items()}


def positions(tokens: Tokens, among: Tokens) -> Int[Tensor, " N"]:
    """Where the tokens of one sample stand among others that hold them, by their coordinates. Raises KeyError for one that isn't there."""
    position = {row.tobytes(): i for i, row in enumerate(among.coords.numpy())}
    return torch.tensor([position[row.tobytes()] for row in tokens.coords.numpy()])
