"""Which way of pre-training for which data: each objective, then fine-tuned to classes from few and many labels, beside no pre-training.

    python benchmarks/objectives.py --out runs/objectives [--fields text images] [--seeds 0 1 2] [--steps 300 100] [--smoke]

text     paragraphs of `sample:docs` and their 11 subjects: hidden, corrupted and replaced tokens, pairs of sentences, the next token
images   `sample:digits`, of 8 x 8 pixels in patches of 2 x 2: hidden, noisy and replaced patches, and their places (a jigsaw)

For each seed and objective a small model is pre-trained on all samples of training without their labels, then fine-tuned from 1 %, 10 %
and 100 % of the labels with equally many steps. `scratch` is the same model with random weights and the same steps of fine-tuning;
`scratch, longer` has as many more steps as take the CPU time of a pre-training, the mean over the objectives. Several seeds are run with
10 % of the labels, and the first one with the others. Replaced tokens and patches hold the content of others of the same sample, so that
no generator has to be trained.

Prints, as Markdown, the accuracy on held-out samples, mean and standard deviation over the seeds, and the CPU time of the training before
the fine-tuning. What a stopped run left is used again.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared import kept, spread
from statecast import finetune, pretrain
from statecast.config import Recipe, read_recipe
from statecast.text.evaluation.answers import answers
from statecast.text.quickstart import SUBJECTS
from statecast.trained import TrainedModel, build, load

SEVERAL = 1  # the place, among the numbers of labels, of that with several seeds
PLAIN = ["data.validate=null", "training.footprint=false", "training.loggers=[]"]
TINY = ["model.width=32", "model.heads=2", "model.encoder_layers=1", "training.batch_size=4", "data.train=[0,199]"]
TEXTS = ("streams.text.vocabulary=4000", "streams.text.tokens=48", "training.batch_size=16")
SCRATCH, LONGER = "scratch", "scratch, longer"


@dataclass(frozen=True)
class Field:
    """What is pre-trained, and what the models are fine-tuned to.

    objectives  recipe of each pre-training, and overrides of it
    recipe      of the fine-tuning
    label       the stream that it asks for
    labels      numbers of labelled samples, the last of which is the number of all
    held_out    first and last sample that are scored
    sizes       overrides of the pre-training, which the fine-tuning inherits
    tuned       overrides of the fine-tuning
    """

    objectives: Mapping[str, tuple[str, Sequence[str]]]
    recipe: str
    label: str
    labels: tuple[int, ...]
    held_out: tuple[str, str]
    sizes: Sequence[str]
    tuned: Sequence[str] = ()


FIELDS = {
    "text": Field(
        {
            "masked tokens": ("text", ()),
            "denoising": ("text-denoise", ()),
            "replaced tokens": ("text-replaced", ("task.proposals=null",)),
            "next sentence": ("text-next-sentence", ()),
            "order of sentences": ("text-order", ()),
            "next token": ("text-next", ()),
        },
        "text-classes",
        "label",
        (55, 550, 5500),
        ("5500", "5972"),
        (*TEXTS, "model.width=48", "model.encoder_layers=2"),
        (*TEXTS, SUBJECTS),
    ),
    "images": Field(
        {
            "masked patches": ("images-digits", ()),
            "denoising": ("images-digits", ("task={kind: denoise}",)),
            "replaced patches": ("images-digits", ("task={kind: detect}",)),
            "jigsaw": ("images-digits", ("task={kind: arrange}",)),
        },
        "images-classes",
        "digit",
        (10, 100, 1000),
        ("1297", "1796"),
        ("model.width=48", "training.batch_size=16"),
        ("training.batch_size=16",),
    ),
}


@dataclass(frozen=True)
class Effort:
    """How long trainings are, in steps, and what smaller models they have."""

    pretraining: int
    tuning: int
    overrides: Sequence[str] = ()


def pretraining_seconds(field: Field, name: str, folder: Path, effort: Effort, seed: int) -> float:
    """CPU time of a pre-training, whose run is then in `folder`."""
    kind, own = field.objectives[name]
    steps = f"training.steps={effort.pretraining}"
    recipe = read_recipe(kind, [*field.sizes, *own, *PLAIN, *effort.overrides, steps, f"seed={seed}"])

    def make() -> float:
        began = time.process_time()
        pretrain(recipe, folder / name, overwrite=True, progress=False)
        return time.process_time() - began

    return float(kept(folder / f"{name}.json", make))


def tuning_recipe(field: Field, base: TrainedModel, labels: int, steps: int, effort: Effort) -> Recipe:
    plain = [key for key in (*PLAIN, *effort.overrides) if not key.startswith("model.")]
    options = [*field.tuned, *plain, f"data.train=[0,{labels - 1}]", f"training.steps={steps}"]
    return read_recipe(field.recipe, options, inherit=base.recipe)


def fine_tuned(field: Field, base: TrainedModel, recipe: Recipe) -> dict[str, float]:
    """Accuracy on the held-out samples, steps, and CPU time of the training."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        model = finetune(recipe, base, Path(folder) / "run", progress=False)
        seconds = time.process_time() - began
    return {"accuracy": accuracy_of(model, field), "steps": recipe.training.steps, "seconds": seconds}


