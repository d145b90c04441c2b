"""AdaLoRA: low-rank adapters with a rank budget that moves to the most important layers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.tuning.peft_adapter import PeftAdapter
from framework.build.tuning.targets import Targets, resolve
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_MINIMUM_STEPS = 5
_ALLOCATOR = ("exp_avg_ipt", "exp_avg_unc")
_PATTERN = "rank_pattern"


class AdaLoRA(PeftAdapter):
    """AdaLoRA (Zhang et al., 2023, arXiv:2303.10512), through peft.

    The update is ``alpha / rank * B @ diag(E) @ A``. After a warm-up, the least important entries of E are
    gradually set to zero, until each layer has ``target_rank`` on average.
    """

    continues: ClassVar[bool] = False

    rank: Annotated[int, Field(ge=2, le=4096)] = 12
    """Initial rank of every layer; usually 1.5 times ``target_rank``."""
    target_rank: Annotated[int, Field(ge=1, le=4096)] = 8
    """Final mean rank; below ``rank``."""
    alpha: Annotated[float, Field(gt=0)] = 32
    """Scale of the update, divided by ``rank``."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the adapter's inputs."""
    target_modules: Targets = "all-linear"
    """The linear layers to adapt; see ``LoRA``."""
    initial_ratio: Annotated[float, Field(ge=0, le=0.4)] = 0.1
    """Share of the steps before the first rank is removed."""
    final_ratio: Annotated[float, Field(ge=0, le=0.4)] = 0.3
    """Share of the steps, at the end, with constant ranks."""
    interval: Annotated[int, Field(ge=1)] = 10
    """Steps between two rank allocations."""
    orthogonality: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the penalty that keeps the rows of A and the columns of B orthogonal."""

    @model_validator(mode="after")
    def _check_ranks(self) -> Self:
        if self.target_rank >= self.rank:
            raise PydanticCustomError(
                "target_rank", "'target_rank' should be below 'rank'; for equal ranks set tuning=lora"
            )
        return self

    @property
    def spreads(self) -> frozenset[str]:
        """None: ranking needs complete gradients."""
        return frozenset()

    def peft_config(self, model: "PreTrainedModel", task_type: str, steps: int) -> Any:
        """Return ``peft.AdaLoraConfig`` with a schedule for *steps*."""
        from peft import AdaLoraConfig

        if steps < _MINIMUM_STEPS:
            raise StepError(
                f"tuning=adalora requires at least {_MINIMUM_STEPS} steps, not {steps}; set tuning=lora"
            )
        return AdaLoraConfig(
            task_type=task_type,
            init_r=self.rank,
            target_r=self.target_rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=resolve(self.target_modules, model),
            tinit=int(self.initial_ratio * steps),
            tfinal=int(self.final_ratio * steps),
            deltaT=self.interval,
            orth_reg_weight=self.orthogonality,
            total_step=steps,
        )

    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Freeze *model* and add adapters to its linear layers."""
        adapted = super().apply(model, task, steps)
        # peft adds its penalty only if the model computes the loss itself; ours is in ``penalty``.
        adapted.base_model.forward = adapted.base_model.model.forward
        return adapted

    def after_step(self, model: "PreTrainedModel", step: int) -> None:
        """Update the importance of every rank from the step's gradients, and remove ranks on schedule."""
        model.base_model.update_and_allocate(step)

    def penalty(self, model: "PreTrainedModel") -> "Tensor | None":
        """Return the mean distance of ``A @ A.T`` and ``B.T @ B`` from the identity (Frobenius), weighted."""
        import torch

        distances = []
        for name, weight in model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                product = weight @ weight.T if ".lora_A." in name else weight.T @ weight
                distances.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
        return self.orthogonality * torch.stack(distances).mean()

    def state(self, model: "PreTrainedModel") -> "dict[str, Tensor]":
        """Return the importance of every weight so far, and the remaining ranks."""
        import torch

        allocator: Any = model.base_model.rankallocator
        importance = {
            f"{kind}.{name}": scores
            for kind in _ALLOCATOR
            for name, scores in getattr(allocator, kind).items()
        }
        pattern = allocator.peft_config.rank_pattern or {}
        return importance | {f"{_PATTERN}.{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def load_state(self, model: "PreTrainedModel", state: "Mapping[str, Tensor]") -> None:
        """Restore the importance and ranks of an interrupted run."""
        allocator: Any = model.base_model.rankallocator
        devices = {name: weight.device for name, weight in model.base_model.model.named_parameters()}
        for key, tensor in state.items():
            kind, _, name = key.partition(".")
            if kind == _PATTERN:
                pattern = allocator.peft_config.rank_pattern or {}
                allocator.peft_config.rank_pattern = pattern | {name: tensor.tolist()}
            else:
                getattr(allocator, kind)[name] = tensor.to(devices[name])
                allocator.ipt.setdefault(name, tensor)  # peft only tests whether the name is present

    def trainable(self, parameters: float) -> float:
        """Estimate like ``LoRA``, at the initial rank."""
        return min(parameters, parameters * 2 * self.rank / self.width(parameters))
