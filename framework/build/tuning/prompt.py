"""Prompt tuning: learned embeddings before the text."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.tuning.peft_adapter import PeftAdapter
from framework.build.tuning.targets import refuse_decoder_with_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Prompt(PeftAdapter):
    """Prompt tuning (Lester et al., 2021, arXiv:2104.08691), through peft.

    Use a learning rate of 1e-2 or more. It works best on large models. Rows are not packed, and the prompt
    uses ``num_virtual_tokens`` of the context.
    """

    merges: ClassVar[bool] = False
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm", "sequence-classification", "multi-label-classification")

    num_virtual_tokens: Annotated[int, Field(ge=1, le=4096)] = 20
    """Number of virtual tokens before every text."""
    init: Literal["vocabulary", "random"] = "vocabulary"
    """Initialize from the embeddings of random tokens, which learns faster, or from random numbers."""

    @property
    def spreads(self) -> frozenset[str]:
        """Only the optimizer: the prompt is used outside the layers that gather sharded weights."""
        return frozenset({"optimizer"})

    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return ``peft.PromptTuningConfig``."""
        from peft import PromptTuningConfig, PromptTuningInit

        refuse_decoder_with_head(model, task_type)
        start = PromptTuningInit.SAMPLE_VOCAB if self.init == "vocabulary" else PromptTuningInit.RANDOM
        return PromptTuningConfig(
            task_type=task_type, num_virtual_tokens=self.num_virtual_tokens, prompt_tuning_init=start
        )

    def trainable(self, parameters: float) -> float:
        """Estimate d per virtual token."""
        return min(parameters, self.num_virtual_tokens * self.width(parameters))
