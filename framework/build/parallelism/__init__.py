"""The base of every parallelism option: how one training run spreads over processes and devices."""

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
"""What a layout spreads over processes: the optimiser and the gradients; the weights too, each put
together where it is used; or the weights, used in parts; or the layers."""


class Parallelism(Component, ABC):
    """How the tune step uses processes and devices.

    Whatever the layout, an optimiser step sees ``micro_batch_size * gradient_accumulation_steps *
    data_parallel`` rows, and its gradient is that of one process that sees them all.
    """

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks whose models it can spread; empty for all."""

    whole_steps: ClassVar[bool] = False
    """Whether it takes the micro batches of a step at once."""

    launched: ClassVar[bool] = True
    """Whether torchrun starts the processes; else training runs where it was asked for."""

    @property
    def processes(self) -> int:
        """How many processes train together, over all machines."""
        return 1

    @property
    def nodes(self) -> int:
        """On how many machines they run, as many on each."""
        return 1

    @property
    def least_nodes(self) -> int:
        """On how many of them training goes on where the others are lost."""
        return self.nodes

    @property
    def restarts(self) -> int:
        """How often the processes start again from the last checkpoint because one of them died."""
        return 0

    @property
    def least_micro_batches(self) -> int:
        """How many micro batches a step must have."""
        return 1

    @property
    def data_parallel(self) -> int:
        """How many of them, or groups of them, see rows of their own."""
        return 1

    @property
    def rank(self) -> int:
        """The number of this process, from 0; the first writes what all have made."""
        return 0

    @property
    def data_rank(self) -> int:
        """Which of the ``data_parallel`` shares of the rows this process sees."""
        return 0

    @property
    def ways(self) -> frozenset[Way]:
        """In which ways it spreads a model; empty where every process has it whole."""
        return frozenset()

    @property
    def replicates(self) -> bool:
        """Whether every process holds the whole model, and not a part of it."""
        return not self.ways & {"sharded", "tensor", "layers"}

    @property
    def weight_share(self) -> float:
        """How much of the weights one process keeps, for the plan's estimate of memory."""
        return 1.0 if self.replicates else 1 / self.processes

    @property
    def optimizer_share(self) -> float:
        """How much of the gradients and of the optimiser one process keeps."""
        return 1 / self.processes if self.ways else 1.0

    def on_machines(self, machines: int) -> Self:
        """Return this layout on so many *machines*, with fewer processes that see rows of their own."""
        return self

    def problems(self) -> list[Problem]:
        """Return everything outside the config that keeps this layout from working."""
        return []

    @abstractmethod
    def trainer_arguments(self, device: Device, precision: str, clipping: float) -> dict[str, Any]:
        """Return the arguments of ``lightning.Trainer`` that this layout decides.

        Args:
            device: what training runs on.
            precision: ``training.precision``.
            clipping: ``training.gradient_clipping``, for libraries that clip by themselves.

        Raises:
            StepError: this machine has no such device.
        """

    def optimizer_arguments(self, precision: str) -> dict[str, Any]:
        """Return how torch's own optimisers go through the weights: by a fused kernel where they can."""
        # The fused step unscales fp16 gradients itself, after clipping would have needed them.
        return {"fused": precision != "fp16"}

    def shard(self, model: Any, mesh: Any) -> None:
        """Spread *model*, as the tuning method made it, over the processes of *mesh*, in place.

        Raises:
            StepError: the model cannot be spread like this.
        """

    def clip(self, weights: "Iterable[Tensor]", largest: float) -> "Tensor | None":
        """Scale the gradients of *weights* down to a norm of *largest* together; 0 leaves them.

        Returns:
            Their norm before, a scalar; None where a library clips by itself.
        """
        from torch.nn.utils import clip_grads_with_norm_, get_total_norm

        trained = [weight for weight in weights if weight.grad is not None]
        norm = get_total_norm([weight.grad for weight in trained if weight.grad is not None])
        if largest:
            clip_grads_with_norm_(trained, largest, norm)
        return norm

    def gather(self, module: Any) -> "dict[str, Tensor] | None":
        """Return the whole ``state_dict`` of ``module.model`` on the CPU, or None if it is whole already.

        Every process calls this at the end of training; only the first need get the tensors.
        """
        return None
