"""Pipeline parallelism, optionally combined with data and tensor parallelism."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.parallelism import Device, Way
from framework.build.parallelism.distributed import Distributed

if TYPE_CHECKING:
    from torch import Tensor


class Pipeline(Distributed):
    """Pipeline parallelism, one forward one backward (1F1B: Narayanan et al., 2019, arXiv:1806.03377).

    Each of ``stages`` processes has consecutive layers. The micro batches of a step,
    ``training.gradient_accumulation_steps``, pass through the stages one after another, so all stages work
    at once. There must be at least as many micro batches as stages; more of them shrink the idle time at
    the ends of a step (the pipeline bubble). The rows of a step are padded to the same length, not packed.

    With ``data`` and ``tensor`` each stage is a mesh of processes, as in the option ``2d``; together this is
    "3D parallelism". Ranks are ordered by data, then stage, then tensor, so the processes that communicate
    most are neighbors.
    """

    size_key: ClassVar[str] = "parallelism.data"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    whole_steps: ClassVar[bool] = True

    stages: Annotated[int, Field(ge=2)] = 2
    """Processes with different layers; at most the number of layers."""
    data: Annotated[int, Field(ge=1)] = 1
    """Pipelines with their own rows; they shard weights, gradients and optimizer states (FSDP2)."""
    tensor: Annotated[int, Field(ge=1)] = 1
    """Processes that compute each layer together; must divide the number of attention heads."""

    @property
    def processes(self) -> int:
        """The size of the mesh."""
        return self.data * self.stages * self.tensor

    @property
    def least_micro_batches(self) -> int:
        """One per stage; with fewer, some stages would always be idle."""
        return self.stages

    @property
    def data_parallel(self) -> int:
        """The pipelines with their own rows."""
        return self.data

    @property
    def data_rank(self) -> int:
        """The pipeline's number."""
        return self.rank // (self.stages * self.tensor)

    @property
    def ways(self) -> frozenset[Way]:
        """``layers``, and those of each stage's mesh."""
        ways: set[Way] = {"layers"}
        if self.data > 1:
            ways.add("sharded")
        if self.tensor > 1:
            ways.add("tensor")
        return frozenset(ways)

    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return the strategy of a mesh with stages."""
        from framework.build.parallelism.pipeline_strategy import PipelineStrategy

        return PipelineStrategy(self.data, self.stages, self.tensor)

    def optimizer_arguments(self, precision: str) -> dict[str, Any]:
        """Update weights one by one with tensor parallelism, where only some of them are sharded."""
        return super().optimizer_arguments(precision) if self.tensor == 1 else {"foreach": False}

    def shard(self, model: Any, mesh: Any) -> None:
        """Keep this process's layers of *model*; apply tensor parallelism to them, then FSDP2.

        ``model.stage`` is then the ``Stage`` that computes a micro batch.
        """
        from framework.build.parallelism.pipeline_stage import Stage

        stage = Stage(model, mesh["pipeline"])
        if self.tensor > 1:
            from framework.build.parallelism.tensor_plan import shard_linear_layers

            shard_linear_layers(model, list(stage.layers), mesh["tensor_parallel"])
        if self.data > 1:
            from torch.distributed.fsdp import fully_shard

            for module in (*stage.layers, stage):
                # The next micro batch needs the gathered weights at once.
                fully_shard(module, mesh=mesh["data_parallel"], reshard_after_forward=False)
        object.__setattr__(model, "stage", stage)  # not a submodule, so the weights keep their names

    def gather(self, module: Any) -> "dict[str, Tensor] | None":
        """Gather the layers of all stages on rank 0."""
        from framework.build.parallelism.sharding import whole_state

        stage = module.model.stage
        own = whole_state(module.model.state_dict(keep_vars=True).items(), stage.represents_stage)
        state = stage.gather(own)
        stage.restore()
        return state if self.rank == 0 else None
