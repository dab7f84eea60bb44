"""Fit a model to questions on Lightning's Trainer."""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from statecast.models import StateModel
from statecast.models.state_model import question_loss
from statecast.streams import Question, stack_questions
from statecast.training.optimiser import finite_or_raise, make_optimiser
from statecast.training.options import TrainingOptions
from statecast.training.questions import QuestionDataset

MESSAGES = (  # Lightning's advice about choices that we made on purpose
    ".*does not have many workers.*",
    ".*You defined a `validation_step` but have no `val_dataloader`.*",
    ".*No device id is provided via `init_process_group`.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)


class Fitting(LightningModule):
    """What Lightning asks for: the steps of a training and its optimiser."""

    def __init__(self, model: StateModel, options: TrainingOptions) -> None:
        super().__init__()
        self.model, self.options = model, options

    def training_step(self, question: Question, _: int) -> Tensor:
        loss = question_loss(self.model, self.model(question.context, question.queries), question)
        finite_or_raise(loss, self.global_step)
        self.log("loss", loss, batch_size=self.options.batch_size)
        self.log("learning_rate", self.lr_schedulers().get_last_lr()[0], batch_size=1)  # type: ignore[union-attr]
        return loss

    def validation_step(self, question: Question, _: int) -> None:
        loss = question_loss(self.model, self.model(question.context, question.queries), question)
        self.log("validation_loss", loss, batch_size=self.options.batch_size, sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimiser, schedule = make_optimiser(self.model, self.options)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Question, device: torch.device, dataloader_idx: int) -> Question:
        return batch.to(device)


class TrainingProgress(Callback):
    """A bar with the step, the loss, the samples a second and the time left."""

    def __init__(self, title: str, options: TrainingOptions) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns)
        self.task = self.bar.add_task(title, total=options.steps, state="", start=False)
        self.batch_size, self.began = options.batch_size, time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            self.began = time.monotonic()
            self.bar.start()
            self.bar.start_task(self.task)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        rate = self.batch_size * trainer.global_step / max(1e-9, time.monotonic() - self.began)
        self.bar.update(
            self.task, completed=trainer.global_step, state=f"loss {outputs['loss'].item():.3f}  {rate:.1f} samples/s"
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.bar.stop()


def fit(
    model: StateModel,
    questions: QuestionDataset,
    validation: QuestionDataset | None,
    options: TrainingOptions,
    out: Path,
    *,
    title: str = "training",
    progress: bool = True,
) -> float:
    """Train `model` in place on `questions`, in their order; write `logs/` and `checkpoints/` into `out`. Returns the wall time in s.

    Raises FloatingPointError if the loss stops being finite.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints are not about this training
    fitting = Fitting(model, options)
    callbacks: list[Callback] = [ModelCheckpoint(out / "checkpoints", save_last=True, save_top_k=0)]
    callbacks += [TrainingProgress(title, options)] if progress else []
    callbacks += [EMAWeightAveraging(decay=options.ema)] if options.ema else []
    with warnings.catch_warnings():
        for message in MESSAGES:
            warnings.filterwarnings("ignore", message)
        trainer = Trainer(
            max_steps=options.steps,
            max_epochs=1,
            devices=1,
            precision=options.precision,
            gradient_clip_val=options.gradient_clip,
            val_check_interval=min(options.validate_every, options.steps) if validation else None,
            limit_val_batches=1.0 if validation else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, options.steps),
            logger=_loggers(options, out),
            callbacks=callbacks,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        began = time.monotonic()
        trainer.fit(fitting, _loader(questions, options), _loader(validation, options) if validation else None)
    model.eval()
    return time.monotonic() - began


def _loader(questions: QuestionDataset, options: TrainingOptions) -> DataLoader[Question]:
    context = "forkserver" if options.workers else None
    return DataLoader(
        questions,
        batch_size=options.batch_size,
        shuffle=False,
        num_workers=options.workers,
        collate_fn=stack_questions,
        multiprocessing_context=context,
        persistent_workers=options.workers > 0,
    )


def _loggers(options: TrainingOptions, out: Path) -> list[Logger]:
    make = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
    return [make[name](out / "logs", name=name, version="") for name in options.loggers]
