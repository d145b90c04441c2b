"""The base of every parallelism option: how processes and devices share one training."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from framework.core.component import Component
from framework.core.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor

Device = Literal["cpu", "cuda"]
"""The kind of device that training runs on."""

Way = Literal["optimizer", "sharded", "tensor", "layers"]
"""What processes share: ``optimizer`` states and gradients; ``sharded`` weights, gathered layer by layer;
``tensor`` shards, multiplied where they are; or whole ``layers``."""


class Parallelism(Component, ABC):
    """How the tune step uses processes and devices.

    In every layout, an optimizer step sees ``micro_batch_size * gradient_accumulation_steps *
    data_parallel`` rows. Its gradient equals that of a single process that sees all of them.
    """

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks whose models it can spread; empty for all."""

    whole_steps: ClassVar[bool] = False
    """Whether a batch has all micro batches of a step."""

    launched: ClassVar[bool] = True
    """Whether torchrun starts the processes; else training runs in the calling process."""

    @property
    def processes(self) -> int:
        """Number of training processes, over all machines."""
        return 1

    @property
    def nodes(self) -> int:
        """Number of machines, with equally many processes each."""
        return 1

    @property
    def least_nodes(self) -> int:
        """Number of machines on which training continues if the others are lost."""
        return self.nodes

    @property
    def restarts(self) -> int:
        """How often all processes may restart from the last checkpoint after one of them died."""
        return 0

    @property
    def least_micro_batches(self) -> int:
        """Minimum number of micro batches per step."""
        return 1

    @property
    def data_parallel(self) -> int:
        """Number of processes, or groups of processes, with their own rows."""
        return 1

    @property
    def rank(self) -> int:
        """The number of this process, from 0; rank 0 writes the results."""
        return 0

    @property
    def data_rank(self) -> int:
        """Which of the ``data_parallel`` shares of the rows this process sees, from 0."""
        return 0

    @property
    def ways(self) -> frozenset[Way]:
        """How it shards a model; empty if every process has the whole model and optimizer."""
        return frozenset()

    @property
    def replicates(self) -> bool:
        """Whether every process has the whole model."""
        return not self.ways & {"sharded", "tensor", "layers"}

    @property
    def weight_share(self) -> float:
        """Share of the weights that one process keeps, for the plan's memory estimate."""
        return 1.0 if self.replicates else 1 / self.processes

    @property
    def optimizer_share(self) -> float:
        """Share of the gradients and optimizer states that one process keeps."""
        return 1 / self.processes if self.ways else 1.0

    def on_machines(self, machines: int) -> Self:
        """Return this layout on *machines* machines, with proportionally fewer data-parallel processes."""
        return self

    def problems(self) -> list[Problem]:
        """Return everything outside the config that keeps this layout from working."""
        return []

    @abstractmethod
    def trainer_arguments(self, device: Device, precision: str, clipping: float) -> dict[str, Any]:
        """Return the arguments of ``lightning.Trainer`` that this layout determines.

        Args:
            device: the kind of device to train on.
            precision: ``training.precision``.
            clipping: ``training.gradient_clipping``, for libraries that clip the gradients.

        Raises:
            StepError: this machine has no such device.
        """

    def optimizer_arguments(self, precision: str) -> dict[str, Any]:
        """Return arguments of torch's optimizers, which use a fused kernel if possible."""
        # A fused optimizer unscales fp16 gradients in its step, which is too late for clipping.
        return {"fused": precision != "fp16"}

    def shard(self, model: Any, mesh: Any) -> None:
        """Shard *model*, which the tuning method returned, over the processes of *mesh*, in place.

        Raises:
            StepError: this layout cannot shard the model.
        """

    def clip(self, weights: "Iterable[Tensor]", largest: float) -> "Tensor | None":
        """Clip the gradients of *weights* to a total norm of *largest*; 0 disables clipping.

        Returns:
            The total norm before clipping, a scalar; None if a library clips the gradients.
        """
        from torch.nn.utils import clip_grads_with_norm_, get_total_norm

        trained = [weight for weight in weights if weight.grad is not None]
        norm = get_total_norm([weight.grad for weight in trained if weight.grad is not None])
        if largest:
            clip_grads_with_norm_(trained, largest, norm)
        return norm

    def gather(self, module: Any) -> "dict[str, Tensor] | None":
        """Return the whole ``state_dict`` of ``module.model`` on the CPU; None if the model is not sharded.

        Every process calls this at the end of training; only rank 0 needs the tensors.
        """
        return None
