"""P-tuning: virtual tokens computed by a small trained network."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.tuning.peft_adapter import PeftAdapter
from framework.build.tuning.targets import refuse_decoder_with_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PTuning(PeftAdapter):
    """P-tuning (Liu et al., 2021, arXiv:2103.10385), through peft.

    Only the resulting embeddings are saved. Rows are not packed, and the prompt uses ``num_virtual_tokens``
    of the context.
    """

    merges: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm", "sequence-classification", "multi-label-classification")
    continues: ClassVar[bool] = False

    num_virtual_tokens: Annotated[int, Field(ge=1, le=4096)] = 20
    """Number of virtual tokens before every text."""
    encoder: Literal["mlp", "lstm"] = "mlp"
    """The network that computes them."""
    encoder_hidden_size: Annotated[int, Field(ge=1)] = 128
    """Hidden size of the network."""

    @property
    def spreads(self) -> frozenset[str]:
        """Only the optimizer: the prompt is used outside the layers that gather sharded weights."""
        return frozenset({"optimizer"})

    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return ``peft.PromptEncoderConfig``."""
        from peft import PromptEncoderConfig

        refuse_decoder_with_head(model, task_type)
        layers = {"encoder_num_layers": 2} if self.encoder == "lstm" else {}  # the MLP always has two
        return PromptEncoderConfig(
            task_type=task_type,
            num_virtual_tokens=self.num_virtual_tokens,
            encoder_reparameterization_type=self.encoder.upper(),
            encoder_hidden_size=self.encoder_hidden_size,
            **layers,
        )

    def trainable(self, parameters: float) -> float:
        """Estimate d per virtual token, and the network's layers from d over h and h to d.

        A bidirectional LSTM has about ``8 * h * (d + h)`` weights in its first layer and ``24 * h**2`` in its
        second.
        """
        width, hidden = self.width(parameters), self.encoder_hidden_size
        network = 2 * width * hidden + hidden**2
        if self.encoder == "lstm":
            network = 8 * hidden * (width + hidden) + 28 * hidden**2 + 2 * width * hidden
        return min(parameters, self.num_virtual_tokens * width + network)
