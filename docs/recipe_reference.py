"""A hook of MkDocs that writes the pages of the recipes when the site is built: every key of a recipe, from the types that read it.

Fails on a key that has no description. `python docs/recipe_reference.py` prints the pages.
"""

import typing
from collections.abc import Iterable, Mapping
from importlib.resources import files
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from statecast.config import Recipe
from statecast.fields.recipe import FieldRecipe
from statecast.images.recipe import ImageRecipe
from statecast.particles.recipe import ParticleRecipe
from statecast.particles.showers.recipe import ShowerRecipe
from statecast.text.recipe import TextRecipe

if typing.TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

INTRODUCTION = """# {title}

One YAML file is one run. Every key below may be left out where it has a default, and set on the command line as `key.key=value`. A
fine-tuning recipe inherits what it leaves out from the model that it starts from. This page is made from the types that read the recipe.

```yaml
{example}```
"""
PAGES: dict[str, tuple[str, str, type[Recipe]]] = {
    "recipe.md": ("The recipe", "statecast.fields.recipes/quickstart.yaml", FieldRecipe),
    "recipe_images.md": ("The recipe of images", "statecast.images.recipes/images.yaml", ImageRecipe),
    "recipe_jets.md": ("The recipe of jets", "statecast.particles.recipes/jets.yaml", ParticleRecipe),
    "recipe_showers.md": ("The recipe of showers", "statecast.particles.showers.recipes/showers.yaml", ShowerRecipe),
    "recipe_text.md": ("The recipe of texts", "statecast.text.recipes/text.yaml", TextRecipe),
}
"""Title, an example, and the type of the recipe, by the name of the page."""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "`null`"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of"}
LENGTHS = {"min_length": "at least", "max_length": "at most"}


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Called by MkDocs with the files of docs/."""
    from mkdocs.structure.files import File

    for name in PAGES:
        files.append(File.generated(config, name, content=page(name)))
    return files


def page(name: str) -> str:
    title, example, recipe = PAGES[name]
    package, _, file = example.partition("/")
    text = files(package).joinpath(file).read_text()
    return "\n".join([INTRODUCTION.format(title=title, example=text), *section(recipe, "", 2), ""])


def section(model: type[BaseModel], prefix: str, depth: int) -> list[str]:
    """A table of the fields of a model, then the sections of the models in it."""
    lines = ["", "| key | takes | default | meaning |", "|---|---|---|---|"]
    below: list[str] = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner = models_in(field.annotation)
        cells = (f"`{key}`", takes(field.annotation, field.metadata), default(field, inner), meaning(key, field, inner))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        place = f"{key}.NAME" if is_mapping(field.annotation) else key
        for each in inner:
            title = f"`{place}`" if len(inner) == 1 else f"`{place}` {which(each)}"
            below += ["", f"{'#' * depth} {title}", "", first_paragraph(each), *section(each, f"{place}.", depth + 1)]
    return lines + below


def which(model: type[BaseModel]) -> str:
    """Which of several models: its kind, or the key that only it has."""
    if "kind" in model.model_fields:
        return f"of kind `{model.model_fields['kind'].default}`"
    return f"with the key `{next(iter(model.model_fields))}`"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def is_mapping(annotation: Any) -> bool:
    return isinstance(get_origin(annotation), type) and issubclass(get_origin(annotation), Mapping)


def takes(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What may stand in the recipe, with its bounds: "whole number ≥ 1"."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return takes(parts[0], [inner for part in parts[1:] for inner in getattr(part, "metadata", [part])])
    if models_in(annotation):
        words = (
            "sections by name"
            if is_mapping(annotation)
            else "list of sections"
            if origin in (tuple, list)
            else "section"
        )
    elif origin is Literal:
        words = " or ".join(f"`{part}`" for part in parts)
    elif origin in (Union, UnionType):
        return " or ".join(takes(part, [] if part is NoneType else metadata) for part in parts)
    elif origin is tuple and parts[-1] is not Ellipsis:
        words = f"[{', '.join(takes(part) for part in parts)}]"
    elif is_mapping(annotation):
        words = f"{takes(parts[1])} by name"
    elif origin in (tuple, list):
        words = f"list of {takes(parts[0])}"
    else:
        words = WORDS[annotation]
    return " ".join([words, *bounds(metadata)])


def bounds(metadata: Iterable[Any]) -> list[str]:
    """Of each constraint of a field, the words: a bound on the value, or on the number of entries."""
    limits = [f"{sign} {getattr(m, name):g}" for m in metadata for name, sign in BOUNDS.items() if hasattr(m, name)]
    sizes = [f"{word} {getattr(m, name)}" for m in metadata for name, word in LENGTHS.items() if hasattr(m, name)]
    return [" and ".join(limits)] * bool(limits) + [f"({' and '.join(sizes)})"] * bool(sizes)


def default(field: FieldInfo, inner: list[type[BaseModel]]) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return f"`{value.kind}`, its own defaults" if len(inner) > 1 else "its own defaults"
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix('...' + chr(10)).strip()}`"


def meaning(key: str, field: FieldInfo, inner: list[type[BaseModel]]) -> str:
    if field.description:
        return field.description
    if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
        return "chooses this kind"
    if len(inner) == 1:
        return first_paragraph(inner[0])
    if inner:
        return "one of the kinds below"
    raise ValueError(f"recipe key {key} has no description. Give its Field one.")


def first_paragraph(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


if __name__ == "__main__":
    print("\n".join(map(page, PAGES)))
