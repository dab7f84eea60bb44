"""Several domains as one: each part is opened, loaded and described by its own domain."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statecast.config import RecipeError
from statecast.domain import Codec, Sizes, Source, Split, find_domain
from statecast.mixed.evaluate import evaluate
from statecast.mixed.recipe import MixedRecipe, part_recipe, with_parts
from statecast.mixed.source import MixedSource, join
from statecast.streams import TokenSpec, Window


def fingerprint(recipe: MixedRecipe, source: MixedSource) -> dict[str, Any]:
    """What identifies the records of the parts whose domains tell it."""
    found = {}
    for name, of_part in source.parts.items():
        part = part_recipe(recipe, name)
        if tell := find_domain(part.data.domain).verbs.get("fingerprint"):
            found[name] = tell(part, of_part)
    return found


def _of(recipe: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the streams of a part."""
    return {name: value for name, value in known.items() if name in recipe.streams}


class Mixed:
    """Streams of several domains in one window."""

    name = "mixed"
    Recipe = MixedRecipe
    recipes = ""
    verbs: Mapping[str, Callable[..., Any]] = {"evaluate": evaluate, "fingerprint": fingerprint}

    def open(self, recipe: MixedRecipe, split: Split, known: Mapping[str, Codec]) -> MixedSource | None:
        """The samples that all parts have; None if one of them has no such split."""
        sources: dict[str, Source] = {}
        for name in recipe.data.parts:
            part = part_recipe(recipe, name)
            source = find_domain(part.data.domain).open(part, split, _of(part, known))
            if source is None:
                return None
            sources[name] = source
        return join(sources)

    def with_data(self, recipe: MixedRecipe, data: str | None, period: tuple[str, str] | None) -> MixedRecipe:
        """With another record of one part, `PART=DATA`, and with a period that every part takes in its own words."""
        name, _, of_part = (data or "").partition("=")
        if data is not None and (name not in recipe.data.parts or not of_part):
            raise RecipeError(f"data {data}: expected PART=DATA, with one of the parts {', '.join(recipe.data.parts)}.")
        changed = {}
        for part in recipe.data.parts:
            own = part_recipe(recipe, part)
            replaced = find_domain(own.data.domain).with_data(own, of_part if part == name else None, period)
            changed[part] = replaced.data
        return with_parts(recipe, changed)

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]], recipe: MixedRecipe) -> dict[str, Codec]:
        codecs: dict[str, Codec] = {}
        for name in recipe.data.parts:
            part = part_recipe(recipe, name)
            codecs |= find_domain(part.data.domain).load(directory, _of(part, streams), part)
        return codecs

    def sizes(self, recipe: MixedRecipe) -> Sizes:
        specs: dict[str, TokenSpec] = {}
        window: Window = {}
        assumed: list[str] = []
        data: dict[str, float] = {}
        for name in recipe.data.parts:
            part = part_recipe(recipe, name)
            sizes = find_domain(part.data.domain).sizes(part)
            specs |= sizes.specs
            window |= sizes.window
            assumed += [f"{name}: {each}" for each in sizes.assumed]
            data |= {f"{name}: {what}": gib for what, gib in sizes.data.items()}
        return Sizes(specs, window, tuple(assumed), data)

    def card(self, codecs: Mapping[str, Codec], recipe: MixedRecipe) -> str:
        sections = []
        for name in recipe.data.parts:
            part = part_recipe(recipe, name)
            sections.append(f"## {name}\n\n{find_domain(part.data.domain).card(_of(part, codecs), part)}")
        return "\n\n".join(sections)


DOMAIN = Mixed()
