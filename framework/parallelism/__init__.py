"""The base of every parallelism option: how one training run spreads over devices."""

from abc import ABC, abstractmethod
from typing import Any

from framework.core.component import Component


class Parallelism(Component, ABC):
    """How the tune step uses processes and devices."""

    @abstractmethod
    def trainer_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``lightning.Trainer`` that this layout decides."""
