"""Prefix tuning: learned keys and values before the text in every layer."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.tuning.peft_adapter import PeftAdapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Prefix(PeftAdapter):
    """Prefix tuning (Li and Liang, 2021, arXiv:2101.00190), through peft; only for decoders.

    Rows are not packed, gradient checkpointing is not supported, and the prefix uses ``num_virtual_tokens``
    of the context.
    """

    merges: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    continues: ClassVar[bool] = False
    recomputes: ClassVar[bool] = False

    num_virtual_tokens: Annotated[int, Field(ge=1, le=4096)] = 20
    """Number of virtual tokens before every text."""
    encoder_hidden_size: Annotated[int, Field(ge=1)] | None = None
    """Hidden size of a network that computes the prefix during training, which makes training more stable;
    None trains the prefix directly."""

    @property
    def spreads(self) -> frozenset[str]:
        """Only the optimizer: the prompt is used outside the layers that gather sharded weights."""
        return frozenset({"optimizer"})

    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return ``peft.PrefixTuningConfig``."""
        from peft import PrefixTuningConfig

        network = (
            {"prefix_projection": True, "encoder_hidden_size": self.encoder_hidden_size}
            if self.encoder_hidden_size
            else {}
        )
        return PrefixTuningConfig(task_type=task_type, num_virtual_tokens=self.num_virtual_tokens, **network)

    def trainable(self, parameters: float) -> float:
        """Estimate a key and a value of size d for each virtual token and layer.

        Layers times d is ``1.7 * sqrt(parameters)``. The network's last layer has as many weights for each
        unit of its hidden size.
        """
        vectors = self.encoder_hidden_size or self.num_virtual_tokens
        return min(parameters, vectors * 2 * 1.7 * float(parameters**0.5))
