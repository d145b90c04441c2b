"""DeepSpeed's ZeRO: sharded optimizer states, gradients and weights, by stage."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.build.parallelism import Device, Way
from framework.build.parallelism.distributed import Distributed
from framework.core.errors import SourceError, StepError
from framework.core.problem import Problem
from framework.core.source import Source
from framework.core.suggest import nearest

if TYPE_CHECKING:
    from torch import Tensor

_SET_BY_RECIPE = {
    "train_batch_size": "training.micro_batch_size",
    "train_micro_batch_size_per_gpu": "training.micro_batch_size",
    "gradient_accumulation_steps": "training.gradient_accumulation_steps",
    "gradient_clipping": "training.gradient_clipping",
    "optimizer": "training.learning_rate and training.weight_decay",
    "scheduler": "training.schedule and training.warmup_ratio",
    "fp16": "training.precision=fp16",
    "bf16": "training.precision=bf16",
    "amp": "training.precision",
    "torch_autocast": "training.precision",
}
"""Keys of DeepSpeed's config that the recipe sets, and the recipe's keys for them."""
_SET_BY_RECIPE_ZERO = {
    "stage": "parallelism=deepspeed-1, -2 or -3",
    "offload_optimizer": "parallelism.offload",
    "offload_param": "parallelism.offload",
}
# fmt: off
_KNOWN = frozenset({
    "activation_checkpointing", "aio", "checkpoint", "comms_logger", "communication_data_type",
    "compile", "csv_monitor", "data_efficiency", "data_types", "disable_allgather", "disable_python_gc",
    "dump_state", "flops_profiler", "gradient_allreduce_op", "gradient_predivide_factor",
    "hybrid_engine", "log_level", "memory_breakdown", "prescale_gradients", "sparse_gradients",
    "steps_per_print", "tensorboard", "timers", "use_data_before_expert_parallelism",
    "wall_clock_breakdown", "wandb", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer",
    "zero_optimization",
})
# fmt: on
"""The other top-level keys of DeepSpeed's config (deepspeed.ai/docs/config-json)."""


