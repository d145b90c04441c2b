"""P-tuning: a prompt that a small network writes while it is trained."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.tuning.peft_adapter import PeftAdapter
from framework.build.tuning.targets import refuse_decoder_with_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PTuning(PeftAdapter):
    """P-tuning (Liu et al., 2021, arXiv:2103.10385), through peft.

    Only what the network wrote is saved. Rows are not packed, and the prompt takes
    ``num_virtual_tokens`` of the context.
    """

    merges: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm", "sequence-classification", "multi-label-classification")
    continues: ClassVar[bool] = False

    num_virtual_tokens: Annotated[int, Field(ge=1, le=4096)] = 20
    """Learned embeddings before every text."""
    encoder: Literal["mlp", "lstm"] = "mlp"
    """The network that writes them."""
    encoder_hidden_size: Annotated[int, Field(ge=1)] = 128
    """Its width."""

    @property
    def spreads(self) -> frozenset[str]:
        """The optimizer only: the prompt is read outside the layers that put their weights together."""
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
        """Estimate a vector of width d a virtual token, and the network from d through h and h to d.

        An LSTM in both directions has about ``8 * h * (d + h)`` weights in its first layer and
        ``24 * h**2`` in its second.
        """
        width, hidden = self.width(parameters), self.encoder_hidden_size
        network = 2 * width * hidden + hidden**2
        if self.encoder == "lstm":
            network = 8 * hidden * (width + hidden) + 28 * hidden**2 + 2 * width * hidden
        return min(parameters, self.num_virtual_tokens * width + network)
