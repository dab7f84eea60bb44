"""The recipe: one YAML file describes one run. It is typed and frozen; an unknown key is refused with a suggestion."""

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch.nn import ModuleDict

from statecast.adaptation import AdaptationOptions
from statecast.documents import DocumentError, is_file, parse_yaml, read_text
from statecast.domain import domain_names, find_domain
from statecast.messages import LONGEST_QUOTE, one_line, quoted
from statecast.models import ModelOptions
from statecast.options import TRUTH, Options
from statecast.streams import StreamOptions
from statecast.tasks import Task
from statecast.training import TrainingOptions

DEFAULT_DOMAIN = "fields"
LONGEST_KEY = 40  # letters of a key that a message repeats
LARGEST_SEED = 2**32 - 2  # what every generator takes, also of one more, which validation uses


class RecipeError(ValueError):
    """A recipe is not valid. The message names the key, the expected value and the remedy."""


class Strict(Options):
    model_config = ConfigDict(coerce_numbers_to_str=True)


class DataOptions(Strict):
    """Location and splits of the record. A domain adds its own options."""

    domain: str = Field(DEFAULT_DOMAIN, description="field of science of the record")


class Recipe(Strict):
    """One run. Each domain has its own recipe type, with its own options for data and streams."""

    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="determines the initial weights, every sample and every mask"
    )
    data: DataOptions
    streams: dict[str, StreamOptions] = Field(min_length=1, description="kinds of measurement, by name")
    task: Annotated[Task, Field(discriminator="kind")]
    model: ModelOptions = Field(default_factory=ModelOptions)
    adaptation: AdaptationOptions = Field(default_factory=AdaptationOptions)
    training: TrainingOptions = Field(default_factory=TrainingOptions)

    @model_validator(mode="after")
    def _streams_have_plain_names(self) -> Self:
        for name in self.streams:
            if not name.isidentifier() or hasattr(ModuleDict, name):
                raise ValueError(
                    f"'{name}' can't name a stream. Choose another name of letters, digits and underscores."
                )
        return self

    @model_validator(mode="after")
    def _the_task_has_its_streams(self) -> Self:
        self.task.require_streams(self.streams)
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in the YAML file."""
        return self.model_dump(mode="json", by_alias=True)


INHERITED = ("seed", "data", "streams", "window", "model")
"""Sections that a fine-tuning recipe inherits, where it does not set them, from the model that fine-tuning starts from."""
OF_ANY_DOMAIN = ("seed", "model")
"""Those that a recipe inherits from a model of another domain."""


def read_recipe(
    recipe: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), inherit: Recipe | None = None
) -> Recipe:
    """Read a recipe: a YAML file, the name of a recipe that ships with statecast, or a mapping.

    overrides  `key.key=value`, with the value in YAML, as on the command line
    inherit    recipe of the model to start from; see `INHERITED`
    Raises RecipeError, with a message of one line, if the recipe is not valid.
    """
    name = "recipe" if isinstance(recipe, Mapping) else f"recipe {recipe}"
    values = dict(recipe) if isinstance(recipe, Mapping) else _read_yaml(str(recipe))
    values = _overridden(values, overrides)
    if inherit is not None:
        known = inherit.as_dict()
        named = isinstance(values.get("data"), Mapping) and "domain" in values["data"]
        is_other = named and domain_of(values) != inherit.data.domain
        for key in OF_ANY_DOMAIN if is_other else INHERITED:
            if key in known:
                values[key] = _merged(known[key], values.get(key), whole=key == "streams")
    kind = recipe_type(values)
    return _validated(kind, values, name)


Read = TypeVar("Read", bound=BaseModel)


def read_options(kind: type[Read], values: Mapping[str, Any], overrides: Sequence[str], name: str) -> Read:
    """Options of another kind than a recipe, from a mapping and overrides as in `read_recipe`, which see for what it raises."""
    return _validated(kind, _overridden(dict(values), overrides), name)


def _validated(kind: type[Read], values: Mapping[str, Any], name: str) -> Read:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{name}: {_explain(error, kind)}") from None


def recipe_type(values: Mapping[str, Any]) -> type[Recipe]:
    """The recipe type of the domain named by `values`. Raises DomainError if that domain is not installed."""
    kind = find_domain(domain_of(values)).Recipe
    assert issubclass(kind, Recipe)
    return kind


def domain_of(values: Mapping[str, Any]) -> str:
    """The domain that `values` name, or the default one."""
    data = values.get("data")
    return str(data.get("domain", DEFAULT_DOMAIN) if isinstance(data, Mapping) else DEFAULT_DOMAIN)


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship with statecast and with other installed domains, by name."""
    recipes: dict[str, Path] = {}
    for domain in domain_names():
        package = find_domain(domain).recipes
        if package:
            folder = Path(str(files(package)))
            recipes |= {path.stem: path for path in folder.glob("*.yaml")}
    return dict(sorted(recipes.items()))


def _read_yaml(recipe: str) -> dict[str, Any]:
    return read_document(recipe, {} if is_file(Path(recipe)) else shipped_recipes(), "recipe")


