"""Texts as a domain of the core: recipe, record, codecs, model card and the verbs of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statecast.domain import Sizes, Split
from statecast.labels import LabelCodec
from statecast.numbered import with_files
from statecast.text.codec import TagCodec, TextCodec
from statecast.text.evaluation.evaluate import evaluate
from statecast.text.inference.generate import generate
from statecast.text.recipe import TextRecipe
from statecast.text.sizes import sizes
from statecast.text.source import PairSource, TextSource, open_source
from statecast.text.streams import KINDS, TagStream, TextStream, kind_of_stream

LISTED = 12  # categories that a card names


class Texts:
    """Documents of words."""

    name = "text"
    Recipe = TextRecipe
    recipes = "statecast.text.recipes"
    verbs: Mapping[str, Callable[..., Any]] = {"evaluate": evaluate, "generate": generate}

    def open(self, recipe: TextRecipe, split: Split, known: Mapping[str, Any]) -> TextSource | PairSource | None:
        return open_source(recipe, split, known)

    def with_data(self, recipe: TextRecipe, data: str | None, period: tuple[str, str] | None) -> TextRecipe:
        """The recipe with other files of validation; without a range all of their documents."""
        return with_files(recipe, data, period, "document")

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]], recipe: TextRecipe) -> dict[str, Any]:
        codecs: dict[str, Any] = {}
        for name, options in streams.items():
            kind = kind_of_stream(options)
            if kind == "text":
                codecs[name] = TextCodec.load(TextStream(**options), directory, name)
            elif kind == "tags":
                codecs[name] = TagCodec.load(TagStream(**options), directory, name)
            else:
                codecs[name] = LabelCodec.load(KINDS[kind](**options), directory, name)
        return codecs

    def sizes(self, recipe: TextRecipe) -> Sizes:
        return sizes(recipe)

    def card(self, codecs: Mapping[str, Any], recipe: TextRecipe) -> str:
        rows = ["| stream | tokens | categories |", "|---|---|---|"]
        for name, codec in codecs.items():
            listed = (
                ", ".join(codec.categories) if len(codec.categories) <= LISTED else f"{len(codec.categories)} codes"
            )
            rows.append(f"| {name} | {_tokens_of(codec)} | {listed or '-'} |")
        first, last = recipe.data.train
        return "\n".join([f"Trained on documents {first} to {last} of `{', '.join(recipe.data.files)}`.", "", *rows])


def _tokens_of(codec: Any) -> str:
    """What a token of the stream stands for."""
    if isinstance(codec, TextCodec):
        return "one a piece of a word"
    return "one a word" if isinstance(codec, TagCodec) else "one a sample"


DOMAIN = Texts()
