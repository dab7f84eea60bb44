"""Jets drawn from a model, in batches, and written to a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from statecast.evaluation.progress import progress_bar
from statecast.outputs import new_output
from statecast.particles.inference.generator import AS_LEARNED, Generator, Sampling
from statecast.particles.inference.write import write_jets
from statecast.particles.jets import Jets
from statecast.trained import ModelError, TrainedModel, load

BATCH = 256


@torch.no_grad()
def generate(
    run: str | Path | TrainedModel,
    jets: int,
    out: str | Path | None = None,
    *,
    label: str | None = None,
    sampling: Sampling = AS_LEARNED,
    seed: int = 0,
    batch: int = BATCH,
    overwrite: bool = False,
    progress: bool = False,
) -> Jets:
    """Draw jets, and write them to `out` (Parquet, with the names of JetClass) if it is given.

        p(jet | label) = prod_i p(q_i | q_1 ... q_(i-1), label) prod_k p(c_k | q, x_1 ... x_(k-1), label)

    with q the numbers of the jet, c the codes of particles, and x_k a remembered particle with code c_k or, where the model has a second
    code, a place in its cell. Particles are drawn until there are as many as the first number says or, for a model that knows no
    `multiplicity`, until the code that ends a jet. They are then scaled and moved together, so that their sum has the pT and, where it is
    among the numbers, the mass of the jet, and lies on its axis: see `assemble.closed`.

    label  class of the jets; None: as the model was trained without labels
    seed   the same seed gives the same jets, also when more of them are drawn

    Raises ModelError for a model that can't generate jets, LabelError for an unknown class.
    """
    generator = Generator.of(load(run))
    if label is not None and generator.label is None:
        raise ModelError(
            f"label {label}: the model was not shown a label. Leave it out, or train with a label stream in task.show."
        )
    with progress_bar("jets", progress) as report:
        parts = list(_batches(generator, jets, label, sampling, seed, batch, report))
    drawn = Jets.joined(parts)
    if out is not None:
        with new_output(out, overwrite=overwrite) as path:
            write_jets(drawn, path)
    return drawn


def generate_with(
    run: str | Path | TrainedModel,
    out: str | Path | None = None,
    *,
    jets: int = 1000,
    label: str | None = None,
    temperature: float = AS_LEARNED.temperature,
    top_k: int | None = AS_LEARNED.top_k,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> Jets:
    """`generate` with the options of `Sampling` one by one, as a command has them."""
    sampling = Sampling(temperature, top_k)
    return generate(run, jets, out, label=label, sampling=sampling, seed=seed, overwrite=overwrite, progress=progress)


def _batches(
    generator: Generator, jets: int, label: str | None, sampling: Sampling, seed: int, batch: int, report: Any
) -> Iterator[Jets]:
    for number, first in enumerate(range(0, jets, batch)):
        random = torch.Generator().manual_seed(
            int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
        )
        count = min(batch, jets - first)
        yield generator.draw([label] * batch, random, sampling)[slice(0, count)]
        report(min(1.0, (first + batch) / jets))
