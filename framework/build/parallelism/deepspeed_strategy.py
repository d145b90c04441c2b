"""Lightning's DeepSpeed strategy on CPUs and GPUs, with checkpoints that any layout can resume from.

DeepSpeed's own checkpoints are folders of shards that only the same number of processes can read. Here
rank 0 writes whole tensors instead, in the format of torch's optimizers.
"""

import argparse
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from lightning.fabric.utilities.seed import reset_seed
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.strategies.parallel import ParallelStrategy
from torch import Tensor
from torch.optim import Optimizer


class Zero(DeepSpeedStrategy):
    """DeepSpeed with the config *config*."""

    def __init__(self, config: dict[str, Any], device: str) -> None:
        super().__init__(config=config, logging_level=logging.ERROR)
        self._cpu = device == "cpu"
        self._groups: list[list[Tensor]] = []
        """The weights of each optimizer group, before DeepSpeed flattened them."""

    def setup_environment(self) -> None:
        """Set up the environment; Lightning's own method accepts CUDA only."""
        if self._cpu:
            super(DeepSpeedStrategy, self).setup_environment()
        else:
            super().setup_environment()

    def setup_distributed(self) -> None:
        """Join the other processes."""
        if not self._cpu:
            super().setup_distributed()
            return
        reset_seed()
        self.set_world_ranks()
        # It is compiled on first use, and a killed compiler leaves a lock that blocks all later runs.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._init_deepspeed_distributed()

    @contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """Do not use ``zero.Init``: the model already exists, with its weights loaded."""
        self._init_config_if_needed()
        yield

    def _setup_model_and_optimizer(
        self, model: Any, optimizer: Any, lr_scheduler: Any = None
    ) -> tuple[Any, Any]:
        self._groups = [list(group["params"]) for group in optimizer.param_groups]
        engine, zero, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self.local_rank),
            config=self.config,
            model=model,
            model_parameters=[weight for weight in model.parameters() if weight.requires_grad],
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            dist_init_required=False,
        )
        return engine, zero

    def backward(self, closure_loss: Tensor, optimizer: Any, *arguments: Any, **named: Any) -> Tensor:
        """Run the backward pass; Lightning has already divided the loss by the accumulation."""
        return super().backward(closure_loss, optimizer, *arguments, scale_wrt_gas=False, **named)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Make Lightning call ``load_optimizer_state_dict``."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the whole trained weights on rank 0."""
        module: Any = self.lightning_module
        trained = ((name, weight) for name, weight in module.named_parameters() if weight.requires_grad)
        return dict(self._on_rank_zero((name, safe_get_full_fp32_param(weight)) for name, weight in trained))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole optimizer state on rank 0, as torch's optimizer would."""
        self._link()
        zero, states, number = self._zero, {}, 0
        groups: list[dict[str, Any]] = []
        for weights, group in zip(self._groups, zero.optimizer.param_groups, strict=True):
            numbers = list(range(number, number + len(weights)))
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.append({**settings, "params": numbers})
            shared, names = self._state_names()
            for weight in weights:
                whole = ((name, safe_get_full_optimizer_state(weight, name)) for name in names)
                # Copied, because a step count shared by all weights would be incremented for each of them.
                own = {
                    name: value.clone() if hasattr(value, "clone") else value
                    for name, value in shared.items()
                }
                states[number] = {**own, **dict(self._on_rank_zero(whole))}
                number += 1
        return {"state": states if self.is_global_zero else {}, "param_groups": groups}

    def _state_names(self) -> tuple[dict[str, Any], list[str]]:
        """Return the states that all weights share, and the names of the states of each weight."""
        for flat, values in self._zero.optimizer.state.items():
            shaped = [name for name, value in values.items() if getattr(value, "shape", ()) == flat.shape]
            return {name: value for name, value in values.items() if name not in shaped}, shaped
        return {}, []

    def _on_rank_zero(self, named: "Iterator[tuple[str, Tensor]]") -> "Iterator[tuple[str, Tensor]]":
        """Compute each of *named*, a collective operation, and keep it on rank 0 only."""
        for name, full in named:
            if self.is_global_zero:
                yield name, full.detach().cpu().clone()

    @property
    def _zero(self) -> Any:
        return self.deepspeed_engine.optimizer

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """Write a single file, from rank 0."""
        ParallelStrategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the file in every process; each keeps its own shards."""
        checkpoint: dict[str, Any] = ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only)
        return checkpoint

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load the weights, and DeepSpeed's own float32 copy of the trained ones."""
        module: Any = self.lightning_module
        named: dict[str, Any] = dict(module.named_parameters())
        for name, full in checkpoint["state_dict"].items():
            weight = named[name]
            value = full.to(self.root_device)
            with torch.no_grad(), deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
                if weight.numel() == full.numel():
                    weight.copy_(value)
            if hasattr(weight, "ds_id"):
                safe_set_local_fp32_param(weight, self._own_shard(value, weight))
            else:
                safe_set_full_fp32_param(weight, value)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this process's shards of the optimizer state."""
        (saved,) = checkpoint["optimizer_states"]
        zero = self._zero
        for group, loaded in zip(zero.optimizer.param_groups, saved["param_groups"], strict=True):
            group.update({name: value for name, value in loaded.items() if name not in ("params", "fused")})
        self._allocate_states(saved["state"][0])
        weights = [weight for group in self._groups for weight in group]
        for number, weight in enumerate(weights):
            for name, full in saved["state"][number].items():
                if getattr(full, "ndim", 0) and full.numel():
                    value = full.to(self.root_device)
                    if hasattr(weight, "ds_id"):
                        safe_set_local_optimizer_state(weight, self._own_shard(value, weight), name)
                    else:
                        safe_set_full_optimizer_state(weight, value, name)

    def _allocate_states(self, like: Mapping[str, Any]) -> None:
        """Allocate the states of the optimizer's flat shards, which it otherwise does in its first step."""
        zero = self._zero
        stage_3 = hasattr(zero, "fp32_partitioned_groups_flat")
        flats = zero.fp32_partitioned_groups_flat if stage_3 else zero.single_partition_of_fp32_groups
        for flat in flats:
            zero.optimizer.state[flat] = {
                name: torch.zeros_like(flat) if getattr(value, "ndim", 0) else value.clone()
                for name, value in like.items()
            }
        self._link()

    def _link(self) -> None:
        """Link weights to their states in stages 1 and 2; DeepSpeed does so for the first group only."""
        zero = self._zero
        if hasattr(zero, "single_partition_of_fp32_groups"):
            zero._hp_optimizer_states_linked = False
            zero._lazy_init_hp_params_optimizer_state()

    def _own_shard(self, full: Tensor, weight: Any) -> Tensor:
        """Return this process's shard of *full*, with DeepSpeed's padding."""
        size: int = weight.ds_tensor.ds_numel
        padded = torch.nn.functional.pad(full.flatten(), (0, size * self.world_size - full.numel()))
        return padded.narrow(0, size * self.global_rank, size)
