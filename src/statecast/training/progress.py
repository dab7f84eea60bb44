"""The progress bar of a training."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from statecast.training.options import TrainingOptions


class TrainingProgress(Callback):
    """A bar with the step, the loss, the samples a second and the time left."""

    def __init__(self, title: str, options: TrainingOptions, first_step: int) -> None:
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
        self.batch_size, self.first_step, self.began = options.batch_size, first_step, time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.began = time.monotonic()
            self.bar.start()
            self.bar.start_task(self.task)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = trainer.global_step - self.first_step
        rate = self.batch_size * steps / max(1e-9, time.monotonic() - self.began)
        state = f"loss {outputs['loss'].item():.3f}  {rate:.1f} samples/s"
        self.bar.update(self.task, completed=trainer.global_step, state=state)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.bar.stop()
