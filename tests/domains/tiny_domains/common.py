"""What both tiny domains share: samples in one .npz file, split by their numbers, and a label."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from statecast.config import DataOptions, Recipe
from statecast.domain import Codec, Sizes
from statecast.labels import LabelCodec
from statecast.streams import StreamOptions, Tokens, Window


class FileData(DataOptions):
    file: str
    train: tuple[int, int] = Field(description="first and last sample of training, inclusive")
    validate_on: tuple[int, int] | None = Field(None, alias="validate")


class Label(StreamOptions):
    """A label of each sample, asked alone."""

    label: bool = True


class FileRecipe(Recipe):
    data: FileData


@dataclass(frozen=True)
class FileSource:
    """Samples first to last of a file; `tokens` makes the tokens of a sample by stream."""

    arrays: Mapping[str, np.ndarray]
    split: tuple[int, int]
    codecs: Mapping[str, Codec]
    tokens: Callable[[str, Any, Mapping[str, np.ndarray], int, np.random.Generator], Tokens]

    def __len__(self) -> int:
        return self.split[1] - self.split[0] + 1

    def draw(self, sample: np.random.Generator) -> Window:
        number = int(sample.integers(self.split[0], self.split[1] + 1))
        return {name: self.tokens(name, codec, self.arrays, number, sample) for name, codec in self.codecs.items()}

    def cases(self) -> "FileCases":
        return FileCases(self)

    def describe(self, sample: np.random.Generator) -> str:
        return f"sample {int(sample.integers(self.split[0], self.split[1] + 1))}"


@dataclass(frozen=True)
class FileCases:
    source: FileSource

    @property
    def labels(self) -> range:
        return range(self.source.split[0], self.source.split[1] + 1)

    @property
    def positions(self) -> np.ndarray:
        return np.array(self.labels, float)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> Window:
        source, sample = self.source, self.labels[number]
        random = np.random.default_rng(sample)
        return {
            name: source.tokens(name, codec, source.arrays, sample, random) for name, codec in source.codecs.items()
        }


def fit_label(stream: StreamOptions, arrays: Mapping[str, np.ndarray], split: tuple[int, int]) -> LabelCodec:
    return LabelCodec.fit(stream, [str(v) for v in arrays["label"][split[0] : split[1] + 1]], is_class=True)


class FileDomain:
    """Open, load and size by two functions: `fit` makes the codec of a stream, `tokens` the tokens of a sample."""

    verbs: Mapping[str, Callable[..., Any]] = {}
    recipes = ""

    def __init__(self, name: str, recipe: type[Recipe], fit, load, tokens) -> None:
        self.name, self.Recipe = name, recipe
        self._fit, self._load, self._tokens = fit, load, tokens

    def open(self, recipe, split, known):
        chosen = recipe.data.train if split == "train" else recipe.data.validate_on
        if chosen is None:
            return None
        with np.load(recipe.data.file) as file:
            arrays = dict(file)
        codecs = {}
        for name, stream in recipe.streams.items():
            codecs[name] = known.get(name) or self._fit(stream, arrays, recipe.data.train)
        return FileSource(arrays, chosen, codecs, self._tokens)

    def with_data(self, recipe, data, period):
        changes = {} if data is None else {"file": data}
        changes |= {} if period is None else {"validate_on": tuple(map(int, period))}
        return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})

    def load(self, directory: Path, streams, recipe):
        return {name: self._load(options, directory, name) for name, options in streams.items()}

    def sizes(self, recipe) -> Sizes:
        source = self.open(recipe, "train", {})
        window = source.draw(np.random.default_rng(0))
        return Sizes({name: codec.spec for name, codec in source.codecs.items()}, window)

    def card(self, codecs, recipe) -> str:
        return f"Streams: {', '.join(codecs)}."
