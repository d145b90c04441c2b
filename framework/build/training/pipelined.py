"""Training with pipeline parallelism: every batch is a whole optimizer step."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from framework.build.parallelism import Parallelism
from framework.build.task import LABEL_MASK, Batch, Task
from framework.build.training import Training
from framework.build.training.module import TuneModule
from framework.build.tuning import Tuning
from framework.core.errors import StepError

TrainingOption = TypeVar("TrainingOption", bound=Training)
_PADDING = 32
"""Rows are padded to a multiple of this, because every new width needs a new schedule."""


class PipelinedModule(TuneModule):
    """The 1F1B schedule splits each batch, a whole step, into ``micro_batches`` for the stages.

    Lightning sees one forward pass. The schedule has run the backward passes by then, interleaved with
    the forward passes of later micro batches.
    """

    def __init__(
        self,
        model: Any,
        training: Training,
        task: Task,
        steps: int,
        tuning: Tuning,
        parallelism: Parallelism,
        micro_batches: int,
    ) -> None:
        if type(tuning).penalty is not Tuning.penalty:
            raise StepError(
                "parallelism.stages: this tuning method has a loss over all layers, and no stage has all of "
                "them; set tuning=lora or parallelism=ddp"
            )
        if training.neftune_alpha:
            raise StepError(
                "training.neftune_alpha: pipeline stages support no noise on the embeddings; "
                "set training.neftune_alpha=0"
            )
        super().__init__(model, training, task, steps, tuning, parallelism)
        self.micro_batches = micro_batches
        self._width = 0
        self._schedule: Any = None

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the step's mean loss over this pipeline's labels, times the number of pipelines."""
        step = self.global_step + 1
        self.guard.check_weight(batch, step)
        stage: Any = self.model.stage
        stage.task = self.task
        ids, mask, positions, labels = pad_left(batch)
        schedule = self._schedule_for(*ids.shape)
        share = self.parallelism.data_parallel / batch["weight"]
        self._share = share
        for weight in self.model.parameters():
            weight.grad = None
        losses: list[Tensor] = []
        named: dict[str, Any] = {"attention_mask": mask, "position_ids": positions}
        if stage.last:
            named |= {"labels": labels, "target": labels, "losses": losses}
        schedule.step(*((ids,) if stage.first else ()), return_outputs=False, **named)
        loss = torch.stack(losses).sum().detach() if losses else torch.zeros((), device=self.device)
        ranks = stage.mesh.mesh.flatten().tolist()
        dist.broadcast(loss, src=ranks[-1], group=stage.mesh.get_group())
        self.guard.check_loss(float(loss), batch["rows"], step, self._loss_again)
        return loss

    def backward(self, loss: Tensor, *arguments: Any, **named: Any) -> None:
        """Do nothing: the schedule has computed the gradients."""

    def optimizer_zero_grad(self, *arguments: Any, **named: Any) -> None:
        """Do nothing: Lightning calls this after ``training_step`` has computed the gradients."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip by the gradient norm over all stages."""
        stage: Any = self.model.stage
        stage.sum_tied_gradients()
        norm = stage.clip(self.training_config.gradient_clipping)
        self.guard.check_norm(float(norm), self.global_step + 1, self._norm_again)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add our own state; the strategy has gathered the weights of all stages without the frozen ones."""
        checkpoint["tuning"] = self.tuning.state(self.model)
        checkpoint["norms"] = list(self.guard.norms)

    def _schedule_for(self, rows: int, width: int) -> Any:
        """Return the schedule for a step of *rows* rows of *width* tokens."""
        if width != self._width:
            self._width, stage = width, self.model.stage
            size = (rows // self.micro_batches, width)
            ids = torch.empty(size, dtype=torch.int64, device="meta")
            hidden = torch.empty(*size, stage.width, dtype=stage.dtype, device="meta").requires_grad_()
            loss = torch.empty((), device="meta", requires_grad=True)
            own_stage = PipelineStage(
                stage,
                stage.number,
                stage.count,
                self.device,
                input_args=ids if stage.first else hidden,
                output_args=loss if stage.last else hidden,
                group=stage.mesh.get_group(),
            )
            self._schedule = Schedule1F1B(
                own_stage,
                self.micro_batches,
                loss_fn=lambda summed, labels: summed * self._share,
                scale_grads=False,
            )
        return self._schedule


def with_whole_steps(training: TrainingOption) -> TrainingOption:
    """Return *training* with all rows of a step in one padded batch."""
    rows = training.least_micro_batch_size * training.gradient_accumulation_steps
    sizes = {"micro_batch_size": rows, "gradient_accumulation_steps": 1, "packing": False}
    return training.model_copy(update=sizes)


def pad_left(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ids, mask, positions and labels of *batch*, all (rows, T), padded on the left."""
    padding = -batch["input_ids"].shape[1] % _PADDING

    def left(name: str, fill: int) -> Tensor:
        return torch.nn.functional.pad(batch[name], (padding, 0), value=fill)

    return (
        left("input_ids", 0),
        left("attention_mask", 0),
        left("position_ids", 0),
        left("labels", LABEL_MASK),
    )
