"""Full fine-tuning under a growing mask: more and more weights become zero and stay zero.

Not an option of the group ``tuning``: its result is a compressed model. Knows neither rows nor losses.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from framework.build.tuning.architectures import heads
from framework.build.tuning.full import Full
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear
    from transformers import PreTrainedModel

Pattern = Literal["none", "2:4"]


class Sparse(Full):
    """Train all weights while the smallest of each linear layer below the head become zero.

    The share of zeros after step t of a ramp of n steps is ``ratio * (1 - (1 - t / n)**3)``: fast at first,
    then slower (Zhu and Gupta, 2017, arXiv:1710.01878). Zeros stay zero: they are reset after every step, so
    they are also the smallest weights when the next ones are chosen.
    """

    ratio: Annotated[float, Field(gt=0, lt=1)]
    """Share of each layer's weights that are zero at the end."""
    pattern: Pattern
    """Where zeros are allowed; see ``PruneUnstructured``."""
    ramp: Annotated[float, Field(ge=0, le=1)]
    """Share of the steps in which the number of zeros grows; 0 sets all zeros before the first step."""

    @property
    def spreads(self) -> frozenset[str]:
        """None: the smallest weights of a layer are known only where the whole layer is."""
        return frozenset()

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return *model* with every weight trainable; masks are empty at first unless ``ramp`` is 0.

        Raises:
            StepError: the model has no linear layer, or with ``2:4`` none with a multiple of 4 inputs.
        """
        layers = maskable(model, self.pattern)
        if not layers:
            raise StepError(
                f"compression.prune-unstructured: {type(model).__name__} has no linear layer below its head "
                + (
                    "with a multiple of 4 inputs; set compression.prune-unstructured.pattern=none"
                    if self.pattern != "none"
                    else "to prune"
                )
            )
        state: Any = model
        state.ramp_steps = round(self.ramp * steps)
        state.masks = {}
        if not state.ramp_steps:
            self._prune(model, self.ratio)
        return super().apply(model, task, steps)

    def after_step(self, model: "PreTrainedModel", step: int) -> None:
        """Choose new zeros during the ramp, then reset all zeros."""
        state: Any = model
        if step <= state.ramp_steps:
            self._prune(model, self.ratio * (1 - (1 - step / state.ramp_steps) ** 3))
        for name, layer in maskable(model, self.pattern).items():
            state.masks[name] = state.masks[name].to(layer.weight.device)  # a loaded mask is on the CPU
            layer.weight.data.mul_(state.masks[name])

    def state(self, model: "PreTrainedModel") -> "dict[str, Tensor]":
        """Return the masks: the weights alone do not tell which zeros must stay."""
        state: Any = model
        return dict(state.masks)

    def load_state(self, model: "PreTrainedModel", state: "Mapping[str, Tensor]") -> None:
        """Restore the masks."""
        own: Any = model
        own.masks = dict(state)

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write the whole model with exactly ``ratio`` zeros, even if training ended during the ramp."""
        self._prune(model, self.ratio)
        super().save(model, output, state)

    def _prune(self, model: "PreTrainedModel", share: float) -> None:
        state: Any = model
        for name, layer in maskable(model, self.pattern).items():
            state.masks[name] = mask(layer.weight.detach(), share, self.pattern)
            layer.weight.data.mul_(state.masks[name])


def maskable(model: Any, pattern: Pattern) -> "dict[str, Linear]":
    """Return the linear layers below *model*'s head by path; for 2:4 those with a multiple of 4 inputs."""
    from torch.nn import Linear

    head_modules = {id(module) for head in heads(model).values() for module in head.modules()}
    layers = {path: module for path, module in model.named_modules() if type(module) is Linear}
    return {
        path: layer
        for path, layer in layers.items()
        if id(layer) not in head_modules and (pattern == "none" or layer.in_features % 4 == 0)
    }


def mask(weight: "Tensor", share: float, pattern: Pattern) -> "Tensor":
    """Return a bool mask in the shape of *weight* that is False for the smallest weights.

    With ``2:4`` it is False for the two smallest of every four inputs. Below a share of 0.5, the groups where
    these two are smallest come first.

    Args:
        weight: (outputs, inputs).
        share: share of all weights that are masked; at most 0.5 with ``2:4``.
        pattern: where zeros are allowed.
    """
    import torch

    sizes = weight.abs()
    if pattern == "2:4":
        pairs = sizes.view(-1, 4).topk(2, dim=1, largest=False)
        groups = round(share * weight.numel() / 2)
        chosen = pairs.values.sum(1).topk(groups, largest=False).indices
        kept = torch.ones_like(sizes, dtype=torch.bool).view(-1, 4)
        kept[chosen[:, None], pairs.indices[chosen]] = False
        return kept.view_as(weight)
    kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    kept[sizes.flatten().topk(round(share * weight.numel()), largest=False).indices] = False
    return kept.view_as(weight)
