"""Low-rank adaptation: small trainable matrices beside frozen linear layers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from framework.core.errors import StepError
from framework.core.words import nearest
from framework.tuning import Tuning

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the linear layers to adapt, such as ``[q_proj, v_proj]``; a name that matches nothing is
    an error. ``all-linear`` takes every one but the output head."""

    def apply(self, model: "PreTrainedModel", task: str) -> "PreTrainedModel":
        """Freeze *model* and put adapters beside its linear layers."""
        from peft import LoraConfig, get_peft_model

        self._refuse_unmatched(model)
        targets: Any = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=targets,
            task_type=_PEFT_TASKS[task],
        )
        adapted: PreTrainedModel = get_peft_model(model, config)
        return adapted

    def _refuse_unmatched(self, model: "PreTrainedModel") -> None:
        from torch.nn import Linear

        linear = {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, Linear)}
        wanted = set() if isinstance(self.target_modules, str) else set(self.target_modules)
        for name in sorted(wanted):
            if not any(path == name or path.endswith(f".{name}") for path, _ in model.named_modules()):
                guess = nearest(name, linear)
                hint = f"did you mean '{guess}'?" if guess else f"linear layers are {', '.join(sorted(linear))}"
                raise StepError(f"tuning.target_modules: no layer is called '{name}'; {hint}")

    def save(self, model: "PreTrainedModel", output: Path) -> None:
        """Write a PEFT adapter: ``adapter_config.json`` and ``adapter_model.safetensors``."""
        import json

        # peft would record where the base model lay on this machine, which is no use elsewhere.
        for config in model.peft_config.values():
            config.base_model_name_or_path = None
        model.save_pretrained(output)
        written = output / "adapter_config.json"
        # peft keeps target modules in a set, whose order changes from process to process.
        body = json.loads(written.read_text())
        if isinstance(body.get("target_modules"), list):
            body["target_modules"].sort()
        written.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")
        (output / "README.md").unlink(missing_ok=True)

    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Add the adapter's product to the float weights and drop the adapter."""
        from peft import PeftModel

        merged: PreTrainedModel = PeftModel.from_pretrained(base, str(tuned)).merge_and_unload()
        return merged

    def trainable(self, parameters: float) -> float:
        """Estimate the adapter's weights: two strips of ``rank`` beside matrices of width d.

        d is taken as ``0.05 * sqrt(parameters)``: within a third of the true width from SmolLM2-135M
        to Llama-3.1-8B.
        """
        return min(parameters, parameters * 2 * self.rank / (0.05 * parameters**0.5))
