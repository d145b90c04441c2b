"""Bottleneck adapters: small non-linear modules inside every layer.

peft has none. The module is ``framework.build.engine.bottleneck``'s, since it is served unmerged.
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
    """Bottleneck adapters after frozen layers: ``y + up(activation(down(y)))``.

    ``houlsby`` adds one after attention and one after the feed-forward of every layer (Houlsby et al., 2019,
    arXiv:1902.00751); ``pfeiffer`` only the latter (Pfeiffer et al., 2020, arXiv:2005.00052). Both are
    applied before the residual is added, unlike in the second paper, where the adapter comes after it.

    The activation makes merging impossible. A classifier's head is trained too. The files have the layout of
    a PEFT adapter, but the peft library cannot load them.
    """

    merges: ClassVar[bool] = False

    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """Two adapters per layer (``houlsby``) or one (``pfeiffer``)."""
    reduction: Annotated[int, Field(ge=1, le=1024)] = 16
    """The model's hidden size divided by the adapter's."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"
    """The activation between the two linear layers of an adapter."""
    target_modules: Literal["architecture"] | Names = "architecture"
    """Layers that get an adapter; ``architecture`` selects those of ``placement`` in a known architecture."""

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Freeze *model* and insert adapters."""
        from framework.build.engine.bottleneck import Bottleneck, insert

        model.requires_grad_(False)
        targets = self._targets(model)
        width = max(1, _width(model) // self.reduction)
        insert(model, targets, width, self.activation)
        for module in model.modules():
            if isinstance(module, Bottleneck):
                module.down.requires_grad_(True)
                module.up.requires_grad_(True)
        if not open_task(task).generates:  # a classifier's head is randomly initialized
            for head in heads(model).values():
                head.requires_grad_(True)
        return model

    def _targets(self, model: "PreTrainedModel") -> list[str]:
        """Return the full paths of the layers to adapt; they are saved, so that loading needs no rules."""
        if self.target_modules != "architecture":
            refuse_unmatched(self.target_modules, model)
            return sorted({path for name in self.target_modules for path, _ in named(model, name)})
        layers = layers_of(model)
        attention = {path for path, _ in named(model, layers.attention[-1])}
        feed_forward = {path for path, _ in named(model, layers.feed_forward[-1])} - attention
        return sorted(feed_forward if self.placement == "pfeiffer" else attention | feed_forward)

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write ``adapter_config.json``, and the trained weights to ``adapter_model.safetensors``."""
        from safetensors.torch import save_file

        from framework.build.engine.bottleneck import Bottleneck

        weights = model.state_dict() if state is None else state
        trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
        tensors = {name: weights[name].detach().cpu().contiguous() for name in trained}
        save_file(tensors, output / WEIGHTS, metadata={"format": "pt"})
        targets = [path for path, module in model.named_modules() if isinstance(module, Bottleneck)]
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
        """Raise a StepError: an adapter has an activation, which no weight can replace."""
        raise StepError("tuning=adapter cannot be merged; set export=transformers")

    def trainable(self, parameters: float) -> float:
        """Estimate two matrices of ``d**2 / reduction`` per adapter, with ``12 * d**2`` weights per layer."""
        adapters = 2 if self.placement == "houlsby" else 1
        return min(parameters, parameters * adapters * 2 / self.reduction / 12)


def _width(model: Any) -> int:
    """Return the hidden size, independent of its name in the config."""
    return int(model.config.get_text_config().hidden_size)
