"""Lightning's strategy for sharded models, with checkpoints that any layout can resume from."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.parallel import ParallelStrategy
from torch.optim import Optimizer

from framework.build.parallelism import sharding


class MeshStrategy(ModelParallelStrategy):
    """A mesh of *data* by *tensor* processes."""

    def __init__(self, data: int, tensor: int, offload: bool) -> None:
        super().__init__(data, tensor, save_distributed_checkpoint=False)
        self._offload = offload

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Make Lightning call ``load_optimizer_state_dict``."""
        return True

    def model_to_device(self) -> None:
        """Move the model to the device, except with CPU offload."""
        if not self._offload:
            super().model_to_device()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the whole trained weights on rank 0."""
        module: Any = self.lightning_module
        trained = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
        return dict(sharding.whole_state(trained, self.is_global_zero))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the whole optimizer state on rank 0."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return sharding.optimizer_state(plain, self.is_global_zero)

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
        """Load this process's shards of the weights."""
        sharding.load_weights(self.lightning_module, checkpoint["state_dict"])

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this process's shards of the optimizer state."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            sharding.load_optimizer(optimizer, state)