def accuracy_of(model: TrainedModel, field: Field) -> float:
    held_out = model.domain.with_data(model.recipe, None, field.held_out)
    source = model.domain.open(held_out, "validate", model.codecs)
    right = []
    for each in answers(model, source, field.label):
        truth = each.question.queries[field.label].codes
        assert truth is not None and each.said.logits is not None
        right.append(int(each.said.logits[0].argmax()) == int(truth[0]))
    return float(np.mean(right))


def seed_scores(field: Field, folder: Path, effort: Effort, seed: int, labels: Sequence[int]) -> dict[str, Any]:
    """`{arm: {"before": seconds before the fine-tuning, labels: accuracy}}` of one seed."""
    before = {name: pretraining_seconds(field, name, folder, effort, seed) for name in field.objectives}
    bases = {name: load(folder / name) for name in field.objectives}
    first = next(iter(bases.values()))
    bases[SCRATCH] = replace(first, model=build(first.recipe.model, first.codecs, seed))
    found: dict[str, Any] = {name: {"before": seconds} for name, seconds in before.items()}
    found |= {SCRATCH: {"before": 0.0}, LONGER: {"before": float(np.mean(list(before.values())))}}
    for count in labels:
        for name, base in bases.items():
            recipe = tuning_recipe(field, base, count, effort.tuning, effort)
            path = folder / f"{name}-{count}.json"
            run = kept(path, lambda base=base, recipe=recipe: fine_tuned(field, base, recipe))
            found[name][str(count)] = run["accuracy"]
        more = round(effort.tuning * found[LONGER]["before"] / run["seconds"])  # the last run is that from scratch
        recipe = tuning_recipe(field, bases[SCRATCH], count, effort.tuning + more, effort)
        path = folder / f"{LONGER}-{count}.json"
        longer = kept(path, lambda recipe=recipe: fine_tuned(field, bases[SCRATCH], recipe))
        found[LONGER][str(count)] = longer["accuracy"]
    return found


def print_table(name: str, labels: Sequence[int], runs: Sequence[Mapping[str, Any]]) -> None:
    columns = [f"{count} labels" for count in labels]
    columns[SEVERAL] += f", {len(runs)} seeds"
    print(f"\n| {name} | {' | '.join(columns)} | CPU s before |\n|---|{'---|' * (len(labels) + 1)}")
    for arm in runs[0]:
        cells = []
        for count in labels:
            cells.append(spread(np.array([run[arm][str(count)] for run in runs if str(count) in run[arm]])))
        seconds = np.mean([run[arm]["before"] for run in runs])
        print(f"| {arm} | {' | '.join(cells)} | {seconds:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=list(FIELDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs=2, default=[300, 100], help="of pre-training and of fine-tuning")
    parser.add_argument("--smoke", action="store_true", help="a few steps of tiny models")
    options = parser.parse_args()
    torch.set_num_threads(1)
    effort = Effort(*options.steps)
    kind = "steps-{}-{}".format(*options.steps)
    if options.smoke:
        kind, options.seeds, effort = "smoke", options.seeds[:1], Effort(2, 1, TINY)
    for name in options.fields:
        field, runs = FIELDS[name], []
        labels = (*field.labels[:SEVERAL], 100) if options.smoke else field.labels
        for number, seed in enumerate(options.seeds):
            folder = options.out / kind / name / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            of_seed = labels if number == 0 else labels[SEVERAL : SEVERAL + 1]
            runs.append(seed_scores(field, folder, effort, seed, of_seed))
        print_table(name, labels, runs)


if __name__ == "__main__":
    main()
