"""Labels: a class or a number for each sample, as a stream of one token. To fine-tune on labels is to ask for this stream.

Axes: N token (1), P value (1 for a number, none for a class), C coordinate.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from statecast.axes import Axis
from statecast.streams import UNKNOWN, StreamOptions, Tokens, TokenSpec

LARGEST_CLASSES = 1000  # a column with more distinct texts does not hold classes


class LabelError(ValueError):
    """Labels are unsuitable for training or unknown to the model."""


@dataclass(frozen=True)
class LabelCodec:
    """Classes as codes, or numbers standardised by the mean and standard deviation of the training split.

    classes  names of the classes, in the order of the codes; none for a number
    axes     along which the label has coordinates; none: it belongs to the sample as a whole
    coords   the coordinates, C, the same in every sample
    """

    stream: StreamOptions
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    units: str = "1"
    axes: tuple[Axis, ...] = ()
    coords: tuple[float, ...] = ()

    @classmethod
    def fit(cls, stream: StreamOptions, values: Sequence[Any], *, is_class: bool, units: str = "1") -> "LabelCodec":
        """From the labels of the training split, None for a sample without one. Raises LabelError if all labels are equal."""
        known = [value for value in values if not _is_missing(value)]
        distinct = sorted({_text(value) for value in known})
        if len(distinct) < 2:
            known_label = f"the single label {distinct[0]}" if distinct else "no label"
            raise LabelError(
                f"the training split has {known_label}, expected at least two different labels. "
                "Choose a longer training split or another column."
            )
        if not is_class:
            numbers = np.array([_number(value) for value in known])
            return cls(stream, (), float(numbers.mean()), float(numbers.std()), units)
        if len(distinct) > LARGEST_CLASSES:
            raise LabelError(
                f"the column has {len(distinct)} different texts, expected at most {LARGEST_CLASSES} classes. Choose another column."
            )
        return cls(stream, tuple(distinct))

    @property
    def spec(self) -> TokenSpec:
        size = 0 if self.classes else 1
        return TokenSpec(size=size, vocabulary=len(self.classes), axes=self.axes)

    @property
    def channels(self) -> tuple[str, ...]:
        return () if self.classes else ("value",)

    @property
    def categories(self) -> tuple[str, ...]:
        return self.classes

    def tokens(self, value: Any) -> Tokens:
        """The one token of a sample. Raises LabelError for a class that did not occur in training."""
        spec = self.spec
        missing = _is_missing(value)
        codes = None
        if self.classes:
            if not missing and _text(value) not in self.classes:
                raise LabelError(
                    f"label {value}: the model learned the classes {', '.join(self.classes)}. Use one of them."
                )
            codes = torch.tensor([UNKNOWN if missing else self.classes.index(_text(value))])
        number = 0.0 if missing or self.classes else (_number(value) - self.mean) / self.std
        values = torch.full((1, spec.size), number)
        observed = torch.full((1, spec.size), not missing)
        coords = torch.tensor([self.coords], dtype=torch.float32)
        return Tokens(values, coords, observed, spec, codes=codes).numbered()

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Normalised values, converted to the unit of the label."""
        return values * self.std + self.mean

    def save(self, directory: Path, name: str) -> None:
        facts: dict[str, Any] = {"classes": self.classes, "mean": self.mean, "std": self.std, "units": self.units}
        facts |= {"axes": [asdict(axis) for axis in self.axes], "coords": self.coords}
        (directory / f"{name}.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, stream: StreamOptions, directory: Path, name: str) -> "LabelCodec":
        facts: Mapping[str, Any] = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        axes = tuple(Axis(**axis | {"columns": tuple(axis["columns"])}) for axis in facts.get("axes", ()))
        coords = tuple(facts.get("coords", ()))  # a file of an earlier version has neither
        return cls(stream, tuple(facts["classes"]), facts["mean"], facts["std"], facts["units"], axes, coords)

    def calibrate(self, anchor: nn.Module | None) -> None:
        """Does nothing: a label has no anchor."""


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _text(value: Any) -> str:
    """The name of a class; that of a whole number is the same however a table stores it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise LabelError(f"label {value}: is no number. Name a column of numbers, or set target: class.") from None
