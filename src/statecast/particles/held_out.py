"""Jets that a model is evaluated on: they must be none that it learned from."""

import os
from pathlib import Path

from statecast.numbered import SampleFiles
from statecast.particles.jets import JetError, Jets
from statecast.particles.recipe import JetData
from statecast.particles.record import Columns, Range, chosen_chunks
from statecast.particles.sources.files import find_files
from statecast.trained import ModelError, TrainedModel


def held_out_jets(data: JetData) -> Jets:
    """The jets of the validation split. Raises ModelError if there is none."""
    if data.validate_on is None:
        raise ModelError("the recipe has no validation split, and no period is given. Give --period FIRST LAST.")
    jets = (0, None) if data.validate_on == "all" else data.validate_on
    return whole_jets(data.held_out_files, jets, data)


def whole_jets(files: tuple[str, ...], jets: Range, data: JetData) -> Jets:
    """Jets of a range, whole: those that a record of them is made of."""
    columns = Columns(files, jets, data.most_constituents, (), (), ())
    return Jets.joined(list(chosen_chunks(columns)))


def require_unseen(trained: TrainedModel, data: SampleFiles) -> None:
    """Raises JetError if jets, or events, of validation of `data` were learned from, by the model or by one that it was fine-tuned from."""
    if data.validate_on is None:
        return
    files = _places(data.held_out_files)
    for learned in trained.learned:
        shared = files & _places(learned.files)
        if shared and _overlap(data.validate_on, learned.train):
            first, last = learned.train
            raise JetError(
                f"numbers {_text(data.validate_on)} of {shared.pop().name}: overlap {first} to {last}, which the model has learned from. "
                "Name others, by --period or --test FIRST LAST."
            )


def _places(files: tuple[str, ...]) -> set[Path]:
    return {Path(os.path.realpath(path)) for path in find_files(files)}


def _overlap(jets: tuple[int, int] | str, learned: tuple[int, int]) -> bool:
    if isinstance(jets, str):  # all
        return True
    return jets[0] <= learned[1] and learned[0] <= jets[1]


def _text(jets: tuple[int, int] | str) -> str:
    return jets if isinstance(jets, str) else f"{jets[0]} to {jets[1]}"
