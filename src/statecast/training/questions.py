"""Questions for training: sample i is a pure function of (seed, i)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from statecast.fields.sources import Record
from statecast.fields.tokenizers import FieldTokenizer, Place, WindowSampler, read_window
from statecast.fields.tokenizers.windows import places_around
from statecast.streams import Question, Window


class TrainingTask(Protocol):
    """What `Masked` and `Forecast` have in common: `sample` differs in each sample, `step` agrees within a batch."""

    def __call__(self, window: Window, sample: np.random.Generator, step: np.random.Generator) -> Question: ...


@dataclass(frozen=True)
class StreamSource:
    """A stream's record with the tokenizer that reads it."""

    record: Record
    tokenizer: FieldTokenizer


@dataclass(frozen=True)
class QuestionDataset(Dataset[Question]):
    """Sample i of a training of `samples` samples: a window and a split of it that depend on (seed, i) alone.

    What must agree within a batch, such as the hidden share, is drawn from (seed, i // batch_size), where `batch_size`
    is the global one: the order is the same on any number of processes.

    windows  drawn on the grid of one of the streams; those of streams on other grids lie around the same centre
    shapes   rows and columns of the window of each stream; may be left out where all share one grid
    """

    sources: Mapping[str, StreamSource]
    task: TrainingTask
    windows: WindowSampler
    seed: int
    batch_size: int
    samples: int
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Question:
        if not 0 <= index < self.samples:
            raise IndexError(
                f"sample {index} of a training of {self.samples} samples, expected 0 to {self.samples - 1}."
            )
        place, sample = self._draw(index)
        step = np.random.default_rng([self.seed, 1, index // self.batch_size])
        tokenizers = {name: source.tokenizer for name, source in self.sources.items()}
        records = {name: source.record for name, source in self.sources.items()}
        return self.task(read_window(tokenizers, records, self._places(place)), sample, step)

    def _places(self, place: Place) -> dict[str, Place]:
        grids = {name: source.record.grid for name, source in self.sources.items()}
        return places_around(place, self.windows.grid, grids, self.shapes)

    def place(self, index: int) -> Place:
        """Where and when the window of a sample lies."""
        return self._draw(index)[0]

    def _draw(self, index: int) -> tuple[Place, np.random.Generator]:
        sample = np.random.default_rng([self.seed, 0, index])
        return self.windows.draw(sample), sample
