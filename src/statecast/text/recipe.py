"""The recipe of a run on texts: where the documents lie, their streams, and the question."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from statecast.config import Recipe
from statecast.numbered import Numbers, SampleFiles
from statecast.text.streams import AnyStream, LabelStream, PairStream, TagStream, TextStream

Format = Literal["csv", "jsonl", "parquet", "folder", "conll"]


class TextData(SampleFiles):
    """Where the documents lie and which of them may be learned from."""

    newer = frozenset({"key"})

    files: tuple[str, ...] = Field(
        description="a CSV, JSONL, Parquet or CoNLL file, a folder of .txt files, several of them, or the sample that ships with "
        "statecast (sample:docs)"
    )
    format: Format | None = Field(None, description="of the files; none: by their ending")
    train: Numbers = Field(
        description="first and last document of training, inclusive; tokenizer and classes come from them alone"
    )
    validate_on: Numbers | Literal["all"] | None = Field(
        None,
        alias="validate",
        description="first and last document of validation, inclusive, or all; none: no validation",
    )
    key: str | None = Field(
        None,
        description="column with the name of each document, such as a time, by which a mixed recipe joins it to samples of other domains; "
        "none: its number",
    )
    shuffle: bool = Field(
        True,
        description="documents are put in a fixed random order before they are numbered: files may be sorted by their labels",
    )


class TextRecipe(Recipe):
    """One run on texts."""

    data: TextData
    streams: dict[str, AnyStream] = Field(min_length=1, description="kinds of measurement, by name")  # type: ignore[assignment]

    @property
    def text(self) -> tuple[str, TextStream]:
        """Name and options of the stream of the text."""
        return next((name, stream) for name, stream in self.streams.items() if isinstance(stream, TextStream))

    @property
    def pair(self) -> str | None:
        """Name of the stream that says whether two sentences belong together; None if a sample is no pair."""
        return next((name for name, stream in self.streams.items() if isinstance(stream, PairStream)), None)

    @property
    def labels(self) -> dict[str, LabelStream]:
        """The streams of labels of a document."""
        return {name: stream for name, stream in self.streams.items() if isinstance(stream, LabelStream)}

    @property
    def tags(self) -> dict[str, TagStream]:
        """The streams of tags of words."""
        return {name: stream for name, stream in self.streams.items() if isinstance(stream, TagStream)}

    @property
    def is_truncated(self) -> bool:
        """Whether a long document is truncated, and not cut into windows."""
        chosen = self.text[1].long
        return bool(self.labels) if chosen is None else chosen == "truncate"

    @model_validator(mode="after")
    def _there_is_one_text(self) -> Self:
        kinds: tuple[tuple[Any, str, int], ...] = ((TextStream, "a text", 1), (PairStream, "pairs", 0))
        for kind, what, least in kinds:
            names = [name for name, stream in self.streams.items() if isinstance(stream, kind)]
            if not least <= len(names) <= 1:
                raise ValueError(
                    f"streams: {len(names)} hold {what} ({', '.join(names) or 'none'}), expected one. Add or remove some."
                )
        return self

    @model_validator(mode="after")
    def _pairs_have_neither_tags_nor_labels(self) -> Self:
        if self.pair is not None and (others := [*self.tags, *self.labels]):
            raise ValueError(
                f"streams.{others[0]}: is of whole documents, but with the stream {self.pair} a sample is a pair of sentences. "
                "Remove one of them."
            )
        return self