class DeepSpeed(Distributed):
    """ZeRO (Rajbhandari et al., 2019, arXiv:1910.02054), through DeepSpeed and Lightning."""

    size_key: ClassVar[str] = "parallelism.replicas"

    replicas: Annotated[int, Field(ge=1)] = 2
    """Processes, each with its own rows."""
    stage: Literal[1, 2, 3] = 2
    """What is sharded: 1 optimizer states; 2 also gradients; 3 also weights, which are gathered layer by
    layer."""
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where shards are kept: on the GPU (``none``), in CPU memory, or on an NVMe disk (stage 3 only), which
    is slow but fits models that nothing else fits."""
    nvme_path: Path = Path("/local_nvme")
    """A folder on the NVMe disk, for ``offload: nvme``."""
    config: dict[str, Any] = Field(default={})
    """More of DeepSpeed's own config, with the keys of its JSON file. Keys that the recipe sets are rejected
    here unless their value is ``auto``."""
    config_file: Source | None = None
    """The same as a JSON file; ``config`` is merged into it and takes precedence."""

    @field_validator("config")
    @classmethod
    def _check_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        if problems := _problems(config):
            raise PydanticCustomError("deepspeed_config", "{problem}", {"problem": problems[0]})
        return config

    @model_validator(mode="after")
    def _check_offload(self) -> Self:
        if self.offload == "nvme" and self.stage < 3:
            raise PydanticCustomError("offload", "'offload: nvme' requires 'stage: 3'; use 'offload: cpu'")
        return self

    @property
    def processes(self) -> int:
        """One per replica."""
        return self.replicas

    @property
    def ways(self) -> frozenset[Way]:
        """``optimizer``, and in stage 3 also ``sharded``."""
        return frozenset({"optimizer", "sharded"} if self.stage == 3 else {"optimizer"})

    def uses(self) -> Mapping[str, str]:
        """Return DeepSpeed."""
        return {"deepspeed": "gpu"}

    def problems(self) -> list[Problem]:
        """Return what is wrong with ``config_file``, if it is a local file."""
        if self.config_file is None or not self.config_file.local:
            return []
        try:
            self._from_file()
        except _FileError as error:
            return [error.problem]
        except SourceError:
            return []  # a missing file; the rule of sources reports it
        return []

    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return the DeepSpeed strategy."""
        from importlib.util import find_spec

        if find_spec("deepspeed") is None:
            raise StepError(
                "parallelism: DeepSpeed is not installed; pip install deepspeed, or set parallelism=fsdp2"
            )
        if self.offload == "nvme" and not self.nvme_path.is_dir():
            raise StepError(
                f"parallelism.nvme_path: {self.nvme_path} is not a folder; "
                "set parallelism.nvme_path=<a folder on an NVMe disk>, or parallelism.offload=cpu"
            )
        from framework.build.parallelism.deepspeed_strategy import Zero

        return Zero(self.engine_config(precision, clipping), device)

    def trainer_arguments(self, device: Device, precision: str, clipping: float) -> dict[str, Any]:
        """Leave mixed precision to DeepSpeed's own config; see the base class."""
        return {**super().trainer_arguments(device, precision, clipping), "precision": "32-true"}

    def engine_config(self, precision: str, clipping: float) -> dict[str, Any]:
        """Return DeepSpeed's whole config, without the batch sizes, which Lightning adds."""
        user = _merged(self._from_file(), self.config)
        zero: dict[str, Any] = {"overlap_comm": False, "contiguous_gradients": True}
        zero |= {key: value for key, value in user.pop("zero_optimization", {}).items() if value != "auto"}
        zero["stage"] = self.stage
        if self.offload != "none":
            target: dict[str, Any] = {"device": self.offload}
            if self.offload == "nvme":
                target["nvme_path"] = str(self.nvme_path)
            zero["offload_optimizer"] = target
            if self.stage == 3:
                zero["offload_param"] = dict(target)
        engine = {
            # We pass torch's optimizer; DeepSpeed's own needs a compiler.
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "steps_per_print": 10**9,
            **{key: value for key, value in user.items() if value != "auto" and key not in _SET_BY_RECIPE},
            "zero_optimization": zero,
            "gradient_clipping": clipping,
        }
        if precision != "fp32":
            # Weights stay float32, as in all layouts; DeepSpeed's bf16 mode would round frozen ones.
            dtype = {"bf16": "bfloat16", "fp16": "float16"}[precision]
            engine["torch_autocast"] = {"enabled": True, "dtype": dtype}
        return engine

    def _from_file(self) -> dict[str, Any]:
        if self.config_file is None:
            return {}
        url = self.config_file.url
        try:
            settings = json.loads(self.config_file.fetch().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _FileError(f"{url} cannot be read as JSON: {error}") from error
        if not isinstance(settings, dict):
            raise _FileError(f"{url} is not a JSON object")
        if problems := _problems(settings):
            raise _FileError(f"{url}: {problems[0]}")
        return settings

    def clip(self, weights: Any, largest: float) -> None:
        """Do nothing: DeepSpeed has the gradients, and the maximum norm from its config."""

    def gather(self, module: Any) -> "dict[str, Tensor] | None":
        """Gather the weights one after the other in stage 3; see the base class."""
        if self.stage < 3:
            return None
        from deepspeed.runtime.zero import GatheredParameters

        seen: dict[int, Tensor] = {}
        state = dict(module.model.named_buffers())
        for name, weight in module.model.named_parameters(remove_duplicate=False):
            with GatheredParameters([weight]):
                if self.rank == 0:
                    if id(weight) not in seen:
                        seen[id(weight)] = weight.detach().cpu().clone()
                    state[name] = seen[id(weight)]  # tied weights stay one tensor
        return {name: state[name] for name in module.model.state_dict() if name in state}


class _FileError(StepError):
    """``config_file`` cannot be used."""

    def __init__(self, reason: str) -> None:
        self.problem = Problem("parallelism.config_file", reason)
        super().__init__(str(self.problem))


def _problems(config: dict[str, Any]) -> list[str]:
    """Return one line for each key that DeepSpeed does not have or that the recipe sets."""
    problems = []
    for key, value in config.items():
        if key in _SET_BY_RECIPE:
            if value != "auto":
                problems.append(f"'{key}' is set by {_SET_BY_RECIPE[key]}; remove it here")
        elif key not in _KNOWN:
            guess = nearest(key, (*_KNOWN, *_SET_BY_RECIPE))
            hint = f"; did you mean '{guess}'?" if guess else ""
            problems.append(f"'{key}' is not a key of DeepSpeed's config{hint}")
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict):
        return [*problems, "'zero_optimization' should be an object"]
    for key, owner in _SET_BY_RECIPE_ZERO.items():
        if zero.get(key, "auto") != "auto":
            problems.append(f"'zero_optimization.{key}' is set by {owner}; remove it here")
    return problems


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return *second* merged into *first*, recursively; *second* takes precedence.

    >>> _merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4})
    {'a': {'b': 3, 'c': 2}, 'd': 4}
    """
    both = {key: _merged(first[key], second[key]) for key in first if _nested(first, second, key)}
    return {**first, **second, **both}


def _nested(first: dict[str, Any], second: dict[str, Any], key: str) -> bool:
    return isinstance(first[key], dict) and isinstance(second.get(key), dict)
