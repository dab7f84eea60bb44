"""Language models that a benchmark asks: one of ours, or any of Hugging Face that reads forward. Axes: L token, V code."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from statecast.messages import quoted
from statecast.models.generation import generate
from statecast.models.hugging_face import PREFIX, causal_model
from statecast.streams import stack
from statecast.text.benchmarks.questions import BenchmarkError
from statecast.trained import TrainedModel, load


class LanguageModel(Protocol):
    """Tokens of a text, their probabilities, and how a text goes on.

    longest  number of tokens that the model sees at once
    """

    longest: int

    def codes(self, text: str) -> list[int]: ...

    def predicted(self, codes: Sequence[int], first: int) -> Float[Tensor, "L V"]:
        """log p of the code at each position from `first` to that after the last code, given all before it; of fewer than `longest` codes.

        A model that can't predict what begins a text leaves out position 0.
        """
        ...

    def continued(self, prompt: str, tokens: int) -> str:
        """The most probable next tokens, one after the other, as a text."""
        ...


class LogLikelihood(NamedTuple):
    """Of a text given another one: the sum of log p over its tokens, and their number."""

    nats: float
    tokens: int


def language_model(model: str | TrainedModel) -> LanguageModel:
    """The model of a run, or `hf:PATH_OR_ID`. Raises BenchmarkError for one that doesn't predict the next token of a text."""
    if isinstance(model, str) and model.startswith(PREFIX):
        return HuggingFaceModel(model)
    return OwnModel(load(model) if isinstance(model, str) else model)


def log_likelihoods(model: LanguageModel, context: str, texts: Sequence[str]) -> list[LogLikelihood]:
    """log p(text | context) of several texts.

    The tokens of a text are those of both together that begin where the tokens of the context end. Where they are more than the model
    sees at once, each token is given half of `longest` tokens before it, at least. The first token of all is not scored where nothing,
    not even the beginning of a text, comes before it. Raises BenchmarkError for a text without a token.
    """
    known: dict[tuple[int, ...], Tensor] = {}  # texts of one token differ in nothing that comes before it
    before = model.codes(context)
    found = []
    for text in texts:
        whole = model.codes(context + text)
        start = _common(whole, before)
        if start >= len(whole):
            raise BenchmarkError(f"the text {quoted(text)} has no token beside its context. Remove it.")
        found.append(_of_spans(model, whole, start, known))
    return found


def _common(codes: Sequence[int], others: Sequence[int]) -> int:
    """How many codes both begin with."""
    shorter = min(len(codes), len(others))
    return next((n for n in range(shorter) if codes[n] != others[n]), shorter)


def _of_spans(
    model: LanguageModel, codes: Sequence[int], start: int, known: dict[tuple[int, ...], Tensor]
) -> LogLikelihood:
    nats, tokens = 0.0, 0
    for span in windows(len(codes), start, model.longest):
        shown = (span.begin - span.first, *codes[span.first : span.end - 1])
        if shown not in known:
            known[shown] = model.predicted(shown[1:], shown[0])
        said = known[shown]
        asked = torch.tensor(codes[span.end - len(said) : span.end], dtype=torch.int64)
        nats += float(said.gather(1, asked[:, None]).sum())
        tokens += len(said)
    return LogLikelihood(nats, tokens)


class Span(NamedTuple):
    """Tokens `begin` to `end` are scored given those from `first` on."""

    first: int
    begin: int
    end: int


def windows(length: int, start: int, longest: int) -> Iterator[Span]:
    """Spans that score the tokens from `start` on, each of them once."""
    while start < length:
        end = min(length, longest if start < longest else start + max(1, longest // 2))
        yield Span(max(0, end - longest), start, end)
        start = end


class OwnModel:
    """A model of texts that was trained on the task `next`; labels are shown as unknown."""

    def __init__(self, trained: TrainedModel) -> None:
        """Raises BenchmarkError for a model of another domain or task."""
        recipe = trained.recipe
        if recipe.data.domain != "text" or recipe.task.kind != "next":
            raise BenchmarkError(
                f"the model answers the task {recipe.task.kind} on {recipe.data.domain}, expected next on text, which gives each token a "
                "probability. Fine-tune it by the recipe text-generate."
            )
        self.trained = trained
        self.name, stream = recipe.text
        self.longest = stream.tokens
        self.codec = trained.codecs[self.name]

    def codes(self, text: str) -> list[int]:
        return list(self.codec.encode([text])[0].codes) if text else []

    @torch.no_grad()
    def predicted(self, codes: Sequence[int], first: int) -> Float[Tensor, "L V"]:
        tokens = self.codec.tokens(torch.tensor([*codes, 0]))  # the last one is asked, but not visible
        window = stack([self._labels() | {self.name: tokens[: len(codes)]}])
        asked = stack([{self.name: tokens[first:]}])
        logits = self.trained.model(window, asked, causal=True)[self.name].logits
        assert logits is not None
        return logits[0, : len(codes) + 1 - first].double().log_softmax(dim=-1)

    def continued(self, prompt: str, tokens: int) -> str:
        begun = self.codes(prompt)[-(self.longest - 1) :]
        count = min(tokens, self.longest - len(begun))
        condition = self._labels() | ({self.name: self.codec.tokens(torch.tensor(begun))} if begun else {})
        places = self.codec.tokens(torch.zeros(len(begun) + count, dtype=torch.int64))[len(begun) :]
        batch = {
            name: part.each(lambda p: p[None], lambda p: p[None]) for name, part in {**condition, "": places}.items()
        }
        places = batch.pop("")
        drawn = generate(
            self.trained.model, batch, self.name, places, torch.Generator(), temperature=0.0, stop=self.codec.end
        )
        assert drawn.codes is not None and drawn.present is not None
        return str(self.codec.decode(drawn.codes[0][drawn.present[0]].tolist()))

    def _labels(self) -> dict[str, Any]:
        return {name: self.trained.codecs[name].tokens(None) for name in self.trained.recipe.labels}


class HuggingFaceModel:
    """A causal model of transformers; a text begins with its token for that, or with the one that ends texts, if it has either."""

    def __init__(self, name: str) -> None:
        self.model: Any
        self.model, self.tokenizer = causal_model(name)
        known = getattr(self.model.config, "max_position_embeddings", None)
        self.longest = min(known or self.tokenizer.model_max_length, self.tokenizer.model_max_length)
        tokenizer = self.tokenizer
        self.begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    def codes(self, text: str) -> list[int]:
        begin = [] if self.begin is None else [self.begin]
        return [*begin, *self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    @torch.no_grad()
    def predicted(self, codes: Sequence[int], first: int) -> Float[Tensor, "L V"]:
        kept = len(codes) + 1 - max(1, first)
        if kept == 0:
            return torch.zeros(0, 1, dtype=torch.float64)
        return self.model(input_ids=torch.tensor([codes])).logits[0, -kept:].double().log_softmax(dim=-1)

    @torch.no_grad()
    def continued(self, prompt: str, tokens: int) -> str:
        begun = self.codes(prompt)[-(self.longest - tokens) :]
        ids = torch.tensor([begun])
        pad = self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        said = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=pad
        )
        return str(self.tokenizer.decode(said[0, len(begun) :], skip_special_tokens=True))