def read_document(recipe: str, shipped: Mapping[str, Path], what: str) -> dict[str, Any]:
    """The keys of a YAML file, or of a shipped one that is given by its name. Raises RecipeError in one line."""
    path = Path(recipe)
    if not is_file(path):
        if recipe not in shipped:
            raise RecipeError(
                f"{what} {recipe}: is neither a file nor a {what} that ships with statecast ({', '.join(shipped)})."
            )
        path = shipped[recipe]
    try:
        values = parse_yaml(read_text(path))
    except DocumentError as error:
        raise RecipeError(f"{what} {recipe}: {error}.") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{what} {recipe}: expected keys with values, got {type(values).__name__}.")
    return values


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values with the overrides, of which the last for a key counts."""
    for override in overrides:
        values = _with_override(values, override)
    return values


def _with_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{quoted(override)} is not an override, expected key=value, such as training.steps=500.")
    *path, last = key.split(".")
    values = dict(values)
    place = values
    for part in path:
        if place.get(part) is not None and not isinstance(place[part], dict):
            raise RecipeError(f"override {override}: '{part}' holds a value, not a section.")
        place[part] = dict(place.get(part) or {})
        place = place[part]
    try:
        place[last] = parse_yaml(text)
    except DocumentError as error:
        raise RecipeError(f"override {one_line(override, LONGEST_QUOTE)}: {error}.") from None
    return values


def _merged(inherited: Any, own: Any, *, whole: bool) -> Any:
    if own is None:
        return inherited
    if whole or not isinstance(inherited, Mapping) or not isinstance(own, Mapping):
        return own
    return {**inherited, **own}


def task_kinds(recipe: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tasks of a recipe type, by their kind; none of other options."""
    if "task" not in recipe.model_fields:
        return {}
    kinds = get_args(recipe.model_fields["task"].annotation)
    return {kind.model_fields["kind"].default: kind for kind in kinds}


def stream_kinds(recipe: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The kinds of streams of a recipe type by their tag; none if all are of one kind."""
    options = get_args(recipe.model_fields["streams"].annotation)[1]
    kinds = get_args(get_args(options)[0]) if get_origin(options) is Annotated else ()
    return {tag.tag: kind for kind, tag in map(get_args, kinds)}


def _as_written(path: list[str], recipe: type[BaseModel]) -> str:
    """The key as a recipe has it: without the kind that pydantic names where there are several."""
    if path[:1] == ["task"] and path[1:2] and path[1] in task_kinds(recipe):
        path = [path[0], *path[2:]]
    elif path[:1] == ["streams"] and path[2:3] and path[2] in stream_kinds(recipe):
        path = [*path[:2], *path[3:]]
    return ".".join(one_line(part, LONGEST_KEY) for part in path)


def _explain(error: ValidationError, recipe: type[BaseModel]) -> str:
    errors = error.errors()
    unknown_keys = [e for e in errors if e["type"] == "extra_forbidden"]
    first = unknown_keys[0] if unknown_keys else errors[0]  # a misspelt key is also the reason why a key is missing
    kinds = task_kinds(recipe)
    path = [str(part) for part in first["loc"]]
    if first["type"] == TRUTH:
        path.append(first["ctx"]["key"])
    where = _as_written(path, recipe)
    if first["type"] == "extra_forbidden":
        return _unknown_key(path, where, recipe)
    if first["type"] == "missing":
        return f"{where} is missing. Add it."
    if first["type"] == "union_tag_not_found":
        return f"{where}.kind is missing. Choose one of {', '.join(sorted(kinds))}."
    if first["type"] == "union_tag_invalid":
        return f"{where}.kind: there is no task '{first['ctx']['tag']}'. Choose one of {', '.join(sorted(kinds))}."
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] == "value_error" else f", got {quoted(first['input'])}"
    prefix = f"{where}: " if where else ""  # a message about several keys already names them
    if message.endswith("."):
        return f"{prefix}{message}"
    return f"{prefix}{message[0].lower() + message[1:]}{got}."


def _is_options(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _unknown_key(path: list[str], where: str, recipe: type[BaseModel]) -> str:
    section: Any = recipe
    name = "a recipe" if issubclass(recipe, Recipe) else f"a {recipe.__name__.lower()}"
    for part in path[:-1]:
        field = section.model_fields.get(part) if isinstance(section, type) and issubclass(section, BaseModel) else None
        if path[0] == "task" and part in task_kinds(recipe):
            section, name = task_kinds(recipe)[part], part
        elif field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section, name = field.annotation, part
        elif path[0] == "streams":
            kinds = stream_kinds(recipe)
            options = get_args(recipe.model_fields["streams"].annotation)[1]
            section = kinds[path[2]] if kinds else options
            name = "a stream"
        elif field is not None and (inner := [a for a in get_args(field.annotation) if _is_options(a)]):
            section, name = inner[0], part  # of a section that may be left out, or of each of several by name
        else:
            name = part
    options = sorted(field.alias or option for option, field in section.model_fields.items())
    close = difflib.get_close_matches(path[-1], options, n=1)
    prefix = where.rpartition(".")[0]
    suggestion = f" Did you mean {prefix + '.' if prefix else ''}{close[0]}?" if close else ""
    return f"{where} is not an option of {name}.{suggestion} Options: {', '.join(options)}."
