"""Full fine-tuning: train every weight."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.build.tuning import Tuning

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Full(Tuning):
    """Train all weights; the whole model is saved.

    To continue from an earlier release, set ``model.source`` to its merged folder.
    """

    saves_frozen: ClassVar[bool] = True

    @property
    def spreads(self) -> frozenset[str]:
        """All: only the model's own weights are trained."""
        return frozenset({"optimizer", "sharded", "tensor", "layers"})

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return *model* with every weight trainable."""
        return model.requires_grad_(True)

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        model.save_pretrained(output, state_dict=state)

    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Open the tuned weights; only the class of *base* is used."""
        import torch

        merged: PreTrainedModel = type(base).from_pretrained(tuned, dtype=torch.float32)
        return merged.eval()

    def trainable(self, parameters: float) -> float:
        """Return all parameters."""
        return parameters
