"""What all layouts of several processes share: their numbers and their devices.

The processes are started by ``framework.build.training.launch``; each knows its number from the
environment that torchrun gives.
"""

import os
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.parallelism import Device, Parallelism
from framework.core.component import UNKEYED
from framework.core.errors import StepError


class Distributed(Parallelism):
    """Several processes, one a device."""

    size_key: ClassVar[str]
    """The key that says how many processes there are, for messages."""

    machines: Annotated[int, Field(ge=1)] = 1
    """Machines (nodes) that train together, each with as many processes. Which one this is and where the
    first is reached come from torchrun's environment (``PET_NODE_RANK``, ``PET_MASTER_ADDR`` and
    ``PET_MASTER_PORT``), as a Kubeflow TrainJob sets it."""

    min_machines: Annotated[int, Field(ge=1)] | None = None
    """On how many machines training goes on when others are lost, until they are back; None waits for all.
    Each step sees the same rows on fewer, in more micro batches, so that it needs
    ``training.global_batch_size``."""

    max_restarts: Annotated[int, Field(ge=0), UNKEYED] = 3
    """How often all processes start again from the last checkpoint because one of them died, without
    anybody's help. A loss that is not finite, or whatever else would only come again, ends training."""

    @model_validator(mode="after")
    def _check_machines(self) -> Self:
        if self.processes % self.machines:
            raise PydanticCustomError(
                "machines",
                "{processes} processes cannot be spread evenly over {machines} machines",
                {"processes": self.processes, "machines": self.machines},
            )
        size = self.size_key.rpartition(".")[2]
        if self.least_nodes > self.machines or (self.min_machines and getattr(self, size) % self.machines):
            raise PydanticCustomError(
                "min_machines",
                "'min_machines' ({least}) needs as many 'machines' at least, and '{size}' ({value}) to be a "
                "multiple of 'machines' ({machines})",
                {
                    "least": self.least_nodes,
                    "size": size,
                    "value": getattr(self, size),
                    "machines": self.machines,
                },
            )
        return self

    @property
    def nodes(self) -> int:
        """On how many machines they run."""
        return self.machines

    @property
    def least_nodes(self) -> int:
        """``min_machines``, or all."""
        return self.min_machines or self.machines

    def on_machines(self, machines: int) -> Self:
        """Scale what sees rows of its own; see the base class."""
        size = self.size_key.rpartition(".")[2]
        fewer = getattr(self, size) * machines // self.machines
        return self.model_copy(update={size: fewer, "machines": machines})

    @property
    def restarts(self) -> int:
        """As often as ``max_restarts`` says."""
        return self.max_restarts

    @property
    def rank(self) -> int:
        """The number of this process, from 0, as torchrun gives it."""
        return int(os.environ.get("RANK", "0"))

    @property
    def data_parallel(self) -> int:
        """Every process sees rows of its own."""
        return self.processes

    @property
    def data_rank(self) -> int:
        """The process's number."""
        return self.rank

    @abstractmethod
    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return Lightning's strategy."""

    def trainer_arguments(self, device: Device, precision: str, clipping: float) -> dict[str, Any]:
        """Ask Lightning for one device a process, and for the layout's strategy; see the base class."""
        import torch

        local = self.processes // self.nodes
        if device == "cuda" and torch.cuda.device_count() < local:
            raise StepError(
                f"parallelism: {local} processes need a GPU each, torch finds {torch.cuda.device_count()} on "
                f"this machine; set {self.size_key}={torch.cuda.device_count() * self.nodes}, or "
                "parallelism=single environment.hardware.device=cpu"
            )
        return {
            "accelerator": "gpu" if device == "cuda" else "cpu",
            "devices": local,
            "num_nodes": self.nodes,
            "strategy": self.strategy(device, precision, clipping),
        }
