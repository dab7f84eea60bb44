"""Fit a model to questions with Lightning's Trainer: resumable, on any number of processes."""

import copy
import logging
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, LambdaCallback
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from statecast.models import StateModel
from statecast.training.batches import SharedBatches, said_by_worker
from statecast.training.checkpoints import (
    BEST_NAME,
    AtomicCheckpoints,
    RandomStates,
    StopOnSignal,
    checkpoint_callbacks,
    require_own,
)
from statecast.training.fitting import Fitting, ShardedFitting
from statecast.training.footprint import footprint_of
from statecast.training.logs import make_loggers
from statecast.training.optimiser import make_optimiser
from statecast.training.options import ONE_DEVICE, DeviceError, Devices, TrainingOptions
from statecast.training.progress import DataWait, TrainingProgress
from statecast.training.questions import QuestionDataset
from statecast.training.saved import checkpoint_step, checkpoint_weights, last_checkpoint

MESSAGES = (  # Lightning's advice about deliberate choices
    ".*does not have many workers.*",
    ".*You defined a `validation_step` but have no `val_dataloader`.*",
    ".*No device id is provided via `init_process_group`.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # SharedBatches starts at that step
    ".*The dirpath has changed from.*",
    ".*module\\(s\\) in eval mode at the start of training.*",  # of a Hugging Face encoder
)


LEAST_PROCESSES = 8  # that may share a CPU, however few cores it has
LAUNCHERS = ("WORLD_SIZE", "MASTER_ADDR", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "LSB_JOBID")
"""Variables that torchrun, srun, mpirun and LSF set for the processes that they start."""


def fit(
    model: StateModel,
    questions: QuestionDataset,
    validation: QuestionDataset | None,
    options: TrainingOptions,
    out: Path,
    *,
    shares: Mapping[str, float] | None = None,
    devices: Devices = ONE_DEVICE,
    resume: bool = False,
    run: str | None = None,
    title: str = "training",
    progress: bool = True,
) -> float:
    """Train `model` in place on `questions`, in order; write `logs/` and `checkpoints/` into `out`. Returns the wall time in s.

    shares  fraction of the learning rate for each parameter, by name (see `adaptation.learning_rate_shares`)
    run     names the run in its checkpoints: one of another run is refused
    resume  continue from the last readable checkpoint in `out`, if any: the result equals that of an uninterrupted run
    Raises LossError if the loss is not finite or explodes, RunStopped after a signal, CheckpointError if a checkpoint can't be written or
    none can be read or fits; and what `require_devices` raises.
    """
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # their hints do not concern this training
    require_devices(devices, options)
    directory = out / "checkpoints"
    start = last_checkpoint(directory) if resume else None
    first_step = checkpoint_step(start) if start else 0
    if devices.shards:
        fitting: Fitting = ShardedFitting(copy.deepcopy(model), questions, validation, options, first_step, shares)
    else:
        fitting = Fitting(model, questions, validation, options, first_step, shares)
    if start:
        require_own(start, fitting, make_optimiser(model, options, shares)[0], run)
    callbacks: list[Callback] = [RandomStates(run)]
    waiting = DataWait()
    if progress:
        callbacks += [TrainingProgress(title, model, options, first_step, questions.task.rollout_blocks, waiting)]
    callbacks += [EMAWeightAveraging(decay=options.ema)] if options.ema else []
    callbacks += checkpoint_callbacks(directory, options, validated=validation is not None)
    callbacks += [StopOnSignal(directory)]
    began = time.monotonic()
    with warnings.catch_warnings(), footprint_of(out, options) as write_footprint:
        for message in MESSAGES:
            warnings.filterwarnings("ignore", message)
        callbacks += [LambdaCallback(on_save_checkpoint=lambda *_: write_footprint())]
        trainer = Trainer(
            default_root_dir=out,
            max_steps=options.steps,
            max_epochs=1,
            devices=devices.devices,
            num_nodes=devices.nodes,
            strategy=make_strategy(devices, leaves_out=_leaves_out(model, questions)),
            use_distributed_sampler=False,
            accumulate_grad_batches=options.accumulate,
            precision=options.precision,
            val_check_interval=min(options.validate_every, options.steps) * options.accumulate if validation else None,
            limit_val_batches=1.0 if validation else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, options.steps),
            logger=make_loggers(options, out, first_step),
            callbacks=callbacks,
            profiler=waiting,
            plugins=[AtomicCheckpoints()],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(fitting, ckpt_path=start, weights_only=True)
        except ValueError as error:
            if (said := said_by_worker(error)) is None:
                raise
            raise said from error
    weights = fitting.weights
    if start and first_step >= options.steps:  # killed after the last step: nothing is left to train
        weights = checkpoint_weights(start)
    if options.result == "best" and validation is not None:
        weights = checkpoint_weights(directory / BEST_NAME)
    if trainer.is_global_zero:
        model.load_state_dict(weights)
    model.eval()
    return time.monotonic() - began


def _leaves_out(model: StateModel, questions: QuestionDataset) -> bool:
    """Whether a question may use only some of the weights; of a Hugging Face encoder, those of a summary are never used."""
    return len(model.specs) > 1 or not questions.task.asks_content or model.pretrained is not None


def require_devices(devices: Devices, options: TrainingOptions) -> None:
    """Raises DeviceError for more devices than there are, nodes that nothing starts, or an option that does not work with sharding, and
    BatchError for a batch that can't be divided evenly."""
    most = torch.cuda.device_count() or max(LEAST_PROCESSES, os.cpu_count() or 1)
    if devices.devices > most:
        raise DeviceError(f"--devices {devices.devices}: this machine has room for {most}. Choose at most that many.")
    if devices.nodes > 1 and not any(name in os.environ for name in LAUNCHERS):
        raise DeviceError(
            f"--nodes {devices.nodes}: the command would wait for other nodes, which nothing starts. Start it by torchrun or srun."
        )
    if options.ema and devices.shards:
        raise DeviceError("training.ema can't average weights that --strategy fsdp has sharded. Remove one of the two.")
    SharedBatches(options.batch_size, options.batch_size, options.accumulate, devices.processes)


def make_strategy(devices: Devices, *, leaves_out: bool) -> Strategy | str:
    """How processes share the work: "auto" for one. Of several streams a question may leave one out, whose weights then go unused."""
    if devices.processes == 1:
        return "auto"
    if not devices.shards:
        return DDPStrategy(find_unused_parameters=leaves_out)
    return ModelParallelStrategy(
        data_parallel_size=devices.processes, tensor_parallel_size=1, save_distributed_checkpoint=False
    )
