"""Weights spread over a mesh of processes: fully sharded, tensor-parallel, or both."""

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
    """FSDP2 along one side, tensor parallelism along the other, by Lightning's model-parallel strategy.

    Groups of ``tensor`` processes compute each layer together (Shoeybi et al., 2019, arXiv:1909.08053);
    ``data`` such groups see rows of their own and keep a share of the weights, gradients and optimiser
    each, which they lend each other layer by layer (ZeRO stage 3: Rajbhandari et al., 2019,
    arXiv:1910.02054).
    """

    size_key: ClassVar[str] = "parallelism.data"

    data: Annotated[int, Field(ge=1)] = 2
    """Groups of processes that see rows of their own."""
    tensor: Annotated[int, Field(ge=1)] = 1
    """Processes that compute each layer together; must divide the model's attention heads. Keep them on
    one machine: they talk in every layer."""
    cpu_offload: bool = False
    """Keep weights and optimiser in the machine's memory and lend them to the GPU layer by layer: slow,
    for models that fit no other way."""

    @model_validator(mode="after")
    def _check_offload(self) -> Self:
        if self.cpu_offload and (self.tensor > 1 or self.data == 1):
            raise PydanticCustomError(
                "cpu_offload", "'cpu_offload' needs fully sharded weights: 'data' of 2 or more, 'tensor' of 1"
            )
        return self

    @property
    def processes(self) -> int:
        """As many as the mesh has places."""
        return self.data * self.tensor

    @property
    def data_parallel(self) -> int:
        """Groups that see rows of their own."""
        return self.data

    @property
    def data_rank(self) -> int:
        """The group's number: its processes stand side by side."""
        return self.rank // self.tensor

    @property
    def ways(self) -> frozenset[Way]:
        """Cut for keeping along one side, for computing along the other."""
        found: set[Way] = set()
        if self.data > 1:
            found.add("sharded")
        if self.tensor > 1:
            found.add("tensor")
        return frozenset(found)

    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return our subclass of Lightning's model-parallel strategy."""
        from framework.build.parallelism.mesh_strategy import MeshStrategy

        return MeshStrategy(self.data, self.tensor, self.cpu_offload)

    def optimizer_arguments(self, precision: str) -> dict[str, Any]:
        """Go through the weights one by one where some are spread otherwise than others."""
        return super().optimizer_arguments(precision) if self.tensor == 1 else {"foreach": False}

    def shard(self, model: Any, mesh: Any) -> None:
        """Cut layers for computing, then for keeping; see the base class."""
        layers = _layers(model)
        if self.tensor > 1:
            from framework.build.parallelism.tensor_plan import cut

            cut(model, layers, mesh["tensor_parallel"])
        if self.data > 1:
            self._keep_shares(model, layers, mesh["data_parallel"])

    def _keep_shares(self, model: Any, layers: list[Any], mesh: Any) -> None:
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

        offload: OffloadPolicy = CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda")
        for part in (*layers, model):
            fully_shard(part, mesh=mesh, offload_policy=offload if self.cpu_offload else OffloadPolicy())

    def clip(self, weights: "Iterable[Tensor]", largest: float) -> "Tensor":
        """Clip by the norm over all processes; see the base class."""
        from framework.build.parallelism import sharding as spread

        trained = list(weights)
        norm = spread.gradient_norm(trained)
        if largest:
            spread.scale_gradients(trained, (largest / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def gather(self, module: Any) -> "dict[str, Tensor] | None":
        """Put every weight together, one after the other."""
        from framework.build.parallelism import sharding as spread

        return spread.whole_state(module.model.state_dict(keep_vars=True).items(), self.rank == 0)


def _layers(model: Any) -> list[Any]:
    """Return the blocks of *model* that transformers says are not to be split."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    found = [part for part in model.modules() if type(part).__name__ in names]
    if not found:
        raise StepError(
            f"parallelism: {model.config.model_type} models do not say which layers they are made of; "
            "set parallelism=ddp"
        )
    return found
