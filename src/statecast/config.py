"""The recipe: one YAML file is one run. Typed, frozen, unknown keys refused with a suggestion."""

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator
from torch.nn import ModuleDict

from statecast.adaptation import AdaptationOptions
from statecast.models import ModelOptions
from statecast.streams import Stream
from statecast.tasks import Fill, Forecast, Interpolate, Masked, Refine, Task, Translate
from statecast.training import TrainingOptions

Period = tuple[str, str]


class RecipeError(ValueError):
    """A recipe that can't be read; the message names the key, what was expected and the remedy."""


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class DataOptions(Strict):
    """Where the record lies and which part of it may be learned from."""

    store: str = Field(
        description="a Zarr store, a NetCDF file, or a sample that ships with statecast (sample:atmosphere, sample:storm1996)"
    )
    train: Period = Field(
        description="first and last date of training, inclusive; statistics and climatology come from it alone"
    )
    validate_on: Period | None = Field(
        None, alias="validate", description="first and last date of validation; none: no validation"
    )
    stores: dict[str, str] = Field(
        {}, description="stores of streams that lie elsewhere, on a grid of their own, by the stream's name"
    )
    replay: tuple[Period, ...] = Field(
        (), description="first and last date of an earlier period that is trained on again, or several; none: no replay"
    )
    replayed: float = Field(
        0.5, gt=0, lt=1, description="share of the windows that come from `replay`, if there is one"
    )

    @field_validator("replay", mode="before")
    @classmethod
    def _none_one_or_several(cls, value: Any) -> Any:
        return replayed_periods(value) if value is None or isinstance(value, list | tuple) else value

    @field_serializer("replay")
    def _as_it_is_written(self, periods: tuple[Period, ...]) -> Any:
        return None if not periods else periods[0] if len(periods) == 1 else periods


def replayed_periods(replay: Any) -> tuple[Period, ...]:
    """What the key `replay` of a recipe names: nothing, one period or several."""
    is_one = bool(replay) and not isinstance(replay[0], list | tuple)
    return (replay,) if is_one else tuple(replay or ())


class WindowOptions(Strict):
    """The part of the domain that one sample sees."""

    extent: tuple[int, int] | None = Field(
        None, description="rows × columns of grid points, at random places; none: the whole domain"
    )


