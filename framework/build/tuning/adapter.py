"""Bottleneck adapters: small non-linear detours inside every layer, our own.

peft has none. The layer itself is ``framework.build.engine.bottleneck``'s, since it is served unmerged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.engine.attached_adapter import BOTTLENECK, WEIGHTS
from framework.build.task import open_task
from framework.build.tuning import Tuning
from framework.build.tuning.architectures import heads, layers_of, named
from framework.build.tuning.peft_adapter import write_config
from framework.build.tuning.targets import refuse_unmatched
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Adapter(Tuning):
    """Bottleneck adapters behind frozen layers: ``y + up(activation(down(y)))``.

    ``houlsby`` puts one behind attention and one behind the feed-forward of every layer (Houlsby et
    al., 2019, arXiv:1902.00751), ``pfeiffer`` only the latter (Pfeiffer et al., 2020,
    arXiv:2005.00052). Both stand where the sublayer's output has not joined the residual yet, before
    any norm; the second paper's stands behind it. The activation between makes merging impossible.
    A classifier's head is trained with them. Saved as PEFT saves an adapter, though peft does not know it.
    """

    merges: ClassVar[bool] = False

    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """Two adapters a layer, or one."""
    reduction: Annotated[int, Field(ge=1, le=1024)] = 16
    """The model's width divided by the adapter's."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"
    """Between the two linear layers of an adapter."""
    target_modules: Literal["architecture"] | Names = "architecture"
    """Layers to put an adapter behind; ``architecture``: what ``placement`` means in a known one."""

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Freeze *model* and put adapters into it."""
        from framework.build.engine.bottleneck import Bottleneck, insert

        model.requires_grad_(False)
        targets = self._targets(model)
        width = max(1, _width(model) // self.reduction)
        insert(model, targets, width, self.activation)
        for part in model.modules():
            if isinstance(part, Bottleneck):
                part.down.requires_grad_(True)
                part.up.requires_grad_(True)
        if not open_task(task).generates:  # a classifier's head begins at random
            for head in heads(model).values():
                head.requires_grad_(True)
        return model

    def _targets(self, model: "PreTrainedModel") -> list[str]:
        """Return the whole paths of the layers to adapt, so that opening them needs no rules."""
        if self.target_modules != "architecture":
            refuse_unmatched(self.target_modules, model)
            found = {path for name in self.target_modules for path, _ in named(model, name)}
            return sorted(found)
        layers = layers_of(model)
        attention = {path for path, _ in named(model, layers.attention[-1])}
        feed_forward = {path for path, _ in named(model, layers.feed_forward[-1])} - attention
        return sorted(feed_forward if self.placement == "pfeiffer" else attention | feed_forward)

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors``, which holds what was trained."""
        from safetensors.torch import save_file

        from framework.build.engine.bottleneck import Bottleneck

        whole = model.state_dict() if state is None else state
        trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
        tensors = {name: whole[name].detach().cpu().contiguous() for name in trained}
        save_file(tensors, output / WEIGHTS, metadata={"format": "pt"})
        targets = [path for path, part in model.named_modules() if isinstance(part, Bottleneck)]
        widths = {len(tensors[f"{path}.down.bias"]) for path in targets}
        body: dict[str, Any] = {
            "peft_type": BOTTLENECK,
            "placement": self.placement,
            "activation": self.activation,
            "target_modules": targets,
            "width": widths.pop(),
        }
        write_config(output, body)

    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Refuse: there is an activation in every adapter, so no weight could stand for it."""
        raise StepError("tuning=adapter does not merge: set export=transformers")

    def trainable(self, parameters: float) -> float:
        """Estimate two matrices of d and ``d / reduction`` an adapter, of a layer's ``12 * d**2`` weights."""
        adapters = 2 if self.placement == "houlsby" else 1
        return min(parameters, parameters * adapters * 2 / self.reduction / 12)


def _width(model: Any) -> int:
    """Return the width of the residual stream, whatever the architecture calls it."""
    return int(model.config.get_text_config().hidden_size)
