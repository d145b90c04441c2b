"""The base of every tracking option: where the metrics of a run are sent.

Tracking changes no byte of an artifact, so it is not part of any key: changing it retrains nothing.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from framework.core.component import Component

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from framework.core.release import Release


class Tracking(Component, ABC):
    """A destination for metrics while training runs."""

    experiment: Annotated[str, Field(min_length=1)] = "gitune"
    """The experiment (or project) that groups runs; by default the config's ``name``."""

    @abstractmethod
    def logger(self, run: str) -> "Logger | None":
        """Return Lightning's logger for *run*, which resumes an existing run; None logs nothing.

        Args:
            run: the first digits of the step's key.

        Raises:
            StepError: its library is not installed.
        """

    def register(self, release: "Release") -> None:
        """Register *release* in a model registry, unless it already has it.

        Raises:
            ReleaseError: the registry cannot be reached or refuses.
        """
