"""Low-rank adaptation: small trainable matrices beside frozen linear layers."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.engine.attached_adapter import WEIGHTS
from framework.build.engine.model_folder import ADAPTER_CONFIG
from framework.build.tuning.peft_adapter import PeftAdapter, write_config
from framework.build.tuning.targets import Targets, resolve

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_START = "_gitune_start"
"""Where a model carries the adapter that it began with, for PiSSA."""


class LoRA(PeftAdapter):
    """LoRA (Hu et al., 2021, arXiv:2106.09685) and its variants, through peft.

    A frozen weight W of shape (out, in) acts as ``W + alpha / rank * B @ A``, with A of shape
    (rank, in) and B of shape (out, rank), which starts at zero.
    """

    rank: Annotated[int, Field(ge=1, le=4096)] = 16
    """Width of the adapter: more learns more and costs memory in proportion."""
    alpha: Annotated[float, Field(gt=0)] = 32
    """Scale of the update, divided by ``rank``; twice the rank is the usual start."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that is zeroed while training."""
    target_modules: Targets = "all-linear"
    """Names of the linear layers to adapt, such as ``[q_proj, v_proj]``; a name that matches nothing is
    an error. ``all-linear`` takes every one but the output head; ``attention`` and ``attention-mlp`` take
    what a known architecture calls so, and leave poolers and other towers alone."""
    use_rslora: bool = False
    """Divide ``alpha`` by the square root of ``rank``, so that a high rank learns as fast as a low one
    (rsLoRA: Kalajdzievski, 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train each output's magnitude apart from its direction (DoRA: Liu et al., 2024, arXiv:2402.09353):
    nearer to full fine-tuning at low ranks, slower by a third and more."""
    init: Annotated[str, Field(pattern=r"^(default|gaussian|pissa|pissa_niter_[1-9][0-9]?)$")] = "default"
    """How A and B start. ``default`` and ``gaussian`` draw A and leave B zero; ``pissa`` takes the
    weight's largest singular values out of it and trains those (Meng et al., 2024, arXiv:2404.02948):
    faster at the start. ``pissa_niter_4`` finds them in 4 iterations instead of a full decomposition,
    which takes minutes on wide layers."""
    base_precision: Literal["float", "nf4"] = "float"
    """What the frozen linear layers are kept in while training: ``nf4`` is QLoRA (Dettmers et al., 2023,
    arXiv:2305.14314), an eighth of the memory. The adapter is merged into the float base all the same:
    4-bit weights would round it away."""
    double_quantization: bool = True
    """Quantize nf4's scales too: 0.4 bits a weight less."""

    @model_validator(mode="after")
    def _check_init(self) -> Self:
        changed = self.use_dora or self.base_precision != "float" or self.from_adapter is not None
        if self.init.startswith("pissa") and changed:
            raise PydanticCustomError(
                "pissa",
                "'init: pissa' takes the adapter out of a float base, so it goes with neither 'use_dora', "
                "'base_precision: nf4' nor 'from_adapter'; use 'init: default'",
            )
        return self

    @property
    def spreads(self) -> frozenset[str]:
        """In every way where A and B stand alone beside float weights.

        DoRA's magnitudes need whole columns of them, and nf4 weights keep their scales apart.
        """
        if self.base_precision != "float":
            return frozenset({"optimizer"})
        return super().spreads if self.use_dora else super().spreads | {"tensor", "layers"}

    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return ``peft.LoraConfig``."""
        from peft import LoraConfig

        return LoraConfig(
            task_type=task_type,
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=resolve(self.target_modules, model),
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            init_lora_weights=True if self.init == "default" else self.init,
        )

    def prepare(self, model: "PreTrainedModel") -> "PreTrainedModel":
        """Quantize the frozen layers where that is wanted."""
        if self.base_precision == "nf4":
            from framework.build.tuning.nf4 import quantize

            quantize(model, self.double_quantization)
        return model

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Freeze *model* and put adapters beside its linear layers."""
        adapted = super().apply(model, task, steps)
        if self.init.startswith("pissa"):
            from peft import get_peft_model_state_dict

            start = get_peft_model_state_dict(adapted, save_embedding_layers=False)
            object.__setattr__(
                adapted, _START, {name: part.clone() for name, part in start.items() if ".lora_" in name}
            )
        return adapted

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write a PEFT adapter that suits the base as it was, whatever ``init`` took out of it."""
        super().save(model, output, state)
        if self.init.startswith("pissa"):
            _refer_to_original(output, getattr(model, _START), self.use_rslora)

    def trainable(self, parameters: float) -> float:
        """Estimate the adapter's weights: two strips of ``rank`` beside matrices of width d."""
        return min(parameters, parameters * 2 * self.rank / self.width(parameters))

    def weight_bytes(self) -> float:
        """Return 4, or for nf4 half a byte and its scales; embeddings, which stay float, are left out."""
        if self.base_precision == "float":
            return 4.0
        return 0.52 if self.double_quantization else 0.5625


def _refer_to_original(output: Path, start: "Mapping[str, Tensor]", rslora: bool) -> None:
    """Turn an adapter on ``W - s * B0 @ A0`` into one of twice the rank on W.

    The update is ``s * (B @ A - B0 @ A0)``, which is ``s * [B, -B0] @ [A; A0]``; the scale s stays the
    same, as ``alpha`` grows with the rank (with its square root under rsLoRA).
    """
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(output / WEIGHTS)
    for name, part in start.items():
        first = part.to("cpu", tensors[name].dtype)
        rows = name.endswith(".lora_A.weight")
        tensors[name] = torch.cat([tensors[name], first if rows else -first], 0 if rows else 1).contiguous()
    save_file(tensors, output / WEIGHTS, metadata={"format": "pt"})
    body = json.loads((output / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    body["r"] *= 2
    body["lora_alpha"] *= math.sqrt(2) if rslora else 2
    body["init_lora_weights"] = True
    write_config(output, body)
