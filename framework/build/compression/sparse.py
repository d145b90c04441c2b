"""Full training under a mask: more and more weights become zero, and stay so.

It is no option of the group ``tuning``: what it makes is a compressed model. It knows no rows and no losses.
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
    """Train all weights while the smallest of each linear layer below the head become zero (L1).

    The share of zeros after step t of the ramp's n is ``ratio * (1 - (1 - t / n)**3)``: fast at first, then
    ever slower (Zhu and Gupta, 2017, arXiv:1710.01878). What is zero stays zero: it is put back to zero after
    every step, and so is the smallest when the next are chosen.
    """

    ratio: Annotated[float, Field(gt=0, lt=1)]
    """Share of each layer's weights that are zero at the end."""
    pattern: Pattern
    """Where the zeros may lie; see ``PruneUnstructured``."""
    ramp: Annotated[float, Field(ge=0, le=1)]
    """Share of the steps in which the zeros grow; 0 makes all of them before the first step."""

    @property
    def spreads(self) -> frozenset[str]:
        """In no way: a layer's smallest weights are known only where it is whole."""
        return frozenset()

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return *model* with every weight trainable, and masks that are still empty unless ``ramp`` is 0.

        Raises:
            StepError: there is no linear layer, or none whose inputs make groups of four.
        """
        layers = maskable(model, self.pattern)
        if not layers:
            raise StepError(
                f"compression.prune-unstructured: {type(model).__name__} has no linear layer below its head "
                + (
                    "whose inputs are a multiple of 4; set compression.prune-unstructured.pattern=none"
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
        """Choose this step's zeros while the ramp goes on, and put all zeros back."""
        state: Any = model
        if step <= state.ramp_steps:
            self._prune(model, self.ratio * (1 - (1 - step / state.ramp_steps) ** 3))
        for name, layer in maskable(model, self.pattern).items():
            state.masks[name] = state.masks[name].to(layer.weight.device)  # it may have been made elsewhere
            layer.weight.data.mul_(state.masks[name])

    def state(self, model: "PreTrainedModel") -> "dict[str, Tensor]":
        """Return the masks: by the weights alone one could not tell a zero that must stay."""
        state: Any = model
        return dict(state.masks)

    def load_state(self, model: "PreTrainedModel", state: "Mapping[str, Tensor]") -> None:
        """Take the masks back."""
        own: Any = model
        own.masks = dict(state)

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write the whole model with just ``ratio`` of zeros, also where training ended within the ramp."""
        self._prune(model, self.ratio)
        super().save(model, output, state)

    def _prune(self, model: "PreTrainedModel", share: float) -> None:
        state: Any = model
        for name, layer in maskable(model, self.pattern).items():
            state.masks[name] = mask(layer.weight.detach(), share, self.pattern)
            layer.weight.data.mul_(state.masks[name])


def maskable(model: Any, pattern: Pattern) -> "dict[str, Linear]":
    """Return every linear layer below *model*'s head by its path; for 2:4 those with inputs in fours."""
    from torch.nn import Linear

    above = {id(part) for head in heads(model).values() for part in head.modules()}
    return {
        path: part
        for path, part in model.named_modules()
        if type(part) is Linear and id(part) not in above and (pattern == "none" or part.in_features % 4 == 0)
    }


def mask(weight: "Tensor", share: float, pattern: Pattern) -> "Tensor":
    """Return a mask, bool like *weight*, that is False for just the share *share* of the smallest weights.

    With ``2:4`` it is False for the two smallest of every four inputs, in as many fours as make that share:
    those first where the two matter least.

    Args:
        weight: (outputs, inputs).
        share: of all weights; at most 0.5 with ``2:4``.
        pattern: where the zeros may lie.
    """
    import torch

    sizes = weight.abs()
    if pattern == "2:4":
        two = sizes.view(-1, 4).topk(2, dim=1, largest=False)
        groups = round(share * weight.numel() / 2)
        chosen = two.values.sum(1).topk(groups, largest=False).indices
        kept = torch.ones_like(sizes, dtype=torch.bool).view(-1, 4)
        kept[chosen[:, None], two.indices[chosen]] = False
        return kept.view_as(weight)
    kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    kept[sizes.flatten().topk(round(share * weight.numel()), largest=False).indices] = False
    return kept.view_as(weight)
