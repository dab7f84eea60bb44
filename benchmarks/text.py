"""Texts: does pre-training help to learn classes from few labels, and how well is the next token known? Beside recurrent networks.

    python benchmarks/text.py --out runs/text-benchmark [--seeds 0 1 2] [--labels 55 550 5500] [--objectives text text-next]
                              [--snippets movieReviewSnippets_GroundTruth.txt] [--steps 1000] [--smoke]

For each seed and each objective (a recipe of pre-training) a model is pre-trained on all documents of training without their labels, then
fine-tuned to their classes from the first so many labels; `scratch` is the same model with random weights and the same steps of
fine-tuning. Beside: TF-IDF with logistic regression, logistic regression on the frozen features of each pre-trained model, and an LSTM
encoder-decoder (Sutskever et al. 2014) that reads the codes of a document and writes its class. Prints accuracy and macro-F1 over the
seeds. Then the perplexity of held-out tokens given the class: of the recipe text-generate from the first objective, of an LSTM
encoder-decoder that reads the class and writes the document, of bigrams and unigrams, which do not know the class.

Data: `sample:docs`, or with --snippets the movie reviews in the source distribution of the package vaderSentiment (MIT), with classes by
the sign of their mean rating (docs/text.md). What a stopped run left is used again.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from shared import kept, once, spread
from statecast import finetune, pretrain
from statecast.config import Recipe, read_recipe
from statecast.evaluation.classes import accuracy, log_score, macro_f1
from statecast.text.evaluation.classes import evaluate_classes
from statecast.text.evaluation.continuation import evaluate_continuation
from statecast.text.evaluation.result import held_out_source
from statecast.text.recipe import TextRecipe
from statecast.text.record import split_documents
from statecast.trained import TrainedModel

HELD_OUT_SHARE = 0.1  # of the movie reviews, the last ones
CLASS_STEPS, WRITER_STEPS = 400, 1000
WIDTH, RATE = 96, 3e-3  # of the recurrent networks
TINY = [
    "model.width=32",
    "model.heads=2",
    "model.encoder_layers=1",
    "training.batch_size=8",
    "training.footprint=false",
]
NEXT = "text-generate"


def movie_file(snippets: str, out: Path) -> tuple[Path, int]:
    """The snippets as a table with a class, and how many there are."""
    path = out / "movies.csv"
    rows = [line.split("\t") for line in Path(snippets).read_text(encoding="utf-8").splitlines()]
    out.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "subject"])
        writer.writerows((text, "positive" if float(rating) > 0 else "negative") for _, rating, text in rows)
    return path, len(rows)


def data_of(options: argparse.Namespace) -> list[str]:
    """Overrides of a recipe for the documents, their split and their sizes."""
    found: list[str] = []
    if options.snippets:
        path, count = movie_file(options.snippets, options.out)
        first = count - round(HELD_OUT_SHARE * count)
        found = [f"data.files={path}", f"data.train=[0,{first - 1}]", f"data.validate=[{first},{count - 1}]"]
        found += ["data.shuffle=true"]
    if options.smoke:
        found += [*TINY, "data.train=[0,199]"]
        found += [] if options.snippets else ["data.validate=[5500,5579]"]
    return found


# An LSTM encoder-decoder


class Recurrent(nn.Module):
    """Reads one sequence of codes and writes another: the last state of the encoder is the first of the decoder."""

    def __init__(self, read: int, written: int) -> None:
        super().__init__()
        self.read, self.shown = nn.Embedding(read + 1, WIDTH, padding_idx=read), nn.Embedding(written + 1, WIDTH)
        self.encoder, self.decoder = (nn.LSTM(WIDTH, WIDTH, batch_first=True) for _ in range(2))
        self.head = nn.Linear(WIDTH, written)

    def forward(self, read: Int[Tensor, "B N"], lengths: Int[Tensor, " B"], written: Int[Tensor, "B M"]) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.read(read), lengths, batch_first=True, enforce_sorted=False)
        _, state = self.encoder(packed)
        begin = torch.full_like(written[:, :1], self.head.out_features)
        before = torch.cat([begin, written[:, :-1].clamp(min=0)], dim=1)
        logits: Tensor = self.head(self.decoder(self.shown(before), state)[0])
        return logits


Pair = tuple[Int[Tensor, " N"], Int[Tensor, " M"]]


def batch_of(pairs: Sequence[Pair], padding: int) -> tuple[Tensor, Tensor, Tensor]:
    read, written = zip(*pairs, strict=True)
    lengths = torch.tensor([len(codes) for codes in read])
    pad = nn.utils.rnn.pad_sequence
    return pad(read, True, padding), lengths, pad(written, True, -1)


def trained_recurrent(pairs: Sequence[Pair], sizes: tuple[int, int], steps: int, seed: int) -> Recurrent:
    """An encoder-decoder that learned pairs of sequences with as many steps and samples as our models."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Recurrent(*sizes)
    optimiser = torch.optim.AdamW(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    random = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = [pairs[number] for number in random.integers(len(pairs), size=min(32, len(pairs)))]
        read, lengths, written = batch_of(chosen, sizes[0])
        logits = model(read, lengths, written)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), written.flatten(), ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


