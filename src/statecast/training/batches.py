"""Which samples a process takes in each step, the same ones in all on any number of processes."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import DataLoader, Sampler

from statecast.streams import Question, stack_questions
from statecast.training.options import TrainingOptions
from statecast.training.questions import QuestionDataset


class BatchError(ValueError):
    """A batch that can't be shared out evenly."""


@dataclass(frozen=True)
class SharedBatches(Sampler[list[int]]):
    """Step i takes samples i · `batch_size` to (i + 1) · `batch_size` - 1, in `accumulate` parts of which each process takes its share.

    Its length is that of the whole training, also when it starts at `first_step`. Raises BatchError if the shares are not equal.
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
                f"training.batch_size {self.batch_size} can't be shared evenly by {self.processes} processes in {self.accumulate} parts. "
                f"Choose a multiple of {self.accumulate * self.processes}."
            )

    @property
    def share(self) -> int:
        """Samples that a process takes at once."""
        return self.batch_size // (self.accumulate * self.processes)

    def __len__(self) -> int:
        return -(-self.samples // (self.share * self.processes))

    def __iter__(self) -> Iterator[list[int]]:
        for part in range(self.first_step * self.accumulate, len(self)):
            first = (part * self.processes + self.process) * self.share
            if mine := list(range(first, min(first + self.share, self.samples))):
                yield mine


def make_loader(questions: QuestionDataset, batches: SharedBatches, options: TrainingOptions) -> DataLoader[Question]:
    return DataLoader(
        questions,
        batch_sampler=batches,
        num_workers=options.workers,
        collate_fn=stack_questions,
        multiprocessing_context="forkserver" if options.workers else None,
        persistent_workers=options.workers > 0,
    )
