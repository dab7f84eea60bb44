"""Jets that a model is evaluated on must be none that it learned from."""

import os
from pathlib import Path

from statecast.particles.jets import JetError
from statecast.particles.recipe import JetData
from statecast.particles.sources.files import find_files
from statecast.trained import TrainedModel


def require_unseen(trained: TrainedModel, data: JetData) -> None:
    """Raises JetError if jets of validation of `data` were learned from, by the model or by one that it was fine-tuned from."""
    if data.validate_on is None:
        return
    files = _places(data.held_out_files)
    for learned in trained.learned:
        shared = files & _places(learned.files)
        if shared and _overlap(data.validate_on, learned.train):
            first, last = learned.train
            raise JetError(
                f"jets {_text(data.validate_on)} of {shared.pop().name}: overlap jets {first} to {last}, which the model has learned from. "
                "Name others by --period FIRST LAST."
            )


def _places(files: tuple[str, ...]) -> set[Path]:
    return {Path(os.path.realpath(path)) for path in find_files(files)}


def _overlap(jets: tuple[int, int] | str, learned: tuple[int, int]) -> bool:
    if isinstance(jets, str):  # all
        return True
    return jets[0] <= learned[1] and learned[0] <= jets[1]


def _text(jets: tuple[int, int] | str) -> str:
    return jets if isinstance(jets, str) else f"{jets[0]} to {jets[1]}"
