"""The recipe of a run on several domains: a part for each, which is a recipe of that domain without a model."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from statecast.config import DataOptions, Recipe, RecipeError, read_recipe
from statecast.domain import DomainError
from statecast.streams import StreamOptions

NEUTRAL = {"kind": "masked"}
"""Task of a part that names none: it asks nothing of the streams but that they exist."""
OF_THE_WHOLE = ("seed", "model", "adaptation", "training")


class MixedData(DataOptions):
    """The parts of the record."""

    parts: dict[str, dict[str, Any]] = Field(
        min_length=2,
        description="of each domain, by a name of your choice: `data` and `streams`, and what else its recipes have, such as `window`; "
        "`task` sets the length of its windows where the domain has such",
    )

    @field_validator("parts")
    @classmethod
    def _parts_are_of_domains(cls, parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, part in parts.items():
            if surplus := [key for key in OF_THE_WHOLE if key in part]:
                raise ValueError(f"{name}.{surplus[0]} is of the whole run. Write it outside `data`.")
            data = part.get("data")
            if isinstance(data, Mapping) and data.get("domain") == "mixed":
                raise ValueError(
                    f"{name} is mixed itself, expected a domain of its own. List its parts beside the others."
                )
        return parts


class MixedRecipe(Recipe):
    """One run on several domains. Its streams are those of its parts."""

    data: MixedData
    streams: dict[str, SerializeAsAny[StreamOptions]] = Field({}, exclude=True, description="those of the parts")

    @model_validator(mode="before")
    @classmethod
    def _streams_of_the_parts(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("data"), Mapping):
            return values
        if values.get("streams"):
            raise ValueError("streams: a mixed recipe has the streams of its parts. Write them into data.parts.")
        parts = values["data"].get("parts")
        if not isinstance(parts, Mapping) or not all(isinstance(part, Mapping) for part in parts.values()):
            return values
        streams: dict[str, StreamOptions] = {}
        for name, part in parts.items():
            for stream, options in _part(name, part).streams.items():
                if stream in streams:
                    raise ValueError(f"data.parts: two parts have a stream {stream}. Give one of them another name.")
                streams[stream] = options
        return {**values, "streams": streams}


def part_recipe(recipe: MixedRecipe, name: str) -> Any:
    """The recipe of a part, in the type of its domain."""
    return _part(name, recipe.data.parts[name])


def with_parts(recipe: MixedRecipe, changed: Mapping[str, Any]) -> MixedRecipe:
    """The recipe with other `data` of some parts, by their name."""
    parts = dict(recipe.data.parts)
    for name, data in changed.items():
        parts[name] = {**parts[name], "data": data.model_dump(mode="json", by_alias=True)}
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"parts": parts})})


def _part(name: str, part: Mapping[str, Any]) -> Any:
    """Raises ValueError, as pydantic wants it, for a part that is no recipe."""
    try:
        return read_recipe({"task": NEUTRAL, **part})
    except (RecipeError, DomainError, ValidationError) as error:
        message = str(error).removeprefix("recipe: ")
        raise ValueError(f"data.parts.{name}: {message}") from None
