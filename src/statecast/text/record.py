"""The documents of one split as codes: samples of a bounded number of tokens.

Axes: N token of all samples, S sample.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from statecast.numbered import SampleFiles
from statecast.text.codec import TagCodec, TextCodec
from statecast.text.documents import Documents, TextError
from statecast.text.recipe import TextRecipe
from statecast.text.sources.files import read_documents

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
"""Between two sentences: a space after a full stop, or an empty line."""
SHUFFLED_BY = 0  # the seed of the order: the same in every run


@dataclass(frozen=True)
class TextRecord:
    """Samples of a split; the tokens of sample s are those from `offsets[s]` to `offsets[s + 1]`.

    places  number of the document of each sample
    tags    codes of the tags of each token, by stream
    labels  a value of each sample, by stream
    names   what the document of each sample is called; None: by its number
    """

    offsets: Int[np.ndarray, " S_plus_1"]
    codes: Int[Tensor, " N"]
    places: Int[np.ndarray, " S"]
    tags: Mapping[str, Int[Tensor, " N"]]
    labels: Mapping[str, Sequence[Any]]
    names: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def span(self, sample: int) -> slice:
        """Where the tokens of a sample stand."""
        return slice(int(self.offsets[sample]), int(self.offsets[sample + 1]))


@dataclass(frozen=True)
class Chosen:
    """The documents of a split, and their numbers; `empty` of them were left out."""

    documents: Documents
    places: Int[np.ndarray, " D"]
    empty: int


def split_documents(recipe: TextRecipe, files: Sequence[str], numbers: tuple[int, int] | str) -> Chosen:
    """The documents of a range of numbers, without empty ones. Raises TextError if there are not that many, or none is left."""
    data = recipe.data
    documents = read_documents(files, recipe.text[1].text, data.format)
    first, last = (0, len(documents) - 1) if isinstance(numbers, str) else numbers
    if last >= len(documents):
        raise TextError(
            f"{documents.files}: has {len(documents)} documents, expected {first} to {last}. Name a range that is there."
        )
    order = np.arange(len(documents))
    if data.shuffle:
        order = np.random.default_rng(SHUFFLED_BY).permutation(len(documents))
    places = np.arange(first, last + 1)
    is_text = np.array([bool(documents.texts[number].strip()) for number in order[places]])
    if not is_text.any():
        raise TextError(f"{documents.files}: all documents of {first} to {last} are empty, expected some text.")
    places = places[is_text]
    return Chosen(documents.chosen(order[places]), places, int((~is_text).sum()))


def chosen_numbers(data: SampleFiles, split: str) -> tuple[int, int] | str | None:
    return data.train if split == "train" else data.validate_on


def record_of(recipe: TextRecipe, chosen: Chosen, codecs: Mapping[str, Any]) -> tuple[TextRecord, str]:
    """The samples of documents, and a line on what was long, empty or cut."""
    name, stream = recipe.text
    codec: TextCodec = codecs[name]
    documents = chosen.documents
    encoded = codec.encode(documents.texts, documents.starts)
    tags = {}
    for of_tags in recipe.tags:
        of_codec: TagCodec = codecs[of_tags]
        named = zip(documents.tags_of(of_codec.stream.tags), encoded, strict=True)
        tags[of_tags] = [of_codec.codes(of_document, each.firsts, len(each.codes) + 1) for of_document, each in named]
    spans = [list(_spans(len(each.codes) + 1, stream.tokens, recipe.is_truncated)) for each in encoded]
    parts = [(number, span) for number, of_document in enumerate(spans) for span in of_document]
    codes = [torch.tensor([*each.codes, codec.end], dtype=torch.int32) for each in encoded]
    lengths = [span.stop - span.start for _, span in parts]
    columns = {key: documents.column(label.label) for key, label in recipe.labels.items()}
    names = documents.column(recipe.data.key) if recipe.data.key else None
    record = TextRecord(
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        torch.cat([codes[number][span] for number, span in parts]),
        chosen.places[[number for number, _ in parts]],
        {key: torch.cat([of[number][span] for number, span in parts]) for key, of in tags.items()},
        {key: [values[number] for number, _ in parts] for key, values in columns.items()},
        None if names is None else [names[number] for number, _ in parts],
    )
    long = sum(len(each.codes) + 1 > stream.tokens for each in encoded)
    return record, _told(chosen, long, len(parts), recipe)


def _spans(length: int, most: int, is_truncated: bool) -> Iterator[slice]:
    """The parts of a document that are samples: the first `most` tokens, or all of them in turn."""
    if is_truncated:
        yield slice(0, min(length, most))
        return
    for first in range(0, length, most):
        if first == 0 or length - first > 1:  # the end alone is no sample
            yield slice(first, min(length, first + most))


def _told(chosen: Chosen, long: int, samples: int, recipe: TextRecipe) -> str:
    texts = len(chosen.documents)
    parts = [f"{chosen.empty} empty documents are left out"] if chosen.empty else []
    if long:
        what = "truncated" if recipe.is_truncated else f"cut into windows, {samples} samples in all"
        parts.append(f"{long} of {texts} documents have more than {recipe.text[1].tokens} tokens and are {what}")
    return "; ".join(parts)


def sentences_of(texts: Sequence[str]) -> tuple[list[str], Int[np.ndarray, " S"]]:
    """The sentences of texts, by a simple rule (`SENTENCE_END`), and the number of the text of each."""
    found: list[str] = []
    numbers: list[int] = []
    for number, text in enumerate(texts):
        for sentence in SENTENCE_END.split(text):
            if sentence.strip():
                found.append(sentence.strip())
                numbers.append(number)
    return found, np.array(numbers)
