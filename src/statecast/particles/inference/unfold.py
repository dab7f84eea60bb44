"""Unfolding: numbers of the generated jet, before the detector, drawn from the measured one. Axes: J jet, E member, B jet of a batch."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from statecast.labels import LabelCodec
from statecast.models import Draws
from statecast.outputs import new_output
from statecast.particles import record
from statecast.particles.inference.tables import write_table
from statecast.particles.inference.tag import asked_labels, tag_jets
from statecast.particles.jets import Jets
from statecast.trained import ModelError, TrainedModel, load

BATCH = 64


def unfold(
    run: str | Path | TrainedModel,
    files: str | Sequence[str],
    out: str | Path,
    *,
    draws: Draws | None = None,
    batch: int = BATCH,
    overwrite: bool = False,
) -> Path:
    """Draw, for each measured jet, members of p(numbers of the generated jet | measured jet), and write them as a table.

    draws  how many members of each jet, and how they are drawn; as the model learned if not given

    Parquet has a row for each jet and member: `jet`, the number of the jet in the files, `member`, and the numbers by the names of their
    streams, in the units of the column that was learned. NetCDF, for a name that ends in .nc, has the dimensions jet and member. The
    numbers of a row belong together. One member of each jet, all jets together, is a sample of the unfolded distribution; like any
    posterior it leans on its prior, the distribution of the jets of training.

    Raises ModelError for a model that answers no numbers, or answers them one by one; OutputError if `out` exists.
    """
    trained = load(run)
    names = tuple(files if not isinstance(files, str) else [files])
    codecs = unfolded_numbers(trained)
    units = {name: codec.units for name, codec in codecs.items()}
    tables = _tables(trained, names, draws or Draws(), batch)
    with new_output(out, overwrite=overwrite) as path:
        write_table(tables, path, units)
    return Path(out)


def unfolded_numbers(trained: TrainedModel) -> dict[str, LabelCodec]:
    """The streams of numbers that the model draws together. Raises ModelError if there are none."""
    numbers = {name: codec for name, codec in asked_labels(trained).items() if not codec.classes}
    if not numbers:
        raise ModelError(
            "the model answers a class, expected numbers of the jet. Fine-tune it by the recipe jets-unfold."
        )
    head = trained.recipe.model.head
    if head != "flow":
        raise ModelError(
            f"the model has the head {head}, which answers each number by itself, expected flow. Fine-tune it by the recipe jets-unfold."
        )
    return numbers


def unfold_jets(
    trained: TrainedModel, jets: Jets, draws: Draws, batch: int = BATCH
) -> dict[str, Float[np.ndarray, "J E"]]:
    """Members of each number, in its unit, for jets in memory."""
    parts = [_drawn(trained, jets[first : first + batch], draws) for first in range(0, len(jets), batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _drawn(trained: TrainedModel, jets: Jets, draws: Draws) -> dict[str, Float[np.ndarray, "B E"]]:
    said, found = tag_jets(trained, jets, draws), {}
    for name, codec in unfolded_numbers(trained).items():
        members = said[name].members
        assert members is not None
        found[name] = codec.numbers(members[:, 0, :, 0].cpu().numpy())
    return found


def _tables(
    trained: TrainedModel, files: Sequence[str], draws: Draws, batch: int
) -> Iterator[Mapping[str, np.ndarray]]:
    """The rows of the table, a batch at a time."""
    for jets in record.chunks_of(files, trained.recipe.data.most_constituents, batch):
        assert jets.numbers is not None
        yield {"jet": jets.numbers, **_drawn(trained, jets, draws)}
