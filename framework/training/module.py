"""The Lightning module: loss, optimiser and schedule. It knows nothing of rows or files."""

from typing import Any

import lightning
import torch
from torch import Tensor
from transformers import get_scheduler

from framework.core.errors import StepError
from framework.model import LABEL_MASK
from framework.training import Training


class TuneModule(lightning.LightningModule):
    """A model of transformers or peft under training."""

    def __init__(self, model: Any, training: Training, task: str, steps: int) -> None:
        super().__init__()
        self.model = model
        self.training_config = training
        self.task = task
        self.steps = steps
        self.strict_loading = False  # checkpoints leave out what is frozen

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Return the mean loss of one micro batch, a scalar."""
        loss = self._class_loss(batch) if self.task == "sequence-classification" else self._token_loss(batch)
        if not torch.isfinite(loss):
            raise StepError(
                f"tune: the loss became {loss.item()} at step {self.global_step + 1}; "
                f"lower training.learning_rate (now {self.training_config.learning_rate:g}) "
                "or set training.precision=fp32"
            )
        return loss

    def _class_loss(self, batch: dict[str, Tensor]) -> Tensor:
        loss: Tensor = self.model(**batch).loss
        return loss

    def _token_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross entropy of each labelled token, given all before it.

        Logits are (rows, columns, vocabulary) and the largest tensor of a step, so they are taken
        from the first labelled column on, and become float32 only where there is a label.
        """
        labels = batch["labels"][:, 1:]
        first = int((labels != LABEL_MASK).any(0).int().argmax())
        kept = labels.shape[1] - first
        wanted = labels[:, first:]
        labelled = wanted != LABEL_MASK
        output = self.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            position_ids=batch["position_ids"],
            logits_to_keep=kept + 1,
            use_cache=False,
        )
        predicted = output.logits[:, :-1][labelled].float()
        return torch.nn.functional.cross_entropy(predicted, wanted[labelled])

    def configure_optimizers(self) -> Any:
        """Return fused AdamW and the schedule, stepped once an optimiser step."""
        config = self.training_config
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            # The fused step unscales fp16 gradients itself, after clipping would have needed them.
            fused=config.precision != "fp16",
        )
        name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
        warmup = round(self.steps * config.warmup_ratio)
        schedule = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient's norm; Lightning's own clipping refuses fused optimisers under bf16."""
        if self.training_config.gradient_clipping:
            trained = [p for p in self.model.parameters() if p.requires_grad]
            torch.nn.utils.clip_grad_norm_(trained, self.training_config.gradient_clipping)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen weights out: they are in the base model already."""
        trained = {f"model.{name}" for name, p in self.model.named_parameters() if p.requires_grad}
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key: value for key, value in state.items() if key in trained}
