"""Images as a domain of the core: recipe, record, codecs, model card and the verbs of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statecast.domain import Sizes, Split
from statecast.images.box_codec import BoxCodec
from statecast.images.codec import MaskCodec, PixelCodec
from statecast.images.evaluation.evaluate import evaluate
from statecast.images.recipe import ImageRecipe
from statecast.images.sizes import sizes
from statecast.images.source import ImageSource, open_source
from statecast.images.streams import KINDS, kind_of_stream
from statecast.labels import LabelCodec
from statecast.numbered import with_files

CODECS: Mapping[str, Any] = {"channels": PixelCodec, "mask": MaskCodec, "cell": BoxCodec, "label": LabelCodec}
"""By the kind of the stream."""


class Images:
    """Pictures, with their masks, boxes and labels, and films."""

    name = "images"
    Recipe = ImageRecipe
    recipes = "statecast.images.recipes"
    verbs: Mapping[str, Callable[..., Any]] = {"evaluate": evaluate}

    def open(self, recipe: ImageRecipe, split: Split, known: Mapping[str, Any]) -> ImageSource | None:
        return open_source(recipe, split, known)

    def with_data(self, recipe: ImageRecipe, data: str | None, period: tuple[str, str] | None) -> ImageRecipe:
        """The recipe with other files of validation; without a range all of their pictures."""
        return with_files(recipe, data, period, "picture")

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]], recipe: ImageRecipe) -> dict[str, Any]:
        codecs: dict[str, Any] = {}
        for name, options in streams.items():
            kind = kind_of_stream(options)
            codecs[name] = CODECS[kind].load(KINDS[kind](**options), directory, name)
        return codecs

    def sizes(self, recipe: ImageRecipe) -> Sizes:
        return sizes(recipe)

    def card(self, codecs: Mapping[str, Any], recipe: ImageRecipe) -> str:
        first, last = recipe.data.train
        rows = ["| stream | tokens | values | categories |", "|---|---|---|---|"]
        for name, codec in codecs.items():
            tokens = (
                "one a picture" if isinstance(codec, LabelCodec) else "patches of {} × {} × {}".format(*codec.patch)
            )
            rows.append(
                f"| {name} | {tokens} | {', '.join(codec.channels) or '-'} | {', '.join(codec.categories) or '-'} |"
            )
        pixels = next(codec for codec in codecs.values() if isinstance(codec, PixelCodec))
        size = "{} frames of {} × {} pixels".format(*pixels.shape)
        return "\n".join(
            [f"Trained on pictures {first} to {last} of `{', '.join(recipe.data.files)}`: {size}.", "", *rows]
        )


DOMAIN = Images()
