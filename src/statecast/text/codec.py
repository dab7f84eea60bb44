"""Texts and tags as tokens. Axes: N token, V code."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from statecast.axes import Axis
from statecast.models.hugging_face import encoder_files
from statecast.models.options import OWN
from statecast.streams import UNKNOWN, Tokens, TokenSpec
from statecast.text.documents import TextError
from statecast.text.streams import TagStream, TextStream

RANK = Axis("rank", "index")
END, SEPARATOR = "<end>", "<sep>"
"""Codes that end a document and that stand between the sentences of a pair."""
ENDS = (END, "[SEP]", "</s>", "<|endoftext|>", "<|im_end|>")
SEPARATORS = (SEPARATOR, *ENDS)
BEGINNINGS = ("[CLS]", "<s>")
"""What other tokenizers call them, and the code with which a document begins, if it has one."""


def tokenizers() -> Any:
    """The library. Raises ModuleNotFoundError in one line where it is missing."""
    try:
        import tokenizers as library
    except ModuleNotFoundError:
        raise ModuleNotFoundError("texts need the library tokenizers. pip install 'statecast[text]'") from None
    return library


def sequence(codes: Int[Tensor, " N"], spec: TokenSpec) -> Tokens:
    """Codes as tokens, one at each rank."""
    empty = torch.zeros(len(codes), 0)
    ranks = torch.arange(len(codes), dtype=torch.float32)[:, None]
    return Tokens(empty, ranks, empty.bool(), spec, codes=codes.long()).numbered()


class Encoded(NamedTuple):
    """The codes of a document, and the position of the token with which each of its words begins; -1 for a word of no letter."""

    codes: list[int]
    firsts: list[int]


@dataclass(frozen=True)
class TextCodec:
    """Texts as codes of a byte-level BPE: whatever bytes a text has, it has codes, and they have this text."""

    stream: TextStream
    tokenizer: Any

    channels = ()

    @classmethod
    def fit(cls, stream: TextStream, texts: Iterable[str], encoder: str = OWN) -> "TextCodec":
        """The given tokenizer, that of a Hugging Face encoder, or one that is trained on `texts`, of the training split.

        Raises TextError for a file that is none.
        """
        library = tokenizers()
        if stream.tokenizer is not None:
            return cls(stream, _given(library, stream.tokenizer))
        if encoder != OWN:
            return cls(stream, _of_encoder(library, encoder))
        bytes_of_text = library.pre_tokenizers.ByteLevel(add_prefix_space=True)
        trained = library.Tokenizer(library.models.BPE())
        trained.pre_tokenizer, trained.decoder = bytes_of_text, library.decoders.ByteLevel()
        if stream.lowercase:
            trained.normalizer = library.normalizers.Lowercase()
        trainer = library.trainers.BpeTrainer(
            vocab_size=stream.vocabulary,
            special_tokens=[END, SEPARATOR],
            initial_alphabet=sorted(bytes_of_text.alphabet()),
            show_progress=False,
        )
        trained.train_from_iterator(texts, trainer)
        return cls(stream, trained)

    @property
    def spec(self) -> TokenSpec:
        size = self.tokenizer.get_vocab_size()
        return TokenSpec(vocabulary=size, axes=(RANK,), order=RANK.name, ragged=True)

    @property
    def categories(self) -> tuple[str, ...]:
        """The pieces of words, in the order of their codes."""
        known: Mapping[str, int] = self.tokenizer.get_vocab()
        return tuple(sorted(known, key=lambda piece: known[piece]))

    @property
    def begin(self) -> list[int]:
        """The code with which a document begins; none for a tokenizer of ours."""
        return _known(self.tokenizer, BEGINNINGS)[:1]

    @property
    def end(self) -> int:
        return _known(self.tokenizer, ENDS)[0]

    @property
    def separator(self) -> int:
        return _known(self.tokenizer, SEPARATORS)[0]

    def encode(self, texts: Sequence[str], starts: Sequence[Sequence[int]] | None = None) -> list[Encoded]:
        """The codes of texts, without an end, and the first tokens of their words, which begin at the letters `starts`."""
        found = []
        for number, encoding in enumerate(self.tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            words = starts[number] if starts is not None else ()
            places = [encoding.char_to_token(start) for start in words]
            firsts = [-1 if place is None else len(self.begin) + place for place in places]
            found.append(Encoded([*self.begin, *encoding.ids], firsts))
        return found

    def decode(self, codes: Sequence[int]) -> str:
        """The text of codes, without what marks its end."""
        return str(self.tokenizer.decode(list(codes), skip_special_tokens=True)).removeprefix(" ")

    def tokens(self, codes: Int[Tensor, " N"]) -> Tokens:
        return sequence(codes, self.spec)

    def save(self, directory: Path, name: str) -> None:
        (directory / f"{name}.json").write_text(self.tokenizer.to_str(), encoding="utf-8")

    @classmethod
    def load(cls, stream: TextStream, directory: Path, name: str) -> "TextCodec":
        text = (directory / f"{name}.json").read_text(encoding="utf-8")
        return cls(stream, tokenizers().Tokenizer.from_str(text))

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: a text has no anchor."""


