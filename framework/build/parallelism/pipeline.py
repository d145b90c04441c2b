"""Layers spread over processes that pass rows on, with data and tensor parallelism beside it."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.parallelism import Device, Way
from framework.build.parallelism.distributed import Distributed

if TYPE_CHECKING:
    from torch import Tensor


class Pipeline(Distributed):
    """Pipeline parallelism, one forward one backward (1F1B: Narayanan et al., 2019, arXiv:1806.03377).

    Each of ``stages`` processes has a run of the layers. The micro batches of a step,
    ``training.gradient_accumulation_steps``, follow each other through the stages, so that all work at
    once; there must be at least as many as stages, and the more, the less they wait at a step's ends. Rows
    are padded to one width a step; nothing is packed.

    With ``data`` and ``tensor`` each stage is a mesh of processes, as in the option ``2d``: together,
    "3D parallelism". Numbers go by data, then stage, then tensor, so that those who talk most are neighbours.
    """

    size_key: ClassVar[str] = "parallelism.data"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    whole_steps: ClassVar[bool] = True

    stages: Annotated[int, Field(ge=2)] = 2
    """Processes with other layers each; at most as many as there are layers."""
    data: Annotated[int, Field(ge=1)] = 1
    """Pipelines that see rows of their own, and share out the weights, gradients and optimiser (FSDP2)."""
    tensor: Annotated[int, Field(ge=1)] = 1
    """Processes that compute each layer together; must divide the model's attention heads."""

    @property
    def processes(self) -> int:
        """As many as the mesh has places."""
        return self.data * self.stages * self.tensor

    @property
    def least_micro_batches(self) -> int:
        """One a stage: else some would never work at the same time."""
        return self.stages

    @property
    def data_parallel(self) -> int:
        """Pipelines that see rows of their own."""
        return self.data

    @property
    def data_rank(self) -> int:
        """The pipeline's number."""
        return self.rank // (self.stages * self.tensor)

    @property
    def ways(self) -> frozenset[Way]:
        """As the mesh of each stage; layers that another process has are whole there."""
        found: set[Way] = {"layers"}
        if self.data > 1:
            found.add("sharded")
        if self.tensor > 1:
            found.add("tensor")
        return frozenset(found)

    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return the strategy of a mesh with stages."""
        from framework.build.parallelism.pipeline_strategy import PipelineStrategy

        return PipelineStrategy(self.data, self.stages, self.tensor)

    def optimizer_arguments(self, precision: str) -> dict[str, Any]:
        """Go through the weights one by one where some are spread otherwise than others."""
        return super().optimizer_arguments(precision) if self.tensor == 1 else {"foreach": False}

    def shard(self, model: Any, mesh: Any) -> None:
        """Keep this process's layers of *model*, cut them for computing, then for keeping.

        ``model.stage`` is then the ``Stage`` through which a micro batch goes.
        """
        from framework.build.parallelism.pipeline_stage import Stage

        stage = Stage(model, mesh["pipeline"])
        if self.tensor > 1:
            from framework.build.parallelism.tensor_plan import cut

            cut(model, list(stage.layers), mesh["tensor_parallel"])
        if self.data > 1:
            from torch.distributed.fsdp import fully_shard

            for part in (*stage.layers, stage):
                # Each micro batch needs them again at once.
                fully_shard(part, mesh=mesh["data_parallel"], reshard_after_forward=False)
        object.__setattr__(model, "stage", stage)  # not a part of the model: its names stay the model's own

    def gather(self, module: Any) -> "dict[str, Tensor] | None":
        """Bring the layers of all stages together in the first process."""
        from framework.build.parallelism import sharding as spread

        stage = module.model.stage
        mine = spread.whole_state(module.model.state_dict(keep_vars=True).items(), stage.speaks)
        found = stage.gathered(mine)
        stage.restore()
        return found if self.rank == 0 else None
