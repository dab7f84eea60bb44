"""Which samples each process takes in each step. All processes together take the same samples, however many there are."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.context import BaseContext

import torch
from torch.utils.data import DataLoader, Sampler

from statecast.streams import Question, stack_questions
from statecast.training.options import TrainingOptions
from statecast.training.questions import QuestionDataset


class BatchError(ValueError):
    """A batch can't be divided evenly among processes."""


@dataclass(frozen=True)
class SharedBatches(Sampler[list[int]]):
    """Step i takes samples i · `batch_size` to (i + 1) · `batch_size` - 1, in `accumulate` parts; each process takes a share of each part.

    Its length is that of the whole training, even if it starts at `first_step`. Raises BatchError if the shares are not equal.
    """

    samples: int
    batch_size: int
    accumulate: int = 1
    processes: int = 1
    process: int = 0
    first_step: int = 0

    def __post_init__(self) -> None:
        if self.batch_size % (self.accumulate * self.processes):
            raise BatchError(
                f"training.batch_size {self.batch_size} can't be divided evenly among {self.processes} processes in {self.accumulate} "
                f"parts. Choose a multiple of {self.accumulate * self.processes}."
            )

    @property
    def share(self) -> int:
        """Number of samples that a process takes at once."""
        return self.batch_size // (self.accumulate * self.processes)

    def __len__(self) -> int:
        return -(-self.samples // (self.share * self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        for part in range(self.first_step * self.accumulate, len(self)):
            first = (part * self.processes + self.process) * self.share
            own_samples = list(range(first, min(first + self.share, self.samples)))
            if own_samples:
                yield own_samples


def make_loader(questions: QuestionDataset, batches: SharedBatches, options: TrainingOptions) -> DataLoader[Question]:
    """With a GPU, batches lie in pinned memory, from which they are copied while the GPU computes."""
    return DataLoader(
        questions,
        batch_sampler=batches,
        num_workers=options.workers,
        collate_fn=stack_questions,
        multiprocessing_context=reading_context(questions) if options.workers else None,
        persistent_workers=options.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def reading_context(questions: QuestionDataset) -> BaseContext:
    """How the processes that read data start: as forks of one process, which has imported once what all of them need.

    That process has no threads of its own whose state a fork would copy. What it imports is fixed when it starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__, type(questions.source).__module__])
    return context


def said_by_worker(error: ValueError) -> ValueError | None:
    """The error that a process that reads data raised, without the traceback that torch puts into its text; None if it is not of one."""
    first, *lines = str(error).strip().splitlines() or [""]
    if "DataLoader worker process" not in first or not lines:
        return None
    return type(error)(lines[-1].partition(": ")[2])