def _given(library: Any, file: str) -> Any:
    """The tokenizer of a file, with the codes that we need. Raises TextError if there is none in it."""
    if not Path(file).is_file():
        raise TextError(f"tokenizer {file}: there is no such file. Name a tokenizer.json, or none: one is trained.")
    try:
        found = library.Tokenizer.from_file(file)
    except Exception as error:  # noqa: BLE001 - the library raises nothing more special
        raise TextError(f"tokenizer {file}: is no tokenizer.json of the library tokenizers ({error}).") from None
    return _prepared(found)


def _prepared(tokenizer: Any) -> Any:
    """A tokenizer of others that leaves texts as long as they are, with codes of ours where it has none that end them."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if not _known(tokenizer, ENDS):
        tokenizer.add_special_tokens([END, SEPARATOR])
    return tokenizer


def _of_encoder(library: Any, encoder: str) -> Any:
    """The tokenizer that a Hugging Face encoder comes with. Raises TextError if it has none."""
    text = encoder_files(encoder).companions.get("tokenizer.json")
    if text is None:
        raise TextError(
            f"encoder {encoder}: has no tokenizer.json. Save its tokenizer by `AutoTokenizer` of transformers, or choose another."
        )
    return _prepared(library.Tokenizer.from_str(text.decode()))


def _known(tokenizer: Any, names: Sequence[str]) -> list[int]:
    """The codes of those names that the tokenizer has."""
    codes = [tokenizer.token_to_id(name) for name in names]
    return [int(code) for code in codes if code is not None]


@dataclass(frozen=True)
class TagCodec:
    """A tag of each word as a code of its first token; further tokens of the word, and the end, have none."""

    stream: TagStream
    categories: tuple[str, ...]

    channels = ()

    @classmethod
    def fit(cls, stream: TagStream, tags: Iterable[Sequence[str]]) -> "TagCodec":
        """From the tags of the training split. Raises TextError if they are all equal."""
        names = sorted({tag for of_document in tags for tag in of_document})
        if len(names) < 2:
            raise TextError(
                f"streams: the training split has {len(names)} different tags in column {stream.tags}, expected at least two. "
                "Choose another column."
            )
        return cls(stream, tuple(names))

    @property
    def spec(self) -> TokenSpec:
        return TokenSpec(vocabulary=len(self.categories), axes=(RANK,), order=RANK.name, ragged=True)

    def codes(self, tags: Sequence[str], firsts: Sequence[int], length: int) -> Int[Tensor, " N"]:
        """The codes of a document of `length` tokens. Raises TextError for a tag that did not occur in training."""
        codes = torch.full((length,), UNKNOWN)
        for tag, first in zip(tags, firsts, strict=True):
            if tag not in self.categories:
                raise TextError(f"tag {tag}: the model learned the tags {', '.join(self.categories)}. Use one of them.")
            if first >= 0:
                codes[first] = self.categories.index(tag)
        return codes

    def tokens(self, codes: Int[Tensor, " N"]) -> Tokens:
        return sequence(codes, self.spec)

    def save(self, directory: Path, name: str) -> None:
        (directory / f"{name}.json").write_text(json.dumps({"tags": self.categories}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, stream: TagStream, directory: Path, name: str) -> "TagCodec":
        facts = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        return cls(stream, tuple(facts["tags"]))

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: tags have no anchor."""
