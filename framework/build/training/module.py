"""The Lightning module: loss, optimizer and schedule. It knows neither files nor how rows were read."""

from typing import Any, cast

import lightning
import torch
from torch import Tensor

from framework.build.parallelism import Parallelism
from framework.build.task import Batch, Task
from framework.build.training import Training
from framework.build.training.batches import Batches, model_inputs
from framework.build.training.guard import Guard
from framework.build.training.neftune import EmbeddingNoise
from framework.build.training.optimizers import make_optimizer, make_schedule
from framework.build.training.throughput import flops_per_token
from framework.build.tuning import Tuning


class TuneModule(lightning.LightningModule):
    """A transformers or peft model in training."""

    def __init__(
        self,
        model: Any,
        training: Training,
        task: Task,
        steps: int,
        tuning: Tuning,
        parallelism: Parallelism,
    ) -> None:
        super().__init__()
        self.model = model
        self.training_config = training
        self.task = task
        self.tuning = tuning
        self.steps = steps
        self.parallelism = parallelism
        self.gathered: dict[str, Tensor] | None = None
        """The whole weights after training, if the parallelism shards those of ``model``; else None."""
        self._sharded = False
        self.flops_per_token = flops_per_token(model)
        self.guard = Guard(training, self._batches, alone=parallelism.processes == 1)
        self.noise = EmbeddingNoise(model, training.neftune_alpha) if training.neftune_alpha else None
        self.strict_loading = False  # checkpoints have no frozen weights

    def configure_model(self) -> None:
        """Shard the model over the processes; Lightning may call this more than once."""
        if not self._sharded:
            self.parallelism.shard(self.model, self.device_mesh)
            self._sharded = True

    def on_train_end(self) -> None:
        """Gather the weights while every process is still running."""
        self.gathered = self.parallelism.gather(self)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the micro batch's contribution to the step's mean loss over all labels, a scalar.

        Lightning divides by the accumulation, and data parallelism by its ranks. Both are multiplied back
        in, so the gradient is the same however the step's rows are split.
        """
        step = self.global_step + 1
        self.guard.check_weight(batch, step)
        if self.noise is not None:
            self.noise.expect(batch)
        loss = self.loss(batch)
        self.guard.check_loss(float(loss.detach()), batch["rows"], step, self._loss_again)
        shares = self.training_config.gradient_accumulation_steps * self.parallelism.data_parallel
        scaled: Tensor = loss * shares
        # Not scaled: divided by the accumulation, the micro batches' penalties add up to one per step.
        penalty = self.tuning.penalty(self.model)
        return scaled if penalty is None else scaled + penalty

    def loss(self, batch: Batch) -> Tensor:
        """Return the micro batch's summed loss divided by ``weight``, a scalar."""
        loss: Tensor = self.task.loss(self.model, model_inputs(batch)) / max(batch["weight"], 1)
        return loss

    def _trained(self) -> list[Any]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def _batches(self) -> Batches:
        return cast("Batches", self.trainer.train_dataloader)

    def _loss_again(self, batch: Batch) -> Tensor:
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            return self.loss(self.trainer.strategy.batch_to_device(batch))

    def _norm_again(self, batch: Batch) -> Tensor:
        self.zero_grad()
        with self.trainer.precision_plugin.forward_context():
            loss = self.loss(self.trainer.strategy.batch_to_device(batch))
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        return cast("Tensor", self.parallelism.clip(self._trained(), 0.0))  # runs with a single process only

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step, then let the tuning method adjust the weights before any callback saves them."""
        step = self.global_step + 1
        super().optimizer_step(*arguments, **named)
        self.tuning.after_step(self.model, step)

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and the schedule that advances once per optimizer step."""
        optimizer = make_optimizer(
            self.training_config,
            self._trained(),
            self.parallelism.optimizer_arguments(self.training_config.precision),
        )
        schedule = make_schedule(self.training_config, optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Check and clip the gradient norm; Lightning's clipping rejects fused optimizers with bf16."""
        norm = self.parallelism.clip(self._trained(), self.training_config.gradient_clipping)
        if norm is None:  # a library such as DeepSpeed clips, and has the gradients
            self.guard.rows.clear()
            return
        self.guard.check_norm(float(norm), self.global_step + 1, self._norm_again)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remove frozen weights from the checkpoint: the base model has them."""
        trained = {f"model.{name}" for name, p in self.model.named_parameters() if p.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key in trained}
        checkpoint["tuning"] = self.tuning.state(self.model)
        checkpoint["norms"] = list(self.guard.norms)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the tuning method's state and the recent gradient norms."""
        self.tuning.load_state(self.model, checkpoint["tuning"])
        self.guard.norms.extend(checkpoint["norms"])
