"""Samples of texts: one split of a record with the codecs of its streams."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from statecast.domain import Split
from statecast.labels import LabelCodec, LabelError
from statecast.numbered import NumberedCases, require_apart
from statecast.streams import Window
from statecast.text.codec import TagCodec, TextCodec
from statecast.text.documents import TextError
from statecast.text.recipe import TextRecipe
from statecast.text.record import Chosen, TextRecord, chosen_numbers, record_of, sentences_of, split_documents
from statecast.text.streams import LabelStream, PairStream, TagStream, TextStream

ANSWERS = ("no", "yes")


@dataclass(frozen=True)
class TextSource:
    """One split, from which samples are drawn: documents, or windows of them."""

    record: TextRecord
    codecs: Mapping[str, Any]

    def draw(self, sample: np.random.Generator) -> Window:
        """The tokens of a sample, each with the same probability."""
        return self.window(int(sample.integers(len(self.record))))

    def describe(self, sample: np.random.Generator) -> str:
        return f"document {self.record.places[int(sample.integers(len(self.record)))]}"

    def cases(self) -> NumberedCases:
        return NumberedCases(self, self.record.names)

    def window(self, number: int) -> Window:
        """The tokens of one sample, by stream."""
        span = self.record.span(number)
        window = {}
        for name, codec in self.codecs.items():
            if isinstance(codec, LabelCodec):
                window[name] = codec.tokens(self.record.labels[name][number])
            elif isinstance(codec, TagCodec):
                window[name] = codec.tokens(self.record.tags[name][span])
            else:
                window[name] = codec.tokens(self.record.codes[span])
        return window


@dataclass(frozen=True)
class Pairs:
    """Sentences that another one of the same document follows: the number of their document, and their own number."""

    places: Int[np.ndarray, " S"]
    firsts: Int[np.ndarray, " S"]

    def __len__(self) -> int:
        return len(self.firsts)


@dataclass(frozen=True)
class PairSource:
    """One split, from which pairs of neighbouring sentences are drawn; half of them do not belong together.

    is_next  such a second sentence is of another document; False: the two are exchanged
    """

    sentences: list[Int[Tensor, " N"]]
    of_document: Int[np.ndarray, " T"]
    record: Pairs
    codecs: Mapping[str, Any]
    is_next: bool

    def draw(self, sample: np.random.Generator) -> Window:
        return self.window(int(sample.integers(len(self.record))), sample)

    def describe(self, sample: np.random.Generator) -> str:
        return f"document {self.record.places[int(sample.integers(len(self.record)))]}"

    def cases(self) -> NumberedCases:
        return NumberedCases(self)

    def window(self, number: int, sample: np.random.Generator | None = None) -> Window:
        """A pair; whether it belongs together is drawn from `sample`, or from its number."""
        sample = np.random.default_rng(number) if sample is None else sample
        first = int(self.record.firsts[number])
        second, belongs = first + 1, bool(sample.integers(2))
        if not belongs:
            first, second = (first, self._elsewhere(first, sample)) if self.is_next else (second, first)
        window = {}
        for name, codec in self.codecs.items():
            if isinstance(codec, TextCodec):
                window[name] = codec.tokens(self._joined(codec, first, second))
            else:
                window[name] = codec.tokens(ANSWERS[belongs])
        return window

    def _elsewhere(self, first: int, sample: np.random.Generator) -> int:
        """A sentence of another document."""
        while True:
            other = int(sample.integers(len(self.sentences)))
            if self.of_document[other] != self.of_document[first]:
                return other

    def _joined(self, codec: TextCodec, first: int, second: int) -> Int[Tensor, " N"]:
        between, end = torch.tensor([codec.separator]), torch.tensor([codec.end])
        return torch.cat([self.sentences[first], between, self.sentences[second], end])


def open_source(recipe: TextRecipe, split: Split, known: Mapping[str, Any]) -> TextSource | PairSource | None:
    """One split of a recipe; None where it has no validation. A stream in `known` keeps its codec.

    A line on standard error says how many documents are long or empty. Raises TextError, LabelError or RecipeError in one line.
    """
    data = recipe.data
    numbers = chosen_numbers(data, split)
    if numbers is None:
        return None
    require_apart(data)
    chosen = split_documents(recipe, data.files if split == "train" else data.held_out_files, numbers)
    codecs = {name: known.get(name) or _fitted(recipe, stream, chosen) for name, stream in recipe.streams.items()}
    if recipe.pair is not None:
        source: TextSource | PairSource = _pairs(recipe, chosen, codecs)
        told = ""
    else:
        record, told = record_of(recipe, chosen, codecs)
        _require_known_labels(record, codecs)
        source = TextSource(record, codecs)
    if told:
        print(f"{split}: {told}", file=sys.stderr)
    return source


def _fitted(recipe: TextRecipe, stream: Any, chosen: Chosen) -> Any:
    documents = chosen.documents
    if isinstance(stream, TextStream):
        return TextCodec.fit(stream, documents.texts, recipe.model.encoder)
    if isinstance(stream, TagStream):
        return TagCodec.fit(stream, documents.tags_of(stream.tags))
    if isinstance(stream, PairStream):
        return LabelCodec(stream, ANSWERS)
    assert isinstance(stream, LabelStream)
    if stream.classes:
        return LabelCodec(stream, stream.classes)
    return LabelCodec.fit(stream, documents.column(stream.label), is_class=stream.target == "class")


def _require_known_labels(record: TextRecord, codecs: Mapping[str, Any]) -> None:
    """Raises LabelError for a class that did not occur in training, and if no sample has a label."""
    for name, labels in record.labels.items():
        given = {value for value in labels if value is not None}
        if not given:
            raise LabelError(f"stream {name}: no document of the split has a label. Name others, or another column.")
        for value in sorted(given, key=str):
            codecs[name].tokens(value)


def _pairs(recipe: TextRecipe, chosen: Chosen, codecs: Mapping[str, Any]) -> PairSource:
    """Raises TextError unless two documents have sentences, and one of them has two."""
    assert recipe.pair is not None
    name, stream = recipe.text
    codec: TextCodec = codecs[name]
    texts, of_document = sentences_of(chosen.documents.texts)
    room = (stream.tokens - 2) // 2
    sentences = [torch.tensor(each.codes[:room], dtype=torch.int64) for each in codec.encode(texts)]
    firsts = np.flatnonzero(of_document[:-1] == of_document[1:])
    if not len(firsts) or len(np.unique(of_document)) < 2:
        raise TextError(
            f"{chosen.documents.files}: has no two documents with several sentences each, which the stream {recipe.pair} needs. "
            "Use longer documents."
        )
    is_next = cast(PairStream, recipe.streams[recipe.pair]).pair == "next"
    pairs = Pairs(chosen.places[of_document[firsts]], firsts)
    return PairSource(sentences, of_document, pairs, codecs, is_next)


def documents_of_cases(source: TextSource, chosen: Chosen) -> list[str]:
    """The text of the document of each sample."""
    texts = dict(zip(chosen.places.tolist(), chosen.documents.texts, strict=True))
    return [texts[int(place)] for place in source.record.places]
