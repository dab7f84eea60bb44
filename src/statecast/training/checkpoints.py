"""Checkpoints of a training: atomic writing, and a checkpoint when a signal stops the run."""

import os
import random
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.optim import Optimizer

from statecast.training.options import TrainingOptions
from statecast.training.saved import CheckpointError, checkpoint_step, read_checkpoint

STOPPING_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGUSR1,
)  # USR1: SLURM users often request it shortly before the time limit
BEST_NAME = "best.ckpt"
RUN = "run"


class RunStopped(InterruptedError):
    """A signal stopped the training after a checkpoint was written."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again

    def __init__(self, signal_name: str, step: int) -> None:
        super().__init__(
            f"{signal_name} stopped the training at step {step}, after a checkpoint. Resume it with --resume."
        )


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, then renames it: a file that ends in .ckpt is always complete."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        part = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except (
            OSError,
            RuntimeError,
        ) as error:  # torch reports a full disk as a RuntimeError of its zip writer
            part.unlink(missing_ok=True)
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).split("\n")[0]
            raise CheckpointError(
                f"checkpoint {path.name} can't be written to {path.parent} ({reason}). Earlier checkpoints are intact: "
                "make room and resume with --resume."
            ) from error


def checkpoint_callbacks(directory: Path, options: TrainingOptions, *, validated: bool) -> list[Callback]:
    """A checkpoint every `checkpoint_every` steps, of which the last ones are kept; and the best by validation loss, if `validated`."""
    regular = ModelCheckpoint(
        directory,
        filename="step-{step:08.0f}",
        monitor="step",
        mode="max",
        save_top_k=options.keep_checkpoints,
        every_n_train_steps=options.checkpoint_every,
        auto_insert_metric_name=False,
        save_on_train_epoch_end=False,
    )
    best = ModelCheckpoint(
        directory,
        filename=Path(BEST_NAME).stem,
        monitor="validation_loss",
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    return [regular, best] if validated else [regular]


def require_own(path: Path, module: LightningModule, optimiser: Optimizer, run: str | None) -> None:
    """Raises CheckpointError for a checkpoint that this training did not write: of another program, run, model or optimiser."""
    checkpoint = read_checkpoint(path)
    written, expected = (
        {n: tuple(v.shape) for n, v in s.items()} for s in (checkpoint["state_dict"], module.state_dict())
    )
    if differing := [name for name in expected | written if expected.get(name) != written.get(name)]:
        name = differing[0]
        reason = f"another model: {name} is {written.get(name, 'missing')}, expected {expected.get(name, 'none')}"
    elif run is not None and checkpoint.get(RUN, run) != run:
        reason = "another run"
    elif _groups(checkpoint["optimizer_states"][0]["param_groups"]) != _groups(optimiser.param_groups):
        reason = "another optimiser"
    elif checkpoint["global_step"] != checkpoint_step(path):
        reason = f"step {checkpoint['global_step']}"
    else:
        return
    raise CheckpointError(f"checkpoint {path} is of {reason}. Remove it, or start again with --overwrite.")


def _groups(groups: Any) -> list[tuple[int, set[str]]]:
    return [(len(group["params"]), set(group) - {"initial_lr"}) for group in groups]


class RandomStates(Callback):
    """Saves in checkpoints which `run` they are of, and the global random states, which a domain of another package may use."""

    def __init__(self, run: str | None = None) -> None:
        self.run = run

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[RUN] = self.run
        checkpoint["random_states"] = {
            "python": random.getstate(),
            "numpy": _plain(np.random.get_state()),  # noqa: NPY002
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint["random_states"]
        random.setstate(states["python"])
        np.random.set_state((*states["numpy"][:1], states["numpy"][1].numpy(), *states["numpy"][2:]))  # noqa: NPY002
        torch.set_rng_state(states["torch"])
        if len(states["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(states["cuda"])


def _plain(state: Any) -> tuple[Any, ...]:
    """NumPy's state with its arrays as tensors, so that a checkpoint can be read without running code."""
    return tuple(torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in state)


class StopOnSignal(Callback):
    """On a stopping signal: finishes the current step, writes a checkpoint and raises RunStopped."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.received, self.before = directory, 0, dict[signal.Signals, Any]()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # saved before Lightning installs its own handlers, which ignore SIGTERM and must not remain after the training
        self.before = {number: signal.getsignal(number) for number in STOPPING_SIGNALS}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in STOPPING_SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == self.received == signal.SIGINT:  # a second Ctrl-C stops immediately
            raise KeyboardInterrupt
        self.received = number

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.fit_loop._should_accumulate():
            return
        received = self.received
        if trainer.world_size > 1:  # all processes stop at the same step, whichever received the signal
            received = int(
                trainer.strategy.reduce(torch.tensor(float(received), device=pl_module.device), reduce_op="max")
            )
        if received:
            step = trainer.global_step
            trainer.save_checkpoint(self.directory / f"step-{step:08d}.ckpt")
            raise RunStopped(signal.Signals(received).name, step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
