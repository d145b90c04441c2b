"""Lightning's strategy for pipelines, with checkpoints that any layout can resume from."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies.parallel import ParallelStrategy
from torch.distributed.device_mesh import init_device_mesh
from torch.optim import Optimizer

from framework.build.parallelism import sharding
from framework.build.parallelism.mesh_strategy import MeshStrategy
from framework.build.parallelism.pipeline_stage import EMBEDDINGS, HEAD


class PipelineStrategy(MeshStrategy):
    """A mesh of *data* by *stages* by *tensor* processes."""

    def __init__(self, data: int, stages: int, tensor: int) -> None:
        super().__init__(data, tensor, offload=False)
        self._sizes = (data, stages, tensor)

    def setup_environment(self) -> None:
        """Create the device mesh for the module."""
        ParallelStrategy.setup_environment(self)
        self._setup_distributed()
        names = ("data_parallel", "pipeline", "tensor_parallel")
        mesh = init_device_mesh(self.root_device.type, self._sizes, mesh_dim_names=names)
        self._device_mesh = mesh
        module: Any = self.lightning_module
        module._device_mesh = mesh

    @property
    def _stage(self) -> Any:
        module: Any = self.lightning_module
        return module.model.stage

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the whole trained weights of all stages on rank 0."""
        trained = [(self._name(weight), weight) for weight in self._trained().values()]
        stage = self._stage
        state: dict[str, Any] = stage.gather(sharding.whole_state(trained, stage.represents_stage))
        return state

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load this process's shards of the weights."""
        state = checkpoint["state_dict"]
        own = {name: state[self._name(weight)] for name, weight in self._trained().items()}
        sharding.load_weights(self.lightning_module, own)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state of a single process's optimizer: that of all stages, with its numbering."""
        plain: Any = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = sharding.optimizer_state(plain, self._stage.represents_stage)
        names = [self._name(weight) for group in plain.param_groups for weight in group["params"]]
        by_name = self._stage.gather({names[number]: values for number, values in state["state"].items()})
        order = self._order()
        groups = []
        for group in state["param_groups"]:
            matrices = any(self._dimensions()[names[number]] >= 2 for number in group["params"])
            numbers = [n for n, name in enumerate(order) if (self._dimensions()[name] >= 2) == matrices]
            groups.append({**group, "params": numbers})
        return {
            "state": {order.index(name): values for name, values in by_name.items()},
            "param_groups": groups,
        }

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this process's shards of the optimizer state."""
        order = self._order()
        for optimizer, full in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            numbers = [order.index(self._name(weight)) for weight in weights]
            state = {own: full["state"][number] for own, number in enumerate(numbers)}
            groups, start = [], 0
            for group, saved in zip(optimizer.param_groups, full["param_groups"], strict=True):
                end = start + len(group["params"])
                groups.append({**saved, "params": list(range(start, end))})
                start = end
            sharding.load_optimizer(optimizer, {"state": state, "param_groups": groups})

    def _trained(self) -> dict[str, Any]:
        module: Any = self.lightning_module
        return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}

    def _name(self, weight: Any) -> str:
        """Return the name of *weight* in the whole model, where a tied head has the embeddings' name."""
        name = next(name for name, own in self._trained().items() if own is weight)
        return name.replace(HEAD, EMBEDDINGS) if self._stage.tied else name

    def _dimensions(self) -> dict[str, int]:
        return {f"model.{name}": dimensions for name, dimensions in self._stage.trained}

    def _order(self) -> list[str]:
        """Return the trained weights' names in the order of a single process's optimizer: matrices first."""
        return sorted(self._dimensions(), key=lambda name: self._dimensions()[name] < 2)
