"""Samples by number: files that hold them, ranges of their numbers as splits, and all of a split in their order."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator

from statecast.config import DataOptions, RecipeError
from statecast.streams import Window

Number = Annotated[int, Field(ge=0, le=10**12)]
Numbers = tuple[Number, Number]
"""First and last sample, inclusive."""


class SeenError(ValueError):
    """Samples of an evaluation that the model has learned from."""


class SampleFiles(DataOptions):
    """Files of samples by number, and which of them may be learned from. A subclass says what the samples are."""

    files: tuple[str, ...] = Field(description="a file of samples, or several")
    train: Numbers = Field(description="first and last sample of training, inclusive; statistics come from them alone")
    validate_on: Numbers | Literal["all"] | None = Field(
        None,
        alias="validate",
        description="first and last sample of validation, inclusive, or all; none: no validation",
    )
    validate_files: tuple[str, ...] = Field((), description="files of validation; none: those of training")

    @field_validator("files", "validate_files", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else () if value is None else value

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> Self:
        for key, numbers in (("train", self.train), ("validate", self.validate_on)):
            if isinstance(numbers, tuple) and numbers[0] > numbers[1]:
                raise ValueError(f"{key}: {list(numbers)} is no range, expected the first and the last.")
        if not self.files:
            raise ValueError("files: there is none, expected at least one file.")
        return self

    @property
    def held_out_files(self) -> tuple[str, ...]:
        """The files of validation."""
        return self.validate_files or self.files


def require_apart(data: SampleFiles) -> None:
    """Raises RecipeError if validation and training share a sample."""
    if data.validate_on is None or not set(data.held_out_files) & set(data.files):
        return
    if data.held_out_files != data.files:
        raise RecipeError(
            "data.validate_files: some are among data.files, so that they may be seen in training. Name other files, or none."
        )
    if data.validate_on == "all" or (data.validate_on[0] <= data.train[1] and data.train[0] <= data.validate_on[1]):
        raise RecipeError(
            f"data.validate is {data.validate_on}: overlaps those of training, {list(data.train)}, expected others. "
            "Its loss would say nothing about new ones. Name another range, or none."
        )


def require_unseen(
    learned: Sequence[SampleFiles], data: SampleFiles, places: Callable[[tuple[str, ...]], set[Path]] | None = None
) -> None:
    """Raises SeenError if samples of validation of `data` are among those of training of one of `learned`.

    places  the files that names stand for; None: the names are those of files
    """
    if data.validate_on is None:
        return
    places = places or real_places
    files = places(data.held_out_files)
    for own in learned:
        shared = files & places(own.files)
        if shared and _overlap(data.validate_on, own.train):
            first, last = own.train
            raise SeenError(
                f"numbers {_said(data.validate_on)} of {shared.pop().name}: overlap {first} to {last}, which the model has learned from. "
                "Name others, by --period or --test FIRST LAST."
            )


def real_places(files: Sequence[str | Path]) -> set[Path]:
    """The files themselves, where names are links."""
    return {Path(os.path.realpath(path)) for path in files}


def _overlap(numbers: tuple[int, int] | str, learned: tuple[int, int]) -> bool:
    if isinstance(numbers, str):  # all
        return True
    return numbers[0] <= learned[1] and learned[0] <= numbers[1]


def _said(numbers: tuple[int, int] | str) -> str:
    return numbers if isinstance(numbers, str) else f"{numbers[0]} to {numbers[1]}"


def with_files(recipe: Any, data: str | None, period: tuple[str, str] | None, what: str) -> Any:
    """The recipe with other files of validation, and with another range; without a range all samples of these files.

    what  a sample is, for messages
    Raises RecipeError for a range that is none.
    """
    changes: dict[str, Any] = {}
    if data is not None:
        changes = {"validate_files": (data,), "validate_on": "all"}
    if period is not None:
        changes["validate_on"] = sample_numbers(period, what)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})


def sample_numbers(period: tuple[str, str], what: str) -> tuple[int, int]:
    """First and last sample from the texts of an option. Raises RecipeError for what are no numbers."""
    try:
        first, last = (int(text) for text in period)
    except ValueError:
        raise RecipeError(
            f"period {' '.join(map(str, period))}: expected the numbers of the first and the last {what}."
        ) from None
    if not 0 <= first <= last:
        raise RecipeError(f"period {first} {last}: expected the first and the last {what}, in this order.")
    return first, last


class Numbered(Protocol):
    """What `NumberedCases` need: samples by number, and by `record.places` their numbers in the files."""

    @property
    def record(self) -> Any: ...

    def window(self, number: int) -> Window: ...


@dataclass(frozen=True)
class NumberedCases:
    """All samples of a split, in their order.

    names  what each is called; None: by its number
    """

    source: Numbered
    names: Sequence[Any] | None = None

    @property
    def labels(self) -> list[Any]:
        """Their names, or their numbers in the files."""
        return self._numbers if self.names is None else list(self.names)

    @property
    def _numbers(self) -> list[int]:
        return [int(place) for place in self.source.record.places]

    @property
    def positions(self) -> Float[np.ndarray, " S"]:
        return np.array(self._numbers, float)

    def __len__(self) -> int:
        return len(self.source.record)

    def __getitem__(self, number: int) -> Window:
        return self.source.window(number)
