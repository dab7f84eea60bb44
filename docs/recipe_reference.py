"""Writes recipe.md when the site is built: every key of a recipe, from the types that read it."""

import types
import typing
from pathlib import Path

import mkdocs_gen_files
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from statecast.config import Recipe

EXAMPLE = Path("src/statecast/recipes/quickstart.yaml")
INTRODUCTION = """# The recipe

One YAML file is one run. Every key below may be left out where it has a default, and set on the command line as `key.key=value`. A
fine-tuning recipe inherits what it leaves out from the model that it starts from. This page is made from the types that read the recipe.

```yaml
{example}```
"""


def main() -> None:
    page = [INTRODUCTION.format(example=EXAMPLE.read_text()), *section(Recipe, "", 2)]
    with mkdocs_gen_files.open("recipe.md", "w") as out:
        out.write("\n".join(page))


def section(model: type[BaseModel], prefix: str, depth: int) -> list[str]:
    """A table of the fields of a model, then the sections of the models in it."""
    lines = ["", "| key | type | default | meaning |", "|---|---|---|---|"]
    below: list[str] = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner = models_in(field.annotation)
        meaning = field.description or (first_paragraph(inner[0]) if inner else "")
        lines.append(f"| `{key}` | {describe(field.annotation)} | {default(field)} | {meaning} |")
        for each in inner:
            title = f"{key}" if len(inner) == 1 else f"{key} of kind {each.model_fields['kind'].default}"
            place = f"{key}.NAME." if typing.get_origin(field.annotation) is dict else f"{key}."
            below += ["", f"{'#' * depth} {title}", "", first_paragraph(each), *section(each, place, depth + 1)]
    return lines + below


def models_in(annotation: typing.Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


def describe(annotation: typing.Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if models_in(annotation):
        return "sections by name" if origin is dict else "section"
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(part) for part in parts)
    if origin is tuple:
        return (
            "list of " + describe(parts[0])
            if parts[-1] is Ellipsis
            else "[" + ", ".join(describe(part) for part in parts) + "]"
        )
    if origin is typing.Annotated:
        return describe(parts[0])
    return {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "none"}.get(
        annotation, str(annotation)
    )


def default(field: typing.Any) -> str:
    if field.default is not PydanticUndefined:
        return (
            "none"
            if field.default is None
            else f"`{list(field.default) if isinstance(field.default, tuple) else field.default}`"
        )
    return "its own defaults" if field.default_factory else "required"


def first_paragraph(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


main()
