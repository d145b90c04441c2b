"""The base of every parallelism option: how one training run spreads over devices."""

from abc import ABC, abstractmethod
from typing import Any, Literal

from framework.core.component import Component

Device = Literal["cpu", "cuda"]
"""The kind of device that training runs on."""


class Parallelism(Component, ABC):
    """How the tune step uses processes and devices."""

    @abstractmethod
    def trainer_arguments(self, device: Device) -> dict[str, Any]:
        """Return the arguments of ``lightning.Trainer`` that this layout decides.

        Raises:
            StepError: this machine has no such device.
        """