def pairs_of(source: Any, read: str, written: str) -> list[Pair]:
    windows = [source.window(number) for number in range(len(source.record))]
    return [(window[read].codes, window[written].codes) for window in windows]


@torch.no_grad()
def answered(model: Recurrent, pairs: Sequence[Pair]) -> list[Float[Tensor, "M V"]]:
    """The log-probabilities of each written code of each pair."""
    found = []
    for read, written in pairs:
        inputs = batch_of([(read, written)], model.read.padding_idx or 0)
        found.append(model(*inputs)[0].log_softmax(dim=-1))
    return found


# Runs


def classes_of(base: Recipe) -> str:
    """The override of a recipe for the classes of all documents, also where few labels lack some."""
    assert isinstance(base, TextRecipe)
    documents = split_documents(base, base.data.files, base.data.train).documents
    held_out = split_documents(base, base.data.held_out_files, base.data.validate_on or "all").documents
    classes = sorted({*documents.column("subject"), *held_out.column("subject")})
    return f"streams.label={{label: subject, classes: [{','.join(classes)}]}}"


def classifier_recipe(base: Recipe, labels: int, steps: int) -> Recipe:
    options = [f"data.train=[0,{labels - 1}]", f"training.steps={steps}", classes_of(base)]
    return read_recipe("text-classes", options, inherit=base)


def scores_of_labels(base: TrainedModel, recipe: Recipe, run: Path, name: str) -> dict[str, list[float]]:
    """Accuracy and macro-F1 of a fine-tuned model and of its peers from the same labels."""
    tuned = once(run / name, lambda: finetune(recipe, base, run / name, progress=False))
    result = evaluate_classes({name: tuned, "frozen": base}, tuned.recipe)
    found: dict[str, list[float]] = {}
    for score in result.scores:
        key = f"frozen {name}" if score.forecast == "frozen" else score.forecast
        if score.metric in ("accuracy", "macro_f1"):
            found.setdefault(key, []).append(score.value)
    return found


def recurrent_scores(tuned: TrainedModel, steps: int, seed: int) -> list[float]:
    training = tuned.domain.open(tuned.recipe, "train", tuned.codecs)
    held_out = held_out_source(tuned, tuned.recipe)
    sizes = (tuned.codecs["text"].spec.vocabulary, len(tuned.codecs["label"].classes))
    model = trained_recurrent(pairs_of(training, "text", "label"), sizes, steps, seed)
    pairs = pairs_of(held_out, "text", "label")
    said = np.stack([each[0].exp().numpy() for each in answered(model, pairs)])
    truth = np.array([int(label[0]) for _, label in pairs])
    return [accuracy(said, truth), macro_f1(said, truth)]


