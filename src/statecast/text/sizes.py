"""The window of a training sample of texts, without their words: for costs."""

from typing import Any

import torch

from statecast.domain import Sizes
from statecast.labels import LabelCodec
from statecast.streams import TokenSpec
from statecast.text.codec import RANK, TextCodec, sequence
from statecast.text.documents import TextError
from statecast.text.recipe import TextRecipe
from statecast.text.record import split_documents
from statecast.text.source import ANSWERS
from statecast.text.streams import LabelStream, PairStream, TextStream

ASSUMED_CLASSES = 10


def sizes(recipe: TextRecipe) -> Sizes:
    """Samples are as long as they may be. The files say how many classes and tags there are; without them ten of each are assumed."""
    assumed = [f"every sample has {recipe.text[1].tokens} tokens"]
    try:
        documents: Any = split_documents(recipe, recipe.data.files, recipe.data.train).documents
    except (TextError, OSError):
        documents = None
        assumed.append(
            f"{', '.join(recipe.data.files)} can't be read: labels are assumed to have {ASSUMED_CLASSES} classes"
        )
    window = {}
    for name, stream in recipe.streams.items():
        if isinstance(stream, LabelStream | PairStream):
            window[name] = _label(stream, documents).tokens(None)
        else:
            size = _codes(recipe, stream) if isinstance(stream, TextStream) else _tags(stream, documents)
            spec = TokenSpec(vocabulary=size, axes=(RANK,), order=RANK.name, ragged=True)
            window[name] = sequence(torch.zeros(recipe.text[1].tokens, dtype=torch.int64), spec)
    return Sizes({name: tokens.spec for name, tokens in window.items()}, window, tuple(assumed))


def _codes(recipe: TextRecipe, stream: TextStream) -> int:
    """The codes of a text; known beforehand of the tokenizer of a Hugging Face encoder."""
    if recipe.model.has_own_encoder or stream.tokenizer is not None:
        return stream.vocabulary
    return TextCodec.fit(stream, (), recipe.model.encoder).spec.vocabulary


def _label(stream: Any, documents: Any) -> LabelCodec:
    if isinstance(stream, PairStream):
        return LabelCodec(stream, ANSWERS)
    if stream.target == "number":
        return LabelCodec(stream)
    classes = list(stream.classes) or [f"class {number}" for number in range(ASSUMED_CLASSES)]
    if documents is not None and not stream.classes:
        classes = sorted({str(value) for value in documents.column(stream.label) if value is not None})
    return LabelCodec(stream, tuple(classes))


def _tags(stream: Any, documents: Any) -> int:
    if documents is None:
        return ASSUMED_CLASSES
    return len({tag for tags in documents.tags_of(stream.tags) for tag in tags})
