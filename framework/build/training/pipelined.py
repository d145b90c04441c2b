"""A model whose layers lie in several processes under training: a whole optimiser step at a time."""

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
_WIDTHS = 32
"""Rows are padded to a multiple of this: the stages must agree anew on every other width."""


class PipelinedModule(TuneModule):
    """A batch is a whole step; 1F1B takes it through the stages in ``micro_batches`` parts.

    Lightning sees one forward pass. The backward passes are done by then: they lie between the forward
    passes of later parts.
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
                "parallelism.stages: this tuning method weighs all layers against each other, and no process "
                "has them all; set tuning=lora or parallelism=ddp"
            )
        if training.neftune_alpha:
            raise StepError(
                "training.neftune_alpha: the noise on the embeddings is for rows that are not passed between "
                "stages; set training.neftune_alpha=0"
            )
        super().__init__(model, training, task, steps, tuning, parallelism)
        self.micro_batches = micro_batches
        self._width = 0
        self._schedule: Any = None

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the step's mean loss over this pipeline's labels, times the pipelines, as in the base."""
        step = self.global_step + 1
        self.guard.check_weight(batch, step)
        stage: Any = self.model.stage
        stage.task = self.task
        ids, mask, positions, labels = widened(batch)
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
        """Do nothing: the gradients are there."""

    def optimizer_zero_grad(self, *arguments: Any, **named: Any) -> None:
        """Do nothing: Lightning asks after ``training_step``, which has made the gradients."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip by the norm over all stages."""
        stage: Any = self.model.stage
        stage.add_up_tied()
        norm = stage.clip(self.training_config.gradient_clipping)
        self.guard.check_norm(float(norm), self.global_step + 1, self._norm_again)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave what the strategy has gathered as it is: the names are those of all stages."""
        checkpoint["tuning"] = self.tuning.state(self.model)
        checkpoint["norms"] = list(self.guard.norms)

    def _schedule_for(self, rows: int, width: int) -> Any:
        """Return the schedule for a step of *rows* rows; its stages know each other's shapes."""
        if width != self._width:
            self._width, stage = width, self.model.stage
            size = (rows // self.micro_batches, width)
            ids = torch.empty(size, dtype=torch.int64, device="meta")
            hidden = torch.empty(*size, stage.width, dtype=stage.dtype, device="meta").requires_grad_()
            loss = torch.empty((), device="meta", requires_grad=True)
            here = PipelineStage(
                stage,
                stage.number,
                stage.count,
                self.device,
                input_args=ids if stage.first else hidden,
                output_args=loss if stage.last else hidden,
                group=stage.mesh.get_group(),
            )
            self._schedule = Schedule1F1B(
                here,
                self.micro_batches,
                loss_fn=lambda summed, labels: summed * self._share,
                scale_grads=False,
            )
        return self._schedule


def of_whole_steps(training: TrainingOption) -> TrainingOption:
    """Return *training* with all rows of a step in one batch, padded."""
    rows = training.least_micro_batch_size * training.gradient_accumulation_steps
    whole = {"micro_batch_size": rows, "gradient_accumulation_steps": 1, "packing": False}
    return training.model_copy(update=whole)


def widened(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ids, mask, positions and labels of *batch*, all (rows, T), padded on the left."""
    more = -batch["input_ids"].shape[1] % _WIDTHS

    def left(name: str, fill: int) -> Tensor:
        return torch.nn.functional.pad(batch[name], (more, 0), value=fill)

    return (
        left("input_ids", 0),
        left("attention_mask", 0),
        left("position_ids", 0),
        left("labels", LABEL_MASK),
    )
