"""One split of a record of several domains: the windows of their samples that have the same label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from statecast.config import RecipeError
from statecast.domain import Cases, Codec, Source
from statecast.streams import Window

Numbers = Mapping[str, Sequence[int]]
"""Of each part, the numbers of its samples with one label."""


@dataclass(frozen=True)
class MixedCases:
    """The samples that every part has, in the order of the first part. Of several with one label in another part, the first counts."""

    parts: Mapping[str, Cases]
    joined: Sequence[Mapping[str, int]]

    @property
    def _first(self) -> str:
        return next(iter(self.parts))

    @property
    def labels(self) -> Sequence[Any]:
        known = self.parts[self._first].labels
        return [known[numbers[self._first]] for numbers in self.joined]

    @property
    def positions(self) -> Float[np.ndarray, " S"]:
        return self.parts[self._first].positions[[numbers[self._first] for numbers in self.joined]]

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, number: int) -> Window:
        window: Window = {}
        for name, of_part in self.joined[number].items():
            window |= self.parts[name][of_part]
        return window


@dataclass(frozen=True)
class MixedSource:
    """Samples of all parts together, each drawn with the same probability."""

    parts: Mapping[str, Source]
    joined: MixedCases

    @property
    def codecs(self) -> Mapping[str, Codec]:
        return {name: codec for part in self.parts.values() for name, codec in part.codecs.items()}

    def draw(self, sample: np.random.Generator) -> Window:
        return self.joined[int(sample.integers(len(self.joined)))]

    def describe(self, sample: np.random.Generator) -> str:
        return str(self.joined.labels[int(sample.integers(len(self.joined)))])

    def cases(self) -> MixedCases:
        return self.joined


def join(parts: Mapping[str, Source]) -> MixedSource:
    """The samples that every part has. Raises RecipeError if there is none."""
    cases = {name: source.cases() for name, source in parts.items()}
    numbers = {name: _numbers(each.labels) for name, each in cases.items()}
    first, *others = numbers
    joined = []
    for key, number in numbers[first].items():
        if all(key in numbers[other] for other in others):
            joined.append({first: number} | {other: numbers[other][key] for other in others})
    if not joined:
        examples = ", ".join(f"{name} has {_example(each)}" for name, each in cases.items())
        raise RecipeError(
            f"data.parts: no sample is in all parts ({examples}). Samples are joined by their time or number: give the same ones."
        )
    return MixedSource(parts, MixedCases(cases, joined))


def _numbers(labels: Sequence[Any]) -> dict[str, int]:
    """The number of the first sample with each label."""
    found: dict[str, int] = {}
    for number, label in enumerate(labels):
        found.setdefault(key_of(label), number)
    return found


def key_of(label: Any) -> str:
    """A label as text by which samples are joined: times in one spelling, numbers and names as they are."""
    text = label.isoformat() if hasattr(label, "isoformat") else str(label)
    try:
        int(text)
    except ValueError:
        pass
    else:
        return text
    try:
        return str(np.datetime64(text, "s"))
    except ValueError:
        return text


def _example(cases: Cases) -> str:
    return f"{len(cases)} samples, the first {cases.labels[0]}" if len(cases) else "none"
