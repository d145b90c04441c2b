"""The base class of the secrets options: who creates the Secrets that a recipe only names."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from framework.core.component import Component
from framework.core.problem import Problem
from framework.delivery.environment import Environment
from framework.manifests.identity import Identity, Object


class Secrets(Component, ABC):
    """Creates Secrets in the namespace."""

    creates: ClassVar[bool] = True
    """Whether it renders objects that create the Secrets."""

    @property
    def shared(self) -> bool:
        """Whether releases that name the same Secret share its object, which then depends on none of them."""
        return True

    @abstractmethod
    def objects(self, identity: Identity, wanted: Mapping[str, str]) -> list[Object]:
        """Return the objects that create the Secrets of the release's pods.

        Args:
            identity: the release's name and labels, or the environment's for shared objects.
            wanted: type of each Secret, such as ``Opaque``, by its name.
        """

    def problems(self, wanted: Mapping[str, str], environment: Environment) -> list[Problem]:
        """Return what keeps the Secrets *wanted* from being made in *environment*."""
        return []
