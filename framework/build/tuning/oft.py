"""Orthogonal fine-tuning: rotate frozen weights."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.build.tuning.architectures import named
from framework.build.tuning.peft_adapter import PeftAdapter
from framework.build.tuning.targets import Targets, resolve
from framework.core.errors import StepError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class OFT(PeftAdapter):
    """OFT (Qiu et al., 2023, arXiv:2306.07280), through peft.

    The effective weight is ``W @ R``: W is frozen, and R is orthogonal and block-diagonal with blocks of
    ``block_size``. This preserves the angles between neurons from pre-training.
    """

    block_size: Annotated[int, Field(ge=2, le=1024)] = 32
    """Size of a block. It must divide the input width of every adapted layer; larger blocks can learn
    more."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that a block is not rotated in a training step."""
    target_modules: Targets = "all-linear"
    """The linear layers to adapt; see ``LoRA``."""
    approximate: bool = True
    """Use five terms of the Cayley-Neumann series instead of a matrix inverse: faster, nearly orthogonal."""

    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return ``peft.OFTConfig``."""
        from peft import OFTConfig

        targets = resolve(self.target_modules, model)
        self._refuse_indivisible(model, targets)
        return OFTConfig(
            task_type=task_type,
            oft_block_size=self.block_size,
            module_dropout=self.dropout,
            target_modules=targets,
            use_cayley_neumann=self.approximate,
        )

    def _refuse_indivisible(self, model: "PreTrainedModel", targets: str | list[str]) -> None:
        from math import gcd

        from torch.nn import Linear

        head = model.get_output_embeddings()
        modules = model.named_modules()
        if isinstance(targets, list):
            modules = iter([pair for target in targets for pair in named(model, target)])
        widths = {
            path: module.in_features
            for path, module in modules
            if isinstance(module, Linear) and module is not head
        }
        for path, width in widths.items():
            if width % self.block_size:
                fitting = gcd(*widths.values())
                raise StepError(
                    f"tuning.block_size: {self.block_size} does not divide the {width} inputs of {path}; "
                    f"set tuning.block_size={fitting}, or a divisor of it"
                )

    def trainable(self, parameters: float) -> float:
        """Estimate ``(block_size - 1) / 2`` for each of 10 d inputs per layer of ``12 * d**2`` weights."""
        return min(parameters, parameters * (self.block_size - 1) * 5 / 12 / self.width(parameters))
