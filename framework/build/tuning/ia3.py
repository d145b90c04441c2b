"""IA3: learned scaling vectors on keys, values and feed-forward inputs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from framework.build.tuning.architectures import layers_of, named
from framework.build.tuning.peft_adapter import PeftAdapter
from framework.build.tuning.targets import refuse_unmatched

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class IA3(PeftAdapter):
    """IA3 (Liu et al., 2022, arXiv:2205.05638), through peft: one scaling vector per adapted layer.

    It has far fewer weights than LoRA. Use about 10x LoRA's learning rate.
    """

    target_modules: Literal["architecture"] | Names = "architecture"
    """Linear layers whose output is scaled. ``architecture`` selects keys, values and the last feed-forward
    layer of a known architecture."""
    feedforward_modules: tuple[str, ...] = ()
    """Layers whose input is scaled instead, as the paper does in the feed-forward; ignored with
    ``target_modules=architecture``."""

    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return ``peft.IA3Config``."""
        from peft import IA3Config

        targets, inputs = self._names(model)
        return IA3Config(task_type=task_type, target_modules=targets, feedforward_modules=inputs)

    def _names(self, model: "PreTrainedModel") -> tuple[list[str], list[str]]:
        if self.target_modules == "architecture":
            layers = layers_of(model)
            last = layers.feed_forward[-1]
            return [name for name in (*layers.keys_values, last) if named(model, name)], [last]
        refuse_unmatched(self.target_modules, model)
        refuse_unmatched(self.feedforward_modules, model, "feedforward_modules")
        # peft requires the second list to be a subset of the first.
        return [*self.target_modules, *self.feedforward_modules], list(self.feedforward_modules)

    def trainable(self, parameters: float) -> float:
        """Estimate 6 d per layer of ``12 * d**2`` weights: keys d, values d, feed-forward 4 d."""
        return parameters * 0.5 / self.width(parameters)