class Recipe(Strict):
    """One run."""

    seed: int = Field(0, ge=0, description="decides the initial weights, every sample and every mask")
    data: DataOptions
    streams: dict[str, Stream] = Field(min_length=1, description="kinds of measurement, by name")
    window: WindowOptions = Field(default_factory=WindowOptions)
    task: Task
    model: ModelOptions = Field(default_factory=ModelOptions)
    adaptation: AdaptationOptions = Field(default_factory=AdaptationOptions)
    training: TrainingOptions = Field(default_factory=TrainingOptions)

    @model_validator(mode="after")
    def _streams_have_plain_names(self) -> Self:
        for name in self.streams:
            if not name.isidentifier() or hasattr(ModuleDict, name):
                raise ValueError(f"'{name}' can't name a stream. Take another word of letters, digits and underscores.")
        return self

    @model_validator(mode="after")
    def _the_task_has_its_streams(self) -> Self:
        if isinstance(self.task, Translate):
            self.task.require(self.streams)
        return self

    @model_validator(mode="after")
    def _a_slab_in_the_middle_of_the_window_lies_between_two_shown_steps(self) -> Self:
        """Wherever the window begins: `complete` answers the middle slab of windows that begin at any step between two."""
        if isinstance(self.task, Refine):
            depth = max(stream.patch[0] for stream in self.streams.values())
            aside = -(-(self.task.every - 1) // depth)  # slabs that hold a shown step for certain
            if self.task.slabs < 2 * aside + 1:
                raise ValueError(
                    f"task.slabs: {self.task.slabs} slabs of {depth} steps don't always hold a shown step on both sides of their middle, "
                    f"with task.every {self.task.every}. Take at least {2 * aside + 1}."
                )
        return self

    @model_validator(mode="after")
    def _stores_and_first_guesses_are_of_streams_that_there_are(self) -> Self:
        if unknown := [name for name in self.data.stores if name not in self.streams]:
            raise ValueError(f"data.stores: there is no stream {unknown[0]}. Streams: {', '.join(self.streams)}.")
        asked = self.task.to if isinstance(self.task, Translate) else ()
        for name, stream in self.streams.items():
            if stream.first_guess and name not in asked:
                raise ValueError(
                    f"streams.{name}.first_guess: is for a stream that is asked of others (task translate, to: [{name}]). Leave it out."
                )
            if peeps := [guess for guess in stream.first_guess.values() if guess.split(".")[0] in asked]:
                raise ValueError(
                    f"streams.{name}.first_guess: {peeps[0]} is asked too, so its values are not known. Name a stream that is shown."
                )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as the YAML file holds them."""
        return self.model_dump(mode="json", by_alias=True)


INHERITED = ("seed", "data", "streams", "window", "model")
"""What a fine-tuning recipe takes from the model that it starts from, where it says nothing itself."""


def read_recipe(
    recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), inherit: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe: a YAML file, the name of one that ships with statecast, or a mapping.

    overrides  `key.key=value`, the value in YAML, as on the command line
    inherit    the recipe of the model to start from; see `INHERITED`
    Raises RecipeError in one line for whatever is wrong.
    """
    name = "recipe" if isinstance(recipe, Mapping) else f"recipe {recipe}"
    values = dict(recipe) if isinstance(recipe, Mapping) else _read_yaml(str(recipe))
    for override in overrides:
        values = _with_override(values, override)
    if inherit is not None:
        values |= {key: _merged(inherit[key], values.get(key), whole=key == "streams") for key in INHERITED}
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{name}: {_explain(error)}") from None


def shipped_recipes() -> list[str]:
    """Names of the recipes that ship with statecast."""
    return sorted(
        p.name.removesuffix(".yaml") for p in files("statecast.fields.recipes").iterdir() if p.name.endswith(".yaml")
    )


def _read_yaml(recipe: str) -> dict[str, Any]:
    path = Path(recipe)
    if not path.is_file() and recipe in shipped_recipes():
        path = Path(str(files("statecast.fields.recipes").joinpath(f"{recipe}.yaml")))
    if not path.is_file():
        raise RecipeError(
            f"recipe {recipe}: is no file and none of the recipes that ship with statecast ({', '.join(shipped_recipes())})."
        )
    try:
        values = yaml.load(path.read_text(), Loader=_TextDates)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {recipe}: is no YAML ({str(error).replace(chr(10), ' ')}).") from None
    if not isinstance(values, dict):
        raise RecipeError(
            f"recipe {recipe}: expected keys such as data, streams and task, got {type(values).__name__}."
        )
    return values


class _TextDates(yaml.SafeLoader):
    """YAML in which 2000-01-01 stays text."""


_TextDates.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _with_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{override}' is no override, expected key=value, for example training.steps=500.")
    *path, last = key.split(".")
    values = dict(values)
    place = values
    for part in path:
        if place.get(part) is not None and not isinstance(place[part], dict):
            raise RecipeError(f"override {override}: '{part}' holds a value, not a section.")
        place[part] = dict(place.get(part) or {})
        place = place[part]
    try:
        place[last] = yaml.load(text, Loader=_TextDates)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {override}: '{text}' is no YAML ({' '.join(str(error).split())}).") from None
    return values


def _merged(inherited: Any, own: Any, *, whole: bool) -> Any:
    if own is None:
        return inherited
    if whole or not isinstance(inherited, Mapping) or not isinstance(own, Mapping):
        return own
    return {**inherited, **own}


KINDS: Mapping[str, type[BaseModel]] = {
    "masked": Masked,
    "forecast": Forecast,
    "interpolate": Interpolate,
    "refine": Refine,
    "translate": Translate,
    "fill": Fill,
}


def _explain(error: ValidationError) -> str:
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # a typo is why another is missing
    path = [str(part) for part in first["loc"]]
    where = ".".join(p for i, p in enumerate(path) if not (i == 1 and path[0] == "task" and p in KINDS))
    if first["type"] == "extra_forbidden":
        return _unknown_key(path, where)
    if first["type"] == "missing":
        return f"{where} is missing. Add it."
    if first["type"] == "union_tag_not_found":
        return f"{where}.kind is missing. Choose one of {', '.join(sorted(KINDS))}."
    if first["type"] == "union_tag_invalid":
        return f"{where}.kind: there is no task '{first['ctx']['tag']}'. Choose one of {', '.join(sorted(KINDS))}."
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
    of = f"{where}: " if where else ""  # what concerns several keys names them itself
    return f"{of}{message}" if message.endswith(".") else f"{of}{message[0].lower() + message[1:]}{got}."


def _unknown_key(path: list[str], where: str) -> str:
    section: Any = Recipe
    of = "a recipe"
    for part in path[:-1]:
        field = section.model_fields.get(part) if isinstance(section, type) and issubclass(section, BaseModel) else None
        if path[0] == "task" and part in KINDS:
            section, of = KINDS[part], part
        elif field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section, of = field.annotation, part
        else:
            section, of = Stream if path[0] == "streams" else section, "a stream" if path[0] == "streams" else part
    options = sorted(field.alias or name for name, field in section.model_fields.items())
    close = difflib.get_close_matches(path[-1], options, n=1)
    prefix = where.rpartition(".")[0]
    suggestion = f" Did you mean {prefix + '.' if prefix else ''}{close[0]}?" if close else ""
    return f"{where} is not an option of {of}.{suggestion} Options: {', '.join(options)}."
