"""Mean and standard deviation of the values of a stream: from the training split, kept in fine-tuning, in a file.

Axes: N row, P value.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Statistics = tuple[Float[Tensor, " P"], Float[Tensor, " P"]]
"""Mean and standard deviation of each value."""


class Standardised(Protocol):
    """A codec with these statistics."""

    @property
    def mean(self) -> Float[Tensor, " P"]: ...

    @property
    def std(self) -> Float[Tensor, " P"]: ...


def statistics(values: Float[np.ndarray, "N P"]) -> Statistics:
    """Mean and standard deviation of the known values; 0 and 1 where none is known, or all are equal."""
    is_known = np.isfinite(values)
    count = np.maximum(is_known.sum(axis=0), 1)
    mean = np.where(is_known, values, 0.0).sum(axis=0, dtype=np.float64) / count
    std = np.sqrt((np.where(is_known, values - mean, 0.0) ** 2).sum(axis=0, dtype=np.float64) / count)
    is_constant = std <= 1e-6 * np.maximum(1.0, np.abs(mean))
    return torch.from_numpy(mean).float(), torch.from_numpy(np.where(is_constant, 1.0, std)).float()


def fitted(
    values: Float[np.ndarray, "N P"],
    names: Sequence[str],
    before: Standardised | None,
    names_before: Sequence[str],
) -> Statistics:
    """Statistics of named values; a value that an earlier codec has keeps its own, so that the model reads it as it learned it."""
    mean, std = statistics(values)
    for place, name in enumerate(names):
        if before is not None and name in names_before:
            there = list(names_before).index(name)
            mean[place], std[place] = before.mean[there], before.std[there]
    return mean, std


def save_statistics(codec: Standardised, directory: Path, name: str) -> None:
    """Write the statistics of a codec into a directory shared by several streams."""
    facts = {"mean": codec.mean.tolist(), "std": codec.std.tolist()}
    (directory / f"{name}.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def load_statistics(directory: Path, name: str) -> Statistics:
    """The inverse of `save_statistics`."""
    facts = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    return torch.tensor(facts["mean"]), torch.tensor(facts["std"])
