"""Lightning's DeepSpeed strategy, on the CPU as on GPUs, with checkpoints that any layout opens.

DeepSpeed's own checkpoints are folders of shares that only the same number of processes can read. Here
the first process writes whole tensors in the form of torch's own optimiser instead.
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
        """The weights of each of the optimiser's groups, as they were before DeepSpeed flattened them."""

    def setup_environment(self) -> None:
        """Begin; Lightning's own refuses anything but CUDA."""
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
        # Compiled at the first use, and a compiler that is killed leaves a lock that stops all later runs.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._init_deepspeed_distributed()

    @contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """Build nothing under ``zero.Init``: the model is there already, with the weights of its folder."""
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
        """Go backward; Lightning has divided the loss by the accumulation already."""
        return super().backward(closure_loss, optimizer, *arguments, scale_wrt_gas=False, **named)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Let Lightning ask us to load the optimiser's state."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the trained weights, whole, in the first process."""
        module: Any = self.lightning_module
        trained = ((name, weight) for name, weight in module.named_parameters() if weight.requires_grad)
        return dict(self._kept((name, safe_get_full_fp32_param(weight)) for name, weight in trained))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the optimiser's state as torch's own would be, whole, in the first process."""
        self._link()
        zero, found, number = self._zero, {}, 0
        groups: list[dict[str, Any]] = []
        for weights, group in zip(self._groups, zero.optimizer.param_groups, strict=True):
            numbers = list(range(number, number + len(weights)))
            settings = {name: value for name, value in group.items() if name != "params"}
            groups.append({**settings, "params": numbers})
            scalars, names = self._kinds()
            for weight in weights:
                whole = ((name, safe_get_full_optimizer_state(weight, name)) for name in names)
                # A count of steps that all weights shared would be counted up once for each of them.
                own = {
                    name: part.clone() if hasattr(part, "clone") else part for name, part in scalars.items()
                }
                found[number] = {**own, **dict(self._kept(whole))}
                number += 1
        return {"state": found if self.is_global_zero else {}, "param_groups": groups}

    def _kinds(self) -> tuple[dict[str, Any], list[str]]:
        """Return what the optimiser keeps once for all weights, and the names of what it keeps for each."""
        for flat, parts in self._zero.optimizer.state.items():
            shaped = [name for name, part in parts.items() if getattr(part, "shape", ()) == flat.shape]
            return {name: part for name, part in parts.items() if name not in shaped}, shaped
        return {}, []

    def _kept(self, named: "Iterator[tuple[str, Tensor]]") -> "Iterator[tuple[str, Tensor]]":
        """Put each of *named* together, and keep it in the first process only."""
        for name, full in named:
            if self.is_global_zero:
                yield name, full.detach().cpu().clone()

    @property
    def _zero(self) -> Any:
        return self.deepspeed_engine.optimizer

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """Write one file, from the first process."""
        ParallelStrategy.save_checkpoint(self, checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read the file in every process; each keeps its share."""
        found: dict[str, Any] = ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only)
        return found

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the weights: what is computed with, and DeepSpeed's own copy of what is trained."""
        module: Any = self.lightning_module
        named: dict[str, Any] = dict(module.named_parameters())
        for name, full in checkpoint["state_dict"].items():
            weight = named[name]
            value = full.to(self.root_device)
            with torch.no_grad(), deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
                if weight.numel() == full.numel():
                    weight.copy_(value)
            if hasattr(weight, "ds_id"):
                safe_set_local_fp32_param(weight, self._share(value, weight))
            else:
                safe_set_full_fp32_param(weight, value)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's share of the optimiser's state."""
        (saved,) = checkpoint["optimizer_states"]
        zero = self._zero
        for group, theirs in zip(zero.optimizer.param_groups, saved["param_groups"], strict=True):
            group.update({name: value for name, value in theirs.items() if name not in ("params", "fused")})
        self._make_room(saved["state"][0])
        weights = [weight for group in self._groups for weight in group]
        for number, weight in enumerate(weights):
            for name, full in saved["state"][number].items():
                if getattr(full, "ndim", 0) and full.numel():
                    value = full.to(self.root_device)
                    if hasattr(weight, "ds_id"):
                        safe_set_local_optimizer_state(weight, self._share(value, weight), name)
                    else:
                        safe_set_full_optimizer_state(weight, value, name)

    def _make_room(self, kinds: Mapping[str, Any]) -> None:
        """Let the optimiser have state for its flat shares, as it has after its first step."""
        zero = self._zero
        stage_3 = hasattr(zero, "fp32_partitioned_groups_flat")
        flats = zero.fp32_partitioned_groups_flat if stage_3 else zero.single_partition_of_fp32_groups
        for flat in flats:
            zero.optimizer.state[flat] = {
                name: torch.zeros_like(flat) if getattr(part, "ndim", 0) else part.clone()
                for name, part in kinds.items()
            }
        self._link()

    def _link(self) -> None:
        """Let the weights find their state in stages 1 and 2; DeepSpeed does so for the first group only."""
        zero = self._zero
        if hasattr(zero, "single_partition_of_fp32_groups"):
            zero._hp_optimizer_states_linked = False
            zero._lazy_init_hp_params_optimizer_state()

    def _share(self, full: Tensor, weight: Any) -> Tensor:
        """Return this process's share of *full*, padded as DeepSpeed pads it."""
        size: int = weight.ds_tensor.ds_numel
        padded = torch.nn.functional.pad(full.flatten(), (0, size * self.world_size - full.numel()))
        return padded.narrow(0, size * self.global_rank, size)