def perplexities(base: TrainedModel, run: Path, steps: int, seed: int) -> dict[str, float]:
    """Of held-out tokens, given the class."""
    recipe = read_recipe(NEXT, [f"training.steps={steps}", classes_of(base.recipe)], inherit=base.recipe)
    tuned = once(run / NEXT, lambda: finetune(recipe, base, run / NEXT, progress=False))
    result = evaluate_continuation({"model": tuned}, tuned.recipe)
    found = {score.forecast: score.value for score in result.scores if score.metric == "perplexity"}
    training = tuned.domain.open(tuned.recipe, "train", tuned.codecs)
    sizes = (len(tuned.codecs["label"].classes), tuned.codecs["text"].spec.vocabulary)
    model = trained_recurrent(pairs_of(training, "label", "text"), sizes, steps, seed)
    pairs = pairs_of(held_out_source(tuned, tuned.recipe), "label", "text")
    nats = [
        log_score(said.exp().numpy(), text.numpy()) * len(text)
        for said, (_, text) in zip(answered(model, pairs), pairs, strict=True)
    ]
    tokens = sum(len(text) for _, text in pairs)
    return found | {"LSTM encoder-decoder": float(np.exp(sum(nats) / tokens))}


def seed_scores(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """All scores of one seed: `{labels: {classifier: [accuracy, macro-F1]}}` and the perplexities."""
    folder = options.out / ("smoke" if options.smoke else "full") / f"seed-{seed}"
    found: dict[str, Any] = {str(labels): {} for labels in options.labels}
    bases = {}
    for name in options.objectives:
        recipe = read_recipe(name, [*data_of(options), f"seed={seed}", f"training.steps={options.steps}"])
        bases[name] = once(
            folder / name, lambda recipe=recipe, name=name: pretrain(recipe, folder / name, progress=False)
        )
    first = bases[options.objectives[0]]
    steps = 3 if options.smoke else CLASS_STEPS
    for labels in options.labels:
        run = folder / f"labels-{labels}"
        for name, base in bases.items():
            recipe = classifier_recipe(base.recipe, labels, steps)
            found[str(labels)] |= scores_of_labels(base, recipe, run, f"{name} tuned")
        recipe = classifier_recipe(first.recipe, labels, steps)
        codes = folder / options.objectives[0] / "model" / "streams" / "text.json"
        text = recipe.streams["text"].model_copy(update={"tokenizer": str(codes)})
        plain = recipe.model_copy(update={"streams": recipe.streams | {"text": text}})
        scratch = once(run / "scratch", lambda plain=plain, run=run: pretrain(plain, run / "scratch", progress=False))
        result = evaluate_classes({"scratch": scratch}, scratch.recipe)
        found[str(labels)]["scratch"] = [s.value for s in result.scores if s.forecast == "scratch"][:2]
        found[str(labels)]["LSTM encoder-decoder"] = recurrent_scores(scratch, steps, seed)
    found["perplexity"] = perplexities(first, folder, 3 if options.smoke else WRITER_STEPS, seed)
    return found


def print_scores(runs: Sequence[dict[str, Any]], labels: Sequence[int]) -> None:
    for count in labels:
        print(f"\nclasses from {count} labels: accuracy, macro-F1")
        for name in runs[0][str(count)]:
            both = np.array([run[str(count)][name] for run in runs])
            print(f"{name:32} {spread(both[:, 0])}   {spread(both[:, 1])}")
    print("\nperplexity of a token, given the class")
    for name in runs[0]["perplexity"]:
        print(f"{name:32} {spread(np.array([run['perplexity'][name] for run in runs]), 2)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/text-benchmark"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--labels", type=int, nargs="+", default=[55, 550, 5500])
    parser.add_argument("--objectives", nargs="+", default=["text", "text-next"])
    parser.add_argument("--snippets", help="movieReviewSnippets_GroundTruth.txt; sample:docs if not given")
    parser.add_argument("--steps", type=int, default=1000, help="of pre-training")
    parser.add_argument("--smoke", action="store_true", help="a few steps of tiny models")
    options = parser.parse_args()
    if options.smoke:
        options.seeds, options.labels, options.objectives, options.steps = options.seeds[:1], [60], ["text"], 3
    torch.set_num_threads(1)
    runs = []
    for seed in options.seeds:
        file = options.out / ("smoke" if options.smoke else "full") / f"seed-{seed}" / "scores.json"
        runs.append(kept(file, lambda seed=seed: seed_scores(seed, options)))
    print_scores(runs, options.labels)


if __name__ == "__main__":
    main()
