"""Streams of texts: the codes of a text, a tag of each word, whether two parts belong together, labels of a document."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from statecast.streams import StreamOptions, key_of_kind


class TextStream(StreamOptions):
    """A text as codes of a byte-level BPE (Sennrich et al. 2016), one token each, in their order. The last code of a document ends it."""

    text: str = Field("text", description="column of the text")
    vocabulary: int = Field(
        1000, ge=260, le=2**20, description="codes of the tokenizer that is trained on the training split"
    )
    tokenizer: str | None = Field(
        None,
        description="tokenizer.json of the library `tokenizers`; none: the Hugging Face encoder's, or one is trained on the training split",
    )
    lowercase: bool = Field(False, description="capital letters become small ones; only of a tokenizer that is trained")
    tokens: int = Field(64, ge=8, le=2**16, description="tokens of a sample, at most")
    long: Literal["windows", "truncate"] | None = Field(
        None,
        description="documents of more tokens: cut into windows, a sample each, or truncated, a sample a document; none: truncated if the "
        "recipe has a label of the document, else windows",
    )


class TagStream(StreamOptions):
    """A tag of each word, such as the kind of a named entity, at the first token of the word."""

    tags: str = Field(description="column of the tags; `tag` is the last column of a CoNLL file, and `1` its second")


class PairStream(StreamOptions):
    """Whether two neighbouring sentences belong together, `yes` or `no`; with this stream a sample is such a pair.

    next   no: the second is a sentence of another document (Devlin et al. 2019)
    order  no: the two are exchanged (Lan et al. 2020)
    """

    pair: Literal["next", "order"] = Field(
        description="next: the second may come from another document; order: exchanged"
    )


class LabelStream(StreamOptions):
    """A class or a number of each document, asked as a stream of one token."""

    label: str = Field(description="column of the label; of a folder of texts, `label` is the name of the subfolder")
    target: Literal["class", "number"] = Field("class", description="what the column holds")
    classes: tuple[str, ...] = Field(
        (), description="names of the classes, also of those that training may lack; none: those of the training split"
    )


KINDS: dict[str, type[StreamOptions]] = {"tags": TagStream, "pair": PairStream, "label": LabelStream}
"""The type of a stream by the key that only it has; without any of these keys it holds the text."""


def kind_of_stream(options: Any) -> str:
    return key_of_kind(options, KINDS, "text")


AnyStream = Annotated[
    Annotated[TextStream, Tag("text")]
    | Annotated[TagStream, Tag("tags")]
    | Annotated[PairStream, Tag("pair")]
    | Annotated[LabelStream, Tag("label")],
    Discriminator(kind_of_stream),
]
