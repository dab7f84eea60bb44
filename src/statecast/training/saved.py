"""Checkpoints as files: which is the last, and what it holds. Lightning, which takes seconds to import, is not needed to read them."""

import math
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

KEYS = {"state_dict": dict, "optimizer_states": list, "global_step": int, "random_states": dict, "loops": dict}
"""Of a checkpoint of a training, with their types."""


class CheckpointError(ValueError):
    """A checkpoint can't be written or read."""


def checkpoint_weights(path: Path) -> dict[str, Tensor]:
    """The weights of the model in a checkpoint. Raises CheckpointError if it can't be read."""
    weights = read_checkpoint(path)["state_dict"]
    return {name.removeprefix("model."): value for name, value in weights.items()}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, its tensors memory-mapped. Raises CheckpointError if it can't be read, or if a training did not write it."""
    try:
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # noqa: BLE001  errors of damaged pickles and archives have no common base class
        raise CheckpointError(f"checkpoint {path} can't be read ({type(error).__name__}).") from None
    if not isinstance(checkpoint, dict) or any(not isinstance(checkpoint.get(key), kind) for key, kind in KEYS.items()):
        raise CheckpointError(f"checkpoint {path} was not written by a training of statecast.")
    return checkpoint


def checkpoint_step(path: Path) -> int:
    match = re.fullmatch(r"step-(\d+)(?:-v\d+)?", path.stem)
    return int(match[1]) if match else -1


def last_checkpoint(directory: Path, up_to: float = math.inf) -> Path | None:
    """The latest readable checkpoint up to step `up_to`; None if there is no checkpoint. Warns of each unreadable one.

    Raises CheckpointError if there are checkpoints but none can be read.
    """
    paths = [path for path in directory.glob("step-*.ckpt") if checkpoint_step(path) <= up_to]
    paths.sort(key=checkpoint_step, reverse=True)
    unread = []
    for path in paths:
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            unread.append(str(error))
            continue
        for message in unread:
            warnings.warn(f"{message} The previous one is used.", stacklevel=2)
        return path
    if paths:
        raise CheckpointError(f"none of the checkpoints in {directory} can be read. Start again with --overwrite.")
    return None
