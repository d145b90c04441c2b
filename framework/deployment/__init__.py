"""The base of every deployment target: which objects serve a release."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.core.component import Component
from framework.core.release import Release
from framework.environment import Environment

if TYPE_CHECKING:
    from framework.serving import Serving


class Deployment(Component, ABC):
    """Where and how a release runs. Rendering is a pure function: same input, same bytes."""

    gpus: Annotated[int, Field(ge=0)] = 0
    """NVIDIA GPUs of each pod."""

    @abstractmethod
    def objects(self, release: Release, serving: "Serving", environment: Environment) -> list[dict[str, Any]]:
        """Return the objects that serve *release*, as plain dicts in a fixed order."""

    @abstractmethod
    def problems(self, environment: Environment) -> list[str]:
        """Return what keeps this target out of *environment*, empty where nothing does.

        Each is one sentence that names the override which mends it. The plan shows them before any
        work is done, and rendering refuses.
        """
