"""Fields as a domain of the core: recipe, record, codecs, model card and the verbs of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statecast.domain import Sizes, Source, Split
from statecast.fields.edges import with_edges
from statecast.fields.fingerprint import fingerprint
from statecast.fields.forgetting import prepare_report
from statecast.fields.labels import LabelStream
from statecast.fields.recipe import FieldRecipe, Period
from statecast.fields.sizes import sizes
from statecast.fields.source import open_source
from statecast.fields.stations.codec import StationCodec
from statecast.fields.stations.options import StationStream
from statecast.fields.strange import anomalies
from statecast.fields.streams import Stream
from statecast.fields.tokenizers import FieldTokenizer
from statecast.fields.verbs import evaluate, explain
from statecast.labels import LabelCodec


class Fields:
    """Weather and climate on grids."""

    name = "fields"
    Recipe = FieldRecipe
    recipes = "statecast.fields.recipes"
    verbs: Mapping[str, Callable[..., Any]] = {
        "anomalies": anomalies,
        "after_training": with_edges,
        "evaluate": evaluate,
        "explain": explain,
        "fingerprint": fingerprint,
        "forgetting": prepare_report,
    }

    def open(self, recipe: FieldRecipe, split: Split, known: Mapping[str, Any]) -> Source | None:
        return open_source(recipe, split, known)

    def with_data(self, recipe: FieldRecipe, data: str | None, period: Period | None) -> FieldRecipe:
        changes: dict[str, Any] = {} if data is None else {"store": data}
        if period is not None:
            changes["validate_on"] = period
        return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]], recipe: FieldRecipe) -> dict[str, Any]:
        codecs: dict[str, Any] = {}
        for name, options in streams.items():
            if "labels" in options:
                codecs[name] = LabelCodec.load(LabelStream(**options), directory, name)
            elif "table" not in options:
                codecs[name] = FieldTokenizer.load(Stream(**options), directory, name)
        fields = {name: codec.climatology for name, codec in codecs.items() if isinstance(codec, FieldTokenizer)}
        for name, options in streams.items():
            if "table" in options:  # after the fields that stations are measured against
                codecs[name] = StationCodec.load(StationStream(**options), directory, name, fields)
        return {name: codecs[name] for name in streams}

    def sizes(self, recipe: FieldRecipe) -> Sizes:
        return sizes(recipe)

    def card(self, codecs: Mapping[str, Any], recipe: FieldRecipe) -> str:
        rows = ["| stream | variables | levels hPa | token (time x lat x lon) | grid |", "|---|---|---|---|---|"]
        for name, codec in codecs.items():
            if isinstance(codec, LabelCodec):
                rows.append(f"| {name} | {', '.join(codec.classes) or 'a number'} | - | one a window | - |")
                continue
            if isinstance(codec, StationCodec):
                variables, count = ", ".join(codec.stream.variables), len(codec.statistics.stations)
                rows.append(f"| {name} | {variables} | - | {codec.stream.steps} of a station | {count} stations |")
                continue
            levels = ", ".join(f"{level:g}" for level in codec.stream.levels) or "-"
            patch = " x ".join(map(str, codec.stream.patch))
            grid = " x ".join(map(str, codec.climatology.grid.shape))
            rows.append(f"| {name} | {', '.join(codec.stream.variables)} | {levels} | {patch} | {grid} |")
        period = " to ".join(recipe.data.train)
        return "\n".join([f"Trained on `{period}` of the store `{recipe.data.store}`.", "", *rows])


DOMAIN = Fields()
