"""LoRA and its variants: trainable low-rank matrices added to frozen linear layers."""

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
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_START = "_gitune_start"
"""Attribute of a model that holds its initial adapter, for PiSSA."""


class LoRA(PeftAdapter):
    """LoRA (Hu et al., 2021, arXiv:2106.09685) and its variants, through peft.

    The effective weight is ``W + alpha / rank * B @ A``: W is frozen, (out, in); A is (rank, in); B is
    (out, rank) and starts at zero.
    """

    rank: Annotated[int, Field(ge=1, le=4096)] = 16
    """Rank of the update. A higher rank can learn more; memory grows in proportion."""
    alpha: Annotated[float, Field(gt=0)] = 32
    """Scale of the update, divided by ``rank``; twice the rank is a common choice."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the adapter's inputs."""
    target_modules: Targets = "all-linear"
    """Names of the linear layers to adapt, such as ``[q_proj, v_proj]``; a name that matches nothing is an
    error. ``all-linear`` selects every one except the output head. ``attention`` and ``attention-mlp`` select
    those layers of a known architecture, without poolers and other towers."""
    use_rslora: bool = False
    """Divide ``alpha`` by the square root of ``rank``, so that high ranks learn as fast as low ones (rsLoRA:
    Kalajdzievski, 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train magnitude and direction of the weights separately (DoRA: Liu et al., 2024, arXiv:2402.09353).
    Closer to full fine-tuning at low ranks; at least a third slower."""
    init: Annotated[str, Field(pattern=r"^(default|gaussian|pissa|pissa_niter_[1-9][0-9]?)$")] = "default"
    """Initialization of A and B. ``default`` and ``gaussian`` draw A and set B to zero. ``pissa`` moves the
    weight's largest singular components into the adapter and trains them (Meng et al., 2024,
    arXiv:2404.02948), which converges faster at first. ``pissa_niter_4`` approximates them in 4 iterations; a
    full decomposition takes minutes on large layers."""
    base_precision: Literal["float", "nf4"] = "float"
    """Precision of the frozen linear layers during training. ``nf4`` is QLoRA (Dettmers et al., 2023,
    arXiv:2305.14314), with an eighth of their memory. The adapter is still merged into the float base, since
    rounding to 4 bits would lose the update."""
    double_quantization: bool = True
    """Quantize the scales of nf4 too, which saves 0.4 bits per weight."""

    @model_validator(mode="after")
    def _check_init(self) -> Self:
        changed = self.use_dora or self.base_precision != "float" or self.from_adapter is not None
        if self.init.startswith("pissa") and changed:
            raise PydanticCustomError(
                "pissa",
                "'init: pissa' changes the float base, so it cannot be combined with 'use_dora', "
                "'base_precision: nf4' or 'from_adapter'; use 'init: default'",
            )
        return self

    def requires(self) -> Mapping[str, str]:
        """Return bitsandbytes, which quantizes the frozen layers."""
        return {} if self.base_precision == "float" else {"bitsandbytes": "qlora"}

    @property
    def spreads(self) -> frozenset[str]:
        """All for plain LoRA on float weights.

        DoRA's magnitudes need whole columns, and the scales of nf4 weights are stored separately.
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
        """Quantize the frozen layers if ``base_precision`` is nf4."""
        if self.base_precision == "nf4":
            from framework.build.tuning.nf4 import quantize

            quantize(model, self.double_quantization)
        return model

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Freeze *model* and add adapters to its linear layers."""
        adapted = super().apply(model, task, steps)
        if self.init.startswith("pissa"):
            from peft import get_peft_model_state_dict

            _refuse_embeddings(adapted)
            start = get_peft_model_state_dict(adapted, save_embedding_layers=False)
            object.__setattr__(
                adapted,
                _START,
                {name: tensor.clone() for name, tensor in start.items() if ".lora_" in name},
            )
        return adapted

    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write a PEFT adapter for the original base, even if ``init`` changed it."""
        super().save(model, output, state)
        if self.init.startswith("pissa"):
            _refer_to_original(output, getattr(model, _START), self.use_rslora)

    def trainable(self, parameters: float) -> float:
        """Estimate ``2 * rank * d`` for each ``d * d`` matrix."""
        return min(parameters, parameters * 2 * self.rank / self.width(parameters))

    def weight_bytes(self) -> float:
        """Return 4, or half a byte plus scales for nf4; embeddings, which stay float, are not included."""
        if self.base_precision == "float":
            return 4.0
        return 0.52 if self.double_quantization else 0.5625


def _refuse_embeddings(adapted: Any) -> None:
    """Raise a StepError for an adapted embedding, which peft would initialize without PiSSA, in silence."""
    for path, module in adapted.named_modules():
        if getattr(module, "lora_embedding_A", None):
            name = path.rpartition(".")[2]
            raise StepError(
                f"tuning.init: pissa initializes no embedding such as '{name}'; leave it out of "
                "tuning.target_modules, or set tuning.init=default"
            )


def _refer_to_original(output: Path, start: "Mapping[str, Tensor]", rslora: bool) -> None:
    """Convert an adapter for ``W - s * B0 @ A0`` to one of twice the rank for W.

    The update is ``s * (B @ A - B0 @ A0)``, which equals ``s * [B, -B0] @ [A; A0]``. To keep the scale s,
    ``alpha`` grows with the rank (with its square root for rsLoRA).
    """
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(output / WEIGHTS)
    for name, tensor in start.items():
        initial = tensor.to("cpu", tensors[name].dtype)
        is_a = name.endswith(".lora_A.weight")
        both = [tensors[name], initial if is_a else -initial]
        tensors[name] = torch.cat(both, 0 if is_a else 1).contiguous()
    save_file(tensors, output / WEIGHTS, metadata={"format": "pt"})
    body = json.loads((output / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    body["r"] *= 2
    body["lora_alpha"] *= math.sqrt(2) if rslora else 2
    body["init_lora_weights"] = True
    write_config(output, body)
