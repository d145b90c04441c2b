"""The base of every tracking option: where the numbers of a run are watched and compared.

Tracking shapes no byte of an artifact, so it enters no key: what is cached is not trained again to be
watched.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from framework.core.component import Component

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from framework.core.release import Release


class Tracking(Component, ABC):
    """A place that gets what training measures, as it goes."""

    experiment: Annotated[str, Field(min_length=1)] = "gitune"
    """What runs are compared under; a recipe's name by default."""

    @abstractmethod
    def logger(self, run: str) -> "Logger | None":
        """Return Lightning's logger for the run *run*, which goes on if it is there already; None is none.

        Args:
            run: the first digits of the step's key.

        Raises:
            StepError: its library is not installed.
        """

    def register(self, release: "Release") -> None:
        """Tell a registry of models about *release*, which it may know already.

        Raises:
            ReleaseError: the registry cannot be reached or refuses.
        """
