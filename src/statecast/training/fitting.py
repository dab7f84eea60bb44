"""The LightningModule of a training: its steps, batches and optimiser."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from statecast.models import StateModel
from statecast.models.heads import Prediction
from statecast.rollout import training_losses
from statecast.streams import Question
from statecast.training.batches import SharedBatches, make_loader
from statecast.training.optimiser import make_optimiser
from statecast.training.options import TrainingOptions
from statecast.training.questions import QuestionDataset

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function, traced and compiled once for all numbers of tokens.

    Inductor lays a tensor that is joined to others straight into the joined one; if the backward pass needs it too, torch before pull
    request 191885 (2.13 has not got it) takes its strides in the first batch for those in all. Joining point by point avoids that.
    """
    joins_point_by_point: dict[str, str | int | bool | Callable[..., Any]] = {"force_pointwise_cat": True}
    return cast(Function, torch.compile(function, dynamic=True, options=joins_point_by_point))


class LossError(FloatingPointError):
    """The loss is not finite or has exploded."""


class Fitting(LightningModule):
    """A model and the questions that it is fitted to, starting at `first_step`."""

    def __init__(
        self,
        model: StateModel,
        questions: QuestionDataset,
        validation: QuestionDataset | None,
        options: TrainingOptions,
        first_step: int,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.shares = shares
        self.model, self.questions, self.validation = model, questions, validation
        self.options, self.first_step = options, first_step
        self.answer = compiled(self._answer) if options.compile else self._answer
        self.weights: dict[str, Tensor] = {}  # filled at the end, with all weights on the first process
        self.parts: list[Tensor] = []  # losses of the parts of the current step
        model.recomputes = options.activation_checkpointing

    def train_dataloader(self) -> DataLoader[Question]:
        options = self.options
        batches = SharedBatches(
            len(self.questions),
            options.batch_size,
            options.accumulate,
            self.trainer.world_size,
            self.trainer.global_rank,
            self.first_step,
        )
        return make_loader(self.questions, batches, options)

    def val_dataloader(self) -> DataLoader[Question] | list[Any]:
        if self.validation is None:
            return []
        trainer = self.trainer
        batches = SharedBatches(
            len(self.validation), self.options.batch_size, 1, trainer.world_size, trainer.global_rank
        )
        return make_loader(self.validation, batches, self.options)

    def training_step(self, question: Question, _: int) -> Tensor:
        losses = self._losses(question)
        self._require_sound(losses)
        loss = torch.stack(list(losses.values())).mean()
        self.parts = [*self.parts, loss.detach()][-self.options.accumulate :]
        self.log("loss", torch.stack(self.parts).mean(), batch_size=1, sync_dist=True)
        self.log("learning_rate", self.lr_schedulers().get_last_lr()[0], batch_size=1)  # type: ignore[union-attr]
        return loss

    def validation_step(self, question: Question, _: int) -> None:
        loss = torch.stack(list(self._losses(question).values())).mean()
        self.log("validation_loss", loss, batch_size=1, sync_dist=True)

    def _losses(self, question: Question) -> dict[str, Tensor]:
        return training_losses(self.answer, self.model, question, self.questions.task)

    def _answer(self, question: Question) -> dict[str, Prediction]:
        return self.model.attempt(question)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Number the optimiser's parameters in the order of the model, as sharded training expects."""
        number = {id(parameter): n for n, parameter in enumerate(self.parameters())}
        grouped = [p for group in self.trainer.optimizers[0].param_groups for p in group["params"]]
        renamed = {n: number[id(parameter)] for n, parameter in enumerate(grouped)}
        state = checkpoint["optimizer_states"][0]
        groups = [group | {"params": [renamed[n] for n in group["params"]]} for group in state["param_groups"]]
        values = {renamed[n]: value for n, value in state["state"].items()}
        checkpoint["optimizer_states"] = [{"state": values, "param_groups": groups}]

    def on_train_end(self) -> None:
        weights = self.trainer.strategy.lightning_module_state_dict()  # gathers sharded weights
        self.weights = {name.removeprefix("model."): value for name, value in weights.items()}

    def _require_sound(self, losses: dict[str, Tensor]) -> None:
        """Raises LossError, naming the stream, the step and its samples, if a loss is not finite or too large."""
        for stream, loss in losses.items():
            value = loss.item()
            if not abs(value) <= self.options.largest_loss:  # also True for NaN
                step = self.global_step
                first = step * self.options.batch_size
                last = first + self.options.batch_size - 1
                raise LossError(
                    f"the loss of stream {stream} is {value:g} at step {step}, samples {first} to {last}. Inspect them with "
                    f"`statecast samples RUN.unfinished --step {step}`; if they are correct, lower training.learning_rate."
                )

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.options.gradient_clip
        )  # also for sharded gradients

    def configure_optimizers(self) -> Any:
        optimiser, schedule = make_optimiser(self.model, self.options, self.shares)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Question, device: torch.device, dataloader_idx: int) -> Question:
        return batch.to(device, non_blocking=device.type == "cuda")


class ShardedFitting(Fitting):
    """A fitting with weights, gradients and the optimiser's state sharded over the processes, block by block (FSDP 2)."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Does nothing: Lightning has already numbered the optimiser's parameters."""

    def configure_model(self) -> None:
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        for block in [*self.model.encoder, *self.model.decoder]:
            fully_shard(block, mesh=mesh)
        fully_shard(self.model, mesh=mesh)
