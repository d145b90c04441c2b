"""Weights sharded over a mesh of processes: FSDP2, tensor parallelism, or both."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.parallelism import Device, Way
from framework.build.parallelism.distributed import Distributed
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor


class Mesh(Distributed):
    """FSDP2 on one mesh dimension, tensor parallelism on the other; Lightning's model-parallel strategy.

    Groups of ``tensor`` processes compute each layer together (Shoeybi et al., 2019, arXiv:1909.08053).
    There are ``data`` such groups, each with its own rows. Each keeps a shard of the weights, gradients and
    optimizer states, and weights are gathered layer by layer (ZeRO stage 3: Rajbhandari et al., 2019,
    arXiv:1910.02054).
    """

    size_key: ClassVar[str] = "parallelism.data"

    data: Annotated[int, Field(ge=1)] = 2
    """Groups of processes with their own rows; each keeps a shard of the weights."""
    tensor: Annotated[int, Field(ge=1)] = 1
    """Processes that compute each layer together; must divide the number of attention heads. Keep them on
    one machine, because they communicate in every layer."""
    cpu_offload: bool = False
    """Keep weights and optimizer states in CPU memory and copy them to the GPU layer by layer. Slow; for
    models that fit in no other way."""

    @model_validator(mode="after")
    def _check_offload(self) -> Self:
        if self.cpu_offload and (self.tensor > 1 or self.data == 1):
            raise PydanticCustomError(
                "cpu_offload",
                "'cpu_offload' requires fully sharded weights: 'data' of 2 or more, 'tensor' of 1",
            )
        return self

    @property
    def processes(self) -> int:
        """The size of the mesh."""
        return self.data * self.tensor

    @property
    def data_parallel(self) -> int:
        """The groups with their own rows."""
        return self.data

    @property
    def data_rank(self) -> int:
        """The group's number; its processes have consecutive ranks."""
        return self.rank // self.tensor

    @property
    def ways(self) -> frozenset[Way]:
        """``sharded`` with several groups, ``tensor`` with several processes per group."""
        ways: set[Way] = set()
        if self.data > 1:
            ways.add("sharded")
        if self.tensor > 1:
            ways.add("tensor")
        return frozenset(ways)

    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return the strategy of a mesh."""
        from framework.build.parallelism.mesh_strategy import MeshStrategy

        return MeshStrategy(self.data, self.tensor, self.cpu_offload)

    def optimizer_arguments(self, precision: str) -> dict[str, Any]:
        """Update weights one by one with tensor parallelism, where only some of them are sharded."""
        return super().optimizer_arguments(precision) if self.tensor == 1 else {"foreach": False}

    def shard(self, model: Any, mesh: Any) -> None:
        """Apply tensor parallelism, then FSDP2; see the base class."""
        layers = _layers(model)
        if self.tensor > 1:
            from framework.build.parallelism.tensor_plan import shard_linear_layers

            shard_linear_layers(model, layers, mesh["tensor_parallel"])
        if self.data > 1:
            self._fully_shard(model, layers, mesh["data_parallel"])

    def _fully_shard(self, model: Any, layers: list[Any], mesh: Any) -> None:
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

        offload: OffloadPolicy = CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda")
        for module in (*layers, model):
            fully_shard(module, mesh=mesh, offload_policy=offload if self.cpu_offload else OffloadPolicy())

    def clip(self, weights: "Iterable[Tensor]", largest: float) -> "Tensor":
        """Clip by the norm over all processes; see the base class."""
        from framework.build.parallelism.sharding import gradient_norm, scale_gradients

        trained = list(weights)
        norm = gradient_norm(trained)
        if largest:
            scale_gradients(trained, (largest / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def gather(self, module: Any) -> "dict[str, Tensor] | None":
        """Gather every weight, one after the other."""
        from framework.build.parallelism.sharding import whole_state

        return whole_state(module.model.state_dict(keep_vars=True).items(), self.rank == 0)


def _layers(model: Any) -> list[Any]:
    """Return the blocks of *model*, which transformers lists as not to be split."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    if not layers:
        raise StepError(
            f"parallelism: transformers does not declare the layers of '{model.config.model_type}' models; "
            "set parallelism=ddp"
        )
    return layers
