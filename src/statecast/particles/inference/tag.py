"""Labels of jets, asked of a trained model: the probability of each class, or the distribution of a number.

Axes: J jet, B jet of a batch, V class, E member of the head.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from statecast.labels import LabelCodec
from statecast.models import AS_LEARNED, Draws, Prediction
from statecast.outputs import new_output
from statecast.particles import record
from statecast.particles.inference.tables import write_table
from statecast.particles.jets import Jets
from statecast.particles.record import Columns, record_of
from statecast.particles.source import source_of
from statecast.streams import stack_questions
from statecast.trained import ModelError, TrainedModel, load

BATCH = 256
INTERVAL = (0.05, 0.95)  # quantiles of a number that are written beside its mean


def tag(
    run: str | Path | TrainedModel,
    files: str | Sequence[str],
    out: str | Path,
    *,
    batch: int = BATCH,
    overwrite: bool = False,
) -> Path:
    """Write a table with a row for each jet of the files: Parquet, or NetCDF if the name ends in .nc. Labels in the files are not read
    by the model.

    jet                number of the jet in the files; one that a rule of reading drops is missing
    probability_CLASS  of a label that is a class
    NAME, NAME_low, NAME_high   of a label that is a number: its mean and its 5 % and 95 % quantile, in its unit
    class              of the files, where they know it

    Raises ModelError for a model that was not trained to answer labels, OutputError if `out` exists.
    """
    trained = load(run)
    names = tuple(files if not isinstance(files, str) else [files])
    labels = asked_labels(trained)
    tables = _tables(trained, names, labels, batch)
    with new_output(out, overwrite=overwrite) as path:
        write_table(tables, path)
    return Path(out)


def asked_labels(trained: TrainedModel) -> dict[str, LabelCodec]:
    """The label streams that the model answers. Raises ModelError if there is none."""
    if trained.recipe.event is not None:
        raise ModelError("the model is of events, expected one of single jets. Ask it by `statecast search`.")
    asked = trained.recipe.task.asked_streams(trained.codecs)
    labels = {name: trained.codecs[name] for name in asked if isinstance(trained.codecs[name], LabelCodec)}
    if not labels:
        raise ModelError(
            f"the model answers {', '.join(asked)}, expected a label. Fine-tune it by the task translate to a stream of labels."
        )
    return labels


@torch.inference_mode()
def tag_jets(trained: TrainedModel, jets: Jets, draws: Draws = AS_LEARNED) -> dict[str, Prediction]:
    """The predictions for the label streams of some jets, in one batch; a flow head draws them, with noise of its own for each jet."""
    columns = needed_columns(trained)
    source = source_of(record_of(jets, columns), trained.codecs)
    task = trained.recipe.task
    questions = []
    for number, place in enumerate(source.record.places):
        question = task.complete(source.window(number))
        questions.append(replace(question, seed=torch.tensor(int(place))))
    return trained.model.answer(stack_questions(questions).to(trained.device), draws)


def class_probabilities(trained: TrainedModel, jets: Jets, batch: int = BATCH) -> Float[np.ndarray, "J V"]:
    """The probability of each class of the model's label, for jets in memory. Raises ModelError if the model answers no class."""
    names = [name for name, codec in asked_labels(trained).items() if codec.classes]
    if not names:
        raise ModelError("the model answers numbers, expected a class. Fine-tune it by the recipe jets-tag.")
    parts = []
    for first in range(0, len(jets), batch):
        logits = tag_jets(trained, jets[first : first + batch])[names[0]].logits
        assert logits is not None
        parts.append(logits[:, 0].softmax(dim=-1).cpu().numpy())
    return np.concatenate(parts)


def needed_columns(trained: TrainedModel) -> Columns:
    """The columns of jets that a model needs: no label."""
    recipe = trained.recipe
    quantities = recipe.jet[1].ordered if recipe.jet else ()
    values = tuple(recipe.particles[1].particles)
    return Columns((), (0, None), recipe.data.most_constituents, values, quantities, (), recipe.data.align)


def _tables(
    trained: TrainedModel, files: Sequence[str], labels: Mapping[str, LabelCodec], batch: int
) -> Iterator[dict[str, np.ndarray]]:
    """The rows of the table, a batch at a time."""
    for jets in record.chunks_of(files, trained.recipe.data.most_constituents, batch):
        said = tag_jets(trained, jets)
        assert jets.numbers is not None
        table: dict[str, np.ndarray] = {"jet": jets.numbers}
        for name, codec in labels.items():
            prefix = "" if len(labels) == 1 else f"{name}_"
            table |= _answers(said[name], codec, name, prefix)
        if jets.labels is not None:
            table["class"] = np.asarray(jets.labels).astype(str)
        yield table


def _answers(said: Prediction, codec: LabelCodec, name: str, prefix: str) -> dict[str, np.ndarray]:
    if said.logits is not None:
        probabilities = said.logits[:, 0].softmax(dim=-1).cpu().numpy()
        return {f"{prefix}probability_{each}": probabilities[:, place] for place, each in enumerate(codec.classes)}
    assert said.members is not None
    members = codec.numbers(said.members[:, 0, :, 0].cpu().numpy())
    low, high = np.quantile(members, INTERVAL, axis=-1)
    return {name: members.mean(axis=-1), f"{name}_low": low, f"{name}_high": high}
