"""Questions for training: sample i is a pure function of (seed, i)."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from statecast.domain import Source
from statecast.streams import Question
from statecast.tasks import TaskOptions


@dataclass(frozen=True)
class QuestionDataset(Dataset[Question]):
    """The `samples` samples of a training. Sample i is a question about a window; both depend only on (seed, i).

    Properties that must agree within a batch, such as the hidden fraction, are drawn from (seed, i // batch_size), where `batch_size` is
    the global batch size: the samples are the same on any number of processes.
    """

    source: Source
    task: TaskOptions
    seed: int
    batch_size: int
    samples: int

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Question:
        if not 0 <= index < self.samples:
            raise IndexError(
                f"sample {index} of a training of {self.samples} samples, expected 0 to {self.samples - 1}."
            )
        sample = self._generator(index)
        window = self.source.draw(sample)
        step = np.random.default_rng([self.seed, 1, index // self.batch_size])
        question = self.task(window, sample, step)
        head = np.random.default_rng([self.seed, 2, index])
        question = replace(question, seed=torch.tensor(head.integers(2**62)))
        return self.task.hide_conditions(question, head)

    def describe(self, index: int) -> str:
        """Where in the record the window of a sample lies, as text."""
        return self.source.describe(self._generator(index))

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0, index])
