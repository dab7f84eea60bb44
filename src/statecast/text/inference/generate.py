"""Texts drawn from a model, token by token, and written to a file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from statecast.evaluation.progress import progress_bar
from statecast.models.generation import generate as draw
from statecast.outputs import new_output
from statecast.streams import Tokens, Window
from statecast.text.codec import TextCodec
from statecast.trained import ModelError, TrainedModel, load

BATCH = 64
LONGEST_SEED = 2**31


@torch.no_grad()
def generate(
    run: str | Path | TrainedModel,
    out: str | Path | None = None,
    *,
    texts: int = 100,
    label: str | None = None,
    prompt: str = "",
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Draw texts, and write them to `out` (JSONL, an object with `text` a line) if it is given.

        p(text | label) = prod_i p(w_i | w_1 ... w_(i-1), label)

    label        class of the texts; None: any
    prompt       how each text begins
    temperature  divides the logits of the codes; 0 takes the most probable one
    top_k        draws among so many most probable codes only

    A text ends with the code that ends a document, or with as many tokens as a sample of the model has. Raises ModelError for a model that
    can't generate texts, LabelError for an unknown class.
    """
    trained = load(run)
    name = _generated(trained)
    codec: TextCodec = trained.codecs[name]
    begun = codec.encode([prompt])[0].codes if prompt else []
    room = trained.recipe.text[1].tokens - len(begun)
    if room < 1:
        raise ModelError(
            f"prompt: has {len(begun)} tokens, and a sample of the model no more than that. Give a shorter one."
        )
    condition = _condition(trained, name, label, begun)
    rows: list[dict[str, Any]] = []
    with progress_bar("texts", progress) as report:
        for first in range(0, texts, BATCH):
            random = torch.Generator().manual_seed((seed * LONGEST_SEED + first) % 2**63)
            shown = {key: _batch(tokens) for key, tokens in condition.items()}
            drawn = draw(
                trained.model,
                shown,
                name,
                _places(codec, len(begun), room),
                random,
                temperature=temperature,
                top_k=top_k,
                stop=codec.end,
            )
            for text in _texts(codec, begun, drawn)[: texts - first]:
                rows.append({"text": text} | ({} if label is None else {"label": label}))
            report(min(1.0, (first + BATCH) / texts))
    if out is not None:
        with new_output(out, overwrite=overwrite) as path:
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return rows


def _generated(trained: TrainedModel) -> str:
    """The stream of the text. Raises ModelError where the task does not draw one token after the other."""
    if trained.recipe.task.kind != "next":
        raise ModelError(
            f"a model of the task {trained.recipe.task.kind} generates no text, expected next. Fine-tune it by the recipe text-generate."
        )
    return str(trained.recipe.text[0])


def _condition(trained: TrainedModel, name: str, label: str | None, begun: Sequence[int]) -> Window:
    """What is visible from the start: labels, of which the unknown are shown as unknown, and the beginning of the text."""
    labels = list(trained.recipe.labels)
    if label is not None and len(labels) != 1:
        raise ModelError(f"label {label}: the model was shown {len(labels)} labels, expected one. Leave it out.")
    window: Window = {key: trained.codecs[key].tokens(label) for key in labels}
    if begun:
        window[name] = trained.codecs[name].tokens(torch.tensor(begun))
    return window


def _places(codec: TextCodec, first: int, count: int) -> Tokens:
    """The ranks of so many tokens of each text of a batch, from `first` on."""
    blank = codec.tokens(torch.zeros(first + count, dtype=torch.int64))[first:]
    return _batch(blank)


def _batch(tokens: Tokens) -> Tokens:
    """The same tokens for each text of a batch."""

    def repeated(part: torch.Tensor) -> torch.Tensor:
        return part[None].expand(BATCH, *part.shape)

    return tokens.each(repeated, repeated)


def _texts(codec: TextCodec, begun: Sequence[int], drawn: Tokens) -> list[str]:
    assert drawn.codes is not None and drawn.present is not None
    found = []
    for codes, present in zip(drawn.codes, drawn.present, strict=True):
        found.append(codec.decode([*begun, *codes[present].tolist()]))
    return found
