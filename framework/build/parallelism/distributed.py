"""The base of all layouts with several processes: their ranks, machines and devices.

``framework.build.training.launch`` starts the processes. Each reads its rank from torchrun's environment
variables.
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
    """Several processes with one device each."""

    size_key: ClassVar[str]
    """The config key that scales the data-parallel processes, for messages."""

    machines: Annotated[int, Field(ge=1)] = 1
    """Machines (nodes) that train together, with equally many processes each. torchrun's environment
    variables say which one this is and where the first is reached (``PET_NODE_RANK``, ``PET_MASTER_ADDR``,
    ``PET_MASTER_PORT``); a Kubeflow TrainJob sets them."""

    min_machines: Annotated[int, Field(ge=1)] | None = None
    """Minimum number of machines on which training continues while others are lost; None waits for all.
    Fewer machines see the same rows per step in more micro batches, which requires
    ``training.global_batch_size``."""

    max_restarts: Annotated[int, Field(ge=0), UNKEYED] = 3
    """How often all processes restart automatically from the last checkpoint after one of them died.
    An error that would only repeat, such as a loss that is not finite, ends training."""

    @model_validator(mode="after")
    def _check_machines(self) -> Self:
        if self.processes % self.machines:
            raise PydanticCustomError(
                "machines",
                "{processes} processes cannot be divided evenly among {machines} machines",
                {"processes": self.processes, "machines": self.machines},
            )
        size = self.size_key.rpartition(".")[2]
        if self.least_nodes > self.machines or (self.min_machines and getattr(self, size) % self.machines):
            raise PydanticCustomError(
                "min_machines",
                "'min_machines' ({least}) should be at most 'machines' ({machines}), and '{size}' ({value}) "
                "a multiple of 'machines'",
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
        """``machines``."""
        return self.machines

    @property
    def least_nodes(self) -> int:
        """``min_machines``, or all machines."""
        return self.min_machines or self.machines

    def on_machines(self, machines: int) -> Self:
        """Scale the data-parallel processes; see the base class."""
        size = self.size_key.rpartition(".")[2]
        fewer = getattr(self, size) * machines // self.machines
        return self.model_copy(update={size: fewer, "machines": machines})

    @property
    def restarts(self) -> int:
        """``max_restarts``."""
        return self.max_restarts

    @property
    def rank(self) -> int:
        """The number of this process, from 0, from torchrun's environment."""
        return int(os.environ.get("RANK", "0"))

    @property
    def data_parallel(self) -> int:
        """One per process: each sees its own rows."""
        return self.processes

    @property
    def data_rank(self) -> int:
        """The rank."""
        return self.rank

    @abstractmethod
    def strategy(self, device: Device, precision: str, clipping: float) -> Any:
        """Return Lightning's strategy."""

    def trainer_arguments(self, device: Device, precision: str, clipping: float) -> dict[str, Any]:
        """Request one device per process, and the layout's strategy; see the base class."""
        import torch

        local, gpus = self.processes // self.nodes, torch.cuda.device_count()
        if device == "cuda" and gpus < local:
            raise StepError(
                f"parallelism: {local} processes need a GPU each, but torch finds {gpus} on this machine; "
                f"set {self.size_key}={gpus * self.nodes}, or "
                "parallelism=single environment.hardware.device=cpu"
            )
        return {
            "accelerator": "gpu" if device == "cuda" else "cpu",
            "devices": local,
            "num_nodes": self.nodes,
            "strategy": self.strategy(device, precision, clipping),
        }
