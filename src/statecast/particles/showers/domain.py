"""Showers as a domain of the core: recipe, record, codecs, model card and the verbs of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statecast.domain import Sizes, Split
from statecast.numbered import with_files
from statecast.particles.showers.codec import IncidentCodec, ShareCodec
from statecast.particles.showers.evaluation.evaluate import evaluate
from statecast.particles.showers.inference.generate import generate
from statecast.particles.showers.recipe import ShowerRecipe
from statecast.particles.showers.sizes import sizes
from statecast.particles.showers.source import ShowerSource, open_source
from statecast.particles.showers.streams import KINDS, IncidentStream, kind_of_stream


class ShowersDomain:
    """Showers in a calorimeter."""

    name = "showers"
    Recipe = ShowerRecipe
    recipes = "statecast.particles.showers.recipes"
    verbs: Mapping[str, Callable[..., Any]] = {"evaluate": evaluate, "generate": generate}

    def open(self, recipe: ShowerRecipe, split: Split, known: Mapping[str, Any]) -> ShowerSource | None:
        return open_source(recipe, split, known)

    def with_data(self, recipe: ShowerRecipe, data: str | None, period: tuple[str, str] | None) -> ShowerRecipe:
        """The recipe with other files of validation; without a range all of their showers."""
        return with_files(recipe, data, period, "shower")

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]], recipe: ShowerRecipe) -> dict[str, Any]:
        codecs: dict[str, Any] = {}
        for name, options in streams.items():
            stream = KINDS[kind_of_stream(options)](**options)
            kind: Any = IncidentCodec if isinstance(stream, IncidentStream) else ShareCodec
            codecs[name] = kind.load(stream, directory, name)
        return codecs

    def sizes(self, recipe: ShowerRecipe) -> Sizes:
        return sizes(recipe)

    def card(self, codecs: Mapping[str, Any], recipe: ShowerRecipe) -> str:
        first, last = recipe.data.train
        incident = next(codec for codec in codecs.values() if isinstance(codec, IncidentCodec))
        grid = next(codec for codec in codecs.values() if isinstance(codec, ShareCodec)).grid
        lines = [
            f"Trained on showers {first} to {last} of `{', '.join(recipe.data.files)}`: {grid.geometry.particle}s of "
            f"{incident.low_mev:.4g} to {incident.high_mev:.4g} MeV in {grid.geometry.voxels} voxels "
            f"of {len(grid.geometry.layers)} layers.",
            "",
            "| stream | values of a token |",
            "|---|---|",
        ]
        return "\n".join([*lines, *(f"| {name} | {len(codec.channels)} |" for name, codec in codecs.items())])


DOMAIN = ShowersDomain()
