"""The progress bar of a training."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from statecast.models import StateModel
from statecast.streams import Question
from statecast.training.options import TrainingOptions
from statecast.training.throughput import peak_flops, question_flops


class DataWait(Profiler):
    """Seconds that a training has waited for its next batch; without workers, those that it took to read it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.began = 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self.began = time.monotonic()

    def stop(self, action_name: str) -> None:
        if action_name.endswith("train_dataloader_next"):
            self.seconds += time.monotonic() - self.began


class TrainingProgress(Callback):
    """A bar with the step, the loss, the samples per second, the utilisation of the device's peak, the share of the time spent waiting for
    data, and the time left.

    The utilisation counts matrix products (see `throughput`). On a CPU the peak is that of a large matrix product, measured at the start of
    the training.
    """

    def __init__(
        self,
        title: str,
        model: StateModel,
        options: TrainingOptions,
        first_step: int,
        blocks: int,
        waiting: DataWait,
    ) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns)
        self.task = self.bar.add_task(title, total=options.steps, completed=first_step, state="", start=False)
        self.model, self.options, self.first_step, self.began = model, options, first_step, time.monotonic()
        self.rollout_blocks, self.waiting = blocks, waiting
        self.peak: float | None = None
        self.flops = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.peak = peak_flops(pl_module.device, self.options.precision)
            self.began, self.waiting.seconds = time.monotonic(), 0.0
            self.bar.start()
            self.bar.start_task(self.task)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Question, batch_idx: int
    ) -> None:
        seconds = max(1e-9, time.monotonic() - self.began)
        self.flops += question_flops(self.model, batch, self.rollout_blocks)  # of this process, as is the peak
        rate = self.options.batch_size * (trainer.global_step - self.first_step) / seconds
        state = f"loss {outputs['loss'].item():.3f}  {rate:.1f} samples/s"
        if self.peak:
            state += f"  {self.flops / seconds / self.peak:.0%} of peak"
        state += f"  {self.waiting.seconds / seconds:.0%} waiting for data"
        self.bar.update(self.task, completed=trainer.global_step, state=state)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.bar.stop()
