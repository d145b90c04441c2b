"""Orthogonal fine-tuning: frozen weights, turned."""

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

    A weight W acts as ``W @ R``, where R is block-diagonal and orthogonal, so that the angles between
    neurons stay what pre-training made them. Blocks are ``block_size`` wide.
    """

    block_size: Annotated[int, Field(ge=2, le=1024)] = 32
    """Width of a block; must divide the input width of every adapted layer. Larger learns more."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the blocks that are left unturned while training."""
    target_modules: Targets = "all-linear"
    """The linear layers to adapt; see LoRA."""
    approximate: bool = True
    """Sum five terms of a series instead of inverting a matrix: faster, nearly orthogonal."""

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

        above = model.get_output_embeddings()
        named_parts = model.named_modules()
        if isinstance(targets, list):
            named_parts = iter([pair for target in targets for pair in named(model, target)])
        widths = {
            path: part.in_features
            for path, part in named_parts
            if isinstance(part, Linear) and part is not above
        }
        for path, width in widths.items():
            if width % self.block_size:
                fits = gcd(*widths.values())
                raise StepError(
                    f"tuning.block_size: {self.block_size} does not divide {path}'s {width} inputs; "
                    f"set tuning.block_size={fits}, or a divisor of it"
                )

    def trainable(self, parameters: float) -> float:
        """Estimate ``(block_size - 1) / 2`` for each of some 10 d inputs a layer of ``12 * d**2`` weights."""
        return min(parameters, parameters * (self.block_size - 1) * 5 / 12 / self.width(parameters))
