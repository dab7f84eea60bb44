"""How near are generated jets to true ones? Beside jets of independent constituents, and other true jets.

    python benchmarks/jet_generation.py --out runs/jet-generation [--seeds 0] [--steps 1200] [--jets 1000] [--threads 1] [--smoke]
                                        [KEY=VALUE ...]

For each seed the recipe `jets-generate` is trained from new weights on jets 0 to 14 999 of `sample:jets`, with overrides such as
data.align=false if they are given, and as many jets are drawn as said. They are compared with the held-out jets 16 000 to 17 999.

Prints the Wasserstein distance of each observable, and how many times nearer the model is than independent constituents; FPD, KPD and the
AUC of a classifier of all observables together. The model of a run under --out is used again.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from shared import PLAIN, once
from statecast import pretrain, read_recipe
from statecast.evaluation.bootstrap import Score
from statecast.particles.quickstart import HELD_OUT, generation_result
from statecast.particles.sources.files import read_jets
from statecast.trained import TrainedModel

SMALL = ("streams.codes.size=16", "streams.fine.size=16", "streams.bins.size=16", "data.train=[0,199]")
SMALL += ("model.width=32", "model.heads=2", "model.encoder_layers=1")
SAMPLES = ("model", "independent constituents", "truth")


def generator(out: Path, seed: int, steps: int, overrides: Sequence[str]) -> TrainedModel:
    """The trained model of a seed, which is used again if it is there."""
    said = {"seed": seed, "data.validate": "null", "training.steps": steps, "training.checkpoint_every": steps}
    said |= {f"training.{key}": json.dumps(value) for key, value in PLAIN.items()}
    settings = [*(f"{key}={value}" for key, value in said.items()), *overrides]
    recipe = read_recipe("jets-generate", settings, inherit=read_recipe("jets"))
    run = out / f"seed-{seed}" / "-".join(["generator", str(steps), *overrides]).replace("/", "-")
    return once(run, partial(pretrain, recipe, run, progress=False))


def scores_of(model: TrainedModel, jets: int) -> list[Score]:
    first, last = model.recipe.data.train
    training, held_out = (read_jets("sample:jets", low, high + 1) for low, high in ((first, last), HELD_OUT))
    return generation_result(model, training, held_out, jets, progress=False).scores


def print_scores(scores: Sequence[Score]) -> None:
    """A row for each distance."""
    rows: dict[str, dict[str, float]] = {}
    for score in scores:
        name = score.record().get("observable", score.metric)
        rows.setdefault(str(name), {})[score.forecast] = score.value
    print(f"{'':16}{'model':>10}{'independent':>13}{'truth':>10}{'nearer':>9}")
    for name, of_samples in rows.items():
        model, independent, truth = (of_samples[sample] for sample in SAMPLES)
        nearer = f"{independent / model:9.1f}" if name not in ("kpd", "classifier_auc") else ""
        print(f"{name:16}{model:10.4f}{independent:13.4f}{truth:10.4f}{nearer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/jet-generation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--jets", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a moment; into its own directory")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the recipe jets-generate")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.smoke:
        given.out, given.seeds, given.steps, given.jets = given.out / "smoke", [0], 2, 20
        given.overrides = [*SMALL, *given.overrides]
    for seed in given.seeds:
        print(f"seed {seed}")
        print_scores(scores_of(generator(given.out, seed, given.steps, given.overrides), given.jets))


if __name__ == "__main__":
    main()
