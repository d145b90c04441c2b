"""The base of every secrets option: where the Secrets come from that a recipe names and never holds."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from framework.core.component import Component
from framework.delivery.environment import Environment
from framework.manifests.identity import Identity, Object


class Secrets(Component, ABC):
    """Brings Secrets into the namespace."""

    creates: ClassVar[bool] = True
    """Whether it renders objects that create the Secrets."""

    @abstractmethod
    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return what makes the Secrets that the release's pods refer to.

        Args:
            identity: whose pods they are.
            wanted: each Secret's type, such as ``Opaque``, by its name.
        """

    def problems(self, wanted: Mapping[str, str], environment: Environment) -> list[str]:
        """Return what keeps them from being made, each with what mends it."""
        return []
