"""Low-rank adaptation: small trainable matrices beside frozen linear layers."""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from framework.core.errors import StepError
from framework.core.words import nearest
from framework.tuning import Tuning

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@contextlib.contextmanager
def _without_known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # peft 0.21 asks for it by the name that transformers 6 will drop.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield


_PEFT_TASKS = {"causal-lm": "CAUSAL_LM", "sequence-classification": "SEQ_CLS"}


class LoRA(Tuning):
    """LoRA (Hu et al., 2021, arXiv:2106.09685), through peft.

    A frozen weight W of shape (out, in) acts as ``W + alpha / rank * B @ A``, with A of shape
    (rank, in) and B of shape (out, rank), which starts at zero.
    """

    rank: Annotated[int, Field(ge=1, le=4096)] = 16
    """Width of the adapter: more learns more and costs memory in proportion."""
    alpha: Annotated[float, Field(gt=0)] = 32
    """Scale of the update, divided by ``rank``; twice the rank is the usual start."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that is zeroed while training."""
    target_modules: Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all-linear"
    """Names of the linear layers to adapt, such as ``[q_proj, v_proj]``; a name that matches nothing is
    an error. ``all-linear`` takes every one but the output head."""

    def apply(self, model: "PreTrainedModel", task: str) -> "PreTrainedModel":
        """Freeze *model* and put adapters beside its linear layers."""
        from peft import LoraConfig, get_peft_model
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._refuse_unmatched(model)
        config = LoraConfig(task_type=_PEFT_TASKS[task], **self.peft_options())
        with _without_known_warnings():
            adapted: PreTrainedModel = get_peft_model(model, config)
        for module in adapted.modules():
            # peft copies each layer's input to the adapter's float32; autocast casts it back at once.
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False
        return adapted

    def peft_options(self) -> dict[str, Any]:
        """Return the arguments of ``peft.LoraConfig``; variants of LoRA add theirs."""
        targets = self.target_modules
        return {
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": targets if isinstance(targets, str) else list(targets),
        }

    def _refuse_unmatched(self, model: "PreTrainedModel") -> None:
        from torch.nn import Linear

        linear = {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, Linear)}
        wanted = set() if isinstance(self.target_modules, str) else set(self.target_modules)
        for name in sorted(wanted):
            parts = model.named_modules()
            found = [part for path, part in parts if path == name or path.endswith(f".{name}")]
            # What can be adapted holds a matrix of its own; a block of layers or a norm does not.
            if not any(getattr(getattr(part, "weight", None), "ndim", 0) >= 2 for part in found):
                guess = None if found else nearest(name, linear)
                known = f"linear layers are {', '.join(sorted(linear))}"
                hint = f"did you mean '{guess}'?" if guess else known
                raise StepError(f"tuning.target_modules: no linear layer is called '{name}'; {hint}")

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write a PEFT adapter: ``adapter_config.json`` and ``adapter_model.safetensors``."""
        import json

        model.save_pretrained(output, state_dict=state)
        written = output / "adapter_config.json"
        body = json.loads(written.read_text())
        # Where the base model lay on this machine is no use elsewhere.
        body["base_model_name_or_path"] = None
        # peft keeps target modules in a set, whose order changes from process to process.
        if isinstance(body.get("target_modules"), list):
            body["target_modules"].sort()
        written.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")
        (output / "README.md").unlink(missing_ok=True)

    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Add the adapter's product to the float weights and drop the adapter."""
        from peft import PeftModel

        with _without_known_warnings():
            merged: PreTrainedModel = PeftModel.from_pretrained(base, str(tuned)).merge_and_unload()
        return merged

    def trainable(self, parameters: float) -> float:
        """Estimate the adapter's weights: two strips of ``rank`` beside matrices of width d.

        d is taken as ``0.05 * sqrt(parameters)``: within a third of the true width from SmolLM2-135M
        to Llama-3.1-8B.
        """
        return min(parameters, parameters * 2 * self.rank / (0.05 * math.sqrt(parameters)))
